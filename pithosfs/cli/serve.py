"""``pithosfs serve``: a Pithos server for one machine."""

from __future__ import annotations

import argparse
import socket

from pithosfs.cli import arguments, logs
from pithosfs.cli.exits import CommandError
from pithosfs.options import LOG_LEVELS
from pithosfs.server.arguments import add_arguments, carry_out

_DESCRIPTION = """\
Serve a Pithos object store out of DIR, for as long as it runs.

DIR is made if it is missing and keeps everything: a later start goes on where
the last one ended.  DIR/kamakirc is the configuration (with a random token) for
clients; only its owner can read it.

Example:
  pithosfs serve ~/store &
  KAMAKI_CONFIG=~/store/kamakirc pithosfs mount pithos ~/cloud
"""

_ELSEWHERE = "; choose another port with --port (0: a free one), or address with --host"


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "serve", run, "run a Pithos server out of a directory", _DESCRIPTION
    )
    add_arguments(parser)
    parser.add_argument(
        "--log-level", metavar="LEVEL", choices=LOG_LEVELS, default="warning", help=", ".join(LOG_LEVELS)
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it, or do the one thing asked for instead."""
    from pithosfs.server.run import ServerProblem  # other commands do without the server's libraries

    logs.start(args.log_level)
    if not (args.check or args.add_user or args.quota or (args.directory / "pithos.db").exists()):
        _require_free(args.host, args.port)  # before there is a store
    try:
        return carry_out(args)
    except ServerProblem as problem:
        hint = _ELSEWHERE if isinstance(problem.__context__, OSError) and "listen" in str(problem) else ""
        raise CommandError(f"{problem}{hint}") from problem


def _require_free(host: str, port: int) -> None:
    """Raise CommandError if the server could not listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port}: {error.strerror}{_ELSEWHERE}") from None
