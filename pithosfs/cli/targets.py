"""What a PATH on the command line means: an object of a store, and how to reach it.

One rule for all commands.  A PATH inside a mounted directory is the object
that is shown there; the mount says which, and by which settings its account is
found again.  Any other PATH is ``CONTAINER/NAME`` in the account of the settings
given, unless it begins with ``/``, ``.`` or ``~``: that can only be meant as a place on
this machine, and there is no mount.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pithosfs import control, moments, mountpoints, registry
from pithosfs.api import Client, connect
from pithosfs.attributes import Kind, kind_of
from pithosfs.cli import arguments
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.config import Connection
from pithosfs.errors import BadRequest, ConfigError, NotFound, PithosError
from pithosfs.names import ObjectRef
from pithosfs.options import CONNECTION_OPTIONS
from pithosfs.past import PAST_DIRECTORY

PATH_HELP = "a path in a mounted directory, or CONTAINER/NAME"

#: What to do about a PATH that shows the past, told the name of what it is the past of.
Remedy = Callable[[str], str]

#: Seconds a mount may take to say what a path is.
_PATIENCE = 30.0
#: Seconds a mount that nobody named may take to say what it shows, and to forget it.
_BRIEFLY = 3.0
_CONNECTIONS = 32
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """An object, or a directory of objects, and the client of its account.

    ``text`` is the PATH as it was given, ``entry`` the mount it lies in.  ``only_looked_at`` says what to do
    instead of changing it through a mount with ``--read-only``; "" where it may be changed.
    """

    text: str
    client: Client
    connection: Connection
    ref: ObjectRef
    entry: registry.Entry | None = None
    only_looked_at: str = ""

    @property
    def container(self) -> str:
        """The object's container."""
        return self.ref.container

    @property
    def name(self) -> str:
        """The object's name, "" for the whole container."""
        return self.ref.name

    def changed(self, *also: str) -> None:
        """Let mounts show what was changed behind their backs, here and in the containers ``also``.

        Returns when they do; one that does not answer is not waited for.
        """
        show_changes(self.client, (self.container, *also), self.entry)


def show_changes(client: Client, containers: Iterable[str], named: registry.Entry | None = None) -> None:
    """Let the user's mounts of these containers forget their listings; ``named`` does in any case."""
    running = [each for each in registry.entries() if each.is_running()]

    def tell(entry: registry.Entry) -> None:
        with suppress(control.ControlError):
            if entry == named:
                refresh(entry)
            elif _shows(entry, client, frozenset(containers)):
                refresh(entry, patience=_BRIEFLY)

    if running:
        with ThreadPoolExecutor(len(running)) as pool:
            list(pool.map(tell, running))


def _shows(entry: registry.Entry, client: Client, containers: frozenset[str]) -> bool:
    """Whether something of the containers is in a mount.  Raises ControlError."""
    container = entry.source.strip("/").partition("/")[0]
    if container and container not in containers:
        return False
    of = control.ask(entry.socket, "status", timeout=_BRIEFLY)
    # without a container it shows the whole account, or what all others share
    return of.get("server") == client.endpoint and (not container or of.get("account") == client.account_id)


def refresh(entry: registry.Entry, path: str | None = None, *, patience: float = _PATIENCE) -> None:
    """Let a mount forget its listings, of ``path`` (from its top) and below, or all.

    Returns when names and sizes are seen as they are now.  Raises ControlError.
    """
    time.sleep(control.ask(entry.socket, "refresh", timeout=patience, path=path))


def add_path(parser: argparse.ArgumentParser, **more: Any) -> None:
    """The argument PATH, and the options that say which account."""
    parser.add_argument("path", **{"metavar": "PATH", "help": PATH_HELP, **more})
    arguments.add_options(parser, CONNECTION_OPTIONS)


@contextmanager
def opened(
    args: argparse.Namespace,
    text: str,
    *,
    whole_container: bool = False,
    in_store: bool = False,
    past: Remedy | None = None,
) -> Iterator[Target]:
    """The target of ``text``; its connections are closed afterwards.

    ``whole_container``: the PATH may name a container and nothing in it.  ``in_store``: it is
    CONTAINER/NAME, whatever directory this is.  ``past`` says what to do about a PATH below ``.pithos``,
    or in a mount with ``--at``.
    """
    past = past or (_by_name_and_time if "at" in args else _by_name)
    place = None if in_store else locate(text, past)
    found = _found(text, place, whole_container)
    if found.get("past"):
        raise _past_error(text, past(_named(found, args)))
    given = args if place is None else _with(args, found["settings"])
    settings = arguments.connection(given)
    with connected(settings) as client:
        instead = _instead(_named(found, args)) if found.get("read_only") else ""
        if place is not None:
            client = _of_mount(client, found, place[0])
        ref = ObjectRef(found["container"], found["name"])
        with storage_asked(settings):
            yield Target(text, client, settings, ref, place[0] if place else None, instead)


def beside(target: Target, text: str) -> Target:
    """Another target of the same account, over the same connections.  Raises CommandError."""
    place = locate(text)
    found = _found(text, place, whole_container=True)
    if place is not None and found["account"] != target.client.account_id:
        raise CommandError(f"{target.text} and {text} are of different accounts", ExitCode.USAGE)
    name = _quoted(found)  # which leads to the target's account, whatever that takes
    if found.get("past"):
        raise _past_error(text, _by_name(name))
    return replace(
        target,
        text=text,
        ref=ObjectRef(found["container"], found["name"]),
        entry=place[0] if place else None,
        only_looked_at=_instead(name) if found.get("read_only") else "",
    )


def _found(text: str, place: tuple[registry.Entry, str] | None, whole_container: bool) -> dict[str, Any]:
    """Container and name of a PATH; in a mount its account, server and settings as well."""
    if place is None:
        found: dict[str, Any] = _store_form(text)
    else:
        found = control.ask(place[0].socket, "resolve", timeout=_PATIENCE, path=place[1])
    if not found["name"] and not whole_container:
        if place is None and "/" not in text:
            raise CommandError(
                f"{text} lies in no mounted directory, and has no name in it if it is a container: "
                "write CONTAINER/NAME",
                ExitCode.USAGE,
            )
        raise CommandError(f"{text} is a container: name something in it", ExitCode.USAGE)
    if not found["container"]:
        raise CommandError(f"{text} is a whole account: name a container in it", ExitCode.USAGE)
    return found


def _quoted(found: dict[str, Any]) -> str:
    return shlex.quote(str(ObjectRef(found["container"], found["name"])))


def _named(found: dict[str, Any], args: argparse.Namespace) -> str:
    """How what a PATH in a mount leads to is named without the mount, by a command that got ``args``.

    The same name in one's own account is another object: that one must not be deleted by good advice.
    """
    try:
        known = arguments.account_settings(args, arguments.connection(args))
    except ConfigError:
        known = {}
    needed = {key: value for key, value in found["settings"].items() if known.get(key) != value}
    if found["account"] != found.get("own_account"):
        needed["account"] = found["account"]
    options = arguments.as_typed(needed)
    return f"{_quoted(found)} with {options}" if options else _quoted(found)


def _instead(name: str) -> str:
    """What to do about a PATH in a mount with ``--read-only`` that shall be changed."""
    return f"name {name}, or mount it without --read-only"


def _of_mount(client: Client, found: dict[str, Any], entry: registry.Entry) -> Client:
    if found["endpoint"] != client.endpoint:
        raise CommandError(
            f"{entry.mountpoint} is of another server ({found['endpoint']}) than the settings lead to",
            ExitCode.SETTINGS,
        )
    if found["account"] == client.account_id:
        return client
    return Client(client.transport, client.endpoint, found["account"])


def require_writable(target: Target) -> None:
    """Raises CommandError if the target lies in a mount that its user wants to look at only."""
    if target.only_looked_at:
        raise CommandError(
            f"{target.text} is in a mount with --read-only: {target.only_looked_at}", ExitCode.USAGE
        )


def require_file(target: Target) -> None:
    """Raises CommandError if the target is a directory."""
    if is_directory(target.client, target.ref):
        raise CommandError(f"{target.text} is a directory: name a file", ExitCode.USAGE)


def require_container(target: Target, until: int) -> None:
    """Raises NotFound if there is no such container, CommandError if there was none at second ``until``."""
    try:
        target.client.container(target.container)
    except NotFound as error:
        raise NotFound(f"there is no container {target.container}", error.status) from None
    try:
        target.client.list_page(target.container, limit=1, until=until)
    except NotFound:
        # The store's "path does not exist" does not tell which, and that it is the time that is wrong.
        when = moments.name_of(until * moments.SECOND)
        raise CommandError(
            f"there was no container {target.container} yet at {when}: give a later time with --at",
            ExitCode.NOT_FOUND,
        ) from None


def is_directory(client: Client, ref: ObjectRef) -> bool:
    """Whether something is below ``ref``, or it is a directory's own object, or a whole container."""
    if not ref.name:
        return True
    own = client.entry(ref.container, ref.name)
    if own is not None and kind_of(own.content_type) is Kind.DIRECTORY:
        return True
    return client.first(ref.container, ref.prefix) is not None


@contextmanager
def connected(settings: Connection) -> Iterator[Client]:
    """A client of the account the settings name."""
    client = connect(settings, timeout=_TIMEOUT, pool=_CONNECTIONS)
    try:
        yield client
    finally:
        client.transport.close()


@contextmanager
def storage_asked(settings: Connection) -> Iterator[None]:
    """Inside the ``with``, ConfigError instead of NotFound if the URL given is not where the account is."""
    try:
        yield
    except (NotFound, BadRequest) as error:
        if settings.endpoint and not _is_storage(settings):
            raise ConfigError(
                f"{settings.endpoint} is not the storage endpoint of this account: take the"
                " object-store URL of the service catalogue, or leave --url out and name a cloud"
            ) from error
        raise


def _is_storage(settings: Connection) -> bool:
    with connected(settings) as client:
        try:
            client.account()
        except (NotFound, BadRequest):
            return False
        except PithosError:
            return True  # who can tell
    return True


def _by_name(name: str) -> str:
    return f"name {name} instead"


def _by_name_and_time(name: str) -> str:
    return f"name {name}, and the time with --at"


def locate(text: str, past: Remedy = _by_name) -> tuple[registry.Entry, str] | None:
    """The running mount a PATH lies in, and the path from its top; None for ``CONTAINER/NAME``.

    ``past`` says what to do about a PATH below ``.pithos``.
    """
    place = _place(text, "name what you mean as CONTAINER/NAME", past)
    if place is None and text.startswith(("/", ".", "~")):
        raise CommandError(
            f"{text} lies in no mounted directory; what is in a store is written CONTAINER/NAME",
            ExitCode.MOUNTPOINT,
        )
    return place


def in_mount(text: str) -> tuple[registry.Entry, str]:
    """The same for commands that want a mount, whatever the account has."""
    place = _place(text, "only they can ask it", _by_name)
    if place is None:
        raise CommandError(
            f"{text} lies in no mounted directory: name something that is mounted (pithosfs status lists it)",
            ExitCode.MOUNTPOINT,
        )
    return place


def _place(text: str, elsewhere: str, past: Remedy) -> tuple[registry.Entry, str] | None:
    located = mountpoints.locate(text)
    mount = mountpoints.mount_at(located) or mountpoints.mount_above(located)
    if mount is None or not mount.is_ours:
        return None
    if os.geteuid() not in (0, mount.uid):
        raise CommandError(f"{mount.path} was mounted by another user: {elsewhere}", ExitCode.MOUNTPOINT)
    entry = registry.find(mount.path)
    if entry is None or entry.device != mount.device or not entry.is_running():
        raise CommandError(
            f"the mount {mount.path} does not answer; see: pithosfs status {mount.path}", ExitCode.MOUNTPOINT
        )
    inside = located.removeprefix(mount.path).strip("/")
    if inside.split("/")[0] == PAST_DIRECTORY:
        raise _past_error(text, past(_present(mount.path, inside)))
    return entry, inside


def _past_error(text: str, remedy: str) -> CommandError:
    # Commands are about the object as it is now: a mount of yesterday must not be a way to delete it.
    return CommandError(f"{text} is the past, which stays as it is: {remedy}", ExitCode.USAGE)


def _present(top: str, inside: str) -> str:
    """What is now what ``.pithos/at/TIME/NAME`` was."""
    _, kind, *then = [*inside.split("/"), ""]
    return shlex.quote(str(Path(top, *then[1:]))) if kind == "at" and then else "the file itself"


def _store_form(text: str) -> dict[str, str]:
    container, _, name = text.strip("/").partition("/")
    if not container:
        raise BadRequest(f"'{text}' names no container")
    return {"container": container, "name": name}


def _with(args: argparse.Namespace, settings: dict[str, str]) -> argparse.Namespace:
    """``args``, with the settings of the mount where nothing else was said."""
    own = any(each.key in args for each in CONNECTION_OPTIONS)
    parsed = {
        each.key: each.parse(settings[each.key])
        for each in CONNECTION_OPTIONS
        if each.parse is not None and each.key in settings and not own
    }
    return argparse.Namespace(**{**parsed, **vars(args)})
