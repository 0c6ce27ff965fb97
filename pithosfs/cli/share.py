"""``pithosfs share``: let other users in."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial

from pithosfs import identity, sharing
from pithosfs.cli import arguments, output, targets
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.cli.people import People
from pithosfs.cli.targets import Target
from pithosfs.options import parse_text, typed
from pithosfs.sharing import Permissions

_DESCRIPTION = """\
Let other users read, or read and write, the file or directory PATH.

WHO are users and groups with commas between: display names, UUIDs, groups of
yours, UUID:GROUP for others', or * for everybody with an account.  What is given
for a directory holds for all that is in it.  --read and --write each replace who
had it before; without either, who has it now is shown.

Example:
  pithosfs share ~/cloud/plans --read bob@example.org,team --write carol@example.org
  pithosfs share ~/cloud/plans --none
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(commands, "share", run, "let other users read or write", _DESCRIPTION)
    text = typed(parse_text)
    parser.add_argument("--read", metavar="WHO", type=text, default=None, help="who may read")
    parser.add_argument("--write", metavar="WHO", type=text, default=None, help="who may read and write")
    parser.add_argument("--none", action="store_true", default=False, help="nobody may any more")
    targets.add_path(parser)


def run(args: argparse.Namespace) -> int:
    """Set what was asked for and show what holds then."""
    if args.none and (args.read is not None or args.write is not None):
        raise CommandError("--none goes with neither --read nor --write", ExitCode.USAGE)
    with targets.opened(args, args.path) as target:
        if args.none or args.read is not None or args.write is not None:
            targets.require_writable(target)
            sharing.share(target.client, target.ref, _wanted(args, target))
            target.changed()
        found = sharing.permissions(target.client, target.ref)
        people = People(target.connection, (*found.read, *found.write))
    for kind, users in (("read", found.read), ("write", found.write)):
        output.say(f"{kind}: {', '.join(map(people.named, users)) or 'nobody else'}")
    return ExitCode.OK


def _wanted(args: argparse.Namespace, target: Target) -> Permissions:
    if args.none:
        return Permissions()
    wanted = sharing.own_permissions(target.client, target.ref)
    for kind in ("read", "write"):
        text = getattr(args, kind)
        if text is not None:
            names = [each.strip() for each in text.split(",") if each.strip()]
            look_up = partial(identity.user_ids, target.connection)
            found = tuple(sharing.user_ids(names, target.client, look_up))
            wanted = dataclasses.replace(wanted, **{kind: found})
    return wanted
