"""``pithosfs du``: how much there is, and how much of it is stored."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex

from pithosfs import history, usage
from pithosfs.cli import arguments, output, targets
from pithosfs.cli.exits import CommandError, ExitCode

_DESCRIPTION = """\
Add up the sizes of PATH and all that is in it, from listings alone.

--dedup tells as well what of it the store really keeps: each block once however
many files have it, holes not at all.

Example:
  pithosfs du ~/cloud/photos
  pithosfs du pithos --dedup
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "du", run, "add up sizes, apparent and deduplicated", _DESCRIPTION
    )
    parser.add_argument("--dedup", action="store_true", default=False, help="what the store really keeps")
    parser.add_argument("--json", action="store_true", default=False, help="for programs: bytes")
    targets.add_path(parser)


def run(args: argparse.Namespace) -> int:
    """List, count and show."""
    by_itself = f"add it up with: du -sh --apparent-size {shlex.quote(args.path)}"
    with targets.opened(args, args.path, whole_container=True, past=lambda _: by_itself) as target:
        client = target.client
        entries = history.below(client, target.ref).values()
        if target.name and not entries:
            raise CommandError(f"there is no {target.ref}", ExitCode.NOT_FOUND)
        if args.dedup:
            size = client.container(target.container).block_size
            found = usage.deduplicated(client, target.container, entries, size)
        else:
            found = usage.Usage(*usage.apparent(entries), 0, 0)
    if args.json:
        fields = dataclasses.asdict(found)
        print(json.dumps(fields if args.dedup else {key: fields[key] for key in ("objects", "apparent")}))
        return ExitCode.OK
    output.say(f"{output.size(found.apparent)} in {output.count(found.objects, 'object')}")
    if args.dedup:
        output.say(f"{output.size(found.stored)} stored in {output.count(found.blocks, 'block')}")
        if found.apparent:
            output.say(f"{1 - found.stored / found.apparent:.0%} saved")
    return ExitCode.OK
