"""Sending ahead: blocks that are complete while the program still writes the file."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from pithosfs import blocks
from pithosfs.batches import Block
from pithosfs.blocks import Buffer
from pithosfs.errors import PithosError
from pithosfs.names import ObjectRef
from pithosfs.upload import Uploader
from pithosfs.waiting import if_cancelled, wait

log = logging.getLogger(__name__)

#: Blocks to be hashed before the server is first asked which of them it has.
_ASK_AT = 3
#: As long as the server has all of them, ask again after so many.
_ASK_AGAIN = 128


class Ahead:
    """Hashes and sends complete blocks of one file while the program still writes it.

    ``read`` gives a block's stamp and bytes, or None if it is no longer worth
    sending.  Never waits, never raises: what did not work is left to the commit.
    """

    def __init__(
        self, uploader: Uploader, ref: ObjectRef, read: Callable[[int], tuple[int, Buffer] | None]
    ) -> None:
        self.sent: set[str] = set()
        self._uploader = uploader
        self._ref = ref
        self._read = read
        self._lock = threading.Lock()
        self._queue: deque[int] = deque()
        self._offered: set[int] = set()
        self._workers = 0
        self._idle: Future[None] = Future()
        self._idle.set_result(None)
        self._hashed: dict[int, tuple[int, str]] = {}
        self._taken: set[str] = set()  # sent, or on their way
        self._unasked: dict[int, str] = {}  # to be sent if the server lacks any of those it is asked about
        self._ask_at = _ASK_AT
        self._server_has_all: bool | None = None
        self._failed = False

    def offer(self, index: int) -> None:
        """Block ``index`` is complete, and probably stays as it is."""
        with self._lock:
            if index in self._offered or self._failed:
                return
            self._offered.add(index)
            self._queue.append(index)
            if not self._is_enough():
                return
        self._wake(1)

    def finish(self) -> dict[int, tuple[int, str]]:
        """Wait for what is under way; returns the stamp and hash of each block looked at."""
        with self._lock:
            waiting = len(self._queue)
        self._wake(waiting)
        with self._lock:
            idle = self._idle
        wait(idle)
        with self._lock:
            return dict(self._hashed)

    def _is_enough(self) -> bool:
        """Whether a worker more has something to do just now.  For who holds the lock."""
        sending = self._server_has_all is False
        return not sending or self._uploader.batches.enough(len(self._queue), self._workers)

    def _wake(self, count: int) -> None:
        """So many workers more, as far as there are any."""
        with self._lock:
            more = min(count, self._uploader.threads - self._workers)
            if more > 0 and not self._workers:
                self._idle = Future()
            self._workers += more
        for _ in range(more):
            self._go_on()

    def _go_on(self) -> None:
        try:
            if_cancelled(self._uploader.submit(self._work), self._rest)
        except PithosError:
            self._failed = True
            self._rest()

    def _work(self) -> None:
        """One request, then to the end of the pool's queue: other files get their turn."""
        indices = self._share_or_rest()
        if not indices:
            return
        try:
            waiting = [found for found in map(self._one, indices) if found is not None]
            if waiting:
                self._uploader.send_blocks(self._ref, waiting)
                self.sent.update(each.hash for each in waiting)
        except Exception as error:
            self._failed = True  # the commit meets the same trouble and reports it
            if not isinstance(error, PithosError):
                log.exception("sending blocks of %s ahead failed", self._ref)
        self._go_on()

    def _share_or_rest(self) -> list[int]:
        """The blocks whose turn it is; none, and a worker less, if there are none."""
        with self._lock:
            waiting = 0 if self._failed else len(self._queue)
            if waiting:
                together = 1
                if self._server_has_all is False:
                    together = self._uploader.batches.share(waiting, self._workers - 1)
                return [self._queue.popleft() for _ in range(together)]
            idle = self._one_less()
        if idle is not None:
            idle.set_result(None)
        return []

    def _rest(self) -> None:
        with self._lock:
            idle = self._one_less()
        if idle is not None:
            idle.set_result(None)

    def _one_less(self) -> Future[None] | None:
        """A worker less; what to tell if it was the last.  For who holds the lock."""
        self._workers -= 1
        return None if self._workers else self._idle

    def _one(self, index: int) -> Block | None:
        """Look at a block: what is to be sent of it now."""
        found = self._read(index)
        if found is None:
            return None
        stamp, data = found
        seen, block = self._hashed.get(index, (-1, ""))
        if seen != stamp:
            block = self._uploader.hasher.hash(data)
            self._uploader.cache.put(block, data, on_disk=False)
            with self._lock:
                self._hashed[index] = (stamp, block)
        if block == blocks.ZERO_HASH or block in self._uploader.known:
            return None
        return Block(block, data) if self._to_be_sent(index, block) else None

    def _to_be_sent(self, index: int, block: str) -> bool:
        """Whether the caller is to send the block: the server seems to lack it, and nobody else sends it."""
        with self._lock:
            if self._server_has_all is False:
                mine = block not in self._taken
                self._taken.add(block)
                return mine
            self._unasked[index] = block
            if len(self._unasked) < self._ask_at:
                return False
            asked, self._unasked, self._ask_at = self._unasked, {}, _ASK_AGAIN
        self._ask(asked)
        return False

    def _ask(self, asked: dict[int, str]) -> None:
        """Ask whether the server has blocks; if not, it is their turn, and that of those seen meanwhile."""
        has_all = not self._uploader.missing(self._ref, list(dict.fromkeys(asked.values())))
        with self._lock:
            self._server_has_all = has_all
            if has_all:
                return
            again = {**asked, **self._unasked}
            self._unasked = {}
            self._queue.extendleft(sorted(again, reverse=True))
        self._wake(len(again))
