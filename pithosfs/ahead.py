"""Sending ahead: blocks that are complete while the program still writes the file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from pithosfs import blocks
from pithosfs.blocks import Buffer
from pithosfs.errors import PithosError
from pithosfs.names import ObjectRef
from pithosfs.upload import Uploader
from pithosfs.waiting import if_cancelled, wait

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
        self._unasked: list[str] = []
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
            if self._workers >= self._uploader.threads:
                return
            if not self._workers:
                self._idle = Future()
            self._workers += 1
        self._go_on()

    def finish(self) -> dict[int, tuple[int, str]]:
        """Wait for what is under way; returns the stamp and hash of each block looked at."""
        with self._lock:
            idle = self._idle
        wait(idle)
        with self._lock:
            return dict(self._hashed)

    def _go_on(self) -> None:
        try:
            if_cancelled(self._uploader.submit(self._work), self._rest)
        except PithosError:
            self._failed = True
            self._rest()

    def _work(self) -> None:
        """One block, then to the end of the pool's queue: other files get their turn."""
        with self._lock:
            index = self._queue.popleft() if self._queue and not self._failed else None
        if index is None:
            self._rest()
            return
        try:
            self._one(index)
        except Exception:
            self._failed = True  # the commit meets the same trouble and reports it
        self._go_on()

    def _rest(self) -> None:
        with self._lock:
            self._workers -= 1
            last = not self._workers
            idle = self._idle
        if last:
            idle.set_result(None)

    def _one(self, index: int) -> None:
        found = self._read(index)
        if found is None:
            return
        stamp, data = found
        block = blocks.block_hash(data)
        self._uploader.cache.put(block, data, on_disk=False)
        with self._lock:
            self._hashed[index] = (stamp, block)
        if block in self._uploader.known or block == blocks.ZERO_HASH:
            return
        if self._server_has_all is not False:
            self._consider_asking(block)
        if self._server_has_all is False and block not in self.sent and block not in self._uploader.known:
            self._uploader.send_block(self._ref, block, data)
            self.sent.add(block)

    def _consider_asking(self, block: str) -> None:
        with self._lock:
            self._unasked.append(block)
            if len(self._unasked) < self._ask_at:
                return
            batch, self._unasked = self._unasked, []
            self._ask_at = _ASK_AGAIN
        self._server_has_all = not self._uploader.missing(self._ref, batch)
