"""Files whose changes wait to be sent: held back, written back later, or failed.

* A change of times or mode alone is *held* for a moment, so that the rename
  that often follows carries it; so is a new file of a temporary name.
* With write-back, a closed file is *queued*; it is on local disk by then.
  Files closed one after the other are sent together when that pauses, and
  until then one at a time: more would only slow down the program that closes them.
* A file whose commit failed is *kept* and tried again with growing pauses.

Lock order: ``Outbox._lock`` before those of a file; nothing is sent under it.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pithosfs.due import next_due
from pithosfs.errors import PithosError
from pithosfs.openfile import OpenFile

log = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
#: Seconds within which files are closed to be sent together: so much longer than asked one waits at most.
_TOGETHER = 5.0
#: Seconds between those that are sent one at a time.
_BETWEEN = 0.02


class Why(Enum):
    """Why a file waits."""

    HELD = "held back for a moment"
    QUEUED = "queued"
    FAILED = "failed"


@dataclass(slots=True)
class _Moment:
    """When something is due, in monotonic seconds."""

    at: float


@dataclass(slots=True)
class _Lot(_Moment):
    """When files closed one after the other are: ``seconds`` after the last of them."""

    seconds: float
    began: float = field(default_factory=time.monotonic)
    next_one: float = 0.0  # when one of them may go before the others

    def closed(self, seconds: float) -> bool:
        """Whether a file closed now that is to wait so long is one of them."""
        now = time.monotonic()
        if seconds != self.seconds or now >= min(self.at, self.began + _TOGETHER):
            return False
        self.at = now + seconds
        return True


@dataclass(slots=True)
class _OneOf:
    """When a file closed among others is: with them, or before them when its own time has come."""

    lot: _Lot
    own: float

    @property
    def at(self) -> float:
        """In monotonic seconds."""
        # Asked of all that wait, again and again: min() and max() would take twice as long.
        lot, at = self.lot, self.own
        if at < lot.next_one:
            at = lot.next_one
        return at if at < lot.at else lot.at


@dataclass(slots=True)
class _Waiting:
    file: OpenFile
    why: Why
    when: _Moment | _OneOf
    since: float = field(default_factory=time.time)
    attempts: int = 0
    error: str | None = None
    busy: bool = False  # being sent
    again: bool = False  # put in once more while it was being sent
    round: int = 0  # the drain in which it failed last
    before: _Lot | None = None  # those it is being sent before

    @property
    def due(self) -> float:
        """When to send it, in monotonic seconds."""
        return self.when.at


class Outbox:
    """Sends waiting files with ``workers`` threads; ``send`` commits one or raises."""

    def __init__(self, send: Callable[[OpenFile], None], *, workers: int = 12) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # for the threads: something may be due earlier
        self._looks: list[float] = []
        self._ended = threading.Condition(self._lock)  # for who drains: something was sent, or failed
        self._waiting: dict[int, _Waiting] = {}
        self._lot = _Lot(0.0, 0.0)
        self._round = 0
        self._stopped = False
        self._workers = workers
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._workers):
            thread = threading.Thread(target=self._run, name=f"outbox-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout: float = 5.0) -> None:
        """Stop; what is not sent stays in the journal."""
        with self._lock:
            self._stopped = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for each in self._threads:
            each.join(max(0.0, deadline - time.monotonic()))

    # -- coming and going ---------------------------------------------------------------------

    def hold(self, file: OpenFile, seconds: float) -> None:
        """Send the file in ``seconds``, unless something else does before."""
        self._add(file, Why.HELD, seconds)

    def queue(self, file: OpenFile, seconds: float) -> None:
        """Send the file, which is in the journal, in ``seconds``, with those that follow at once."""
        self._add(file, Why.QUEUED, seconds)

    def postpone(self, file: OpenFile, seconds: float) -> None:
        """A file that is being sent cannot be just now: again in ``seconds``."""
        with self._lock:
            found = self._waiting.get(id(file))
            if found is not None:
                found.when, found.again = _in(seconds), True

    def keep(self, file: OpenFile, error: PithosError) -> None:
        """Try a file again whose commit failed."""
        self._add(file, Why.FAILED, _FIRST_PAUSE, error)

    def _add(self, file: OpenFile, why: Why, seconds: float, error: PithosError | None = None) -> None:
        with self._lock:
            found = self._waiting.get(id(file))
            when = self._together(seconds) if why is Why.QUEUED else _in(seconds)
            in_time = bool(self._looks) and min(self._looks) <= when.at
            if found is None:
                found = self._waiting[id(file)] = _Waiting(file, why, when)
            elif found.why is not Why.FAILED or why is Why.FAILED:
                found.why, found.when = why, when
            found.again = found.busy
            if error is not None:
                found.error, found.round = str(error), self._round
            if not in_time:
                self._changed.notify()

    def _together(self, seconds: float) -> _OneOf:
        own = time.monotonic() + seconds
        if not self._lot.closed(seconds):
            self._lot = _Lot(own, seconds)
        return _OneOf(self._lot, own)

    def forget(self, file: OpenFile) -> None:
        """The file has nothing to send any more."""
        with self._lock:
            found = self._waiting.get(id(file))
            if found is not None and not found.busy:
                del self._waiting[id(file)]
                self._ended.notify_all()

    def holds(self, file: OpenFile) -> bool:
        """Whether the file waits for what could send it before its time."""
        with self._lock:
            found = self._waiting.get(id(file))
            return found is not None and found.why is Why.HELD

    def __contains__(self, file: object) -> bool:
        with self._lock:
            return id(file) in self._waiting

    # -- looking --------------------------------------------------------------------------------

    def waiting(self) -> list[dict[str, Any]]:
        """What waits: path, size, bytes to send, why, since when (seconds since 1970), last error."""
        with self._lock:
            items = list(self._waiting.values())
        return [
            {
                "object": str(each.file.ref),
                "size": each.file.size,
                "unsent": each.file.unsent,
                "state": "sending" if each.busy else each.why.value,
                "since": each.since,
                "attempts": each.attempts,
                "error": each.error,
            }
            for each in items
        ]

    def drain(self, timeout: float | None) -> list[dict[str, Any]]:
        """Send now all that waits; returns what does after each was tried once more.

        What is put in meanwhile is not waited for: a program may go on and on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._round += 1
            mine = self._round
            asked = list(self._waiting.values())
            for each in asked:
                each.when = _in(0.0)
            self._changed.notify_all()
            while any(self._is_left(each) and (each.busy or each.round < mine) for each in asked):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._ended.wait(left)
        return self.waiting()

    def _is_left(self, item: _Waiting) -> bool:
        return self._waiting.get(id(item.file)) is item

    # -- the threads -------------------------------------------------------------------------------

    def _run(self) -> None:
        while (item := self._next()) is not None:
            error: PithosError | None = None
            try:
                self._send(item.file)
            except PithosError as caught:
                error = caught
            except Exception as caught:
                log.exception("sending %s failed", item.file.ref)
                error = PithosError(f"internal error: {caught}")
            self._done(item, error)

    def _next(self) -> _Waiting | None:
        with self._lock:
            item = next_due(self._changed, self._waiting.values, lambda: self._stopped, self._looks)
            if item is not None and isinstance(item.when, _OneOf) and item.when.lot.at > time.monotonic():
                item.before = item.when.lot
                item.before.next_one = math.inf
            return item

    def _done(self, item: _Waiting, error: PithosError | None) -> None:
        with self._lock:
            if item.before is not None:
                item.before.next_one = time.monotonic() + _BETWEEN
                item.before = None
            item.busy, again, item.again = False, item.again, False
            if error is None:
                if item.file.dirty and again:
                    pass  # due when it was put in again
                elif item.file.dirty and not item.file.handles:
                    item.when = _in(_FIRST_PAUSE)  # changed again while it was sent
                else:
                    self._waiting.pop(id(item.file), None)
            else:
                item.attempts += 1
                if str(error) != item.error:
                    log.warning("%s is not sent yet: %s", item.file.ref, error)
                item.why, item.error, item.round = Why.FAILED, str(error), self._round
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(item.attempts, 10))
                item.when = _in(pause * random.uniform(0.7, 1.3))  # noqa: S311 - only spreads load
            self._ended.notify_all()  # not the other threads: this one looks next


def _in(seconds: float) -> _Moment:
    """So many seconds from now."""
    return _Moment(time.monotonic() + seconds)
