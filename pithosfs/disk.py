"""A directory of blocks named by their hash: atomic writes, verified reads, a bound.

Shared safely by several processes: a block's name is its content, files
appear by rename, and one that vanished is a miss.  Trouble with the disk is
never an error for the reader: it costs a download, and is logged once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from cachetools import LRUCache

from pithosfs import blocks
from pithosfs.blocks import Buffer
from pithosfs.buffers import new_buffer
from pithosfs.directio import write_at
from pithosfs.fileio import pread_into

log = logging.getLogger(__name__)

#: The part of the file system the cache never takes, as a fraction.
FREE_FLOOR = 0.05
_FREE_CHECK_SECONDS = 2.0
#: A file takes whole pages of the disk: a million of 100 bytes are 4 GB, not 100 MB.
_PAGE = 4096
#: Blocks that are kept at most: what is known of each here takes 300 bytes of memory.
_MOST = 200_000
#: Blocks of which is remembered that they are what their name says.
_VERIFIED = 20_000
#: After so much of the limit was put, it is time to see what other processes have put.
_SCAN_AFTER = 1 / 16
_TICK = 0.02  # seconds


class DiskCache:
    """Blocks that take at most ``limit`` bytes below ``directory``; the least recently used go first."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self.limit = limit
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # what each takes on disk; oldest use first
        self._verified: LRUCache[str, tuple[int, int, int]] = LRUCache(_VERIFIED)  # as they were then
        self._total = 0
        self._unscanned = 0  # bytes put since the last scan
        self._free_checked = 0.0
        self._room = True
        self._complained = False
        self._ending = False
        #: Blocks that could not be read, or were not what their name says.
        self.damaged = 0
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    # -- the index ---------------------------------------------------------------

    def scan(self) -> None:
        """Learn what is there, from earlier and of others; may take a while, may run in the background."""
        with self._lock:
            before = {name: place for place, name in enumerate(self._sizes)}
            self._unscanned = 0
        # A file's time is coarse: within one tick our own order is the better one.
        found = sorted(self._stored(), key=lambda each: (each[2] // _TICK, before.get(each[0], -1)))
        if self._ending:
            return  # these may not be all
        with self._lock:
            new = {name: size for name, size in self._sizes.items() if name not in before}
            self._sizes = OrderedDict((name, size) for name, size, _ in found if name not in new)
            self._sizes.update(new)
            self._total = sum(self._sizes.values())
        self._make_room(0)

    def end_soon(self) -> None:
        """What is still to be looked at and taken away is left to who uses the directory next.

        After a smaller limit, say, that can be a million files, which nobody should wait for.
        """
        self._ending = True

    def _stored(self) -> Iterator[tuple[str, int, float]]:
        for folder in self.directory.glob("[0-9a-f][0-9a-f]"):
            if self._ending:
                return
            try:
                with os.scandir(folder) as files:
                    for each in files:
                        with contextlib.suppress(FileNotFoundError):  # another process took it away
                            status = each.stat(follow_symlinks=False)
                            if "." not in each.name:
                                yield each.name, _space(status.st_size), status.st_mtime
                            elif status.st_mtime < time.time() - 3600:
                                self._remove(Path(each.path))  # left behind by a crash
            except OSError as error:
                self._complain("read", error)

    @property
    def total(self) -> int:
        """Bytes that are taken on disk."""
        return self._total

    @property
    def count(self) -> int:
        """Blocks kept."""
        return len(self._sizes)

    def hashes(self) -> list[str]:
        """The hashes of all blocks, the least recently used first."""
        with self._lock:
            return list(self._sizes)

    def __contains__(self, block: object) -> bool:
        return block in self._sizes

    # -- blocks --------------------------------------------------------------------

    def get(self, block: str, buffer: Callable[[int], memoryview] = new_buffer) -> Buffer | None:
        """The block of this hash, verified, in memory from ``buffer``.

        None if it is not here (or no longer what it was).
        """
        path = self._path(block)
        try:
            data = _read(path, buffer)
        except FileNotFoundError:
            self._forget(block)  # another process took it away
            return None
        except OSError as error:
            self.damaged += 1
            self._complain("read", error)
            return None
        if blocks.block_hash(data) != block:
            self.damaged += 1
            log.warning("cached block %s is damaged: fetching it again", block[:16])
            self._forget(block)
            self._remove(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the order of use survives a restart
            self._remember(block, path.stat())
        with self._lock:
            if block in self._sizes:
                self._sizes.move_to_end(block)
        return data

    def piece(self, block: str, start: int, stop: int) -> Buffer | None:
        """Bytes ``start`` to ``stop`` of the block, zeros where it is shorter; None as in :meth:`get`.

        The whole block is verified the first time only, as long as its file stays what it was then.
        """
        with self._lock:
            known = self._verified.get(block)
        if known is not None:
            with contextlib.suppress(OSError), self._path(block).open("rb", buffering=0) as file:
                if _signature(os.fstat(file.fileno())) == known:
                    return blocks.cut(os.pread(file.fileno(), stop - start, start), 0, stop - start)
        data = self.get(block)
        return None if data is None else blocks.cut(data, start, stop)

    def put(self, block: str, data: Buffer) -> None:
        """Keep a block whose hash was verified; nothing happens where there is no room."""
        size = _space(len(data))
        with self._lock:
            if block in self._sizes or size > self.limit:
                return
        if not self._make_room(size):
            return
        name = self._name(block)
        part = f"{name}.{os.getpid()}-{threading.get_ident()}"
        try:
            self._remember(block, self._write(part, data))
            os.rename(part, name)  # noqa: PTH104
        except OSError as error:
            self._complain("write", error)
            self._remove(Path(part))
            return
        with self._lock:
            if block not in self._sizes:
                self._sizes[block] = size
                self._total += size
                self._unscanned += size
            look_again = self._unscanned > self.limit * _SCAN_AFTER
        if look_again:
            self.scan()

    @staticmethod
    def _write(path: str, data: Buffer) -> os.stat_result:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            handle = os.open(path, flags, 0o600)
        except FileNotFoundError:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, flags, 0o600)
        try:
            write_at(handle, memoryview(data), 0)
            return os.fstat(handle)
        finally:
            os.close(handle)

    def _remember(self, block: str, status: os.stat_result) -> None:
        with self._lock:
            self._verified[block] = _signature(status)

    def _name(self, block: str) -> str:
        """The block's file as a string: to make Paths would be half of the work of keeping a small one."""
        return f"{self.directory}/{block[:2]}/{block}"

    def _path(self, block: str) -> Path:
        return Path(self._name(block))

    # -- room ------------------------------------------------------------------------

    def _make_room(self, size: int) -> bool:
        while self._is_full(size) or not self._disk_has_room():
            if self._ending and (self._is_full(0) or not self._room):
                return False
            with self._lock:
                if not self._sizes:
                    return False
                oldest, freed = self._sizes.popitem(last=False)
                self._total -= freed
                self._free_checked = 0.0 if not self._room else self._free_checked
            self._remove(self._path(oldest))
        return True

    def _is_full(self, size: int) -> bool:
        """Whether there is too much for another block that takes ``size`` bytes (0: without another one)."""
        return self._total + size > self.limit or len(self._sizes) + bool(size) > _MOST

    def _disk_has_room(self) -> bool:
        now = time.monotonic()
        if now - self._free_checked > _FREE_CHECK_SECONDS or not self._room:
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have cleaned up
                usage = shutil.disk_usage(self.directory)
                self._room = usage.free > usage.total * FREE_FLOOR
            except OSError as error:
                self._complain("look at", error)
                self._room = False
            self._free_checked = now
        return self._room

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._complain("clean", error)

    def _forget(self, block: str) -> None:
        with self._lock:
            self._total -= self._sizes.pop(block, 0)

    def _complain(self, action: str, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning(
                "cannot %s the block cache in %s (%s): going on without", action, self.directory, error
            )


def _space(size: int) -> int:
    """Bytes that a file of ``size`` bytes takes on disk."""
    return -(-size // _PAGE) * _PAGE


def _read(path: Path, buffer: Callable[[int], memoryview]) -> memoryview:
    with path.open("rb", buffering=0) as file:
        data = buffer(os.fstat(file.fileno()).st_size)
        return data[: pread_into(file.fileno(), data, 0)]  # if it was cut short meanwhile its hash will tell


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when somebody writes to the file: inode, size, time in nanoseconds."""
    return status.st_ino, status.st_size, status.st_mtime_ns
