"""Things to be done later, each at its own time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class Due(Protocol):
    """One of them: ``due`` in monotonic seconds; ``busy`` while somebody is at it."""

    due: float
    busy: bool


Item = TypeVar("Item", bound=Due)


def next_due(
    lock: threading.Condition,
    waiting: Callable[[], Iterable[Item]],
    stopped: Callable[[], bool],
    looks: list[float] | None = None,
) -> Item | None:
    """Wait for the first of ``waiting`` that is due, and make it busy; None once ``stopped``.

    For who holds ``lock``, which is let go while there is nothing to do; who
    changes any of it notifies.  ``looks`` is when each thread that waits looks
    by itself: then, who adds what is due later than the first of them need not.
    """
    while not stopped():
        idle = [each for each in waiting() if not each.busy]
        first = min(idle, key=lambda each: each.due, default=None)
        left = None if first is None else first.due - time.monotonic()
        if first is not None and left is not None and left <= 0:
            first.busy = True
            if looks is not None and len(idle) > 1:
                lock.notify()  # this thread may have been the only one to look in time
            return first
        look = math.inf if first is None else first.due
        if looks is not None:
            looks.append(look)
        lock.wait(left)
        if looks is not None:
            looks.remove(look)
    return None
