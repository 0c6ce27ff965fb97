"""Users as people know them: display names for the store's UUIDs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pithosfs import identity
from pithosfs.config import Connection
from pithosfs.errors import PithosError

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class People:
    """Looks up, in one request, all whom ``texts`` name by UUID; where that fails they keep it."""

    def __init__(self, connection: Connection, texts: Iterable[str]) -> None:
        uuids = sorted({each for text in texts for each in _UUID.findall(text)})
        try:
            self._names = identity.display_names(connection, uuids) if uuids else {}
        except PithosError:
            self._names = {}  # a comfort, no reason to fail

    def named(self, text: str) -> str:
        """``text`` with names for UUIDs."""
        return _UUID.sub(lambda each: self._names.get(each[0], each[0]), text)
