"""``pithosfs mount``: a container becomes a directory."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pithosfs import daemon, mountpoints, options, registry
from pithosfs.cli import arguments, checks, exits, logs, targets, times
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.cli.session import Session
from pithosfs.errors import Unavailable
from pithosfs.mountpoints import MountPointError
from pithosfs.options import MountOptions

if TYPE_CHECKING:
    from pithosfs.config import Connection
    from pithosfs.mount import Mount

log = logging.getLogger(__name__)

#: Seconds between two tries to reach a server.
_PAUSE = 2.0

_DESCRIPTION = """\
Mount SOURCE on the directory MOUNTPOINT.

SOURCE is a container, or a directory of it as CONTAINER/DIR, or / for the whole
account with its containers as directories.  Returns once the mount answers;
a process in the background serves it until `pithosfs umount MOUNTPOINT`.

Example:
  mkdir -p ~/cloud && pithosfs mount pithos ~/cloud
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "mount", run, "make a container appear as a directory", _DESCRIPTION
    )
    parser.add_argument("source", metavar="SOURCE", help="CONTAINER[/DIR], or / for the whole account")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", help="an existing directory")
    parser.add_argument(
        "-o",
        metavar="WORD[=VALUE],…",
        action=arguments.MountWords,
        help="options as mount(8) passes them: each long option below without its dashes, ro, rw, "
        "noexec and the like; what /etc/fstab has for others (_netdev, x-systemd.…) is passed over",
    )
    arguments.add_options(parser, options.OPTIONS)
    parser.add_argument(
        "-v",
        action=arguments.Verbose,
        nargs=0,
        help="--log-level info; twice: --log-level debug",
    )


def run(args: argparse.Namespace) -> int:
    """Check what can be checked in sight of the user, then mount in the background."""
    settings = options.mount_options(vars(args))
    if settings.at is not None:
        times.parse(settings.at)  # whether it can be read; the mount asks the server's clock as well
    _refuse_swapped(args.source, args.mountpoint)
    _refuse_own_files_inside(mountpoints.locate(args.mountpoint), settings)
    _start_log(settings)
    if settings.log_level in ("debug", "info") and not (settings.foreground or settings.log_file):
        log.warning("in the background the log goes nowhere; add --log-file FILE, or --foreground")
    checks.require_fuse(settings)
    mountpoint = prepare(args.mountpoint)
    connection = arguments.connection(args)
    account = arguments.account_settings(args, connection)
    session = Session(mountpoint, args.source, settings, account)

    def work(ready: daemon.Ready) -> int:
        return exits.guarded("mount", lambda: _serve(connection, args.source, session, settings, ready))

    return work(_say_ready(args.source, mountpoint)) if settings.foreground else daemon.background(work)


def prepare(path: str) -> str:
    """The absolute mount point for ``path``, checked; a mount whose process died is taken away first.

    Raises MountPointError.
    """
    mountpoint = mountpoints.locate(path)
    here = mountpoints.mount_at(mountpoint)
    if here is not None:
        _clear(here)
    _require_directory(Path(mountpoint))
    return mountpoint


def _clear(here: mountpoints.Mounted) -> None:
    entry = registry.find(here.path)
    known = entry is not None and entry.device == here.device
    if entry is not None and known and entry.is_running():
        raise MountPointError(f"{here.path} is mounted already; unmount it with: pithosfs umount {here.path}")
    if not (here.is_ours and (known or mountpoints.is_dead(here.path))):
        raise MountPointError(f"something is mounted on {here.path} already (type {here.fstype})")
    log.warning("%s was left behind by a process that died; mounting anew", here.path)
    mountpoints.unmount(here.path, lazy=True)
    if entry is not None:
        entry.forget()


def _require_directory(path: Path) -> None:
    try:
        content = next(path.iterdir(), None)
    except FileNotFoundError:
        raise MountPointError(f"{path} does not exist; make it with: mkdir -p {path}") from None
    except NotADirectoryError:
        raise MountPointError(f"{path} is no directory") from None
    except OSError as error:
        raise MountPointError(f"{path} cannot be used: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        # fusermount3 would say so on a line of its own
        raise MountPointError(f"{path} cannot be used: only a directory you may write to can be mounted on")
    if content is not None:
        log.warning("%s is not empty; what it holds is hidden while mounted", path)


def _refuse_own_files_inside(mountpoint: str, settings: MountOptions) -> None:
    """The mount's own files inside the mount would make it wait for itself, inside another one for that."""
    own = {"cache directory": settings.cache_path(), "log file": settings.log_file}
    for what, path in own.items():
        if path is None:
            continue
        located = mountpoints.locate(path)
        above = mountpoints.mount_above(located)
        if above or Path(located).is_relative_to(mountpoint):
            inside = f"mount {above.path}" if above else "mount point"
            raise MountPointError(f"the {what} {path} lies inside the {inside}: choose another place")


_OF_THIS_MACHINE = ("/", ".", "~")


def _refuse_swapped(source: str, mountpoint: str) -> None:
    """A directory of this machine for SOURCE, and what is none for MOUNTPOINT."""
    if source.strip("/") == "" or mountpoint.startswith(_OF_THIS_MACHINE) or os.path.lexists(mountpoint):
        return
    if mountpoints.mount_above(mountpoints.locate(source)) is None and Path(source).is_dir():
        # which may be a container's name as well
        maybe = "" if source.startswith(_OF_THIS_MACHINE) else f" (or make it with: mkdir -p {mountpoint})"
        raise CommandError(
            f"{source} is a directory and {mountpoint} is none: the container comes first,"
            f" as in pithosfs mount {mountpoint} {source}{maybe}",
            ExitCode.USAGE,
        )


def _start_log(settings: MountOptions) -> None:
    try:
        logs.start(settings.log_level, settings.log_file, brief=not settings.foreground)
    except OSError as error:
        raise CommandError(
            f"the log file {settings.log_file} cannot be written ({error.strerror}):"
            " name another with --log-file",
            ExitCode.SETTINGS,
        ) from None


def _build(connection: Connection, source: str, settings: MountOptions) -> Mount:
    from pithosfs.mount import Mount  # loads libfuse, which other commands do without

    try:
        with targets.storage_asked(connection):
            return Mount.build(connection, source, settings)
    except OSError as error:
        cache, at = settings.cache_path(), Path(error.filename or "")
        if not (cache.is_relative_to(at) or at.is_relative_to(cache)) or not error.filename:
            raise
        raise CommandError(
            f"the cache directory {cache} cannot be used ({error.strerror}): name another with --cache-dir",
            ExitCode.SETTINGS,
        ) from error


def _serve(
    connection: Connection, source: str, session: Session, settings: MountOptions, ready: daemon.Ready
) -> int:
    session.run(lambda: _patiently(lambda: _build(connection, source, settings), settings.retry), ready)
    return ExitCode.OK


def _patiently(build: Callable[[], Mount], seconds: float) -> Mount:
    """Build; if the server cannot be reached try again for ``seconds`` (at boot the network comes late)."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return build()
        except Unavailable as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            log.info("%s; trying again", error)
            time.sleep(min(_PAUSE, left))


def _say_ready(source: str, mountpoint: str) -> daemon.Ready:
    return lambda: exits.complain(f"pithosfs mount: {source} is on {mountpoint}; Ctrl-C unmounts")
