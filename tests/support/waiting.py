"""Waiting for what comes about by itself: a thread's work, another process's, the kernel's."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(true: Callable[[], object], seconds: float = 30.0, what: str = "what was waited for") -> None:
    """Ask again and again; an error of the test if it does not hold after ``seconds``."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.02)
