"""How many blocks go in one POST, by what those before it have shown.  No I/O.

A request costs a server far more than a byte, so where blocks wait, one takes
several.  On a slow line it takes one, for what breaks has to be sent again,
and as many are under way as may be.  On a fast one two keep line and server
busy; what is complete meanwhile goes when one of them has ended, or as soon
as it fills a request.  With less under way no block waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from pithosfs import blocks
from pithosfs.blocks import Buffer

Item = TypeVar("Item")

#: Bytes of one request, and the seconds it may take at the rate of those before it.
LONGEST, _SECONDS = 16 * 1024 * 1024, 1.5
#: Requests of a file that are under way before what fills none has to wait.
_FEW = 2
#: So many zeros at the end of a block travel with it; a block with more goes without them, but alone.
_ZEROS = 64 * 1024


class Block(NamedTuple):
    """A block to be sent: its hash, and its bytes, of which zeros at the end may be missing."""

    hash: str
    data: Buffer


class Batches:
    """Sizes of requests for ``senders`` at a time; ``memory`` is how many bytes may be under way in all."""

    def __init__(self, senders: int, memory: int, block_size: int = blocks.BLOCK_SIZE) -> None:
        self._block_size = block_size
        self._most = max(1, min(LONGEST, memory // senders) // block_size)
        self._rate = 0.0  # bytes a second of one request

    @property
    def full(self) -> int:
        """How many blocks a request takes at most."""
        return max(1, min(self._most, int(self._rate * _SECONDS) // self._block_size))

    def enough(self, waiting: int, under_way: int) -> bool:
        """Whether what waits is to be sent now, besides so many requests that are under way."""
        return under_way < _FEW or waiting >= self.full

    def share(self, waiting: int, under_way: int = 0) -> int:
        """How many of the blocks that wait go in the next request, besides those under way; 1 at least."""
        return max(1, min(-(-waiting // max(1, _FEW - under_way)), self.full))

    def shares(self, waiting: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """What one sender after the other takes, of what waits and is not joined by more."""
        taken = 0
        while taken < len(waiting):
            share = waiting[taken : taken + self.share(len(waiting) - taken)]
            taken += len(share)
            yield share

    def took(self, size: int, seconds: float) -> None:
        """A request with ``size`` bytes took so long."""
        if size < self._block_size // 4:
            return  # tells of the request, not of its bytes
        rate = size / max(0.001, seconds)
        self._rate = rate if not self._rate else self._rate * 0.7 + rate * 0.3

    def refused(self) -> None:
        """What goes alone does not go together: one block a request from now on."""
        self._most = 1

    def requests(self, waiting: Sequence[Block]) -> Iterator[list[Block]]:
        """What is sent together: the store cuts at the length of a block, so only the last may be shorter."""
        whole = [each for each in waiting if self._is_whole(each)]
        short = [each for each in waiting if not self._is_whole(each)]
        if whole:
            yield whole + short[:1]
        for each in short[1 if whole else 0 :]:
            yield [each]

    def _is_whole(self, block: Block) -> bool:
        size = self._block_size
        return len(block.data) == size and size - blocks.stripped_length(block.data) <= min(
            _ZEROS, size // 16
        )
