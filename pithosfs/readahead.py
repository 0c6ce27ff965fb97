"""What to fetch for a read: a piece, a block, or what comes next as well.  No I/O.

A reader that goes on where it stopped gets a window that doubles with each
block it crosses; one that jumps starts small again.  Several interleaved
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
#: A reader of so many bytes in a row will most likely want the rest of the file ...
_TRUST_TO_THE_END = 24 * 1024 * 1024
#: ... in one request, if one connection brings so many bytes a second (else several do better), and the
#: reader asks for more within so many seconds (else the request is given up in between).
_FAST, _SOON = 60e6, 0.8 * LINGER
_WHOLE_FILE_SECONDS = 4.0


class Unit(Enum):
    """How much of a block to fetch for a read."""

    PIECE = "piece"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Plan:
    """``unit`` for the blocks read; blocks ``ahead`` (first, behind the last) to begin on.

    ``to_the_end``: one request may well ask for all behind those, too.
    ``random`` is a read that went on from no other: how long it waits is to be told.
    """

    unit: Unit
    ahead: tuple[int, int] = (0, 0)
    to_the_end: bool = False
    random: bool = False


@dataclass(slots=True)
class _Stream:
    position: int  # behind the last byte read
    run: int = 0  # bytes read one after the other
    window: int = 0  # blocks to have ready behind the position
    asked: int = 0  # block up to which was asked for
    asked_at: float = float("-inf")  # monotonic


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
        now = time.monotonic()
        soon, stream.asked_at = now - stream.asked_at < _SOON, now
        return Plan(Unit.BLOCK, ahead, soon and rate >= _FAST and stream.run >= _TRUST_TO_THE_END)

    def _window(self, stream: _Stream, count: int, max_window: int) -> tuple[int, int]:
        here = (stream.position - 1) // self._block_size
        if not stream.window:
            stream.window, stream.asked = 2, here
        stop = min(count, here + 1 + stream.window)
        # Ask for more when half of what was asked for is used up: few, long requests.
        if stop - stream.asked < max(1, stream.window // 2) and stop < count:
            return (0, 0)
        ahead = (max(here, stream.asked), stop)
        if ahead[0] >= ahead[1]:
            return (0, 0)
        stream.asked = stop
        stream.window = min(max(1, max_window), stream.window * 2)
        return ahead

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
