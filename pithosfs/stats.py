"""Counters of what went over the network, for status and tests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment; ``errors`` by the name of the error raised.

    ``answered`` is when a server did last, in seconds since 1970; 0 if none has.
    """

    requests: Mapping[str, int]
    bytes_up: int
    bytes_down: int
    retries: int
    errors: Mapping[str, int]
    answered: float


class Stats:
    """Thread-safe counters: requests sent by method, body bytes, retries, errors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._up = self._down = self._retries = 0
        self._answered = 0.0

    def sent(self, method: str, body: int) -> None:
        """Count one request with ``body`` bytes."""
        with self._lock:
            self._requests[method] += 1
            self._up += body

    def received(self, count: int) -> None:
        """Count bytes of an answer's body."""
        with self._lock:
            self._answered = time.time()
            self._down += count

    def retried(self) -> None:
        """Count one repetition."""
        with self._lock:
            self._retries += 1

    def failed(self, error: BaseException) -> None:
        """Count an error that is raised to the caller."""
        with self._lock:
            self._errors[type(error).__name__] += 1

    def snapshot(self) -> Snapshot:
        """The counters now."""
        with self._lock:
            return Snapshot(
                dict(self._requests),
                self._up,
                self._down,
                self._retries,
                dict(self._errors),
                self._answered,
            )
