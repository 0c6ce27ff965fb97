"""``pithosfs diff``: which bytes two versions differ in."""

from __future__ import annotations

import argparse
from itertools import islice

from pithosfs import history
from pithosfs.cli import arguments, exits, output, targets, times
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.cli.targets import Target

_DESCRIPTION = """\
Show the ranges of bytes in which two versions of the file PATH differ.

Blocks with the same hash are the same and cost nothing; only those that differ
are fetched and compared.  V1 and V2 are version numbers or times.  As with
diff(1), the exit code is 1 if they differ, 0 if they are the same.

Example:
  pithosfs diff ~/cloud/disk.img 4711 4712
  pithosfs diff ~/cloud/disk.img yesterday now
"""

#: Ranges shown unless all are asked for.
_SHOWN = 100
#: A number of so many digits that is no version's is a time, in seconds since 1970.
_SECONDS = 9


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "diff", run, "show which bytes two versions differ in", _DESCRIPTION
    )
    targets.add_path(parser)
    parser.add_argument("first", metavar="V1", help="a version's number, or a time")
    parser.add_argument("second", metavar="V2", help="another")
    parser.add_argument(
        "--all", action="store_true", default=False, help=f"all ranges, not the first {_SHOWN} only"
    )


def run(args: argparse.Namespace) -> int:
    """Compare and show."""
    with targets.opened(args, args.path) as target:
        first, second = _version(target, args.first), _version(target, args.second)
        found = history.differences(target.client, target.ref, first, second)
        rows = [
            (str(each.start), str(each.stop), output.size(each.stop - each.start))
            for each in (found if args.all else islice(found, _SHOWN + 1))
        ]
    if not rows:
        output.say(f"versions {first} and {second} are the same")
        return ExitCode.OK
    output.show(("FROM", "TO", "SIZE"), rows if args.all else rows[:_SHOWN], right=("FROM", "TO", "SIZE"))
    if len(rows) > _SHOWN and not args.all:
        exits.complain(f"only the first {_SHOWN} ranges are shown; --all shows the rest")
    return ExitCode.FAILED


def _version(target: Target, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        number = int(text)
        if number in {each.serial for each in target.client.versions(target.container, target.name)}:
            return number
        if len(text) < _SECONDS:
            raise CommandError(f"{target.text} has no version {number}", ExitCode.NOT_FOUND)
    return history.version_at(target.client, target.ref, times.parse(text)).serial
