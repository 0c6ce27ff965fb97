"""Blocks by hash: memory (an LRU bounded in bytes), then disk; each fetched once.

A hash names its content, so nothing here ever goes stale.  The length of a
cached block says nothing (trailing zeros are not hashed): readers cut and pad.

Lock order: ``BlockCache._lock`` is a leaf; no I/O happens under it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from cachetools import LRUCache

from pithosfs.blocks import BLOCK_SIZE, Buffer, cut
from pithosfs.buffers import Buffers, new_buffer
from pithosfs.disk import DiskCache

log = logging.getLogger(__name__)

#: Bytes that may wait to be written to the disk cache; what comes on top is not kept there.
_WRITE_BEHIND = 64 * 1024 * 1024

#: Blocks below this many bytes are not written as they come, but when no more have come for so many
#: seconds: a file each, they would take longer than the program needs to read or write what is in them.
_SMALL, _PAUSE = 256 * 1024, 0.5
#: Seconds they wait at most.
_LONGEST = 5.0

#: Bytes of RAM a block takes beside its own, where that is not next to nothing (measured: its buffer, its
#: hash, its place in the LRU): a mount that has seen a million tiny files would else have a gigabyte of that.
_BESIDE = 800

#: Buffers of blocks beside those that fit into the cache, for what is under way and what is unsent.  Where
#: there is more of that, the cache holds less.
_SPARE_BUFFERS = 16


@dataclass(slots=True)
class CacheCounts:
    """How often blocks were found, and where."""

    memory: int = 0
    disk: int = 0
    missed: int = 0


class BlockCache:
    """Blocks of at most ``block_size`` in ``memory`` bytes of RAM, backed by ``disk`` if given."""

    def __init__(self, memory: int, disk: DiskCache | None, block_size: int = BLOCK_SIZE) -> None:
        self.counts = CacheCounts()
        self.disk = disk
        self._lock = threading.Lock()
        self._memory: LRUCache[str, Buffer] = LRUCache(maxsize=memory, getsizeof=_size)
        self._buffers = Buffers(block_size, memory // block_size + _SPARE_BUFFERS, self._evict)
        self._arriving: dict[str, Future[Buffer]] = {}
        self._writes: queue.SimpleQueue[tuple[str, Buffer] | None] = queue.SimpleQueue()
        self._write_bytes = 0
        self._writer: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that writes blocks to disk behind the readers' backs."""
        if self.disk is not None and self._writer is None:
            self._writer = threading.Thread(target=self._write_behind, name="cache-writer", daemon=True)
            self._writer.start()

    def close(self) -> None:
        """Write what still waits, and stop."""
        if self.disk is not None and self._writer is not None:
            self.disk.end_soon()
            self._writes.put(None)
            self._writer.join()
            self._writer = None

    @property
    def memory_used(self) -> int:
        """Bytes of RAM taken by blocks."""
        return int(self._memory.currsize)

    def new_buffer(self, length: int) -> memoryview:
        """``length`` bytes for a block, to be written before they are read.

        The memory of blocks that were evicted is used again; where many are in
        use outside of the cache, blocks are evicted for it.
        """
        if self._buffers.length // 2 < length <= self._buffers.length:
            return self._buffers.new()[:length]
        return new_buffer(length)

    @property
    def memory_limit(self) -> int:
        """Bytes of RAM that blocks may take."""
        return int(self._memory.maxsize)

    # -- blocks ------------------------------------------------------------------------

    def peek(self, key: str) -> Buffer | None:
        """The block if it is in memory."""
        with self._lock:
            return self._memory.get(key)

    def get(self, key: str) -> Buffer | None:
        """The block if it is in memory or on disk."""
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self.counts.memory += 1
                return found
        stored = self.disk.get(key, self.new_buffer) if self.disk is not None else None
        with self._lock:
            if stored is None:
                self.counts.missed += 1
                return None
            self.counts.disk += 1
            self._remember(key, stored)
        return stored

    def piece(self, key: str, start: int, stop: int) -> Buffer | None:
        """A part of a block if that is in memory or on disk; what is on disk stays there."""
        with self._lock:
            found = self._memory.get(key)
        if found is not None:
            return cut(found, start, stop)
        piece = self.disk.piece(key, start, stop) if self.disk is not None else None
        if piece is not None:
            self.counts.disk += 1
        return piece

    def put(self, key: str, data: Buffer, *, on_disk: bool = True) -> None:
        """Keep a verified block; the caller must not change ``data`` any more.

        ``on_disk`` is False for what may not be found under a hash later
        (pieces of blocks, blocks that do not match their hash), and for what
        is being written, which the kernel has and the local disk is busy with.
        """
        with self._lock:
            self._remember(key, data)
            if not on_disk or self._writer is None or self._write_bytes > _WRITE_BEHIND:
                return
            self._write_bytes += len(data)
        self._writes.put((key, data))

    def keep(self, keys: Iterable[str]) -> None:
        """Have these on disk as well, as far as they are in memory and there is time for it."""
        for key in keys:
            data = self.peek(key)
            if data is not None:
                self.put(key, data)

    def claim(self, key: str) -> tuple[Future[Buffer], bool]:
        """The future of a block on its way, and whether the caller is the one to fetch it.

        Who gets True must call :meth:`arrived` or :meth:`failed`.
        """
        with self._lock:
            future = self._arriving.get(key)
            if future is not None:
                return future, False
            future = self._arriving[key] = Future()
            return future, True

    def arriving(self, key: str) -> Future[Buffer] | None:
        """The future of a block somebody is fetching, if so."""
        with self._lock:
            return self._arriving.get(key)

    def arrived(self, key: str, data: Buffer) -> None:
        """Hand a claimed block to all who wait; does not keep it (see :meth:`put`)."""
        with self._lock:
            future = self._arriving.pop(key, None)
        if future is not None:
            future.set_result(data)

    def failed(self, key: str, error: BaseException) -> None:
        """Tell all who wait that the claimed block did not come."""
        with self._lock:
            future = self._arriving.pop(key, None)
        if future is not None:
            future.set_exception(error)

    def _evict(self) -> bool:
        """Forget the block that was used longest ago; False if there is none."""
        with self._lock:
            if not self._memory:
                return False
            self._memory.popitem()
        return True

    def _remember(self, key: str, data: Buffer) -> None:
        if _size(data) <= self._memory.maxsize:
            self._memory[key] = data

    def _write_behind(self) -> None:
        assert self.disk is not None  # noqa: S101 - start() saw to it
        self._guarded(self.disk.scan)
        small: list[tuple[str, Buffer]] = []
        since, ended = 0.0, False
        while not ended:
            item, ended = self._next_write(_PAUSE if small else None)
            if item is not None and len(item[1]) >= _SMALL:
                self._write([item])
            elif item is not None:
                since = since if small else time.monotonic()
                small.append(item)
            if item is None or (small and time.monotonic() - since > _LONGEST):
                self._write(small)
                small = []

    def _next_write(self, timeout: float | None) -> tuple[tuple[str, Buffer] | None, bool]:
        """What is to be written next; None if there was nothing for so long, or is nothing any more."""
        try:
            item = self._writes.get(timeout=timeout)
        except queue.Empty:
            return None, False
        return item, item is None

    def _write(self, items: list[tuple[str, Buffer]]) -> None:
        assert self.disk is not None  # noqa: S101 - start() saw to it
        for item in items:
            self._guarded(self.disk.put, *item)
            with self._lock:
                self._write_bytes -= len(item[1])

    @staticmethod
    def _guarded(work: Callable[..., None], *args: object) -> None:
        """Nothing that happens to one block may end the thread that keeps them all."""
        try:
            work(*args)
        except Exception:
            log.exception("the block cache failed")


def _size(data: Buffer) -> int:
    """Bytes of RAM a block takes."""
    return len(data) + (_BESIDE if len(data) < _SMALL else 0)
