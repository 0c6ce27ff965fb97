"""The command line: one small module a command.

A command's module has ``add(commands)``, which makes its parser and names the
function to run; a new command is such a module and a line in ``_COMMANDS``.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from pithosfs import __version__
from pithosfs.cli import (
    cache,
    completion,
    demo,
    diff,
    doctor,
    download,
    du,
    exits,
    mount,
    publish,
    purge,
    refresh,
    restore,
    serve,
    share,
    shared,
    status,
    trash,
    umount,
    upload,
    versions,
    warm,
)
from pithosfs.cli.arguments import Formatter, completed

_COMMANDS = (
    *(mount, umount, status, doctor, serve, demo, completion),
    *(versions, diff, restore, trash, purge),
    *(publish, share, shared),
    *(upload, download),
    *(refresh, warm, cache, du),
)

_DESCRIPTION = """\
Mount a container of a Pithos+ object store as a directory.

The account comes from kamaki's configuration file (~/.kamakirc), or from
--url and a token; `pithosfs COMMAND --help` tells more of each command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is an :class:`~pithosfs.cli.exits.ExitCode`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths may hold any bytes
    try:
        args = parser().parse_args(completed(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # argparse has said everything: help, version or what is wrong
        return int(stop.code or 0)
    return int(exits.guarded(args.command, lambda: args.run(args)))


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="pithosfs", description=_DESCRIPTION, formatter_class=Formatter, allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"pithosfs {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add(commands)
    return top
