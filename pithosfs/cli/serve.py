"""``pithosfs serve``: a Pithos server for one machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from pithosfs.cli import arguments, logs
from pithosfs.options import LOG_LEVELS

_DESCRIPTION = """\
Serve a Pithos object store out of DIR, for as long as it runs.

DIR is made if it is missing and keeps everything: a later start goes on where
the last one ended.  DIR/kamakirc is the configuration (with a random token) for
clients, DIR itself is private.

Example:
  pithosfs serve ~/store &
  KAMAKI_CONFIG=~/store/kamakirc pithosfs mount pithos ~/cloud
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "serve", run, "run a Pithos server out of a directory", _DESCRIPTION
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="where the store is kept")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)"
    )
    parser.add_argument("--port", type=_port, default=8085, help="port (default 8085; 0 takes a free one)")
    parser.add_argument(
        "--log-level", metavar="LEVEL", choices=LOG_LEVELS, default="warning", help=", ".join(LOG_LEVELS)
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    from pithosfs.server import run as server  # other commands do without the server's libraries

    logs.start(args.log_level)
    return server.serve(args.directory.expanduser().absolute(), args.host, args.port)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port: 0 to 65535")
    return int(text)
