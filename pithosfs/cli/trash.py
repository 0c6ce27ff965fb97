"""``pithosfs trash``: the ``trash`` container, as other Pithos clients use it."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from itertools import chain, count

from pithosfs import history
from pithosfs.api import Client
from pithosfs.cli import arguments, confirm, output, targets
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.errors import NotFound
from pithosfs.names import ObjectRef
from pithosfs.options import CONNECTION_OPTIONS

_DESCRIPTION = """\
Move files and directories to the container `trash` under their own names, where
the web interface and other clients look for them, and back again.

Example:
  pithosfs trash put ~/cloud/old
  pithosfs trash list
  pithosfs trash restore old --to ~/cloud/old    (without --to as pithos/old)
  pithosfs trash empty
"""
TRASH = "trash"


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parsers."""
    parser = arguments.add_command(
        commands, "trash", put, "move to the trash container, and back", _DESCRIPTION
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    each = arguments.add_command(actions, "put", put, "move PATH to the trash", "Move PATH to the trash.")
    targets.add_path(each)
    each = arguments.add_command(actions, "list", show, "what is in the trash", "List what is in the trash.")
    arguments.add_options(each, CONNECTION_OPTIONS)
    each = arguments.add_command(
        actions, "restore", restore, "move NAME out of the trash", "Move NAME out of the trash."
    )
    each.add_argument("name", metavar="NAME", help="a name in the trash")
    each.add_argument(
        "--to",
        metavar="PATH",
        default=None,
        help=f"where it shall be, {targets.PATH_HELP} (default: the same name in the cloud's container)",
    )
    arguments.add_options(each, CONNECTION_OPTIONS)
    each = arguments.add_command(
        actions, "empty", empty, "delete what is in the trash", "Delete all that is in the trash; asks first."
    )
    confirm.add_yes(each)
    arguments.add_options(each, CONNECTION_OPTIONS)


def put(args: argparse.Namespace) -> int:
    """Move an object, or a directory with all below it, to the trash."""
    with targets.opened(args, args.path) as target:
        targets.require_writable(target)
        target.client.create_container(TRASH)
        goal = ObjectRef(TRASH, _free_name(target.client, target.name))
        _move(target.client, target.ref, goal)
        target.changed(TRASH)
    output.say(f"{target.ref} is {goal} now")
    return ExitCode.OK


def _free_name(client: Client, name: str) -> str:
    """``name``, or with the time behind it if the trash has one already."""
    now = time.strftime("%Y-%m-%d %H.%M.%S")
    names = chain((name, f"{name} ({now})"), (f"{name} ({now}, {number})" for number in count(2)))
    return next(each for each in names if not history.below(client, ObjectRef(TRASH, each)))


def _move(client: Client, ref: ObjectRef, goal: ObjectRef) -> None:
    """One request; a directory that is only known from the names below it gets an object first."""
    found = history.below(client, ref)
    if not found:
        raise NotFound(f"there is no {ref}", 404)
    if "" not in found:
        client.put_object(ref.container, ref.name, b"", content_type="application/directory")
    client.move(
        ref.container, ref.name, goal.container, goal.name, recursive=len(found) > 1 or "" not in found
    )


def show(args: argparse.Namespace) -> int:
    """List the trash."""
    with targets.connected(arguments.connection(args)) as client:
        found: dict[str, tuple[int, int, int]] = {}
        with suppress(NotFound):
            for relative, entry in history.below(client, ObjectRef(TRASH, "")).items():
                top = relative.split("/")[1]
                objects, size, newest = found.get(top, (0, 0, 0))
                found[top] = (objects + 1, size + entry.size, max(newest, entry.modified_ns))
    if not found:
        output.say("the trash is empty")
        return ExitCode.OK
    rows = [
        (output.moment(newest)[:19], str(objects), output.size(size), name)
        for name, (objects, size, newest) in found.items()
    ]
    output.show(("SINCE", "OBJECTS", "SIZE", "NAME"), rows, right=("OBJECTS", "SIZE"))
    return ExitCode.OK


def restore(args: argparse.Namespace) -> int:
    """Move something out of the trash."""
    name = args.name.strip("/")
    goal = args.to or f"{arguments.connection(args).container}/{name}"
    with targets.opened(args, goal, in_store=args.to is None) as target:
        targets.require_writable(target)
        if history.below(target.client, target.ref):
            raise CommandError(f"{target.text} is there already")
        _move(target.client, ObjectRef(TRASH, name), target.ref)
        target.changed(TRASH)
    output.say(f"{target.ref} is back")
    return ExitCode.OK


def empty(args: argparse.Namespace) -> int:
    """Delete everything in the trash."""
    with targets.connected(arguments.connection(args)) as client:
        entries = history.below(client, ObjectRef(TRASH, "")).values()
        if not entries:
            output.say("the trash is empty")
            return ExitCode.OK
        size = sum(each.size for each in entries)
        confirm.ask(
            args, f"delete {output.count(len(entries), 'object')}, {output.size(size)}, from the trash?"
        )
        client.delete_container(TRASH, contents=True)
        targets.show_changes(client, (TRASH,))
    output.say(f"the trash is empty; it took {output.size(size)} of the quota")
    return ExitCode.OK
