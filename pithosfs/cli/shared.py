"""``pithosfs shared``: what one shares, and what others share."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pithosfs import sharing
from pithosfs.cli import arguments, output, targets
from pithosfs.cli.exits import ExitCode
from pithosfs.cli.people import People
from pithosfs.options import CONNECTION_OPTIONS

_DESCRIPTION = """\
List what you share with others or have published, and what others share with you.

What others share can be mounted: all of it with `pithosfs mount --shared / DIR`,
one container with `pithosfs mount --account UUID CONTAINER DIR`.

Example:
  pithosfs shared
  pithosfs shared --json
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "shared", run, "list what you share and what others share with you", _DESCRIPTION
    )
    parser.add_argument("--json", action="store_true", default=False, help="for programs: two lists")
    arguments.add_options(parser, CONNECTION_OPTIONS)


def run(args: argparse.Namespace) -> int:
    """Ask and show."""
    connection = arguments.connection(args)
    with targets.connected(connection) as client:
        mine: list[dict[str, Any]] = [
            {
                "path": f"{container}/{entry.name}",
                "sharing": entry.sharing,
                "shared_by": entry.shared_by,
                "public": entry.public,
            }
            for container, entry in sharing.shared_by_me(client)
        ]
        theirs: list[dict[str, Any]] = [
            {"account": account, "path": f"{container}/{entry.name}", "allowed": entry.allowed_to}
            for account, container, entry in sharing.shared_with_me(client)
        ]
    if args.json:
        print(json.dumps({"mine": mine, "theirs": theirs}, indent=2))
        return ExitCode.OK
    people = People(
        connection, [each["sharing"] or "" for each in mine] + [each["account"] for each in theirs]
    )
    if mine:
        rows = [(each["path"], people.named(each["sharing"] or ""), each["public"] or "") for each in mine]
        output.show(("YOU SHARE", "WITH", "PUBLIC LINK"), rows)
    if mine and theirs:
        print()
    if theirs:
        shown = [
            (each["path"], people.named(each["account"]), each["allowed"], each["account"]) for each in theirs
        ]
        output.show(("OTHERS SHARE", "OWNER", "YOU MAY", "ACCOUNT"), shown)
    if not mine and not theirs:
        output.say("nothing is shared")
    return ExitCode.OK
