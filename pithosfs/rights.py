"""What the user may do in the trees of others, asked before anything is written.

The store refuses a write when it is sent, which is when a file is closed: too
late for a shell, which does not look at that.  So it is asked first.  Listings
do not tell what a directory grants to what is in it, a HEAD does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cachetools import TTLCache

from pithosfs.api import Client
from pithosfs.errors import Forbidden, NotFound
from pithosfs.names import ObjectRef

#: Seconds for which an answer is believed, and how many are kept.
_FRESH, _KEPT = 5.0, 10_000


class Rights:
    """The rights granted to the user by the owners of objects.

    ``_lock`` is a leaf; requests are made outside of it.
    """

    def __init__(self, client_of: Callable[[ObjectRef], Client]) -> None:
        self._client_of = client_of
        self._lock = threading.Lock()
        self._known: TTLCache[ObjectRef, str] = TTLCache(_KEPT, _FRESH)

    def may_write(self, ref: ObjectRef) -> bool:
        """Whether the object may be written, or made if there is none.  Raises what the store raised.

        What a directory grants holds for all below it; nobody makes anything
        at the top of somebody else's container.
        """
        while ref.name:
            granted = self._granted(ref)
            if granted is not None:
                return granted == "write"
            ref = ObjectRef(ref.container, ref.name.rpartition("/")[0], ref.account)
        return False

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the store has the object: what others have, they alone can delete."""
        return self._granted(ref) is not None

    def _granted(self, ref: ObjectRef) -> str | None:
        """``read``, ``write`` or "" for an object, None if there is none."""
        with self._lock:
            if ref in self._known:
                return self._known[ref]
        try:
            granted = self._client_of(ref).head(ref.container, ref.name).entry.allowed_to or ""
        except Forbidden:
            granted = ""
        except NotFound:
            return None  # not kept: it may be there in a moment
        with self._lock:
            self._known[ref] = granted
        return granted
