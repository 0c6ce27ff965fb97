"""A set of byte ranges, kept sorted and merged.  No I/O.

An open file keeps in one of these which of its bytes are not on the server.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Extents:
    """Disjoint, non-touching half-open ranges ``[start, stop)`` in order."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extents) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Extents({list(self)})"

    @property
    def total(self) -> int:
        """How many bytes are in the set."""
        return sum(self._stops) - sum(self._starts)

    def add(self, start: int, stop: int) -> None:
        """Put ``[start, stop)`` into the set."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)  # the first that touches or lies behind
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def remove(self, start: int, stop: int) -> None:
        """Take ``[start, stop)`` out of the set."""
        if start >= stop:
            return
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        if first >= last:
            return
        starts: list[int] = []
        stops: list[int] = []
        if self._starts[first] < start:
            starts.append(self._starts[first])
            stops.append(start)
        if self._stops[last - 1] > stop:
            starts.append(stop)
            stops.append(self._stops[last - 1])
        self._starts[first:last] = starts
        self._stops[first:last] = stops

    def intersects(self, start: int, stop: int) -> bool:
        """Whether any byte of ``[start, stop)`` is in the set."""
        first = bisect_right(self._stops, start)
        return start < stop and first < len(self._starts) and self._starts[first] < stop

    def covers(self, start: int, stop: int) -> bool:
        """Whether every byte of ``[start, stop)`` is in the set."""
        if start >= stop:
            return True
        first = bisect_right(self._stops, start)
        return first < len(self._starts) and self._starts[first] <= start and stop <= self._stops[first]

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """``[start, stop)`` cut into ``(start, stop, inside)`` pieces, in order."""
        position = start
        index = bisect_right(self._stops, start)
        while position < stop:
            if index == len(self._starts) or self._starts[index] >= stop:
                yield position, stop, False
                return
            if self._starts[index] > position:
                yield position, self._starts[index], False
                position = self._starts[index]
            end = min(stop, self._stops[index])
            yield position, end, True
            position = end
            index += 1
