"""``pithosfs serve``: a Pithos server for one machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pithosfs.cli import arguments, logs
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.options import LOG_LEVELS, parse_path, parse_text

if TYPE_CHECKING:
    from pithosfs.server import run as server

_DESCRIPTION = """\
Serve a Pithos object store out of DIR, for as long as it runs.

DIR is made if it is missing and keeps everything: a later start goes on where
the last one ended.  DIR/kamakirc is the configuration (with a random token) for
clients; only its owner can read it.

Example:
  pithosfs serve ~/store &
  KAMAKI_CONFIG=~/store/kamakirc pithosfs mount pithos ~/cloud
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "serve", run, "run a Pithos server out of a directory", _DESCRIPTION
    )
    path = arguments.typed(parse_path)
    text = arguments.typed(parse_text)
    parser.add_argument("directory", metavar="DIR", type=path, help="where the store is kept")
    parser.set_defaults(host="127.0.0.1", port=8085, access_log=None, uuid=None, token_file=None)
    parser.set_defaults(add_user=None, check=False, md5_etags=False, no_fsync=False, log_level="warning")

    serving = parser.add_argument_group("serving")
    serving.add_argument(
        "--host", type=text, help="address to listen on (default 127.0.0.1: this machine only)"
    )
    serving.add_argument("--port", metavar="N", type=_port, help="port (default 8085; 0 takes a free one)")
    serving.add_argument(
        "--md5-etags", action="store_true", help="ETags are MD5s, as Swift clients want them"
    )
    serving.add_argument(
        "--no-fsync", action="store_true", help="faster, but a power cut may take what was confirmed"
    )
    serving.add_argument("--access-log", metavar="FILE", type=path, help="one line of JSON for each request")
    serving.add_argument("--log-level", metavar="LEVEL", choices=LOG_LEVELS, help=", ".join(LOG_LEVELS))

    other = parser.add_argument_group("instead of serving (also while it serves)")
    other.add_argument("--check", action="store_true", help="check every block and file of the store")
    other.add_argument(
        "--add-user", metavar="NAME", type=text, help="add a user, print where its kamakirc is"
    )
    other.add_argument("--uuid", type=text, help="the user's UUID (default: random)")
    other.add_argument(
        "--token-file", metavar="FILE", type=path, help="a file with the user's token (default: random)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it, or do the one thing asked for instead."""
    from pithosfs.server import run as server  # other commands do without the server's libraries

    logs.start(args.log_level)
    try:
        if args.add_user is not None:
            print(server.add_user(args.directory, args.add_user, args.uuid, args.token_file))
            return ExitCode.OK
        if args.check:
            return _check(server.check(args.directory))
        return server.serve(args.directory, args.host, args.port, options=_options(args))
    except server.ServerProblem as problem:
        raise CommandError(str(problem)) from problem


def _options(args: argparse.Namespace) -> server.Options:
    from pithosfs.server import run as server

    return server.Options(md5_etags=args.md5_etags, durable=not args.no_fsync, access_log=args.access_log)


def _check(problems: list[str]) -> int:
    print("\n".join(problems) if problems else "the store is whole")
    return ExitCode.FAILED if problems else ExitCode.OK


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port: 0 to 65535")
    return int(text)
