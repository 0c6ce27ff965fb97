"""The changed bytes of one open file, until they are on the server.

They lie at their own offsets, zeros where nothing was written:

* all of a small file in memory;
* of a file that is written from one end to the other, the last few blocks in
  memory, each in a buffer of its own that is hashed, sent and cached as it is:
  :meth:`Scratch.lend` gives it away, and from then on it is never changed;
* everything else in a sparse file, which the page cache keeps in memory as
  long as there is room, and which no budget has to count.

What is in memory moves to the file when the room is used up, when a block is
written to again after it was lent, or when it has to survive a crash.  Where
room is short, the block whose turn is next is written by a thread, while the
program goes on with another.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pithosfs import blocks
from pithosfs.blocks import Buffer
from pithosfs.buffers import new_buffer
from pithosfs.directio import write_at
from pithosfs.errors import NoSpace
from pithosfs.fileio import pread_into

log = logging.getLogger(__name__)

#: Flags for a file that is ours alone and not there yet.
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Bytes of a file that take a disk some milliseconds to free (128 MiB: 20 ms).
_LARGE = 16 * 1024 * 1024


class Room:
    """So many bytes of memory for all together.  Thread-safe."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether ``size`` more bytes may be in memory; counts them if so."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def keep(self, size: int) -> None:
        """``size`` bytes are in memory, whether there is room or not: the local disk has no better place."""
        with self._lock:
            self._left -= size

    def has(self, size: int) -> bool:
        """Whether ``size`` more bytes could be in memory just now."""
        with self._lock:
            return size <= self._left

    def give_back(self, size: int) -> None:
        """``size`` bytes are no longer in memory."""
        with self._lock:
            self._left += size


@dataclass(frozen=True, slots=True)
class Memory:
    """What all scratches of a mount share: room for small ones and for blocks, and the blocks' buffers.

    A scratch is small up to ``small_limit`` bytes.  Blocks are saved ahead in ``threads``.
    """

    small: Room
    large: Room
    new_buffer: Callable[[int], memoryview] = new_buffer
    block_size: int = blocks.BLOCK_SIZE
    small_limit: int = 256 * 1024
    threads: Executor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="scratch"))


@dataclass(slots=True)
class _Block:
    """The beginning of a block, ``filled`` bytes of ``buffer``; once ``lent`` it stays as it is."""

    buffer: memoryview
    filled: int = 0
    lent: bool = False
    saved: bool = False  # in the file as well
    saving: Future[bool] | None = None  # on its way there


class Scratch:
    """Changed bytes of one open file; in ``directory``, if they have to be on disk.

    The caller holds the file's lock around every call.
    """

    def __init__(
        self, directory: Path, memory: Memory, key: str | None = None, small: bytes | None = None
    ) -> None:
        """An empty one; or, after a crash, the one whose file is ``key``, or whose bytes were ``small``."""
        self._key = key
        self._memory = memory
        self._directory = directory
        self._small: bytearray | None = bytearray()
        self._blocks: dict[int, _Block] = {}
        self._next = 0  # behind the last byte written
        self._handle: int | None = None
        if key is not None and self._path.exists():
            self._small = None
            self._handle = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW)
        elif small:
            self._small.extend(small)
            memory.small.keep(len(small))
            self._next = len(small)

    @property
    def key(self) -> str:
        """The name of its file, should it need one; few ever do."""
        if self._key is None:
            self._key = uuid.uuid4().hex
        return self._key

    @property
    def _path(self) -> Path:
        return self._directory / f"{self.key}.data"

    # -- reading and writing ----------------------------------------------------------------

    def write(self, offset: int, data: Buffer) -> None:
        """Keep ``data``; NoSpace if the local disk cannot."""
        stop = offset + len(data)
        if self._small is not None and stop <= self._memory.small_limit and self._write_small(offset, data):
            return
        self._outgrow_small(sequential=offset == self._next)
        self._write_blocks(offset, memoryview(data))

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill ``view`` with what is at ``start``."""
        if self._small is not None:
            piece = self._small[start : start + len(view)]
            view[: len(piece)] = piece
            view[len(piece) :] = bytes(len(view) - len(piece))
            return
        for span in blocks.spans(start, len(view), self._memory.block_size):
            self._read_span(span, view[: span.stop - span.start])
            view = view[span.stop - span.start :]

    def lend(self, index: int) -> memoryview | None:
        """All of block ``index`` as it is now and stays, if it is in memory."""
        block = self._blocks.get(index)
        if block is None or block.filled < self._memory.block_size:
            return None
        block.lent = True
        return block.buffer.toreadonly()

    def truncate(self, size: int) -> None:
        """Forget what is at ``size`` and beyond."""
        if self._small is not None:
            if size < len(self._small):
                self._memory.small.give_back(len(self._small) - size)
                del self._small[size:]
            return
        self._settle()
        for index in list(self._blocks):
            left = size - index * self._memory.block_size
            if left <= 0:
                self._drop(index)
            else:
                block = self._blocks[index]
                block.filled = min(block.filled, left)
        if self._handle is not None and os.fstat(self._handle).st_size > size:
            os.ftruncate(self._handle, size)

    # -- the life of it ---------------------------------------------------------------------

    def persist(self) -> bytes | None:
        """Make everything written so far survive a power loss.  NoSpace if it cannot.

        All bytes of a small one are returned: they are the caller's to keep.
        """
        if self._small is not None:
            return bytes(self._small)
        handle = self._file()
        if not os.fstat(handle).st_nlink:
            raise NoSpace(f"cannot keep unsent data: somebody has removed {self._path}")
        for index in self._blocks:
            self._save(index)
        try:
            os.fsync(handle)
            sync_directory(self._path.parent)
        except OSError as error:
            raise NoSpace(f"cannot keep unsent data in {self._path}: {error.strerror}") from error
        return None

    def discard(self) -> None:
        """Forget everything; the scratch can be used again."""
        if self._small is not None:
            self._memory.small.give_back(len(self._small))
        for index in list(self._blocks):
            self._drop(index)
        if self._handle is not None:
            remove(str(self._path))
            _close_removed(self._handle)
            self._handle = None
        self._small = bytearray()
        self._next = 0

    # -- small ones -------------------------------------------------------------------------

    def _write_small(self, offset: int, data: Buffer) -> bool:
        assert self._small is not None  # noqa: S101 - the caller looked
        stop = offset + len(data)
        grow = stop - len(self._small)
        if grow > 0:
            if not self._memory.small.take(grow):
                return False
            self._small.extend(bytes(grow))
        self._small[offset:stop] = data
        self._next = stop
        return True

    def _outgrow_small(self, *, sequential: bool) -> None:
        small = self._small
        if small is None:
            return
        before, copy = self._next, memoryview(bytes(small))
        try:
            if sequential:
                self._next = 0
                self._write_blocks(0, copy)
            elif small:
                self._write_file(0, copy)
        except NoSpace:  # what was written before stays where it is
            for index in list(self._blocks):
                self._drop(index)
            self._next = before
            raise
        self._small = None
        self._memory.small.give_back(len(small))

    # -- blocks in memory -------------------------------------------------------------------

    def _write_blocks(self, offset: int, view: memoryview) -> None:
        for span in blocks.spans(offset, len(view), self._memory.block_size):
            length = span.stop - span.start
            self._write_span(span, view[:length], self._next)
            view = view[length:]
            self._next = span.index * self._memory.block_size + span.stop

    def _write_span(self, span: blocks.Span, data: memoryview, behind: int) -> None:
        start = span.index * self._memory.block_size
        block = self._blocks.get(span.index)
        if block is None and behind == start + span.start == start:
            block = self._new_block(span.index)  # the file is written from one end to the other
        if block is not None and span.start <= block.filled and not block.lent:
            block.buffer[span.start : span.stop] = data
            block.filled = max(block.filled, span.stop)
            block.saved = False
            return
        if block is not None:
            self._save(span.index)
            self._drop(span.index)
        self._write_file(start + span.start, data)

    def _new_block(self, index: int) -> _Block | None:
        """An empty block in memory; earlier ones make room for it."""
        size = self._memory.block_size
        while not self._memory.large.take(size):
            oldest = next(iter(self._blocks), None)
            if oldest is None:
                return None
            self._save(oldest)
            self._drop(oldest)
        if not self._memory.large.has(size):
            self._save_ahead()
        block = self._blocks[index] = _Block(self._memory.new_buffer(size))
        return block

    def _read_span(self, span: blocks.Span, view: memoryview) -> None:
        block = self._blocks.get(span.index)
        here = 0
        if block is not None and span.start < block.filled:
            here = min(span.stop, block.filled) - span.start
            view[:here] = block.buffer[span.start : span.start + here]
        if here < len(view):
            self._read_file(span.index * self._memory.block_size + span.start + here, view[here:])

    def _save_ahead(self) -> None:
        """Begin to save the block that has to make room next, if it is one that can stay as it is."""
        index, block = next(iter(self._blocks.items()), (0, None))
        if block is None or block.saved or block.saving or block.filled < self._memory.block_size:
            return
        block.lent = True
        with contextlib.suppress(NoSpace, RuntimeError):  # no room on the disk yet, or no more threads
            self._file()
            block.saving = self._memory.threads.submit(
                _save_behind, self._path, block.buffer, index * self._memory.block_size
            )

    def _settle(self) -> None:
        """Nothing is written behind the caller's back any more."""
        for block in self._blocks.values():
            if block.saving is not None:
                block.saved = block.saving.result()
                block.saving = None

    def _save(self, index: int) -> None:
        self._settle()
        block = self._blocks[index]
        if not block.saved:
            self._write_file(index * self._memory.block_size, block.buffer[: block.filled])
            block.saved = True

    def _drop(self, index: int) -> None:
        self._settle()
        del self._blocks[index]
        self._memory.large.give_back(self._memory.block_size)

    # -- the file ----------------------------------------------------------------------------

    def _file(self) -> int:
        if self._handle is None:
            try:
                self._handle = os.open(self._path, NEW, 0o600)
            except OSError as error:
                raise NoSpace(f"cannot create {self._path}: {error.strerror}") from error
        return self._handle

    def _write_file(self, offset: int, data: memoryview) -> None:
        try:
            write_at(self._file(), data, offset)
        except OSError as error:
            raise NoSpace(f"no room for unsent data in {self._path.parent}: {error.strerror}") from error

    def _read_file(self, start: int, view: memoryview) -> None:
        got = 0 if self._handle is None else pread_into(self._handle, view, start)
        if got < len(view):
            view[got:] = bytes(len(view) - got)


def _save_behind(path: Path, data: memoryview, offset: int) -> bool:
    """Write a block to a file that others have open, too; False if that cannot be done."""
    try:
        # Not with their handle: the block may go past the page cache, what they write meanwhile may not.
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            write_at(handle, data, offset)
        finally:
            os.close(handle)
    except OSError:
        return False  # who needs it saved tries again, and says why
    return True


def remove(path: str) -> None:
    """Remove a file nobody needs any more; a disk that takes no changes is no reason to fail."""
    try:
        os.unlink(path)  # noqa: PTH108 - to make a Path would take as long again
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("cannot remove %s: %s", path, error.strerror)


def _close_removed(handle: int) -> None:
    """Close a file without a name; a large one behind the caller's back, for its room is freed only now."""
    if os.fstat(handle).st_blocks * 512 >= _LARGE:
        with contextlib.suppress(RuntimeError):  # no more threads
            threading.Thread(target=os.close, args=(handle,), name="scratch").start()
            return
    os.close(handle)


def pack_bytes(key: str | None, small: bytes | None) -> dict[str, str | None]:
    """Where changed bytes are, for the journal: in its entry if small, or else in the scratch ``key``."""
    if small is None:
        return {"scratch": key, "bytes": None}
    return {"scratch": None, "bytes": base64.b64encode(small).decode("ascii")}


def unpack_bytes(entry: dict[str, Any]) -> tuple[str | None, bytes | None]:
    """Inverse of :func:`pack_bytes`; ValueError if it is none."""
    key, small = entry.get("scratch"), entry.get("bytes")
    if key is not None and not re.fullmatch("[0-9a-f]{32}", key):
        raise ValueError("its data has no proper name")
    return key, None if small is None else base64.b64decode(small, validate=True)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power loss.  Raises OSError."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
