"""``pithosfs publish`` and ``unpublish``: links that open without a token."""

from __future__ import annotations

import argparse

from pithosfs import sharing
from pithosfs.cli import arguments, output, targets
from pithosfs.cli.exits import ExitCode

_PUBLISH = """\
Give the file PATH a public link and print it: whoever has it can read the file.

The link stays the same as long as the file is published, whatever its content.
A rename ends it.

Example:
  pithosfs publish ~/cloud/slides.pdf
"""
_UNPUBLISH = """\
End the public link of the file PATH; published again, it gets another one.

Example:
  pithosfs unpublish ~/cloud/slides.pdf
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the parsers of both commands."""
    targets.add_path(
        arguments.add_command(commands, "publish", publish, "give a file a public link", _PUBLISH)
    )
    targets.add_path(
        arguments.add_command(commands, "unpublish", unpublish, "end a file's public link", _UNPUBLISH)
    )


def publish(args: argparse.Namespace) -> int:
    """Publish and print the link."""
    with targets.opened(args, args.path) as target:
        targets.require_writable(target)
        targets.require_file(target)
        output.say(sharing.publish(target.client, target.ref))
        target.changed()
    return ExitCode.OK


def unpublish(args: argparse.Namespace) -> int:
    """End the link."""
    with targets.opened(args, args.path) as target:
        targets.require_writable(target)
        sharing.unpublish(target.client, target.ref)
        target.changed()
    return ExitCode.OK
