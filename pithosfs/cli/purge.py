"""``pithosfs purge``: destroy history."""

from __future__ import annotations

import argparse
import time

from pithosfs import history, moments
from pithosfs.cli import arguments, confirm, output, targets, times
from pithosfs.cli.exits import ExitCode
from pithosfs.cli.targets import Target
from pithosfs.history import Purge

_DESCRIPTION = """\
Destroy old versions of the file PATH, or of everything in a container, for good.

What is there now stays; so do versions younger than --before.  Says first how
much it would free, and asks.  This cannot be undone.

Example:
  pithosfs purge ~/cloud/disk.img --before "1 month ago"
  pithosfs purge pithos --before "1 year ago"
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(commands, "purge", run, "destroy old versions for good", _DESCRIPTION)
    parser.add_argument(
        "--before", metavar="TIME", default=None, help="only versions older than this (default: all old ones)"
    )
    confirm.add_yes(parser)
    targets.add_path(parser)


def run(args: argparse.Namespace) -> int:
    """Say what would go, ask, destroy."""
    before = time.time_ns() if args.before is None else times.parse(args.before)
    with targets.opened(args, args.path, whole_container=True) as target:
        targets.require_writable(target)
        if target.name:
            targets.require_file(target)
        found = (
            history.purgeable(target.client, target.ref, before)
            if target.name
            else history.purgeable_container(target.client, target.container, before)
        )
        if target.name and not found.versions:
            output.say(f"{target.ref} has no old versions {_until_text(found, before)}")
            return ExitCode.OK
        confirm.ask(args, _question(target, found))
        target.client.purge(target.container, target.name or None, found.until)
        target.changed()
    output.say(f"{output.count(found.versions, 'version')} destroyed, up to {output.size(found.size)} freed")
    return ExitCode.OK


def _until_text(found: Purge, before: int) -> str:
    """Up to when was looked: history ends by whole seconds, and must not take what is there now."""
    text = f"from before {moments.name_of(found.until * moments.SECOND)}"
    if found.until < before // moments.SECOND:
        text += ", the last full second before the present one was written"
    return text


def _question(target: Target, found: Purge) -> str:
    when = moments.name_of(found.until * moments.SECOND)
    what = f"{output.count(found.versions, 'version')} of {target.ref} up to {when}"
    freed = f"that frees up to {output.size(found.size)}"
    if target.name:
        return f"destroy {what}? {freed}"
    return f"destroy {what} and all history of what was deleted? {freed} and what deleted files take"
