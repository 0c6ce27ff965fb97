"""Checks of this machine: what a mount needs, and what to do where it is missing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.mountpoints import mount_above
from pithosfs.options import MIB, MountOptions, format_size

_FUSE_CONF = Path("/etc/fuse.conf")
_DEV_FUSE = Path("/dev/fuse")
_LIBFUSE_3 = ("libfuse3.so.4", "libfuse3.so.3")
_LIBFUSE_2 = "libfuse.so.2"
#: Below this much free disk nothing sensible can be cached or staged.
_LEAST_FREE = 256 * MIB


class Level(Enum):
    """How a check ended, as it is printed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: what was looked at, how it is, what to do about it."""

    level: Level
    name: str
    finding: str
    remedy: str = ""


def ok(name: str, finding: str) -> Check:
    """All is well."""
    return Check(Level.OK, name, finding)


def warn(name: str, finding: str, remedy: str = "") -> Check:
    """It works, but worse than it could."""
    return Check(Level.WARN, name, finding, remedy)


def fail(name: str, finding: str, remedy: str = "") -> Check:
    """It cannot work like this."""
    return Check(Level.FAIL, name, finding, remedy)


def require_fuse(settings: MountOptions) -> None:
    """Raise CommandError, with the remedy, if this machine cannot mount."""
    wanted = [
        dev_fuse(),
        fusermount(),
        libfuse(),
        *([allow_other(asked=True)] if settings.allow_other else []),
    ]
    for check in wanted:
        if check.level is Level.FAIL:
            raise CommandError(f"{check.name}: {check.finding}; {check.remedy}", ExitCode.SYSTEM)


# -- FUSE -----------------------------------------------------------------------------


def dev_fuse(device: Path = _DEV_FUSE) -> Check:
    """The device every FUSE mount goes through."""
    name = str(device)
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return fail(
            name, "missing", "load the kernel module: modprobe fuse (in a container: --device /dev/fuse)"
        )
    except PermissionError:
        return fail(name, "you may not open it", "let everybody use it: chmod a+rw /dev/fuse")
    except OSError as error:
        return fail(name, f"cannot be opened ({error.strerror})", "load the kernel module: modprobe fuse")
    return ok(name, "can be opened")


def fusermount() -> Check:
    """The setuid helper that mounts for users other than root."""
    tool = shutil.which("fusermount3")
    if os.geteuid() == 0:
        return ok("fusermount3", tool or "missing, but root mounts without it")
    remedy = "install it: apt install fuse3"
    if tool is None:
        return fail("fusermount3", "missing", remedy)
    status = Path(tool).stat()
    if not (status.st_mode & stat.S_ISUID and status.st_uid == 0) and not _has_capabilities(tool):
        return fail("fusermount3", f"{tool} is not setuid root", f"chown root {tool} && chmod u+s {tool}")
    return ok("fusermount3", tool)


def _has_capabilities(tool: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.getxattr(tool, "security.capability"))
    return False


def libfuse() -> Check:
    """The C library; the third generation writes in larger pieces."""
    for name in _LIBFUSE_3:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return ok("libfuse", f"libfuse 3 ({name})")
    remedy = "install it: apt install fuse3"
    with contextlib.suppress(OSError):
        ctypes.CDLL(_LIBFUSE_2)
        return warn("libfuse", f"only libfuse 2 ({_LIBFUSE_2}): it works, but slower", remedy)
    return fail("libfuse", "missing", remedy)


def allow_other(asked: bool, conf: Path = _FUSE_CONF) -> Check:
    """Whether --allow-other is permitted; no trouble unless it is ``asked`` for."""
    if os.geteuid() == 0:
        return ok("allow-other", "root may let others in")
    try:
        allowed = bool(re.search(r"^\s*user_allow_other\s*$", conf.read_text(errors="replace"), re.MULTILINE))
    except OSError:
        allowed = False
    if allowed:
        return ok("allow-other", f"permitted in {conf}")
    finding = f"not permitted to users by {conf}"
    if asked:
        return fail("allow-other", finding, f"add the line user_allow_other to {conf}")
    return ok("allow-other", f"{finding}; only --allow-other needs it")


def fuse() -> Iterator[Check]:
    """All of the above."""
    yield dev_fuse()
    yield fusermount()
    yield libfuse()
    yield allow_other(asked=False)


# -- disk -----------------------------------------------------------------------------


def cache(settings: MountOptions) -> Check:
    """The disk cache's directory can be written and has room."""
    path = settings.cache_path()
    existing = next(each for each in (path, *path.parents) if each.exists())
    if mount_above(str(existing)):
        return fail("cache", f"{path} lies inside a mount of pithosfs", "choose another --cache-dir")
    if not os.access(existing, os.W_OK | os.X_OK) or not existing.is_dir():
        return fail("cache", f"{path} cannot be written", "choose another --cache-dir")
    free = shutil.disk_usage(existing).free
    if free < _LEAST_FREE:
        return fail(
            "cache", f"{path}: only {format_size(free)} free", "make room, or choose another --cache-dir"
        )
    if free < settings.cache_size:
        return warn(
            "cache",
            f"{path}: {format_size(free)} free, less than the cache may take",
            f"lower --cache-size (now {format_size(settings.cache_size)})",
        )
    return ok("cache", f"{path}, {format_size(free)} free")
