"""What the kernel says is mounted where, and how to get it unmounted.

Nothing here asks a mounted file system anything unless it says so: a mount
whose process hangs would hang the asker too.  The kernel's own table
(``/proc/self/mountinfo``) always answers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pithosfs.errors import PithosError

#: The type under which the kernel lists our mounts (also for updatedb's PRUNEFS).
FSTYPE = "fuse.pithosfs"

_MOUNTINFO = Path("/proc/self/mountinfo")
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_READ_AHEAD = Path("/sys/class/bdi")
_MAX_LINKS = 40  # as the kernel


class MountPointError(PithosError):
    """The directory cannot be mounted on, or is no mount of ours."""


class StillInUse(MountPointError):
    """The mount cannot go: programs have files open or work inside."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of the kernel's table.  ``uid`` is None where it is no FUSE mount."""

    path: str
    fstype: str
    source: str
    device: int
    uid: int | None

    @property
    def is_ours(self) -> bool:
        """Whether pithosfs made it."""
        return self.fstype == FSTYPE


# -- the kernel's table --------------------------------------------------------------


def mounted() -> list[Mounted]:
    """Everything mounted in this namespace, in the order it was mounted."""
    # surrogateescape: a path may hold any bytes
    text = _MOUNTINFO.read_bytes().decode("utf-8", "surrogateescape")
    # of the characters that end a line for splitlines() the kernel writes only this one in octal
    return [_parse(line) for line in text.split("\n") if " - " in line]


def mount_at(path: str | os.PathLike[str]) -> Mounted | None:
    """The topmost mount exactly at the absolute ``path``."""
    found = [each for each in mounted() if each.path == os.fspath(path)]
    return found[-1] if found else None


def _parse(line: str) -> Mounted:
    left, _, right = line.partition(" - ")
    fields, (fstype, source, *options) = left.split(" "), right.split(" ")
    owner = re.search(r"(?:^|,)user_id=(\d+)", options[0] if options else "")
    return Mounted(
        path=_unescape(fields[4]),
        fstype=fstype,
        source=_unescape(source),
        device=int(fields[2].partition(":")[2]),
        uid=int(owner[1]) if owner else None,
    )


def _unescape(text: str) -> str:
    """The kernel writes space, tab, newline and backslash in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def set_read_ahead(path: str | os.PathLike[str], size: int) -> bool:
    """Let the kernel read ``size`` bytes ahead on the mount at ``path``, in requests as large as may be.

    Only root may; False if that did not work (the kernel's own 128 KiB stay).
    """
    here = mount_at(path)
    if here is None:
        return False
    try:
        _READ_AHEAD.joinpath(f"0:{here.device}", "read_ahead_kb").write_text(str(size // 1024))
    except OSError:
        return False
    return True


# -- paths ------------------------------------------------------------------------------


def locate(path: str | os.PathLike[str]) -> str:
    """The absolute path without ``.``, ``..`` and links, never touching a mount of ours.

    Unlike :func:`os.path.realpath` it cannot hang on (or be misled by) a mount
    whose process hangs or died: components at or below such a mount are taken
    as they are written.

    Raises MountPointError when links go in circles.
    """
    ours = {each.path for each in mounted() if each.is_ours}
    waiting = list(reversed(Path(path).absolute().parts[1:]))
    done, inside, links = PurePosixPath("/"), False, 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            done = done.parent
            inside = any(str(each) in ours for each in (done, *done.parents))
            continue
        candidate = done / part
        inside = inside or str(candidate) in ours
        target = None if inside else _link_target(candidate)
        if target is None:
            done = candidate
            continue
        links += 1
        if links > _MAX_LINKS:
            raise MountPointError(f"{path}: too many symbolic links")
        pieces = PurePosixPath(target).parts
        if target.startswith("/"):
            done, pieces = PurePosixPath("/"), pieces[1:]
        waiting += reversed(pieces)
    return str(done)


def mount_above(path: str) -> Mounted | None:
    """The mount of ours that ``path`` (as :func:`locate` gives it) lies in, at or below."""
    inside = [m for m in mounted() if m.is_ours and (path == m.path or path.startswith(f"{m.path}/"))]
    return max(inside, key=lambda m: len(m.path), default=None)


def _link_target(path: PurePosixPath) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None  # no link, or not there: whoever uses the path will say so


# -- unmounting --------------------------------------------------------------------------


def unmount(path: str, lazy: bool = False) -> None:
    """Unmount what is at ``path``; ``lazy`` detaches it at once even if it is in use.

    Raises StillInUse, or MountPointError with the system's own reason.
    """
    result = subprocess.run(  # noqa: S603 (no shell, the path is one argument)
        [*_unmount_command(lazy), path],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if result.returncode == 0 or mount_at(path) is None:
        return
    reason = (result.stderr.strip() or f"exit code {result.returncode}").splitlines()[-1]
    if "busy" in reason.replace(path, "").lower():
        raise StillInUse(f"{path} is in use")
    raise MountPointError(f"{path} cannot be unmounted: {reason}")


def _unmount_command(lazy: bool) -> list[str]:
    if os.geteuid() == 0 and (tool := shutil.which("umount")):
        # -c: do not resolve the path, that would ask the mounted file system
        return [tool, "-c", "-i", *(["-l"] if lazy else []), "--"]
    tool = shutil.which("fusermount3") or shutil.which("fusermount")
    if tool is None:
        raise MountPointError("fusermount3 is missing: install the package fuse3")
    return [tool, "-u", *(["-z"] if lazy else []), "--"]


def wait_unmounted(path: str, device: int, timeout: float) -> bool:
    """Whether the FUSE mount ``device`` is gone from ``path`` within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while any(each.path == path and each.device == device for each in mounted()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def abort(device: int) -> bool:
    """Cut the kernel's connection of FUSE mount ``device``: whoever waits on it gets an error.

    False where sysfs or the right to do so is missing.
    """
    try:
        (_CONNECTIONS / str(device) / "abort").write_text("1")
    except OSError:
        return False
    return True


# -- who is there --------------------------------------------------------------------------


def is_dead(path: str, timeout: float = 3.0) -> bool:
    """Whether the mount at ``path`` answers "Transport endpoint is not connected" (or is about to).

    The only question here that is put to the mounted file system, so another
    process asks: False if that has no answer after ``timeout`` seconds.
    """
    try:
        asked = subprocess.run(  # noqa: S603
            ["stat", "--", path],  # noqa: S607
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return False
    return b"not connected" in asked.stderr or b"connection abort" in asked.stderr


def users_of(path: str) -> list[tuple[int, str]]:
    """Processes with a file open or working below ``path``: pid and name.

    Only those that may be looked at: one's own, or all as root.
    """
    return sorted(_users_of(path.rstrip("/")))


def _users_of(path: str) -> Iterator[tuple[int, str]]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            links = [process / "cwd", process / "root", *(process / "fd").iterdir()]
            used = any(_is_below(link, path) for link in links)
            if used:
                yield int(process.name), (process / "comm").read_text().strip()
        except OSError:
            continue  # ended meanwhile, or not ours to look at


def _is_below(link: Path, path: str) -> bool:
    try:
        target = str(link.readlink())  # of /proc itself: does not ask the file system linked to
    except OSError:
        return False
    return target == path or target.startswith(f"{path}/")
