"""``pithosfs restore``: bring back what was."""

from __future__ import annotations

import argparse

from pithosfs import history, moments
from pithosfs.api import Entry
from pithosfs.attributes import Kind, kind_of
from pithosfs.cli import arguments, exits, output, progress, targets, times
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.cli.targets import Target
from pithosfs.errors import NotFound
from pithosfs.history import Plan
from pithosfs.options import parse_count, typed

_DESCRIPTION = """\
Make the file or directory PATH what it was in a version or at a time.

Happens on the server: nothing is downloaded or sent.  What is there now becomes
a version itself, so a restore can be undone.  A deleted file comes back in its
last version if neither --version nor --at is given.

Of a directory, everything that was there at that time comes back as it was.
What is there now and was not then stays; --exact deletes it.

Example:
  pithosfs restore ~/cloud/photos --at yesterday
  pithosfs restore ~/cloud/thesis.odt --version 4711 --to ~/cloud/old-thesis.odt
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "restore", run, "bring back a version, a deleted file, a directory", _DESCRIPTION
    )
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--version",
        metavar="N",
        type=typed(parse_count),
        default=None,
        help="a file's version by its number, from `pithosfs versions`",
    )
    when.add_argument(
        "--at", metavar="TIME", default=None, help="what was there then: '2026-11-01 10:00', yesterday, …"
    )
    parser.add_argument("--to", metavar="NEW", default=None, help="put it there instead, a PATH as well")
    parser.add_argument(
        "--exact", action="store_true", default=False, help="of a directory: delete what was not there then"
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", default=False, help="only say what would be done"
    )
    targets.add_path(parser)


def run(args: argparse.Namespace) -> int:
    """Find out what was there and bring it back."""
    with targets.opened(args, args.path, whole_container=True) as target:
        goal = target if args.to is None else targets.beside(target, args.to)
        if not args.dry_run:
            targets.require_writable(goal)
        if args.version is not None:
            _restore_file(args, target, args.version, goal)
        elif args.at is None:
            _restore_file(args, target, _last(target), goal)
        else:
            _restore_at(args, target, times.parse(args.at), goal)
        if not args.dry_run:
            goal.changed()
    return ExitCode.OK


def _last(target: Target) -> int:
    if not target.name:
        raise CommandError("say from when with --at", ExitCode.USAGE)
    listed = target.client.versions(target.container, target.name)
    try:
        target.client.head(target.container, target.name)
    except NotFound:
        last = target.client.head(target.container, target.name, listed[-1].serial).entry
        if _is_directory(last):
            raise CommandError(
                f"{target.text} was a directory: say from when with --at, like --at '1 hour ago'",
                ExitCode.USAGE,
            ) from None
        return listed[-1].serial
    raise CommandError(
        f"{target.text} is there: say which version with --version or --at (pithosfs versions lists them)",
        ExitCode.USAGE,
    )


def _restore_at(args: argparse.Namespace, target: Target, moment: int, goal: Target) -> None:
    """A directory if there was one then, else a file."""
    found = None
    try:
        found = history.plan(target.client, target.ref, moment // moments.SECOND, goal.ref)
    except NotFound:
        targets.require_container(target, moment // moments.SECOND)
        if not target.name:
            raise
    if found is None or _is_file(found):
        version = history.version_at(target.client, target.ref, moment)
        _restore_file(args, target, version.serial, goal)
    else:
        _restore_directory(args, target, found)


def _is_file(found: Plan) -> bool:
    return found.own is not None and not _is_directory(found.own)


def _is_directory(entry: Entry) -> bool:
    return kind_of(entry.content_type) is Kind.DIRECTORY


def _restore_file(args: argparse.Namespace, target: Target, version: int, to: Target) -> None:
    """Put one version where it was, or where it shall be; into a directory under its own name."""
    entry = _entry(target, version)
    goal = to.ref
    if targets.is_directory(to.client, goal):
        if to is target:
            raise CommandError(f"{target.text} is a directory now: put it elsewhere with --to")
        goal = goal.child(target.name.rpartition("/")[2])
    if args.dry_run:
        output.say(f"would bring back {goal}, {output.size(entry.size)}, from version {version}")
        return
    history.restore_version(target.client, target.ref, version, goal)
    output.say(f"{goal} is what it was in version {version}: {output.size(entry.size)}, no data moved")


def _entry(target: Target, version: int) -> Entry:
    if not target.name:
        raise CommandError(f"{target.text} is a container: say from when with --at", ExitCode.USAGE)
    try:
        return target.client.head(target.container, target.name, version).entry
    except NotFound:
        # The store's own "not found" sounds as if the file were missing.
        raise CommandError(
            f"{target.text} has no version {version}: pithosfs versions lists them", ExitCode.NOT_FOUND
        ) from None


def _restore_directory(args: argparse.Namespace, target: Target, found: Plan) -> None:
    if found.in_the_way:
        raise CommandError(f"{found.target} is a file now: put the directory elsewhere with --to")
    if args.dry_run:
        for entry in found.bring:
            output.say(f"would bring back {found.target_of(entry)}")
        for name in found.newer if args.exact else []:
            output.say(f"would delete {found.target.container}/{name}")
        return
    with progress.items("restoring", len(found.bring)) as told:
        history.carry_out(target.client, found, lambda entry: told(entry.name), exact=args.exact)
    output.say(
        f"{found.target}: {output.count(len(found.bring), 'object')} brought back"
        f" ({output.size(found.size)}, no data moved), {found.same} already as they had been"
    )
    if found.newer:
        verb = "deleted" if args.exact else "left as they are (--exact deletes them)"
        exits.complain(f"not there then: {output.count(len(found.newer), 'object')}, {verb}")
