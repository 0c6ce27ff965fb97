"""Contents of one file that were sent, as long as it is not known what became of them.  No I/O.

Not thread-safe: the file's lock is held around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from pithosfs.blocks import Hashmap

#: How many of those sent last are remembered.
_LIMIT = 64

#: A content: its Merkle hash and its size.
Attempt = tuple[str, int]


class Attempts:
    """What may be on the server, the newest last."""

    def __init__(self, found: Iterable[Attempt] = ()) -> None:
        self._sent: deque[Attempt] = deque(found, maxlen=_LIMIT)
        self._last_is_new = False  # the last is the only one of this content

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self._sent)

    def __contains__(self, attempt: Attempt) -> bool:
        return attempt in self._sent

    def expect(self) -> None:
        """A commit begins, which may fail before anything is sent."""
        self._last_is_new = False

    def begin(self, content: Hashmap) -> Attempt:
        """It is about to be sent."""
        attempt = (content.merkle, content.size)
        self._last_is_new = attempt not in self._sent
        if not self._last_is_new:
            self._sent.remove(attempt)
        self._sent.append(attempt)
        return attempt

    def refused(self) -> None:
        """The last one has certainly changed nothing: tries without end must not push others out."""
        if self._last_is_new:
            self._sent.pop()
            self._last_is_new = False

    def settled(self) -> list[Attempt]:
        """The last one was answered, and is what there is; returns those before, which may only be late."""
        unheard = list(self._sent)[:-1]
        self._sent.clear()
        self._last_is_new = False
        return unheard

    def inherit(self, others: Iterable[Attempt]) -> None:
        """What was sent of another file may be found where this one is to be."""
        self._sent.extend(others)
