"""``pithosfs status``: what is mounted, and how it fares."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pithosfs import mountpoints
from pithosfs.cli import arguments
from pithosfs.cli.exits import ExitCode
from pithosfs.cli.reports import Report, State, gather
from pithosfs.mountpoints import MountPointError
from pithosfs.options import format_size

if TYPE_CHECKING:
    from rich.table import Table

_DESCRIPTION = """\
Show the mounts of this user (for root: of everybody): state, open files, what
waits to be sent, what did not have to be sent, how often the cache helped.
With a MOUNTPOINT, all that is known about this one.

Exit code 1 if the mount asked for, or one of them, hangs or is dead.

Example:
  pithosfs status
  pithosfs status ~/cloud --json
"""

_REMEDIES = {
    State.HANGS: "does not answer; to end it: pithosfs umount --force {0}",
    State.DEAD: "lost its process; mount it again, or: pithosfs umount {0}",
    State.UNKNOWN: "was not mounted by you, or is still starting",
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
        _show(reports, in_full=args.mountpoint is not None)
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


# -- showing --------------------------------------------------------------------------


def _show(reports: list[Report], in_full: bool) -> None:
    from rich.console import Console

    # a program that reads this wants whole lines, whatever their length
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False)
    console.print(_in_full(reports[0]) if in_full else _overview(reports))
    for report in reports:
        if remedy := _REMEDIES.get(report.state):
            print(f"{report.mountpoint} {remedy.format(report.mountpoint)}")


def _overview(reports: list[Report]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("MOUNT POINT", overflow="fold")
    for heading in ("SOURCE", "STATE", "OPEN", "UNSENT", "SENT", "SPARED", "CACHE HITS"):
        table.add_column(heading)
    for report in reports:
        table.add_row(report.mountpoint, report.source, report.state.value, *_figures(report.details))
    return table


def _figures(details: dict[str, Any]) -> Iterator[str]:
    """The columns of numbers; none for a mount that says nothing."""
    if not details:
        return
    pending, upload = details.get("pending", ()), details.get("upload", {})
    yield str(details.get("open_files", 0))
    yield f"{len(pending)} files, {format_size(_unsent(pending))}" if pending else "-"
    yield format_size(upload.get("bytes_sent", 0))
    yield format_size(upload.get("bytes_spared", 0))
    yield _hit_rate(details.get("cache", {}))


def _in_full(report: Report) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    since = time.strftime(", since %Y-%m-%d %H:%M", time.localtime(report.since)) if report.since else ""
    table.add_row("mount point", report.mountpoint)
    table.add_row("source", report.source)
    table.add_row("state", f"{report.state.value}{since}")
    for name, text in _details(report.details):
        table.add_row(name, text)
    return table


def _details(details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not details:
        return
    upload, cache = details.get("upload", {}), details.get("cache", {})
    yield "server", f"{details.get('server', '?')}, account {details.get('account', '?')}"
    yield "files", f"{details.get('open_files', 0)} open, {details.get('dirty_files', 0)} with changes"
    yield "sent", _blocks(upload, "sent")
    yield "spared", f"{_blocks(upload, 'spared')} that the server had already"
    yield (
        "cache",
        (
            f"{format_size(cache.get('disk_bytes', 0))} on disk "
            f"of {format_size(cache.get('disk_limit', 0))} allowed, "
            f"{format_size(cache.get('memory_bytes', 0))} in memory; {_hit_rate(cache)} hits"
        ),
    )
    for each in details.get("pending", ()):
        reason = f": {each['error']}" if each.get("error") else ""
        yield "unsent", f"{each['object']} ({format_size(each.get('unsent', 0))}) {each['state']}{reason}"
    for each in details.get("conflicts", ()):
        yield "conflict", f"{each['object']} was changed elsewhere; what was written here is {each['copy']}"
    if errors := details.get("errors"):
        yield "errors", ", ".join(f"{name} {count}" for name, count in sorted(errors.items()))


def _blocks(upload: dict[str, Any], what: str) -> str:
    return f"{format_size(upload.get(f'bytes_{what}', 0))} in {upload.get(f'blocks_{what}', 0)} blocks"


def _unsent(pending: list[dict[str, Any]]) -> int:
    return sum(each.get("unsent", 0) for each in pending)


def _hit_rate(cache: dict[str, Any]) -> str:
    hits = cache.get("memory_hits", 0) + cache.get("disk_hits", 0)
    asked = hits + cache.get("misses", 0)
    return f"{hits / asked:.0%}" if asked else "-"
