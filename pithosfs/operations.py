"""The FUSE operations class: paths and handles in, stat structures and errnos out.

The only module that turns errors into errnos.  Every operation goes through one border,
which logs it, lets the caller give up waiting, and turns each error into its
errno; an exception nobody expected is logged with its traceback and is EIO.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pithosfs import binding, callers, errors
from pithosfs.attributes import Kind
from pithosfs.binding import Status
from pithosfs.directories import Directories
from pithosfs.filesystem import FileSystem
from pithosfs.handles import Handle
from pithosfs.nodes import Node, inode_number
from pithosfs.waiting import patience

log = logging.getLogger(__name__)

Method = TypeVar("Method", bound=Callable[..., Any])

#: The first class of an error's ancestry that stands here decides.
ERRNO: dict[type[Exception], int] = {
    errors.NotFound: errno.ENOENT,
    errors.Unauthorized: errno.EACCES,
    errors.Forbidden: errno.EACCES,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.Stale: errno.ESTALE,
    errors.VersionGone: errno.ESTALE,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.TimedOut: errno.ETIMEDOUT,
    errors.Conflict: errno.EBUSY,
    errors.StoreError: errno.EIO,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.NotEmpty: errno.ENOTEMPTY,
    errors.Exists: errno.EEXIST,
    errors.ReadOnly: errno.EROFS,
    errors.InvalidArgument: errno.EINVAL,
    errors.BadHandle: errno.EBADF,
    errors.NoSpace: errno.ENOSPC,
    errors.TooLarge: errno.EFBIG,
    errors.NotSupported: errno.EPERM,
    errors.NoAttribute: errno.ENODATA,
    errors.AttributeTooBig: errno.ENOSPC,
    errors.NoLink: errno.EINVAL,
    errors.Interrupted: errno.EINTR,
}

#: What a program asks for all the time without anything being wrong.
_ORDINARY = (errors.FileSystemError, errors.NotFound, errors.NameTooLong)

_RENAME_NOREPLACE = 1
_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE, _FALLOC_ZERO_RANGE = 1, 2, 16
_XATTR_CREATE, _XATTR_REPLACE = 1, 2
_MAX_XATTR_NAME, _MAX_XATTR_SIZE = 255, 64 * 1024
_HIDDEN = re.compile(r"\.fuse_hidden[0-9a-f]{16}")
_TYPE = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}
_BLOCK = 4096
#: Bytes the kernel may read ahead: the largest single read libfuse takes.
READ_AHEAD = 1024 * 1024
#: Bytes a program should write at once to a file that is empty yet: the largest single write libfuse takes.
#: (Who reads should not: many programs read as much to look at the head of a file.)
_WRITE = 1024 * 1024
_SIZES = 200_000
#: Seconds the kernel may trust names and attributes without asking again.
_KERNEL_TRUSTS = 1.0


class _Refused(OSError):
    """Refused here, with an errno that no error of the layers below has."""


def errno_of(error: BaseException) -> int:
    """The errno a program gets for an error."""
    return next((ERRNO[each] for each in type(error).__mro__ if each in ERRNO), errno.EIO)


def border(method: Method) -> Method:
    """Around every operation: patience, the log line, the errno."""
    name = method.__name__

    @functools.wraps(method)
    def guarded(self: Operations, *args: Any) -> Any:
        logged = log.isEnabledFor(logging.DEBUG)
        began = time.monotonic() if logged else 0.0
        try:
            with patience(binding.interrupted):
                result = method(self, *args)
        except errors.PithosError as error:
            code = errno_of(error)
            level = logging.DEBUG if isinstance(error, _ORDINARY) else logging.WARNING
            if log.isEnabledFor(level):
                said = self.subject(name, args)
                log.log(level, "%s %s: %s (%s)", name, said, error, errno.errorcode[code])
            self.failed(error)
            raise OSError(code, os.strerror(code)) from None
        except _Refused:
            raise
        except Exception as error:
            log.exception("%s %s failed unexpectedly", name, self.subject(name, args))
            self.failed(error)
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from None
        if logged:
            took = (time.monotonic() - began) * 1000
            log.debug("%s %s: %.1f ms", name, self.subject(name, args), took)
        return result

    return guarded  # type: ignore[return-value]


def _brief(args: Iterable[Any]) -> str:
    return " ".join(
        f"{len(each)} bytes" if isinstance(each, memoryview) else repr(each)
        for each in args
        if isinstance(each, str | int | tuple | memoryview)
    )


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns what is shown, and which mode bits are never set."""

    uid: int
    gid: int
    umask: int = 0o022


class _ShownSizes:
    """What the kernel was told last of how large each file is, by inode number.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}

    def told(self, node: Node, told: Status) -> None:
        """The kernel is told of ``node``."""
        if node.kind is Kind.FILE:
            with self._lock:
                self._sizes[told.ino] = told.size
                if len(self._sizes) > _SIZES:
                    del self._sizes[next(iter(self._sizes))]

    def outdated(self, ino: int, size: int) -> bool:
        """Whether the kernel believes in another size than that; it is told to ask anew then."""
        with self._lock:
            if self._sizes.get(ino, size) == size:
                return False
            self._sizes[ino] = size
            return True


class Operations:
    """The operations of one mount; ``started`` is called once the kernel has it."""

    use_ns = True

    def __init__(
        self,
        filesystem: FileSystem,
        owner: Owner,
        *,
        started: Callable[[], None],
    ) -> None:
        self._fs = filesystem
        self._handles = filesystem.handles
        self._owner = owner
        self._started = started
        self._born = time.time_ns()
        self._directories = Directories(filesystem)
        self._sizes = _ShownSizes()
        self._kernel = binding.KernelMemory()
        self.errors: dict[str, int] = {}

    def subject(self, operation: str, args: tuple[Any, ...]) -> str:
        """What an operation is about, for the log: of a handle, also what it leads to."""
        said = _brief(args)
        if not args or not isinstance(args[0], int):
            return said
        with contextlib.suppress(errors.PithosError):  # it is closed
            if operation.endswith("dir"):
                return f"{said} ({self._directories.path(args[0])!r})"
            return f"{said} ({str(self._handles.node(args[0]).ref)!r})"
        return said

    def failed(self, error: BaseException) -> None:
        """Count an error that is not ordinary."""
        if not isinstance(error, _ORDINARY):
            key = type(error).__name__
            self.errors[key] = self.errors.get(key, 0) + 1

    # -- life ------------------------------------------------------------------------------------

    def init_with_config(self, connection: Any, config: Any) -> None:
        """The kernel is there: tell it how to cache, start what needs threads."""
        if config is not None:
            config.use_ino = 1
            config.nullpath_ok = 1
            config.entry_timeout = config.attr_timeout = _KERNEL_TRUSTS
            config.negative_timeout = 0.0
        if connection is not None:
            connection.max_readahead = READ_AHEAD  # the kernel takes the smaller of this and its own
            connection.max_background = 64
            connection.congestion_threshold = 48
            # Attributes with every listing, not only where the kernel has seen somebody ask for them:
            # most programs read all names first, and all of it is at hand.
            connection.want &= ~binding.CAN_CHOOSE_READDIR_PLUS
        self._kernel.begin()
        self._started()

    def destroy(self, path: str) -> None:
        """The mount is gone; what is left to do is done by ``mount``."""
        self._kernel.end()

    def changed_elsewhere(self, paths: Iterable[str]) -> float:
        """Let the kernel ask anew about these; how many seconds it may still believe what it knows.

        Not from an operation; may wait for reads that are under way.
        """
        return 0.0 if self._kernel.forget(paths) else _KERNEL_TRUSTS

    # -- attributes ----------------------------------------------------------------------------------

    @border
    def getattr(self, path: str | None, number: int | None = None) -> Status:
        """stat(2)."""
        node = self._fs.node(path or "/") if number is None else self._handles.node(number)
        status = self._status(node)
        self._sizes.told(node, status)
        return status

    def _status(self, node: Node) -> Status:
        kind = node.kind
        mode = node.attributes.mode
        if mode is None:
            mode = (0o777 if kind is not Kind.FILE else 0o666) & ~self._owner.umask
        if kind is Kind.SYMLINK:
            mode = 0o777
        known = node.attributes.mtime_ns is not None or node.modified_ns
        mtime = node.mtime_ns if known else self._born
        return Status(
            _TYPE[kind] | mode,
            inode_number(node),
            node.links,  # 1 for a directory: how many are below it is not counted
            self._owner.uid,
            self._owner.gid,
            node.size if kind is not Kind.DIRECTORY else _BLOCK,
            _BLOCK if node.size or kind is not Kind.FILE else _WRITE,
            -(-self._fs.stored_size(node) // 512),
            mtime,
            mtime,
            node.changed_ns or mtime,
        )

    @border
    def access(self, path: str, mode: int) -> None:
        """access(2): everything that is there, but no writing to what is read-only."""
        self._fs.node(path)
        if mode & os.W_OK and self._fs.read_only:
            raise errors.ReadOnly("the mount is read-only")

    @border
    def chmod(self, path: str | None, mode: int, number: int | None = None) -> None:
        """Keep the mode."""
        self._set(path, number, mode=mode & 0o7777)

    @border
    def chown(self, path: str | None, uid: int | None, gid: int | None, number: int | None = None) -> None:
        """Accepted without effect: whose a file is shown as is an option of the mount."""
        if path is not None:
            self._fs.node(path)

    @border
    def utimens(
        self, path: str | None, times: tuple[int | None, int | None], number: int | None = None
    ) -> None:
        """Keep the modification time; access times are not kept."""
        if times[1] is not None:
            self._set(path, number, mtime_ns=times[1])

    def _set(self, path: str | None, number: int | None, **changes: int) -> None:
        if number is not None:
            self._handles.set_attributes(number, **changes)
        else:
            self._fs.set_attributes(path or "/", **changes)

    @border
    def statfs(self, path: str) -> dict[str, int]:
        """Quota and usage of the account; without a quota, plenty."""
        space = self._fs.space()
        total = space.total or max(1 << 50, space.used * 2)
        free = max(0, total - space.used)
        return {
            "f_bsize": _BLOCK,
            "f_frsize": _BLOCK,
            "f_blocks": total // _BLOCK,
            "f_bfree": free // _BLOCK,
            "f_bavail": free // _BLOCK,
            "f_files": 1 << 32,
            "f_ffree": 1 << 31,
            "f_favail": 1 << 31,
            "f_namemax": 255,
        }

    # -- extended attributes -----------------------------------------------------------------------------

    @border
    def getxattr(self, path: str, name: str) -> bytes:
        """One attribute."""
        if not name.startswith("user."):
            raise _Refused(errno.EOPNOTSUPP, name)  # not ENODATA: ls asks once then, not once a file
        found = self._fs.xattr(path, name)
        if found is None:
            raise errors.NoAttribute(name)
        return found

    @border
    def listxattr(self, path: str) -> list[str]:
        """The names of all attributes."""
        return list(self._fs.xattrs(path))

    @border
    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        """Set an attribute."""
        if not name.startswith("user."):
            raise _Refused(errno.EOPNOTSUPP, name)
        if len(name) > _MAX_XATTR_NAME:
            raise _Refused(errno.ERANGE, name)
        if len(value) > _MAX_XATTR_SIZE:
            raise _Refused(errno.E2BIG, name)
        self._fs.set_xattr(
            path, name, value, create=bool(flags & _XATTR_CREATE), exists=bool(flags & _XATTR_REPLACE)
        )

    @border
    def removexattr(self, path: str, name: str) -> None:
        """Remove an attribute."""
        if not name.startswith("user."):
            raise errors.NoAttribute(name)
        self._fs.remove_xattr(path, name)

    # -- names ----------------------------------------------------------------------------------------

    @border
    def opendir(self, path: str) -> int:
        """Open a directory."""
        return self._directories.open(path)

    @border
    def releasedir(self, number: int) -> None:
        """Close a directory."""
        self._directories.close(number)

    @border
    def readdir(
        self, number: int, position: int, add: Callable[[str, Status, int, bool], bool], told: bool
    ) -> None:
        """Give entries from ``position`` on to ``add`` until that is True: there is no room for this one.

        It takes the name, the attributes, the position behind the entry, and whether the attributes are
        right.  ``told``: the kernel believes those that are.
        """
        for name, node, behind, complete in self._directories.read(number, position):
            status = self._status(node)
            if add(name, status, behind, complete):
                return
            if told and complete:
                self._sizes.told(node, status)

    @border
    def readlink(self, path: str) -> str:
        """The target of a link."""
        return self._fs.readlink(path)

    @border
    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        self._fs.mkdir(path, mode)

    @border
    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._fs.rmdir(path)

    @border
    def unlink(self, path: str) -> None:
        """Remove a file."""
        if _HIDDEN.fullmatch(path.rpartition("/")[2]) and self._fs.forget_hidden(path):
            return
        self._fs.unlink(path)

    @border
    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        self._fs.symlink(target, path)

    @border
    def link(self, path: str, target: str) -> None:
        """Hard links: the store has none."""
        raise errors.NotSupported("hard links are not supported")

    @border
    def mknod(self, path: str, mode: int, device: int) -> None:
        """A plain file; FIFOs, sockets and devices the store has none of."""
        if not stat.S_ISREG(mode):
            raise errors.NotSupported("devices, sockets and FIFOs are not supported")
        handle = self._fs.create(path, mode, exclusive=True)
        try:
            self._handles.flush(handle.number)
        finally:
            self._handles.release(handle.number)

    @border
    def rename(self, old: str, new: str, flags: int) -> None:
        """Rename; libfuse's way to remove an open file comes here, too."""
        if flags & ~_RENAME_NOREPLACE:
            raise errors.InvalidArgument("names cannot be exchanged in one step")
        if _HIDDEN.fullmatch(new.rpartition("/")[2]) and self._fs.hide(old, new):
            return
        self._fs.rename(old, new, overwrite=not flags & _RENAME_NOREPLACE)

    # -- handles ----------------------------------------------------------------------------------------

    @border
    def open(self, path: str, info: Any) -> None:
        """Open a file."""
        flags = info.flags
        access = flags & os.O_ACCMODE
        handle = self._fs.open(
            path,
            read=access != os.O_WRONLY,
            write=access != os.O_RDONLY,
            truncate=bool(flags & os.O_TRUNC),
        )
        self._tell(info, handle)
        # The kernel ends a file where it believes its end to be: it must not believe an old size.
        if self._sizes.outdated(handle.file.ino, handle.file.size):
            binding.forget_attributes(path)

    @border
    def create(self, path: str, mode: int, info: Any) -> None:
        """Create a file and open it."""
        handle = self._fs.create(
            path,
            mode,
            read=info.flags & os.O_ACCMODE != os.O_WRONLY,
            truncate=bool(info.flags & os.O_TRUNC),  # others may have made one just now
            exclusive=bool(info.flags & os.O_EXCL),
        )
        self._tell(info, handle)

    @staticmethod
    def _tell(info: Any, handle: Handle) -> None:
        info.fh = handle.number
        info.keep_cache = int(handle.unchanged)
        info.direct_io = int(handle.private)
        if binding.CAN_SPARE_FLUSH:
            info.noflush = int(not handle.writable)  # its flush would do nothing

    @border
    def read(self, number: int, offset: int, view: memoryview) -> int:
        """Read into ``view``."""
        return self._handles.read_into(number, offset, view)

    @border
    def write(self, number: int, offset: int, view: memoryview, flags: int = 0) -> int:
        """Write all of ``view``; ``flags`` are those the handle has now, 0 for pages of a memory map."""
        return self._handles.write(number, offset, view, append=bool(flags & os.O_APPEND))

    @border
    def flush(self, number: int) -> None:
        """close(2): its result is this one's."""
        self._handles.flush(number, open_again=lambda ino: callers.has_open(binding.caller(), ino))

    @border
    def fsync(self, number: int) -> None:
        """fsync(2) and fdatasync(2)."""
        self._handles.fsync(number)

    @border
    def release(self, number: int) -> None:
        """Clean up; nobody would hear of an error."""
        self._handles.release(number)

    @border
    def fsyncdir(self, number: int) -> None:
        """Return when the store has what was done to names in it, and the files that are new in it."""
        self._directories.sync(number)

    @border
    def truncate(self, path: str | None, size: int, number: int | None = None) -> None:
        """Change the size."""
        if number is not None:
            self._handles.truncate(number, size)
        else:
            self._fs.truncate(path or "/", size)

    @border
    def fallocate(self, number: int, mode: int, offset: int, size: int) -> None:
        """Make room, punch holes, make zero."""
        keep = bool(mode & _FALLOC_KEEP_SIZE)
        kind = mode & ~_FALLOC_KEEP_SIZE
        if kind == 0:
            self._handles.allocate(number, offset, size, keep_size=keep)
        elif kind in (_FALLOC_PUNCH_HOLE, _FALLOC_ZERO_RANGE):
            self._handles.zero(number, offset, size, keep_size=keep)
        else:
            raise _Refused(errno.EOPNOTSUPP, "this kind of fallocate is not supported")

    @border
    def copy_file_range(self, source: int, offset: int, target: int, to: int, size: int) -> int:
        """Copy between open files."""
        return self._handles.copy(source, offset, target, to, size)

    @border
    def lseek(self, number: int, offset: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE."""
        found = self._handles.seek(number, offset, data=whence == os.SEEK_DATA)
        if found is None:
            raise _Refused(errno.ENXIO, os.strerror(errno.ENXIO))
        return found
