"""Things to be done later, each at its own time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar


class Due(Protocol):
    """One of them: ``due`` in monotonic seconds; ``busy`` while somebody is at it."""

    busy: bool

    @property
    def due(self) -> float: ...  # noqa: D102


Item = TypeVar("Item", bound=Due)


def next_due(
    lock: threading.Condition,
    waiting: Callable[[], Collection[Item]],
    stopped: Callable[[], bool],
    looks: list[float] | None = None,
) -> Item | None:
    """Wait until one of ``waiting`` is due, and make the first such busy; None once ``stopped``.

    For who holds ``lock``, which is let go while there is nothing to do; who
    changes any of it notifies.  ``looks`` is when each thread that waits looks
    by itself: then, who adds what is due later than the first of them need not.
    """
    while not stopped():
        now, look = time.monotonic(), math.inf
        for each in waiting():
            if each.busy:
                continue
            if each.due <= now:
                each.busy = True
                if looks is not None and len(waiting()) > 1:
                    lock.notify()  # this thread may have been the only one to look in time
                return each
            look = min(look, each.due)
        if looks is not None:
            looks.append(look)
        lock.wait(None if look == math.inf else look - now)
        if looks is not None:
            looks.remove(look)
    return None
