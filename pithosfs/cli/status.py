"""``pithosfs status``: what is mounted, and how it fares."""

from __future__ import annotations

import argparse
import json
import sys

from pithosfs import mountpoints
from pithosfs.cli import arguments, output, prometheus
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.cli.reports import Report, State, gather
from pithosfs.mountpoints import MountPointError

_DESCRIPTION = """\
Show the mounts of this user (for root: of everybody): state, open files, what
waits to be sent, what did not have to be sent, how often the cache helped.
With a MOUNTPOINT, all that is known about this one.

Exit code 1 if the mount asked for, or one of them, hangs, is dead or offline (its
server does not answer).

Example:
  pithosfs status
  pithosfs status ~/cloud --watch
  pithosfs status ~/cloud --json
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "status", run, "show mounts and what they are doing", _DESCRIPTION
    )
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", default=None, help="only this one")
    parser.set_defaults(form="text")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        dest="form",
        action="store_const",
        const="json",
        help="for programs: an object for the MOUNTPOINT given, else a list of them",
    )
    form.add_argument(
        "--prometheus",
        dest="form",
        action="store_const",
        const="prometheus",
        help="for monitoring: figures in Prometheus' text format",
    )
    form.add_argument(
        "--watch", dest="form", action="store_const", const="watch", help="go on showing, until Ctrl-C"
    )


def run(args: argparse.Namespace) -> int:
    """Gather and show."""
    if args.form == "watch":
        return _watch(args.mountpoint)
    reports = _find(args.mountpoint)
    match args.form:
        case "json":
            content = [report.as_json() for report in reports]
            print(json.dumps(content if args.mountpoint is None else content[0], indent=2))
        case "prometheus":
            print(prometheus.metrics(reports), end="")
        case _:
            _show(reports, in_full=args.mountpoint is not None)
    troubled = any(each.state in (State.HANGS, State.DEAD, State.OFFLINE) for each in reports)
    return ExitCode.FAILED if troubled else ExitCode.OK


def _find(path: str | None) -> list[Report]:
    if path is None:
        return gather()
    located = mountpoints.locate(path)
    if reports := gather(located):
        return reports[:1]
    here = mountpoints.mount_at(located)
    if here is not None and here.is_ours:
        raise MountPointError(f"{located} was mounted by another user: only they and root can ask it")
    above = mountpoints.mount_above(located)
    hint = f"; it lies in the mount {above.path}" if above else ""
    raise MountPointError(f"nothing is mounted on {located}{hint}")


def _show(reports: list[Report], in_full: bool) -> None:
    from pithosfs.cli import tables  # slow to load, and not for programs

    if not reports:
        output.say("nothing is mounted")
        return
    output.draw(tables.in_full(reports[0]) if in_full else tables.overview(reports))
    cut = tables.cut_reasons(reports[0]) if in_full else []
    for line in (*([""] if cut else []), *cut, *tables.remedies(reports)):
        output.say(line)


def _watch(path: str | None) -> int:
    from pithosfs.cli import watch

    if not sys.stdout.isatty():
        raise CommandError("--watch needs a terminal; programs take --json", ExitCode.USAGE)
    watch.watch(lambda: _find(path), in_full=path is not None)
    return ExitCode.OK
