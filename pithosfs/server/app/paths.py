"""Names of other objects in headers: ``/container/name``."""

from __future__ import annotations

import re

from pithosfs.server.app.http import ApiError


def split_path(text: str | None, message: str) -> tuple[str, str]:
    """Container and name.  Raises ApiError 400 with ``message``."""
    found = re.fullmatch(r"/([^/]+)/(.+)", text or "", re.DOTALL)
    if not found:
        raise ApiError(400, message)
    return found[1], found[2]
