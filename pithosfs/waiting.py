"""Waiting that a caller can give up: Ctrl-C on a stuck ``cat`` must work.

Whoever serves a caller that may lose patience says so with :func:`patience`;
everything below waits with :func:`wait`, which looks from time to time, and
so do who waits for a :class:`Turn` and :func:`wait_in` a condition: behind
those there may be somebody who waits for the network.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from pithosfs.errors import Interrupted, TimedOut, Unavailable

Result = TypeVar("Result")

#: Why nothing is begun, or waited for, any more.
ENDING = "the mount is being ended"

_FIRST_LOOK = 0.05
_LOOK_EVERY = 0.2


class _Caller(threading.local):
    gone: Callable[[], bool] | None = None


_caller = _Caller()


class patience:  # noqa: N801 - used like a function; a generator would take longer than what it is around
    """Within this context, :func:`wait` raises Interrupted once ``gone()`` is true."""

    __slots__ = ("_before", "_gone")

    def __init__(self, gone: Callable[[], bool]) -> None:
        self._gone = gone

    def __enter__(self) -> None:
        self._before = _caller.gone
        _caller.gone = self._gone

    def __exit__(self, *_: object) -> None:
        _caller.gone = self._before


def may_leave() -> bool:
    """Whether the caller of this thread may give up waiting."""
    return _caller.gone is not None


def wait(future: Future[Result], timeout: float | None = None) -> Result:
    """The future's result; TimedOut after ``timeout`` seconds, Interrupted if the caller left."""
    deadline = None if timeout is None else time.monotonic() + timeout
    step = _FIRST_LOOK
    while not future.done():
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimedOut(f"no answer within {timeout:.0f} seconds")
        if _caller.gone is None:
            _wait_for(future, left)
        else:
            _wait_for(future, step if left is None else min(step, left))
            if not future.done() and _caller.gone():
                raise Interrupted("interrupted")
            step = _LOOK_EVERY
    try:
        return future.result()
    except CancelledError as error:
        raise Unavailable(ENDING) from error


class Turn:
    """A reentrant lock for what may take as long as the network: who waits for it may leave."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if _caller.gone is None:
            self._lock.acquire()
            return
        step = 0.0
        while not self._lock.acquire(timeout=step):
            if _caller.gone():
                raise Interrupted("interrupted")
            step = _LOOK_EVERY if step else _FIRST_LOOK

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def wait_in(condition: threading.Condition) -> None:
    """Until it is notified, or a little longer than a moment; Interrupted if the caller left."""
    condition.wait(_LOOK_EVERY if may_leave() else None)
    if _caller.gone is not None and _caller.gone():
        raise Interrupted("interrupted")


def _wait_for(future: Future[Any], seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError, CancelledError):  # half the work of ``concurrent.futures.wait``
        future.exception(seconds)


def if_cancelled(future: Future[Any], clean_up: Callable[[], object]) -> None:
    """Call ``clean_up`` if the future's work is cancelled before it began, as at the end of a mount.

    Without it those would wait for ever who wait for what that work was to bring.
    """
    future.add_done_callback(lambda done: clean_up() if done.cancelled() else None)
