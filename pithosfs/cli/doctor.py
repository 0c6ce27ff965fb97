"""``pithosfs doctor``: is everything here that a mount needs?"""

from __future__ import annotations

import argparse
import email.utils
import shlex
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from pithosfs import options
from pithosfs.cli import arguments, checks, logs, output
from pithosfs.cli.checks import Check, Level, fail, ok, warn
from pithosfs.cli.exits import ExitCode
from pithosfs.errors import ConfigError, Forbidden, NotFound, PithosError, ProtocolError, Unauthorized
from pithosfs.options import format_size

if TYPE_CHECKING:
    from pithosfs.api import Client
    from pithosfs.config import Connection

_DESCRIPTION = """\
Check this machine, the settings and the server, one line each with what to do.

Changes nothing.  Exit code 1 if something FAILs; a warn is no failure.

Example:
  pithosfs doctor
  pithosfs doctor --cloud okeanos pictures
"""

#: Seconds a server may take to answer a check.
_PATIENCE = 10.0
#: Seconds a clock may be off before times of files look wrong.
_SKEW = 60.0


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "doctor", run, "find out why mounting does not work", _DESCRIPTION
    )
    parser.add_argument(
        "container",
        metavar="CONTAINER",
        nargs="?",
        default=None,
        help="the container to look for (default: the cloud's own)",
    )
    of_the_cache = (each for each in options.MOUNT_OPTIONS if each.key in ("cache_dir", "cache_size"))
    arguments.add_options(parser, (*options.CONNECTION_OPTIONS, *of_the_cache))


def run(args: argparse.Namespace) -> int:
    """Print each check as it is done."""
    failed = False
    with logs.collected():  # the checks say it better
        for check in _checks(args):
            failed = failed or check.level is Level.FAIL
            remedy = f"; {check.remedy}" if check.remedy else ""
            output.say(f"{check.level.value:<5}{check.name:<12} {check.finding}{remedy}", flush=True)
    return ExitCode.FAILED if failed else ExitCode.OK


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    yield from checks.fuse()
    yield checks.cache(options.mount_options(vars(args)))
    try:
        with logs.collected() as said:
            connection = arguments.connection(args)
    except ConfigError as error:
        yield fail("settings", str(error))
        return
    where = f"cloud {connection.cloud}" if connection.cloud else f"{connection.endpoint}"
    yield ok("settings", f"{where}, token from {connection.token.name}")
    yield from (warn("settings", each) for each in said)
    yield from _server(connection, args)


# -- the server ----------------------------------------------------------------------


def _server(connection: Connection, args: argparse.Namespace) -> Iterator[Check]:
    """Each check needs the one before it: the first that fails is the last."""
    name = connection.container if args.container is None else args.container
    steps: tuple[Callable[[Client], Check], ...] = (
        _account,
        _clock,
        lambda client: _container(client, name, arguments.as_typed(vars(args))),
    )
    from pithosfs.api import connect

    try:
        client = connect(connection, timeout=_PATIENCE, pool=1)
        for step in steps:
            yield step(client)
    except PithosError as error:
        yield _failed(error)


def _failed(error: PithosError) -> Check:
    match error:
        case ConfigError():
            return fail("settings", str(error))
        case Unauthorized():
            return fail("token", str(error), "get a new one where you got this one, and put it in its place")
        case Forbidden():
            return fail("account", str(error), "check --account, or ask its owner")
        case NotFound():
            return fail("account", str(error), "check --url and --account")
        case _:
            return fail("server", str(error), "check the network and the cloud's url")


def _account(client: Client) -> Check:
    info = client.account()
    used = f"{format_size(info.bytes_used)} used" + (f" of {format_size(info.quota)}" if info.quota else "")
    return ok("server", f"{client.endpoint} takes the token; account {client.account_id}, {used}")


def _clock(client: Client) -> Check:
    from pithosfs.transport import Request

    url = f"{client.endpoint}/{quote(client.account_id)}"
    answer = client.transport.send(Request("HEAD", url, label="the account"))
    skew = _skew(answer.headers.get("date", ""), time.time())
    if skew is None:
        return warn("clock", "the server does not tell the time")
    if abs(skew) > _SKEW:
        slow = "behind" if skew > 0 else "ahead of"
        return warn(
            "clock",
            f"this machine is {abs(skew):.0f} s {slow} the server",
            "set the clock (timedatectl set-ntp true): times of files will look wrong",
        )
    return ok("clock", "agrees with the server's")


def _container(client: Client, name: str, options: str) -> Check:
    try:
        info = client.container(name)
    except NotFound:
        words = ("pithosfs mount --create", options, shlex.quote(name), "MOUNTPOINT")
        remedy = f"make it with: {' '.join(filter(None, words))}"
        return fail("container", f"there is no container {name}", remedy)
    except ProtocolError as error:
        return fail("container", str(error))
    return ok("container", f"{name}: {info.count} objects, {format_size(info.bytes_used)}")


def _skew(date: str, now: float) -> float | None:
    """How many seconds a server whose Date header says ``date`` is ahead of ``now``."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - now
    except ValueError:
        return None
