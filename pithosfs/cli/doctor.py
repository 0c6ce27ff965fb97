"""``pithosfs doctor``: is everything here that a mount needs?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pithosfs import options
from pithosfs.cli import arguments, checks, logs
from pithosfs.cli.checks import Check, Level
from pithosfs.cli.exits import ExitCode

_DESCRIPTION = """\
Check this machine, the settings and the server, one line each with what to do.

Changes nothing.  Exit code 1 if something FAILs; a warn is no failure.

Example:
  pithosfs doctor
  pithosfs doctor --cloud okeanos pictures
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "doctor", run, "find out why mounting does not work", _DESCRIPTION
    )
    parser.add_argument(
        "container", metavar="CONTAINER", nargs="?", default=None, help="also look for this container"
    )
    wanted = (
        *options.CONNECTION_OPTIONS,
        *(o for o in options.MOUNT_OPTIONS if o.key in ("cache_dir", "cache_size")),
    )
    arguments.add_options(parser, wanted)


def run(args: argparse.Namespace) -> int:
    """Print each check as it is done."""
    logs.start("error")
    failed = False
    for check in _checks(args):
        failed = failed or check.level is Level.FAIL
        remedy = f"; {check.remedy}" if check.remedy else ""
        print(f"{check.level.value:<5}{check.name:<12} {check.finding}{remedy}", flush=True)
    return ExitCode.FAILED if failed else ExitCode.OK


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    yield from checks.fuse()
    yield checks.cache(options.mount_options(vars(args)))
