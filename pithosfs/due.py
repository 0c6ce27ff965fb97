"""Things to be done later, each at its own time."""

from __future__ import annotations

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
    lock: threading.Condition, waiting: Callable[[], Iterable[Item]], stopped: Callable[[], bool]
) -> Item | None:
    """Wait for the first of ``waiting`` that is due, and make it busy; None once ``stopped``.

    For who holds ``lock``, which is let go while there is nothing to do; who
    changes any of it notifies.
    """
    while not stopped():
        first = min((each for each in waiting() if not each.busy), key=lambda each: each.due, default=None)
        left = None if first is None else first.due - time.monotonic()
        if first is not None and left is not None and left <= 0:
            first.busy = True
            return first
        lock.wait(left)
    return None
