"""``pithosfs upload``: files and trees to the store."""

from __future__ import annotations

import argparse
from pathlib import Path

from pithosfs import names, trees
from pithosfs.attributes import Kind
from pithosfs.cli import arguments, exits, output, progress, targets
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.names import ObjectRef
from pithosfs.trees import LocalItem, Totals

_DESCRIPTION = """\
Upload files and directories, several files at a time.

The one SOURCE becomes TARGET, a directory's content joins what is there.  With a
slash behind TARGET, or for a whole container, each SOURCE goes into it under its own
name; so does a file if TARGET is a directory.

Only blocks the store has not yet are sent, and files that are there already (same
size and time) are passed over: broken off, repeat it.

Example:
  pithosfs upload film.mkv pithos
  pithosfs upload ~/photos ~/music pithos/backup/
  pithosfs upload ~/photos pithos/pictures
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(commands, "upload", run, "upload files and trees", _DESCRIPTION)
    parser.add_argument("sources", metavar="SOURCE", nargs="+", type=Path, help="a file or directory here")
    targets.add_path(parser, metavar="TARGET")


def run(args: argparse.Namespace) -> int:
    """Find out what goes where, send it, say what it took."""
    with targets.opened(args, args.path, whole_container=True) as target:
        targets.require_writable(target)
        target.client.container(target.container)  # a missing one is said once, not for each file
        items: list[LocalItem] = []
        left_out: list[str] = []
        inside = not target.name or args.path.endswith("/")
        if len(args.sources) > 1 and not inside:
            raise CommandError(f"several files go into a directory: write {args.path}/", ExitCode.USAGE)
        for source in args.sources:
            within = inside or (not source.is_dir() and targets.is_directory(target.client, target.ref))
            goal = _goal(target.ref, source) if within else target.ref
            items += trees.local_items(source, goal, left_out)
        _refuse_twice(items)
        with progress.amounts("hashing", sum(each.size for each in items)) as told:
            totals = trees.upload(target.client, items, target.ref, told)
        totals.failed += left_out
        target.changed()
    return report("uploaded", "sent", totals)


def _refuse_twice(items: list[LocalItem]) -> None:
    """Raises CommandError if two things would become one; directories may, they join."""
    first: dict[ObjectRef, LocalItem] = {}
    for item in items:
        other = first.setdefault(item.ref, item)
        if other is not item and not (other.attributes.kind is item.attributes.kind is Kind.DIRECTORY):
            raise CommandError(f"{other.path} and {item.path} would both become {item.ref}", ExitCode.USAGE)


def _goal(top: ObjectRef, source: Path) -> ObjectRef:
    name = source.resolve().name if source.name in ("", "..") else source.name
    return top.child(names.to_object(name))


def report(done: str, moved: str, totals: Totals) -> int:
    """Say what a transfer did; the exit code."""
    spared = totals.size - totals.moved
    output.say(
        f"{done} {output.size(totals.size)} in {output.count(totals.files, 'file')}:"
        f" {output.size(totals.moved)} {moved}, {output.size(spared)} were there already"
        f" ({output.count(totals.skipped, 'file')} unchanged)"
    )
    for line in totals.failed:
        exits.complain(f"  failed: {line}")
    return ExitCode.FAILED if totals.failed else ExitCode.OK
