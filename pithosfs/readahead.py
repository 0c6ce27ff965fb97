"""What to fetch for a read: a piece, a block, or what comes next as well.  No I/O.

A reader that goes on where it stopped gets a window that doubles each time
half of it is read; one that jumps starts small again.  Several interleaved
sequential readers of one handle each keep their window.  Nothing is constant
that the network can tell: whole blocks instead of pieces where a block takes
no longer than a request, and the rest of the file when random reads have
cost as much time as fetching all of it would.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import Enum

from pithosfs.ranges import LINGER

#: A step back of so many bytes, or forward of half a block, still goes on: the kernel asks for a mebibyte
#: at a time, for a few at once, and they come in any order.
_SLACK_BACK = 3 * 1024 * 1024
_STREAMS = 8
#: Sequential bytes before whole blocks are fetched: at the start of a file, and elsewhere.
_TRUST_AT_START = 128 * 1024 + 1
_TRUST_ELSEWHERE = 384 * 1024
_CHEAP_BLOCK_SECONDS = 0.02
#: Blocks that a sequential reader has ready at first, behind the one it reads.
_FIRST_WINDOW = 2
#: A request may ask for more than is wanted yet: for so many blocks at first, for the rest of the file from
#: a reader who goes on within so many seconds (else the request would be given up in between), ...
_FIRST_REACH, _SOON = 8, 0.8 * LINGER
#: ... if one connection brings so many bytes a second, as far as is known; else several do better.
_FAST = 60e6
_WHOLE_FILE_SECONDS = 4.0


class Unit(Enum):
    """How much of a block to fetch for a read."""

    PIECE = "piece"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Plan:
    """``unit`` for the blocks read; blocks ``ahead`` (first, behind the last) to begin on.

    ``reach``: up to which block (exclusive) the request for the last of those may ask for more, to
    be taken when it is wanted; 0 if for none.
    ``random`` is a read that went on from no other: how long it waits is to be told.
    """

    unit: Unit
    ahead: tuple[int, int] = (0, 0)
    reach: int = 0
    random: bool = False


@dataclass(slots=True)
class _Stream:
    position: int  # behind the last byte read
    run: int = 0  # bytes read one after the other
    window: int = 0  # blocks to have ready behind the position
    asked: int = 0  # block up to which was asked for
    asked_at: float | None = None  # monotonic


class Readahead:
    """One per handle.  ``block_size`` in bytes.  Thread-safe: the kernel reads several pieces at once."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._lock = threading.Lock()
        self._streams: list[_Stream] = []
        self._waited = 0.0
        self._random_reads = 0
        self._took_all = False

    def waited(self, seconds: float) -> None:
        """A random read had to wait so long for the network."""
        with self._lock:
            self._waited += seconds

    def opening(self, offset: int, size: int, file_size: int, rate: float) -> tuple[int, int]:
        """The bytes to begin on (start, stop) while it is asked what blocks the file consists of.

        Those that :meth:`plan` is going to ask for in one request; (0, 0) where that is not sure to be
        whole blocks.
        """
        first = offset // self._block_size
        if file_size <= self._block_size or size < (_TRUST_ELSEWHERE if offset else _TRUST_AT_START):
            return (0, 0)
        stop = first + _FIRST_REACH if _one_is_best(rate) else first + 1 + _FIRST_WINDOW
        return first * self._block_size, min(stop * self._block_size, file_size)

    def plan(
        self, offset: int, size: int, file_size: int, latency: float, rate: float, max_window: int
    ) -> Plan:
        """What to fetch for reading ``size`` bytes at ``offset``.

        ``latency`` in seconds, ``rate`` in bytes a second, 0 where unknown;
        ``max_window`` in blocks.
        """
        if file_size <= self._block_size:
            return Plan(Unit.BLOCK)
        with self._lock:
            return self._plan(offset, size, file_size, latency, rate, max_window)

    def _plan(
        self, offset: int, size: int, file_size: int, latency: float, rate: float, max_window: int
    ) -> Plan:
        stream = self._follow(offset, size)
        count = -(-file_size // self._block_size)
        trust = _TRUST_AT_START if stream.position == stream.run else _TRUST_ELSEWHERE
        if stream.run >= trust:
            return self._go_on(stream, count, max_window, rate)
        self._random_reads += 1
        if self._should_take_all(file_size, rate):
            self._took_all = True
            return Plan(Unit.BLOCK, (0, count))
        return Plan(self._unit(offset, latency, rate), random=True)

    def _follow(self, offset: int, size: int) -> _Stream:
        end = offset + size
        for stream in self._streams:
            if stream.position - _SLACK_BACK <= offset <= stream.position + self._block_size // 2 and (
                offset >= stream.position or stream.run >= size
            ):
                stream.run += max(0, end - stream.position) if offset <= stream.position else size
                stream.position = max(stream.position, end)
                self._streams.remove(stream)
                self._streams.append(stream)
                return stream
        stream = _Stream(end, size)
        self._streams.append(stream)
        del self._streams[:-_STREAMS]
        return stream

    def _go_on(self, stream: _Stream, count: int, max_window: int, rate: float) -> Plan:
        ahead = self._window(stream, count, max_window)
        if ahead[0] >= ahead[1]:
            return Plan(Unit.BLOCK)
        return Plan(Unit.BLOCK, ahead, self._reach(stream, ahead[0], count, rate))

    def _reach(self, stream: _Stream, first: int, count: int, rate: float) -> int:
        now, before = time.monotonic(), stream.asked_at
        stream.asked_at = now
        if not _one_is_best(rate) or (before is not None and now - before >= _SOON):
            return 0
        return count if before is not None and rate else min(count, first + _FIRST_REACH)

    def _window(self, stream: _Stream, count: int, max_window: int) -> tuple[int, int]:
        here = (stream.position - 1) // self._block_size
        if not stream.window:
            stream.window, stream.asked = min(_FIRST_WINDOW, max(1, max_window)), here
        # Ask for more when half of what was asked for is used up: few, long requests.
        elif 2 * (stream.asked - here - 1) > stream.window or stream.asked >= count:
            return (0, 0)
        else:
            stream.window = min(max(1, max_window), stream.window * 2)
        ahead = (max(here, stream.asked), min(count, here + 1 + stream.window))
        stream.asked = max(ahead)
        return ahead if ahead[0] < ahead[1] else (0, 0)

    def _unit(self, offset: int, latency: float, rate: float) -> Unit:
        if not rate:  # the second jump is spent on learning the rate
            return Unit.BLOCK if offset and self._random_reads >= 2 else Unit.PIECE
        if not offset:
            return Unit.PIECE  # may be somebody who only wants to know the type
        seconds = self._block_size / rate
        return Unit.BLOCK if seconds <= max(latency, _CHEAP_BLOCK_SECONDS) else Unit.PIECE

    def _should_take_all(self, file_size: int, rate: float) -> bool:
        if self._took_all or not rate:
            return False
        seconds = file_size / rate
        return seconds <= _WHOLE_FILE_SECONDS and self._waited >= seconds


def _one_is_best(rate: float) -> bool:
    """Whether one long request brings as much as several would, as far as is known."""
    return not rate or rate >= _FAST
