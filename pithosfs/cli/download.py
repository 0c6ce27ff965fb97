"""``pithosfs download``: files and trees from the store."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from pithosfs import moments, names, trees
from pithosfs.cli import arguments, progress, targets, times
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.cli.upload import report
from pithosfs.errors import NotFound

_DESCRIPTION = """\
Download the file or directory PATH, several files at a time.

It becomes GOAL, a directory's content joins what is there.  With a slash behind GOAL,
or for . and .., it goes into it under its own name; so does a file if GOAL is a directory.

Every block is verified.  Files that are here already (same size and time) are passed
over, of one that was broken off only the rest is fetched: repeat it.

Example:
  pithosfs download pithos/photos ~/
  pithosfs download pithos/photos ~/photos-then --at "1 week ago"
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(commands, "download", run, "download files and trees", _DESCRIPTION)
    parser.add_argument("--at", metavar="TIME", default=None, help="as it was then: '2026-11-01 10:00', …")
    targets.add_path(parser)
    parser.add_argument("goal", metavar="GOAL", help="what it becomes here, or DIR/ where it goes")


def run(args: argparse.Namespace) -> int:
    """List, fetch, say what it took."""
    until = None if args.at is None else times.parse(args.at) // moments.SECOND
    with targets.opened(args, args.path, whole_container=True) as target:
        goal = Path(args.goal)
        inside = goal / names.to_path((target.name or target.container).rpartition("/")[2])
        if args.goal.endswith("/") or goal.name in ("", ".."):
            goal = inside
        try:
            items = trees.stored_items(target.client, target.ref, goal, until)
        except NotFound:
            if until is not None:
                targets.require_container(target, until)
            raise
        if target.name and not items:
            raise CommandError(f"there is no {target.ref}", ExitCode.NOT_FOUND)
        is_file = len(items) == 1 and items[0].path == goal and not items[0].node.is_directory
        if is_file and goal.is_dir():
            items = [replace(items[0], path=inside)]
        if not is_file and goal == inside and goal.is_symlink():  # maybe one that was downloaded
            raise CommandError(f"{goal} is a symbolic link: name the directory it leads to, without a slash")
        total = sum(each.node.size for each in items if not each.node.is_directory)
        with progress.amounts("downloading", total) as told:
            totals = trees.download(target.client, items, told)
    return report("downloaded", "fetched", totals)
