"""``pithosfs umount``: everything sent, then gone."""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pithosfs import control, mountpoints, registry
from pithosfs.cli import arguments, exits, output
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.mountpoints import Mounted, MountPointError, StillInUse
from pithosfs.options import format_size, parse_duration, typed
from pithosfs.pending import Pending

_DESCRIPTION = """\
Unmount each MOUNTPOINT: returns when everything is on the server and the mount is gone.

If something cannot be sent, it is listed and the mount stays (exit code 8).
A mount whose process died is taken away, too.

Example:
  pithosfs umount ~/cloud
"""

#: Seconds at least between two of them: while the network is away each fails at once.
_PACE = 0.5
#: Seconds a drain call waits inside the mount before it tells how far it is.
_SLICE = 2.0
#: Seconds the mount's process may take to answer beyond that, and to end.
_PATIENCE = 15.0


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(commands, "umount", run, "send what is pending and unmount", _DESCRIPTION)
    parser.add_argument("mountpoints", metavar="MOUNTPOINT", nargs="+", help="where it is mounted")
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=typed(parse_duration),
        default=60.0,
        help="give up when nothing was sent for this long (default 60s)",
    )
    parser.add_argument(
        "-l",
        "--lazy",
        action="store_true",
        default=False,
        help="detach the mount even if programs use it; it ends when they are done",
    )
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        default=False,
        help="do not send, do not wait, end the mount's process; unsent data is kept for the next mount",
    )


def run(args: argparse.Namespace) -> int:
    """Take each away, also when another could not be; the first failure's exit code."""
    if len(args.mountpoints) == 1:
        return _end(args.mountpoints[0], args)
    codes: list[int] = []
    for path in args.mountpoints:
        codes.append(exits.guarded("umount", functools.partial(_end, path, args)))
        if codes[-1] == ExitCode.INTERRUPTED:
            return codes[-1]
    return next((code for code in codes if code), ExitCode.OK)


def _end(path: str, args: argparse.Namespace) -> int:
    """Find the mount and take it away."""
    mount = find(path)
    entry = _entry(mount)
    dead = entry is None and mountpoints.is_dead(mount.path)
    # a mount that was just starting has announced itself once it answers
    entry = entry or _entry(mount)
    if dead or (entry is not None and not entry.is_running()):
        mountpoints.unmount(mount.path, lazy=True)
    elif entry is not None:
        _end_running(entry, mount, args)
    else:
        _end_unknown(mount, args)
    if entry is not None and not entry.is_running():
        entry.forget()
    return ExitCode.OK


def find(path: str) -> Mounted:
    """The mount of ours exactly at ``path``.  Raises MountPointError."""
    located = mountpoints.locate(path)
    here = mountpoints.mount_at(located)
    if here is not None and here.is_ours:
        if os.geteuid() not in (0, here.uid):
            raise MountPointError(f"{located} was mounted by another user: only they and root can unmount it")
        return here
    if here is not None:
        raise MountPointError(f"{located} is no mount of pithosfs (type {here.fstype})")
    above = mountpoints.mount_above(located)
    hint = f"; it lies in the mount {above.path}" if above else ""
    raise MountPointError(f"nothing is mounted on {located}{hint}")


def _entry(mount: Mounted) -> registry.Entry | None:
    entry = registry.find(mount.path)
    # another device: an older mount's, detached from here and still ending
    return entry if entry is not None and entry.device == mount.device else None


def _end_running(entry: registry.Entry, mount: Mounted, args: argparse.Namespace) -> None:
    if args.force:
        _kill(entry, mount)
        return
    _send(entry, args.timeout)
    _unmount(mount, args.lazy)
    if not args.lazy:
        _wait_ended(entry, mount)


def _end_unknown(mount: Mounted, args: argparse.Namespace) -> None:
    """Another user's, or its entry is lost: the file system itself is all there is to ask."""
    _unmount(mount, args.lazy or args.force)
    if args.force:
        mountpoints.abort(mount.device)


# -- sending ----------------------------------------------------------------------


def _send(entry: registry.Entry, timeout: float) -> None:
    """Wait until everything is sent, as long as it gets less.  Raises CommandError listing the rest."""
    left: list[Pending] = []
    since = time.monotonic()
    patience = min(_SLICE, timeout)
    while True:
        asked = time.monotonic()
        try:
            told = control.ask(entry.socket, "drain", timeout=patience + _PATIENCE, seconds=patience)
        except control.ControlError as error:
            raise CommandError(
                f"{error}; pithosfs umount --force {entry.mountpoint} ends it", ExitCode.FAILED
            ) from error
        if not told:
            return
        now = [Pending.unpack(each) for each in told]
        if all(each.refused for each in now):  # each was tried just now: time does not help
            raise CommandError(_unsent_text(entry.mountpoint, now), ExitCode.UNSENT)
        if not left and sys.stderr.isatty():
            size = format_size(sum(each.unsent for each in now))
            files = output.count(len(now), "file")
            exits.complain(f"sending what is left ({files}, {size}); Ctrl-C leaves it mounted")
        if _amount(now) != _amount(left):
            left, since = now, time.monotonic()
        elif time.monotonic() - since > timeout:
            raise CommandError(_unsent_text(entry.mountpoint, now), ExitCode.UNSENT)
        time.sleep(max(0.0, asked + _PACE - time.monotonic()))


def _amount(pending: list[Pending]) -> dict[str, int]:
    """What is left of each file, without how often and why it failed."""
    return {each.object: each.unsent for each in pending}


def _unsent_text(mountpoint: str, left: list[Pending]) -> str:
    for each in left:
        reason = f": {each.error}" if each.error else ""
        exits.complain(f"  not sent: {each.object} ({format_size(each.unsent)}){reason}")
    what = "1 file is" if len(left) == 1 else f"{len(left)} files are"
    return (
        f"{what} not sent, {mountpoint} stays mounted; try again, or keep them "
        f"for the next mount with: pithosfs umount --force {mountpoint}"
    )


# -- going ------------------------------------------------------------------------


def _unmount(mount: Mounted, lazy: bool) -> None:
    try:
        mountpoints.unmount(mount.path, lazy)
    except StillInUse:
        raise StillInUse(_in_use_text(mount.path)) from None


def _in_use_text(path: str) -> str:
    """Who holds the mount, and what to do about each."""
    below = [each.path for each in mountpoints.mounted() if each.path.startswith(f"{path}/")]
    users = dict(mountpoints.users_of(path))
    by, remedies = [f"the mount {each} in it" for each in below], []
    if below:
        remedies.append("unmount that first")
    if users.pop(os.getpid(), None) is not None and _works_in(path):
        for each in _ancestors():
            users.pop(each, None)
        by.append("this shell, whose working directory it is")
        remedies.append("cd elsewhere")
    by += [f"{name} (pid {pid})" for pid, name in list(users.items())[:5]]
    if users or not by:
        remedies.append("close it")
    return f"{path} is in use by {', '.join(by) or 'another program'}; {', '.join(remedies)}, or use --lazy"


def _works_in(path: str) -> bool:
    here = str(Path("/proc/self/cwd").readlink())  # os.getcwd() would ask the mount
    return here == path or here.startswith(f"{path}/")


def _ancestors() -> Iterator[int]:
    """The processes that started this one: a shell, sudo and its shell."""
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return
        pid = int(status.rpartition(")")[2].split()[1])


def _wait_ended(entry: registry.Entry, mount: Mounted) -> None:
    gone = mountpoints.wait_unmounted(mount.path, mount.device, _PATIENCE)
    if not (gone and _ended_within(entry, _PATIENCE)):
        raise CommandError(f"{mount.path} is unmounted, but its process {entry.pid} has not ended yet")


def _kill(entry: registry.Entry, mount: Mounted) -> None:
    mountpoints.unmount(mount.path, lazy=True)
    mountpoints.abort(mount.device)
    if not _ended_within(entry, 3.0):
        os.kill(entry.pid, signal.SIGKILL)
        _ended_within(entry, _PATIENCE)


def _ended_within(entry: registry.Entry, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while entry.is_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
