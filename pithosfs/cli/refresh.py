"""``pithosfs refresh``: see at once what others changed."""

from __future__ import annotations

import argparse

from pithosfs.cli import arguments, targets
from pithosfs.cli.exits import ExitCode

_DESCRIPTION = """\
Forget what is known of the directory PATH and all below it, so that the next look
asks the server.  A mount does so by itself after --dir-cache-time; SIGHUP to its
process does it for the whole mount.

Example:
  pithosfs refresh ~/cloud/inbox
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "refresh", run, "forget listings, see what others changed", _DESCRIPTION
    )
    parser.add_argument("path", metavar="PATH", help="a directory in a mounted directory, or itself one")


def run(args: argparse.Namespace) -> int:
    """Tell the mount."""
    entry, inside = targets.in_mount(args.path)
    targets.refresh(entry, inside or None)
    return ExitCode.OK
