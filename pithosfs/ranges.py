"""Where bytes can be read: origins, addresses of blocks, and long ranges of them.  No I/O.

A request costs a server more than many blocks do.  So for a reader that is
fast, one request asks for all that follows, and each block that is wanted next
is taken from its answer.  Nothing is read from it that was not asked for: who
pauses leaves the rest with the server, and after a moment the request is given
up.  A request may be under way before it is known what its blocks are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pithosfs import blocks
from pithosfs.names import ObjectRef

#: Seconds for which an answer is kept open though nothing more of it is wanted.
LINGER = 0.5


class Origin(NamedTuple):
    """Where bytes can be read: an object and its version (0: whichever is current)."""

    ref: ObjectRef
    version: int


class Address(NamedTuple):
    """One block of one object: ``length`` of its bytes belong to the object."""

    origin: Origin
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    hash: str
    length: int
    block_size: int = blocks.BLOCK_SIZE

    @property
    def start(self) -> int:
        """The block's offset in its object."""
        return self.index * self.block_size

    @property
    def stop(self) -> int:
        """The offset behind the block's last byte."""
        return self.start + self.length

    def goes_on_with(self, other: Address) -> bool:
        """Whether ``other`` begins where this one ends."""
        return (
            other.origin == self.origin
            and other.index == self.index + 1
            and self.length == self.block_size == other.block_size
        )


class LongRange:
    """What one request brings: the blocks that are wanted of it in time, one after the other.

    The request is for the bytes from ``start`` to ``stop`` of an object, where
    blocks begin and end.  One thread takes the blocks; any may add more.
    """

    def __init__(self, origin: Origin, start: int, stop: int) -> None:
        self.origin = origin
        self.start = start
        self.stop = stop
        self._wanted: deque[Address] = deque()
        self._end = start  # of what was wanted so far
        self._ended = False
        self._last_call = False
        self._changed = threading.Condition()

    @classmethod
    def of(cls, run: Sequence[Address], stop: int = 0) -> LongRange:
        """A request for the blocks of ``run``, and for all up to ``stop`` if that is further."""
        made = cls(run[0].origin, run[0].start, max(stop, run[-1].stop))
        made.takes(run)
        return made

    def takes(self, run: Sequence[Address]) -> int:
        """How many blocks of ``run``, from its first, come with it, too.

        None do if the run does not begin where this ends, or if it is too late.
        """
        with self._changed:
            if self._ended or self._last_call or (run[0].origin, run[0].start) != (self.origin, self._end):
                return 0
            here = [each for each in run if each.stop <= self.stop]
            if here:
                self._wanted.extend(here)
                self._end = here[-1].stop
                self._changed.notify()
            return len(here)

    def next(self) -> Address | None:
        """The block to be taken now; None, and no more from then on, if none is wanted for a moment."""
        with self._changed:
            if not self._wanted and self._end < self.stop:
                self._changed.wait_for(lambda: self._wanted or self._ended or self._last_call, LINGER)
            if self._wanted:
                return self._wanted.popleft()
            self._ended = True
            return None

    def last_call(self) -> None:
        """Others wait for their turn: nothing more is taken along, nor waited for."""
        with self._changed:
            self._last_call = True
            self._changed.notify()

    def end(self) -> list[Address]:
        """No more is taken; returns what was wanted."""
        with self._changed:
            self._ended = True
            left = list(self._wanted)
            self._wanted.clear()
            self._changed.notify()
            return left
