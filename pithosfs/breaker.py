"""A circuit breaker: a dead network must not cost every request its full time."""

from __future__ import annotations

import threading
import time

from pithosfs.errors import StoreError, Unavailable

#: Seconds for which requests fail at once after the server could not be reached.
PAUSE = 3.0
#: Seconds a request may take that tries whether the server is back.
PROBE_TIMEOUT = 10.0


class Breaker:
    """Lets requests fail at once while a server is known to be out of reach.

    Closed (no reason): all pass.  Open: all fail at once.  When its time is
    over, one request passes and tries the server while the others still fail.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._until = 0.0
        self._last_answer = 0.0

    def enter(self) -> bool:
        """Raise Unavailable if open; True if this request is the one that tries."""
        with self._lock:
            if self._reason is None:
                return False
            now = time.monotonic()
            if now < self._until:
                raise FailedFast(f"{self._reason} (tried a moment ago)")
            self._until = now + PROBE_TIMEOUT
            return True

    def succeeded(self) -> None:
        """Note an answer, whatever it says."""
        with self._lock:
            self._reason = None
            self._last_answer = time.monotonic()

    def failed(self, error: StoreError, started: float, *, probing: bool) -> None:
        """Note that a request begun at ``started`` got no answer in all its time.

        Another request's answer since then shows that the server is there.
        """
        if isinstance(error, FailedFast):
            return
        with self._lock:
            if self._last_answer < started and (probing or self._reason is None):
                self._reason = str(error)
                self._until = time.monotonic() + PAUSE


class FailedFast(Unavailable):
    """Raised without asking the server."""
