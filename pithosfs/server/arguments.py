"""The server's arguments, and what they ask for: of ``pithosfs serve`` and of ``python -m pithosfs.server``.

The server itself is imported only when something is to be done: the parser of
all commands is made without it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pithosfs.options import parse_duration, parse_path, parse_text, typed
from pithosfs.server import DEFAULT_PORT

if TYPE_CHECKING:
    from pithosfs.server import run


#: How requests are to cost what they cost a real server.
RECORDED = "recorded"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything the server can be told."""
    path, text = typed(parse_path), typed(parse_text)
    parser.add_argument("directory", metavar="DIR", type=path, help="where the store is kept")

    serving = parser.add_argument_group("serving")
    serving.add_argument(
        "--host",
        type=text,
        default="127.0.0.1",
        help="address to listen on (default %(default)s: this machine only)",
    )
    serving.add_argument(
        "--port",
        metavar="N",
        type=_port,
        default=DEFAULT_PORT,
        help="port (default %(default)s; 0: a free one)",
    )
    serving.add_argument(
        "--md5-etags", action="store_true", default=False, help="ETags are MD5s, as Swift clients want them"
    )
    serving.add_argument(
        "--racy-conditions",
        action="store_true",
        default=False,
        help="check If-Match before the lock is taken, as the real server does",
    )
    serving.add_argument(
        "--no-fsync",
        action="store_true",
        default=False,
        help="faster, but a power cut may take what was confirmed",
    )
    serving.add_argument(
        "--access-log", metavar="FILE", type=path, default=None, help="one line of JSON for each request"
    )

    serving.add_argument(
        "--request-cost",
        metavar="TIME",
        type=typed(_cost),
        default=0.0,
        help="for measurements: CPU time (like 12ms) that each request takes beyond what it needs; recorded: "
        "what one of its method took a real server",
    )

    other = parser.add_argument_group("instead of serving (also while it serves)")
    other.add_argument(
        "--check", action="store_true", default=False, help="check every block and file of the store"
    )
    other.add_argument(
        "--add-user", metavar="NAME", type=text, default=None, help="add a user, print where its kamakirc is"
    )
    other.add_argument("--uuid", type=text, default=None, help="the user's UUID (default: random)")
    other.add_argument(
        "--token-file",
        metavar="FILE",
        type=path,
        default=None,
        help="a file with the user's token (default: random)",
    )
    other.add_argument(
        "--quota", metavar="NAME=BYTES", type=_quota, default=None, help="limit a user's account"
    )


def carry_out(given: argparse.Namespace) -> int:
    """Serve until a signal ends it, or do the one thing asked for instead; returns the exit code.

    Raises :class:`~pithosfs.server.run.ServerProblem`.
    """
    from pithosfs.server import run

    if given.add_user is not None:
        print(run.add_user(given.directory, given.add_user, given.uuid, given.token_file))
        return 0
    if given.quota is not None:
        run.set_quota(given.directory, *given.quota)
        return 0
    if given.check:
        problems = run.check(given.directory)
        print("\n".join(problems) if problems else "the store is whole")
        return 1 if problems else 0
    return run.serve(given.directory, given.host, given.port, options=_options(given))


def _options(given: argparse.Namespace) -> run.Options:
    from pithosfs.server import costly, run

    return run.Options(
        md5_etags=given.md5_etags,
        racy_conditions=given.racy_conditions,
        durable=not given.no_fsync,
        access_log=given.access_log,
        request_cost=costly.RECORDED if given.request_cost == RECORDED else given.request_cost,
    )


def _cost(text: str) -> float | str:
    return text if text == RECORDED else parse_duration(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port: 0 to 65535")
    return int(text)


def _quota(text: str) -> tuple[str, int]:
    name, _, size = text.rpartition("=")
    if not name or not size.isascii() or not size.isdigit() or len(size) > 18:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=BYTES")
    return name, int(size)
