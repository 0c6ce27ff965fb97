"""``pithosfs versions``: the history of a file."""

from __future__ import annotations

import argparse
import dataclasses
import json

from pithosfs import history
from pithosfs.cli import arguments, output, targets
from pithosfs.cli.exits import ExitCode
from pithosfs.cli.people import People
from pithosfs.history import FileVersion

_DESCRIPTION = """\
List the versions of the file PATH, oldest first; also of one that was deleted.

CHANGED counts the blocks (of 4 MiB) that the version before had not in their
place.  Any NUMBER or TIME can be given to `pithosfs restore` and `diff`.

Example:
  pithosfs versions ~/cloud/thesis.odt
  pithosfs versions pithos/thesis.odt --json
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(commands, "versions", run, "list the versions of a file", _DESCRIPTION)
    targets.add_path(parser)
    parser.add_argument("--json", action="store_true", default=False, help="for programs: a list of objects")


def run(args: argparse.Namespace) -> int:
    """Ask and show."""
    with targets.opened(args, args.path) as target:
        found = history.versions(target.client, target.ref)
        connection = target.connection
    if args.json:
        print(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
    else:
        headings = ("NUMBER", "TIME", "SIZE", "CHANGED", "BY", "HASH")
        people = People(connection, (each.modified_by for each in found))
        output.show(headings, (_row(each, people) for each in found), right=("NUMBER", "SIZE", "CHANGED"))
    return ExitCode.OK


def _row(version: FileVersion, people: People) -> tuple[str, ...]:
    return (
        str(version.number),
        output.moment(version.time_ns),
        output.size(version.size),
        f"{version.changed} of {version.blocks}",
        people.named(version.modified_by),
        version.hash[:16],
    )
