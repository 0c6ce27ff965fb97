"""Room of the account, asked for behind the back of whoever wants to know: statfs never blocks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pithosfs.api import AccountInfo
from pithosfs.errors import PithosError

log = logging.getLogger(__name__)

#: Seconds an answer is good for, and those the first caller waits for it.
_GOOD_FOR = 30.0
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Space:
    """In bytes; ``total`` 0 is no quota, or not known yet."""

    total: int = 0
    used: int = 0


class Usage:
    """The account's quota and usage as last heard; ``ask`` is the request."""

    def __init__(self, ask: Callable[[], AccountInfo]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._space = Space()
        self._asked = float("-inf")
        self._asking = False
        self._heard = threading.Event()

    def now(self) -> Space:
        """What is known; begins to ask again when that is old."""
        with self._lock:
            due = not self._asking and time.monotonic() - self._asked > _GOOD_FOR
            self._asking |= due
        if due:
            threading.Thread(target=self._refresh, name="usage", daemon=True).start()
        self._heard.wait(_PATIENCE)
        return self._space

    def _refresh(self) -> None:
        try:
            info = self._ask()
            self._space = Space(info.quota, info.bytes_used)
        except PithosError as error:
            log.info("the account's usage is not known: %s", error)
        finally:
            with self._lock:
                self._asked, self._asking = time.monotonic(), False
            self._heard.set()
