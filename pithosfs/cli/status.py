"""``pithosfs status``: what is mounted, and how it fares."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pithosfs import control, mountpoints, registry
from pithosfs.cli import arguments
from pithosfs.cli.exits import ExitCode
from pithosfs.mountpoints import Mounted, MountPointError

_DESCRIPTION = """\
Show the mounts of this user (for root: of everybody): their state, open files,
what waits to be sent, what the caches saved, and errors.

Exit code 1 if the mount asked for, or one of them, hangs or is dead.

Example:
  pithosfs status
  pithosfs status ~/cloud --json
"""

#: Seconds a mount may take to answer before it is shown as hanging.
_PATIENCE = 3.0


class State(StrEnum):
    """What a mount is doing."""

    READY = "ready"
    HANGS = "hangs"  # the process lives but does not answer
    DEAD = "dead"  # the process is gone, its mount point is not
    ENDING = "ending"  # unmounted, the process still has work or open files
    UNKNOWN = "unknown"  # a mount whose process did not announce it to this user


_REMEDIES = {
    State.HANGS: "does not answer; to end it: pithosfs umount --force {0}",
    State.DEAD: "lost its process; mount it again, or: pithosfs umount {0}",
    State.UNKNOWN: "was not mounted by you, or is still starting",
}


@dataclass(frozen=True, slots=True)
class Report:
    """One mount: where, what, how it is; ``details`` are its own words (empty unless it is ready)."""

    mountpoint: str
    source: str
    state: State
    pid: int | None
    since: float | None
    details: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """All of it, flat."""
        return {
            "mountpoint": self.mountpoint,
            "source": self.source,
            "state": self.state.value,
            "pid": self.pid,
            "since": self.since,
            **self.details,
        }


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "status", run, "show mounts and what they are doing", _DESCRIPTION
    )
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", default=None, help="only this one")
    parser.add_argument(
        "--json",
        action="store_true",
        default=False,
        help="for programs: an object for the MOUNTPOINT given, else a list of them",
    )


def run(args: argparse.Namespace) -> int:
    """Gather and show."""
    reports = gather() if args.mountpoint is None else [_find(args.mountpoint)]
    if args.json:
        content = [report.as_json() for report in reports]
        print(json.dumps(content if args.mountpoint is None else content[0], indent=2))
    elif reports:
        _show(reports)
    else:
        print("nothing is mounted")
    troubled = any(each.state in (State.HANGS, State.DEAD) for each in reports)
    return ExitCode.FAILED if troubled else ExitCode.OK


def _find(path: str) -> Report:
    located = mountpoints.locate(path)
    for report in gather(located):
        return report
    above = mountpoints.mount_above(located)
    hint = f"; it lies in the mount {above.path}" if above else ""
    raise MountPointError(f"nothing is mounted on {located}{hint}")


# -- gathering --------------------------------------------------------------------------


def gather(path: str | None = None) -> list[Report]:
    """All mounts, or the one on ``path``: the kernel's table and the announced ones together.

    Never hangs.  Announced mounts of which nothing is left are forgotten.
    """
    entries = [each for each in registry.entries() if path in (None, each.mountpoint)]
    kernels = [each for each in mountpoints.mounted() if _is_shown(each) and path in (None, each.path)]
    present = {(each.path, each.device) for each in kernels}
    announced = {(each.mountpoint, each.device) for each in entries}
    with ThreadPoolExecutor(max_workers=8) as pool:
        waiting = [pool.submit(_report, each, (each.mountpoint, each.device) in present) for each in entries]
        lost = [each for each in kernels if (each.path, each.device) not in announced]
        found = [*(each.result() for each in waiting), *pool.map(_unannounced, lost)]
    reports = [each for each in found if each is not None]
    return sorted(reports, key=lambda report: (report.mountpoint, report.state is State.ENDING))


def _is_shown(mount: Mounted) -> bool:
    return mount.is_ours and (os.geteuid() == 0 or mount.uid == os.geteuid())


def _report(entry: registry.Entry, is_mounted: bool) -> Report | None:
    running = entry.is_running()
    details: dict[str, Any] = {}
    if not running and not is_mounted:
        entry.forget()
        return None
    if not running:
        state = State.DEAD
    elif not is_mounted:
        state = State.ENDING
    else:
        state, details = _ask(entry)
    return Report(entry.mountpoint, entry.source, state, entry.pid, entry.since, details)


def _ask(entry: registry.Entry) -> tuple[State, dict[str, Any]]:
    try:
        return State.READY, dict(control.ask(entry.socket, "status", timeout=_PATIENCE))
    except control.ControlError:
        return State.HANGS, {}


def _unannounced(mount: Mounted) -> Report:
    state = State.DEAD if mountpoints.is_dead(mount.path, _PATIENCE) else State.UNKNOWN
    return Report(mount.path, mount.source, state, None, None, {})


# -- showing --------------------------------------------------------------------------


def _show(reports: list[Report]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("MOUNT POINT", "SOURCE", "STATE", "SINCE"):
        table.add_column(heading, overflow="fold")
    for report in reports:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(report.since)) if report.since else ""
        table.add_row(report.mountpoint, report.source, report.state.value, since)
    # a program that reads this wants whole lines, whatever their length
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False).print(table)
    for report in reports:
        if remedy := _REMEDIES.get(report.state):
            print(f"{report.mountpoint} {remedy.format(report.mountpoint)}")
