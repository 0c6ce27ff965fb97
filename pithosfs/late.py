"""What was sent and never answered for: the network may still deliver it, to our own surprise.

A PUT that timed out can reach the server much later: after the file was sent
again, renamed or removed.  Its condition keeps it from replacing anything, but
where there is nothing under the name any more, it makes an object.  Whoever
finds that must not take it for somebody else's.  Nor must the guard take for
that what was removed here by its name, whatever its version (it may have come
with a directory): it looks at such contents in the same way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from cachetools import TTLCache

from pithosfs.names import ObjectRef

#: Contents remembered, and for how many seconds: nothing on the way keeps a request longer, and who makes
#: the same content again later than that has written it.
_LIMIT, _SECONDS = 20_000, 3600.0


class Late:
    """Contents, as Merkle hash and size, that may still arrive under a name.  Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._sent: TTLCache[tuple[ObjectRef, str, int], bool] = TTLCache(_LIMIT, _SECONDS, clock)

    def add(self, ref: ObjectRef, contents: Iterable[tuple[str, int]]) -> None:
        """These were sent as ``ref``, and nobody answered."""
        with self._lock:
            for merkle, size in contents:
                self._sent[ref, merkle, size] = True

    def has(self, ref: ObjectRef, merkle: str, size: int) -> bool:
        """Whether what is found under the name is one of them."""
        with self._lock:
            return (ref, merkle, size) in self._sent
