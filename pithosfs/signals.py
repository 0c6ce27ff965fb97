"""Signals of a long-running process, handled in a thread of their own.

While libfuse runs its loop the main thread never comes back to Python, so
Python's own handlers would never run; libfuse's would end the mount without
sending what is pending.  So the signals are blocked in every thread (block
before starting any: threads inherit the mask) and one thread waits for them.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping

log = logging.getLogger(__name__)


@contextlib.contextmanager
def handled(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Inside the ``with``, each of these signals calls its handler, one after the other.

    Call from the main thread before other threads are started.
    """
    numbers = set(handlers)
    finished = threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    waiter = threading.Thread(target=_wait, args=(dict(handlers), finished), name="signals", daemon=True)
    waiter.start()
    try:
        yield
    finally:
        finished.set()
        if waiter.ident is not None:
            signal.pthread_kill(waiter.ident, next(iter(numbers)))  # ends its waiting, handles nothing
        waiter.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(handlers: Mapping[signal.Signals, Callable[[], None]], finished: threading.Event) -> None:
    while True:
        received = signal.Signals(signal.sigwait(handlers))
        if finished.is_set():
            return
        try:
            handlers[received]()
        except Exception:
            log.exception("handling %s failed", received.name)
