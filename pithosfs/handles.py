"""Open files as programs have them: a number each, and what is done with it.

What was opened for reading is not written, the other way round neither; how
far to read ahead is each handle's own; and whether the kernel's cached pages
of a file are still right is known here.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pithosfs.blocks import Buffer
from pithosfs.errors import BadHandle, InvalidArgument
from pithosfs.files import Files
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile
from pithosfs.readahead import Readahead

#: Copies between files move so many bytes at most where hashes cannot be spliced.
_COPY_CHUNK = 4 * 1024 * 1024
#: Files whose cached pages are remembered.
_PAGES = 100_000


@dataclass(slots=True)
class Handle:
    """An open file, as one ``open`` gave it."""

    number: int
    file: OpenFile
    readable: bool
    writable: bool
    readahead: Readahead
    #: The kernel's cached pages of this file are still right.
    unchanged: bool = False
    #: Another version of the same path is open: its pages must not be shared.
    private: bool = False


class Handles:
    """The open handles of a mount; BadHandle for a number that is none, or not opened for what is asked.

    ``left`` is told of each file whose last handle is gone.
    """

    def __init__(self, files: Files, left: Callable[[OpenFile], None]) -> None:
        self._files = files
        self._left = left
        self._open: dict[int, Handle] = {}
        self._numbers = itertools.count(1)
        self.pages = Pages()

    # -- coming and going -----------------------------------------------------------------------

    def add(self, file: OpenFile, *, read: bool, write: bool) -> Handle:
        """A handle of a file that is in use (``Files.use``), and is so by the handle from here on."""
        self._files.opened(file)
        handle = Handle(next(self._numbers), file, read, write, Readahead(file.block_size))
        self._open[handle.number] = handle
        return handle

    def get(self, number: int) -> Handle:
        """The handle of this number."""
        found = self._open.get(number)
        if found is None:
            raise BadHandle(f"handle {number} is not open")
        return found

    def release(self, number: int) -> None:
        """The last descriptor of a handle is gone; never raises."""
        handle = self._open.pop(number, None)
        if handle is not None:
            self._files.closed(handle.file)
            if not handle.file.users.handles:
                self._left(handle.file)

    def write_to(self, file: OpenFile) -> bool:
        """Whether a program has the file open for writing."""
        return any(each.file is file and each.writable for each in list(self._open.values()))

    def _readable(self, number: int) -> Handle:
        handle = self.get(number)
        if not handle.readable:
            raise BadHandle("not open for reading")
        return handle

    def _writable(self, number: int) -> Handle:
        handle = self.get(number)
        if not handle.writable:
            raise BadHandle("not open for writing")
        return handle

    # -- looking, reading -------------------------------------------------------------------------

    def node(self, number: int) -> Node:
        """What the handle is of."""
        return self.get(number).file.view()

    def read_into(self, number: int, offset: int, view: memoryview) -> int:
        """Fill ``view``; returns how many bytes, fewer only at the end of the file."""
        handle = self._readable(number)
        return handle.file.read_into(offset, view, handle.readahead)

    def seek(self, number: int, offset: int, *, data: bool) -> int | None:
        """The next data or hole at or after ``offset``; None if there is none."""
        return self.get(number).file.seek(offset, data=data)

    # -- changing -----------------------------------------------------------------------------------

    def write(self, number: int, offset: int, data: Buffer, *, append: bool = False) -> int:
        """Write all of ``data``: at ``offset``, or at the end wherever that is by now."""
        file = self._writable(number).file
        return file.append(data) if append else file.write(offset, data)

    def truncate(self, number: int, size: int) -> None:
        """Change the file's size."""
        self._writable(number).file.truncate(size)

    def set_attributes(self, number: int, mtime_ns: int | None = None, mode: int | None = None) -> None:
        """Change times or mode; goes out in a moment, or with something else."""
        file = self.get(number).file
        file.set_attributes(mtime_ns, mode)
        self._files.sending.hold(file)

    def allocate(self, number: int, offset: int, length: int, *, keep_size: bool) -> None:
        """Make room: a hole is as good as any."""
        file = self._writable(number).file
        if offset < 0 or length <= 0:
            raise InvalidArgument("a range must begin at 0 or later and not be empty")
        if not keep_size and offset + length > file.size:
            file.truncate(offset + length)

    def zero(self, number: int, offset: int, length: int, *, keep_size: bool) -> None:
        """Make a range zero; whole blocks cost nothing."""
        self.allocate(number, offset, length, keep_size=keep_size)
        file = self._writable(number).file
        file.zero(offset, min(offset + length, file.size))

    def copy(self, source: int, offset: int, target: int, to: int, length: int) -> int:
        """Copy a range between open files; whole blocks as hashes, without moving a byte.

        Returns how many bytes were copied, which may be fewer.
        """
        from_, into = self.get(source), self._writable(target)
        length = min(length, from_.file.size - offset)
        if length <= 0:
            return 0
        done = from_.file.splice_into(into.file, offset, to, length)
        if done:
            return done
        view = memoryview(bytearray(min(length, _COPY_CHUNK)))
        got = from_.file.read_into(offset, view, from_.readahead)
        return into.file.write(to, view[:got])

    # -- sending ------------------------------------------------------------------------------------

    def flush(self, number: int, open_again: Callable[[int], bool] = lambda _: False) -> None:
        """A descriptor is closed: returns when the server has the file (or raises why not).

        ``open_again`` says whether its process has the file of an inode number
        open by another one.  Shells close one before they write to the other:
        nothing is sent for that, an empty file would be seen by others.
        """
        handle = self.get(number)
        file = handle.file
        if not handle.writable or not file.dirty:
            return
        if not file.size and file.users.handles == 1 and open_again(file.ino):
            return
        self._files.sending.flush(file)
        self._written(handle)

    def fsync(self, number: int) -> None:
        """Returns when the server has the file, whatever was set for close."""
        handle = self.get(number)
        if handle.file.dirty:
            self._files.sending.sync(handle.file)
            self._written(handle)

    def _written(self, handle: Handle) -> None:
        if not handle.private:  # else the kernel may have pages of another version
            self.pages.written(handle.file)


class Pages:
    """Which content of each file the kernel has cached pages of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[str, int]] = {}  # inode number -> hash and size

    def still_right(self, file: OpenFile, *, alone: bool) -> bool:
        """The file is opened: whether the kernel's pages can be read on; it has this one's from here on.

        Unless it is ``alone``: then they may be of another version that is open, as long as that is.
        """
        if not alone:
            with self._lock:
                self._known.pop(file.ino, None)
            return False
        node = file.node
        if node is None or not node.hash or file.gone or file.content_changed:
            return False
        now = (node.hash, node.size)
        with self._lock:
            same = self._known.get(file.ino) == now
            self._known[file.ino] = now
            if len(self._known) > _PAGES:
                self._known.pop(next(iter(self._known)))
        return same

    def written(self, file: OpenFile) -> None:
        """All that is new in the file went through the kernel: its pages are right."""
        node = file.node
        if node is not None and not file.content_changed:
            with self._lock:
                self._known[file.ino] = (node.hash, node.size)
