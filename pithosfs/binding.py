"""libfuse for Python: mfusepy's binding, with what it leaves out or drops.

``mfusepy`` (the kept fork of fusepy) does the loading, the structures and the
loop.  This subclass of its ``FUSE`` replaces the wrappers that lose something:

* file handles for getattr, chmod, chown, truncate and utimens,
* rename flags, the flags of setxattr, UTIME_NOW and UTIME_OMIT,
* reads and writes without a copy in between: operations get a view of
  libfuse's own buffer,
* ``copy_file_range`` and ``lseek``,
* readdir in pieces, with inode numbers and, of what is known, all attributes
  (readdirplus), which saves the kernel a lookup for each entry,
* what Python throws away and makes anew for each call from a thread of
  libfuse's: a stack in memory of its own, which costs as much as the call.

libfuse 3 is taken where there is one (with libfuse 2 writes come in 4 KiB).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, NamedTuple

if "FUSE_LIBRARY_PATH" not in os.environ:
    _three = ctypes.util.find_library("fuse3")
    if _three:  # mfusepy would look for libfuse 2 first
        os.environ["FUSE_LIBRARY_PATH"] = _three

import mfusepy

# It would list its callbacks, one by one.
logging.getLogger("fuse").setLevel(logging.INFO)

VERSION: tuple[int, int] = (mfusepy.fuse_version_major, mfusepy.fuse_version_minor)
IS_3 = VERSION >= (3, 0)

_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
_READDIR_PLUS = 1
_FILL_PLUS = 2
_CAPABILITIES = b"security.capability"
_ENCODING = ("utf-8", "surrogateescape")
#: The kernel may read names without attributes where it thinks that nobody wants them.
CAN_CHOOSE_READDIR_PLUS = 1 << 14
#: A handle can be spared the call at each close of a descriptor.
CAN_SPARE_FLUSH = hasattr(mfusepy.fuse_file_info, "noflush")
#: From here on libfuse is told how many threads to have, and keeps them to the end of the mount if told to.
KEEPS_THREADS = VERSION >= (3, 12)


class Status(NamedTuple):
    """What stat(2) tells; times in nanoseconds since 1970, sizes in bytes, ``blocks`` of 512."""

    mode: int
    ino: int
    nlink: int
    uid: int
    gid: int
    size: int
    blksize: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class _StatLayout:
    """This machine's ``struct stat``, written in one go: field by field takes twenty times as long."""

    _FIELDS = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blksize", "st_blocks")
    _TIMES = ("st_atimespec", "st_mtimespec", "st_ctimespec")

    def __init__(self) -> None:
        types = {name: kind for name, kind, *_ in mfusepy.c_stat._fields_}
        places = [(getattr(mfusepy.c_stat, name).offset, types[name]) for name in self._FIELDS]
        for name in self._TIMES:
            start = getattr(mfusepy.c_stat, name).offset
            for part, kind in types[name]._fields_:
                places.append((start + getattr(types[name], part).offset, kind))
        order = sorted(range(len(places)), key=lambda each: places[each][0])
        pattern, at = "", 0
        for start, kind in (places[each] for each in order):
            pattern += f"{start - at}x{kind._type_}"
            at = start + ctypes.sizeof(kind)
        self._struct = struct.Struct(f"{pattern}{ctypes.sizeof(mfusepy.c_stat) - at}x")
        self._in_order = itemgetter(*order)

    def pack(self, status: Status) -> bytes:
        """The structure's bytes; what ``status`` does not tell is zero."""
        second = 10**9
        fields = (
            *status[:8],
            *divmod(status.atime_ns, second),
            *divmod(status.mtime_ns, second),
            *divmod(status.ctime_ns, second),
        )
        return self._struct.pack(*self._in_order(fields))


_STAT = _StatLayout()
#: libfuse's function that takes an entry of a directory, called without letting other threads of Python in.
_FILLER = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, mfusepy.c_off_t, ctypes.c_int
)


class _Thread(threading.local):
    """A thread of libfuse's: whether Python remembers it already."""

    kept = False


_thread = _Thread()


def _keep_thread() -> None:
    """Let Python remember the thread that calls it now, from this call on.

    Python forgets a thread that is not its own at the end of the outermost
    call: this one never ends.  For threads that live as long as the mount.
    """
    ctypes.pythonapi.PyGILState_Ensure()
    _thread.kept = True


def interrupted() -> bool:
    """Whether the caller of the operation under way in this thread gave up waiting."""
    return bool(mfusepy._libfuse.fuse_interrupted())


def caller() -> int:
    """The process (or thread) that asked for the operation under way in this thread."""
    return int(mfusepy._libfuse.fuse_get_context().contents.pid)


def forget_attributes(path: str) -> None:
    """Let the kernel ask anew for what it knows of ``path``.

    Only from an operation under way; libfuse allows it in an open, not in a
    change of the file itself.
    """
    if IS_3:
        _forget(mfusepy._libfuse.fuse_get_context().contents.fuse, path)


def _forget(fuse: int | None, path: str) -> None:
    mfusepy._libfuse.fuse_invalidate_path(ctypes.c_void_p(fuse), path.encode(*_ENCODING))


class KernelMemory:
    """What the kernel remembers of a mount: attributes and pages, by path.

    For changes that come from elsewhere, from any thread but those of
    operations: the kernel may have to wait for reads that are under way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fuse: int | None = None

    def begin(self) -> None:
        """The mount is there; call in the operation ``init``."""
        with self._lock:
            self._fuse = mfusepy._libfuse.fuse_get_context().contents.fuse if IS_3 else None

    def end(self) -> None:
        """The mount is gone; call in the operation ``destroy``."""
        with self._lock:
            self._fuse = None

    def forget(self, paths: Iterable[str]) -> bool:
        """Let the kernel ask anew about these; False if it cannot be told (libfuse 2)."""
        for path in paths:
            with self._lock:
                if self._fuse is not None:
                    _forget(self._fuse, path)
        return IS_3


def _view(buffer: Any, size: int) -> memoryview:
    address = ctypes.addressof(buffer.contents)
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")


def _text(path: bytes | None) -> str | None:
    return None if path is None else path.decode(*_ENCODING)


class Binding(mfusepy.FUSE):  # type: ignore[misc]
    """Runs the loop for an operations object; returns when the mount is gone.

    What the operation ``init`` raises ends the loop, and is raised here.
    """

    def __init__(self, operations: Any, mountpoint: str, **options: Any) -> None:
        self._failed: BaseException | None = None
        try:
            super().__init__(operations, mountpoint, raw_fi=False, **options)
        finally:
            if self._failed is not None:
                raise self._failed

    def _wrapper(self, func: Callable[..., int | None], *args: Any) -> int:
        """Every call by libfuse comes through here: an OSError becomes its errno.

        ``operations`` raises nothing else, but at the beginning: then there
        is nobody to tell, and the loop has to end.
        """
        if KEEPS_THREADS and not _thread.kept:
            _keep_thread()
        try:
            return func(*args) or 0
        except BaseException as error:
            if func.__name__.startswith("init"):
                self._failed = error
                mfusepy.fuse_exit()
            elif not isinstance(error, OSError):
                raise
            return -(getattr(error, "errno", None) or errno.EIO)

    def fgetattr(self, path: bytes | None, buf: Any, fip: Any) -> int:
        """Attributes by handle, where there is one, else by path."""
        found = self.operations.getattr(_text(path), fip.contents.fh if fip else None)
        _view(buf, ctypes.sizeof(mfusepy.c_stat))[:] = _STAT.pack(found)
        return 0

    def chmod_fuse_3(self, path: bytes | None, mode: int, fip: Any) -> int:
        """Change the mode by handle or path."""
        self.operations.chmod(_text(path), mode, fip.contents.fh if fip else None)
        return 0

    def chown_fuse_3(self, path: bytes | None, uid: int, gid: int, fip: Any) -> int:
        """Change the owner; 0xFFFFFFFF leaves one as it is."""
        keep = 0xFFFFFFFF
        self.operations.chown(
            _text(path),
            None if uid == keep else uid,
            None if gid == keep else gid,
            fip.contents.fh if fip else None,
        )
        return 0

    def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> int:
        """Change the size by handle or path."""
        self.operations.truncate(_text(path), length, fip.contents.fh if fip else None)
        return 0

    def utimens_fuse_3(self, path: bytes | None, buf: Any, fip: Any) -> int:
        """Change times: nanoseconds, None where a time is to be left alone."""
        now = time.time_ns()
        times: tuple[int | None, int | None] = (now, now)
        if buf:
            times = (self._time(buf.contents.actime, now), self._time(buf.contents.modtime, now))
        self.operations.utimens(_text(path), times, fip.contents.fh if fip else None)
        return 0

    @staticmethod
    def _time(spec: Any, now: int) -> int | None:
        if spec.tv_nsec == _UTIME_OMIT:
            return None
        return now if spec.tv_nsec == _UTIME_NOW else int(spec.tv_sec * 10**9 + spec.tv_nsec)

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        """Rename, with the flags."""
        self.operations.rename(_text(old), _text(new), flags)
        return 0

    def open(self, path: bytes, fip: Any) -> int:
        """Open; operations set the handle and what the kernel may cache."""
        self.operations.open(_text(path), fip.contents)
        return 0

    def create(self, path: bytes, mode: int, fip: Any) -> int:
        """Create and open."""
        self.operations.create(_text(path), mode, fip.contents)
        return 0

    def read(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
        """Read straight into libfuse's buffer."""
        return int(self.operations.read(fip.contents.fh, offset, _view(buf, size)))

    def write(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
        """Write straight from libfuse's buffer; of a mapped page no flags come along."""
        return int(self.operations.write(fip.contents.fh, offset, _view(buf, size), fip.contents.flags))

    def getxattr(self, path: bytes, name: bytes, value: Any, size: int) -> int:
        """One extended attribute; the kernel asks before each write for one that no file here has."""
        return -errno.ENODATA if name == _CAPABILITIES else int(super().getxattr(path, name, value, size))

    def flush(self, path: bytes | None, fip: Any) -> int:
        """A descriptor is closed."""
        self.operations.flush(fip.contents.fh)
        return 0

    def fsync(self, path: bytes | None, datasync: int, fip: Any) -> int:
        """Make a file durable."""
        self.operations.fsync(fip.contents.fh)
        return 0

    def fsyncdir(self, path: bytes | None, datasync: int, fip: Any) -> int:
        """Make a directory durable."""
        self.operations.fsyncdir(fip.contents.fh)
        return 0

    def release(self, path: bytes | None, fip: Any) -> int:
        """The last descriptor is gone."""
        self.operations.release(fip.contents.fh)
        return 0

    def fallocate(self, path: bytes | None, mode: int, offset: int, size: int, fip: Any) -> int:
        """Make room, or punch a hole."""
        self.operations.fallocate(fip.contents.fh, mode, offset, size)
        return 0

    def copy_file_range(
        self,
        path_in: bytes,
        fi_in: Any,
        off_in: int,
        path_out: bytes,
        fi_out: Any,
        off_out: int,
        size: int,
        flags: int,
    ) -> int:
        """Copy between two open files."""
        return int(
            self.operations.copy_file_range(fi_in.contents.fh, off_in, fi_out.contents.fh, off_out, size)
        )

    def lseek(self, path: bytes | None, offset: int, whence: int, fip: Any) -> int:
        """SEEK_DATA and SEEK_HOLE."""
        return int(self.operations.lseek(fip.contents.fh, offset, whence))

    def opendir(self, path: bytes, fip: Any) -> int:
        """Open a directory."""
        fip.contents.fh = self.operations.opendir(_text(path))
        return 0

    def releasedir(self, path: bytes | None, fip: Any) -> int:
        """Close a directory."""
        self.operations.releasedir(fip.contents.fh)
        return 0

    def readdir_fuse_3(
        self, path: bytes | None, buf: Any, filler: Any, offset: int, fip: Any, flags: int
    ) -> int:
        """Entries from ``offset`` on, as many as fit."""
        take = _FILLER(ctypes.cast(filler, ctypes.c_void_p).value or 0)
        plus = _FILL_PLUS if flags & _READDIR_PLUS else 0

        def add(name: str, status: Status, position: int, complete: bool) -> bool:
            flag = plus if complete else 0
            return bool(take(buf, name.encode(*_ENCODING), _STAT.pack(status), position, flag))

        self.operations.readdir(fip.contents.fh, offset, add, bool(plus))
        return 0

    def readdir_fuse_2(self, path: bytes | None, buf: Any, filler: Any, offset: int, fip: Any) -> int:
        """The same for libfuse 2, which takes names and inode numbers only."""

        def add(name: str, status: Status, position: int, _complete: bool) -> bool:
            found = mfusepy.c_stat.from_buffer_copy(_STAT.pack(status))
            return bool(filler(buf, name.encode(*_ENCODING), found, position))

        self.operations.readdir(fip.contents.fh, offset, add, False)
        return 0

    def getattr_fuse_2(self, path: bytes, buf: Any) -> int:
        """Attributes by path."""
        return self.fgetattr(path, buf, None)

    def ftruncate(self, path: bytes | None, length: int, fip: Any) -> int:
        """Change the size by handle (libfuse 2)."""
        return self.truncate_fuse_3(path, length, fip)

    def truncate_fuse_2(self, path: bytes, length: int) -> int:
        """Change the size by path."""
        return self.truncate_fuse_3(path, length, None)

    def chmod_fuse_2(self, path: bytes, mode: int) -> int:
        """Change the mode by path."""
        return self.chmod_fuse_3(path, mode, None)

    def chown_fuse_2(self, path: bytes, uid: int, gid: int) -> int:
        """Change the owner by path."""
        return self.chown_fuse_3(path, uid, gid, None)

    def utimens_fuse_2(self, path: bytes, buf: Any) -> int:
        """Change times by path."""
        return self.utimens_fuse_3(path, buf, None)

    def rename_fuse_2(self, old: bytes, new: bytes) -> int:
        """Rename."""
        return self.rename_fuse_3(old, new, 0)
