"""Version numbers as a ledger: which of them are ours, and so whether others wrote.

The store numbers every change on the whole server in one sequence: a write
takes one number, a deletion one, a move two (``docs/protocol.md``).  A mount
that knows which numbers its own requests took can tell from the number of its
latest write alone whether anybody else changed anything in between, without a
request.  What it cannot account for counts as somebody else's.

Pure bookkeeping: no I/O.  ``Ledger._lock`` is a leaf.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

_KEPT = 4096


@dataclass(slots=True)
class Ticket:
    """One request that takes numbers; ``began`` is monotonic seconds."""

    order: int
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Mark:
    """What was known at one moment.

    ``top`` is the highest number of ours, ``top_began`` when its request began
    (monotonic seconds), ``top_order`` when it was answered and ``order`` the
    moment itself, both as positions in the order of all requests; ``at`` is the
    moment in monotonic seconds.
    """

    top: int
    top_began: float
    top_order: int
    order: int
    at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Unnumbered:
    """A request that took ``count`` numbers it did not tell."""

    began: int
    ended: int
    count: int


class Ledger:
    """Numbers taken by this process's requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders = itertools.count(1)
        self._open: dict[int, Ticket] = {}
        self._ours: list[int] = []
        self._began: dict[int, float] = {}
        self._unnumbered: list[_Unnumbered] = []
        self._seen = (0, 0.0)  # the highest number of a listing, and when that was asked for
        self._first_seen = self._seen  # the same before the first number of ours
        self._top = 0
        self._top_order = 0

    def begin(self) -> Ticket:
        """A request that will take numbers is about to be sent."""
        with self._lock:
            ticket = Ticket(next(self._orders))
            self._open[ticket.order] = ticket
            return ticket

    def end(self, ticket: Ticket, numbers: Iterable[int] = (), unnumbered: int = 0) -> None:
        """It was answered: it took ``numbers``, and ``unnumbered`` more that were not told."""
        with self._lock:
            self._open.pop(ticket.order, None)
            order = next(self._orders)
            for number in numbers:
                insort(self._ours, number)
                self._began[number] = ticket.began
                if number > self._top:
                    self._top, self._top_order = number, order
            if unnumbered:
                self._unnumbered.append(_Unnumbered(ticket.order, order, unnumbered))
            self._forget_old()

    def saw(self, number: int, began: float) -> None:
        """A listing whose request was sent at ``began`` (monotonic) has the version ``number``.

        If it is the highest, what is written next without a gap shows that
        nobody wrote since.
        """
        with self._lock:
            if number > self._top:
                self._top, self._top_order = number, next(self._orders)
                self._seen = (number, began)
                if not self._ours:
                    self._first_seen = self._seen

    def mark(self) -> Mark:
        """What is known now; for :meth:`foreign` later."""
        with self._lock:
            began = self._began.get(self._top, self._seen[1])
            return Mark(self._top, began, self._top_order, next(self._orders))

    def began(self, number: int) -> float:
        """When the request that took our ``number`` was sent (monotonic), 0.0 if that is forgotten."""
        with self._lock:
            return self._began.get(number, 0.0)

    def unbroken_since(self, number: int) -> float:
        """When the first request was sent of those whose numbers lead to ``number`` without a gap.

        Monotonic seconds.
        """
        with self._lock:
            at = bisect_left(self._ours, number)
            if at == len(self._ours) or self._ours[at] != number:
                return self._seen[1] if self._seen[0] == number else 0.0
            while at > 0 and self._ours[at - 1] == self._ours[at] - 1:
                at -= 1
            if self._ours[at] == self._first_seen[0] + 1:
                return self._first_seen[1]
            return self._began.get(self._ours[at], 0.0)

    def is_ours(self, number: int) -> bool:
        """Whether one of our requests took this number."""
        with self._lock:
            return number in self._began

    def settled(self, mark: Mark) -> bool:
        """Whether every request has been answered that began before ``mark``."""
        with self._lock:
            return all(order > mark.order for order in self._open)

    def foreign(self, mark: Mark, number: int) -> int:
        """How many numbers between ``mark`` and our write ``number`` may be somebody else's."""
        with self._lock:
            if not mark.top or number <= mark.top:
                return max(1, number - mark.top - 1)
            between = number - mark.top - 1
            ours = bisect_left(self._ours, number) - bisect_right(self._ours, mark.top)
            # Those that were certainly numbered in between: sent after the one, answered before the other.
            untold = sum(
                each.count
                for each in self._unnumbered
                if each.began > mark.top_order and each.ended < mark.order
            )
            return max(0, between - ours - untold)

    def _forget_old(self) -> None:
        while len(self._ours) > _KEPT:
            self._began.pop(self._ours.pop(0), None)
        del self._unnumbered[:-_KEPT]
