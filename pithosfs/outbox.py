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
from copy import copy
from dataclasses import dataclass, field
from enum import Enum

from pithosfs.due import next_due
from pithosfs.errors import REFUSALS, PithosError
from pithosfs.openfile import OpenFile
from pithosfs.pending import Pending

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
class _Waiting:
    file: OpenFile
    why: Why
    due: float = math.inf  # when to send it, in monotonic seconds; one of a lot goes with that at the latest
    lot: _Lot | None = None  # those it is to be sent with
    since: float = field(default_factory=time.time)
    attempts: int = 0
    error: str | None = None
    refused: bool = False  # the error was such that waiting does not help
    busy: bool = False  # being sent
    again: bool = False  # put in once more while it was being sent
    hurried: bool = False  # a drain waits for it
    began: int = 0  # the drain in which it was begun to be sent last
    round: int = 0  # the same of what has failed last
    before: _Lot | None = None  # those it is being sent before

    def failed(self, error: Exception, round: int) -> None:
        self.error, self.refused, self.round = str(error), isinstance(error, REFUSALS), round


class _Lot:
    """Files closed one after the other, all due ``seconds`` after the last of them.

    When the time of the first has come that it was closed for, it may go before the others.
    """

    def __init__(self, seconds: float) -> None:
        self.busy = False
        self.files: dict[int, _Waiting] = {}  # in the order in which they were closed
        self._seconds = seconds
        self._began = time.monotonic()
        self._at = self._began + seconds  # when all are due
        self._next_one = 0.0  # when one of them may go before the others

    def takes(self, seconds: float) -> bool:
        """Whether a file closed now that is to wait so long is one of them."""
        now = time.monotonic()
        if seconds != self._seconds or now >= min(self._at, self._began + _TOGETHER):
            return False
        self._at = now + seconds
        return True

    @property
    def due(self) -> float:
        """When the first of them is, in monotonic seconds."""
        first = next(iter(self.files.values()))
        return min(max(first.due, self._next_one), self._at)

    def take_first(self) -> _Waiting:
        """The first of them, to be sent now; if that is before the others, none goes until :meth:`sent`."""
        item = self.files.pop(next(iter(self.files)))
        if self._at > time.monotonic():
            item.before, self._next_one = self, math.inf
        return item

    def sent(self) -> None:
        """The one that went before the others was sent, or failed."""
        self._next_one = time.monotonic() + _BETWEEN


class Outbox:
    """Sends waiting files with ``workers`` threads; ``send`` commits one or raises."""

    def __init__(self, send: Callable[[OpenFile], None], *, workers: int = 12) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # for the threads: something may be due earlier
        self._looks: list[float] = []
        self._ended = threading.Condition(self._lock)  # for who drains: something was sent, or failed
        self._waiting: dict[int, _Waiting] = {}  # all; those that are not busy are also in one of these
        self._alone: dict[int, _Waiting] = {}
        self._lots: list[_Lot] = []
        self._last = _Lot(0.0)
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
                found.due, found.lot, found.again = time.monotonic() + seconds, None, True

    def keep(self, file: OpenFile, error: Exception) -> None:
        """Try a file again whose commit failed."""
        self._add(file, Why.FAILED, _FIRST_PAUSE, error)

    def _add(self, file: OpenFile, why: Why, seconds: float, error: Exception | None = None) -> None:
        with self._lock:
            found = self._waiting.setdefault(id(file), _Waiting(file, why))
            again = found.why is why is not Why.FAILED and not found.busy
            if again and found.due <= time.monotonic() + seconds:
                return  # closed or touched again: it is sent when it was to be
            if found.why is not Why.FAILED or why is Why.FAILED:
                found.why = why
                if found.hurried and error is None:
                    seconds = 0.0
                self._place(found, seconds, self._lot(seconds) if why is Why.QUEUED else None)
            found.again = found.busy
            if error is not None:
                found.failed(error, self._round)
            if not found.busy and (not self._looks or min(self._looks) > (found.lot or found).due):
                self._changed.notify()

    def _place(self, item: _Waiting, seconds: float, lot: _Lot | None = None) -> None:
        """Have an item wait for so long, or as one of a lot; one that is being sent does so afterwards."""
        self._take_out(item)
        item.due, item.lot = time.monotonic() + seconds, lot
        if not item.busy:
            self._put_in(item)

    def _put_in(self, item: _Waiting) -> None:
        if item.lot is None:
            self._alone[id(item.file)] = item
            return
        item.lot.files[id(item.file)] = item
        if item.lot not in self._lots:
            self._lots.append(item.lot)

    def _take_out(self, item: _Waiting) -> None:
        self._alone.pop(id(item.file), None)
        if item.lot is not None:
            item.lot.files.pop(id(item.file), None)

    def _lot(self, seconds: float) -> _Lot:
        """The lot of a file that is closed now and is to wait so long."""
        if not self._last.takes(seconds):
            self._last = _Lot(seconds)
        return self._last

    def forget(self, file: OpenFile) -> None:
        """The file has nothing to send any more."""
        with self._lock:
            found = self._waiting.get(id(file))
            if found is not None and not found.busy:
                self._take_out(found)
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

    def waiting(self) -> list[Pending]:
        """What waits."""
        with self._lock:  # copies: of each all is of one moment, its state and its error
            items = [copy(each) for each in self._waiting.values()]
        return [
            Pending(
                object=str(each.file.ref),
                size=each.file.size,
                unsent=each.file.unsent,
                state="sending" if each.busy else each.why.value,
                since=each.since,
                attempts=each.attempts,
                error=each.error,
                refused=each.refused,
            )
            for each in items
        ]

    def drain(self, timeout: float | None) -> list[Pending]:
        """Send now all that waits; returns what does after each was tried once more.

        What is put in meanwhile is not waited for: a program may go on and on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._round += 1
            mine = self._round
            asked = list(self._waiting.values())
            for each in asked:
                each.hurried = True
                self._place(each, 0.0)
            self._changed.notify_all()
            while any(self._is_left(each) and (each.busy or each.round < mine) for each in asked):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._ended.wait(left)
            for each in asked:
                each.hurried = False
        return self.waiting()

    def _is_left(self, item: _Waiting) -> bool:
        return self._waiting.get(id(item.file)) is item

    # -- the threads -------------------------------------------------------------------------------

    def _run(self) -> None:
        while (item := self._next()) is not None:
            self._done(item, self._try(item))
            del item  # while this thread waits for the next one the file may go

    def _try(self, item: _Waiting) -> PithosError | None:
        try:
            self._send(item.file)
        except PithosError as error:
            return error
        except Exception as error:
            log.exception("sending %s failed", item.file.ref)
            return PithosError(f"internal error: {error}")
        return None

    def _next(self) -> _Waiting | None:
        with self._lock:
            found = next_due(self._changed, self._first_ones, lambda: self._stopped, self._looks)
            if isinstance(found, _Lot):
                item, found.busy = found.take_first(), False
                item.busy, item.began = True, self._round
                if found.files:
                    self._changed.notify()  # somebody is to look when they are due
                return item
            if found is not None:
                self._take_out(found)
                found.began = self._round
            return found

    def _first_ones(self) -> list[_Waiting | _Lot]:
        """What may be due: of many files that wait together, none but the first."""
        self._lots = [each for each in self._lots if each.files]
        return [*self._alone.values(), *self._lots]

    def _done(self, item: _Waiting, error: PithosError | None) -> None:
        with self._lock:
            if item.before is not None:
                item.before.sent()
                item.before = None
            item.busy, again, item.again = False, item.again, False
            if error is None:
                if item.file.dirty and again:
                    self._put_in(item)
                elif item.file.dirty and not item.file.users.handles:
                    self._place(item, _FIRST_PAUSE)  # changed again while it was sent
                else:
                    self._waiting.pop(id(item.file), None)
            else:
                item.attempts += 1
                if str(error) != item.error:
                    log.warning("%s is not sent yet: %s", item.file.ref, error)
                item.why = Why.FAILED
                item.failed(error, item.began)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(item.attempts, 10))
                if item.hurried and item.began < self._round:
                    pause = 0.0  # it was under way when the drain began, which asks for another attempt
                self._place(item, pause * random.uniform(0.7, 1.3))  # noqa: S311 - only spreads load
            self._ended.notify_all()  # not the other threads: this one looks next
