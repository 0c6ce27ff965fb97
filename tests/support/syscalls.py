"""System calls that Python's ``os`` module does not have, with errors as OSError."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
FALLOC_FL_COLLAPSE_RANGE = 8
FALLOC_FL_ZERO_RANGE = 16

UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def rename(source: Path, target: Path, flags: int = 0) -> None:
    """renameat2(2)."""
    _checked(
        _libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags))
    )


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) itself: posix_fallocate(3) would write zeros where the file system refuses."""
    _checked(_libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def utimensat(path: Path, atime: tuple[int, int], mtime: tuple[int, int], flags: int = 0) -> None:
    """utimensat(2), with UTIME_NOW and UTIME_OMIT as nanoseconds."""
    times = (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
    _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags))
