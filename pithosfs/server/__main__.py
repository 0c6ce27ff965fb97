"""``python -m pithosfs.server DIR``: the server without the rest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pithosfs.server import run


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    parse = argparse.ArgumentParser(prog="python -m pithosfs.server", description=__doc__)
    parse.add_argument(
        "directory", type=Path, metavar="DIR", help="where everything is kept; made if missing"
    )
    parse.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parse.add_argument(
        "--port", type=int, default=run.DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    parse.add_argument("--md5-etags", action="store_true", help="ETags are MD5s, as Swift clients want them")
    parse.add_argument(
        "--racy-conditions",
        action="store_true",
        help="check If-Match before the lock is taken, as the real server does",
    )
    parse.add_argument(
        "--no-fsync", action="store_true", help="faster; a power cut may take what was answered 201"
    )
    parse.add_argument("--access-log", type=Path, metavar="FILE", help="one JSON line for each request")
    parse.add_argument("--add-user", metavar="NAME", help="add a user, print where its kamakirc is, and exit")
    parse.add_argument("--uuid", help="with --add-user: its uuid (default: random)")
    parse.add_argument(
        "--token-file", type=Path, help="with --add-user: file with its token (default: random)"
    )
    parse.add_argument("--quota", metavar="NAME=BYTES", help="limit a user's account, and exit")
    parse.add_argument("--check", action="store_true", help="check every block and hashmap, and exit")
    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parse = parser()
    given = parse.parse_args(arguments)
    try:
        if given.add_user:
            print(run.add_user(given.directory, given.add_user, given.uuid, given.token_file))
            return 0
        if given.quota:
            name, equals, quota = given.quota.rpartition("=")
            if not (equals and quota.isascii() and quota.isdigit()):
                parse.error("--quota wants NAME=BYTES")
            run.set_quota(given.directory, name, int(quota))
            return 0
        if given.check:
            problems = run.check(given.directory)
            print("\n".join(problems) if problems else "all blocks and hashmaps are whole")
            return 1 if problems else 0
        options = run.Options(
            md5_etags=given.md5_etags,
            racy_conditions=given.racy_conditions,
            durable=not given.no_fsync,
            access_log=given.access_log,
        )
        return run.serve(given.directory, given.host, given.port, options=options)
    except run.ServerProblem as error:
        print(f"pithosfs.server: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
