"""Users of a server directory and the kamaki configuration file of each.

The first user, ``local``, has ``DIR/kamakirc``; every other one
``DIR/users/NAME/kamakirc``.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import uuid
from pathlib import Path

from pithosfs.server.app.identity import IDENTITY
from pithosfs.server.store import Store
from pithosfs.server.store.accounts import DEFAULT_QUOTA, User
from pithosfs.server.store.errors import Invalid

LOCAL = "local"
CONTAINERS = ("pithos", "trash")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,127}")
_UUID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


def add(
    store: Store, name: str, identity: str | None = None, token: str | None = None, quota: int = DEFAULT_QUOTA
) -> User:
    """Add a user with the containers ``pithos`` and ``trash``.  Raises Invalid."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"a user name is made of letters, digits and @._+-: {name!r} is none")
    if identity is not None and not _UUID.fullmatch(identity):
        raise Invalid(f"a uuid is made of letters, digits and dashes: {identity!r} is none")
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token and token):
        raise Invalid("a token is printable ASCII without spaces")
    user = User(identity or str(uuid.uuid4()), name, token or secrets.token_urlsafe(32))
    store.accounts.add_user(user, quota)
    for container in CONTAINERS:
        store.containers.put(user.uuid, container, {}, {})
    return user


def local(store: Store) -> User:
    """The first user; made if it is not there."""
    for user in store.accounts.users():
        if user.name == LOCAL:
            return user
    return add(store, LOCAL)


def config_path(directory: Path, user: User) -> Path:
    """Where the user's kamaki configuration lies."""
    if user.name == LOCAL:
        return directory / "kamakirc"
    return directory / "users" / user.name / "kamakirc"


def write_config(directory: Path, user: User, address: str) -> Path:
    """Write the user's kamaki configuration (0600) for a server at ``address``."""
    path = config_path(directory, user)
    for parent in (directory / "users", path.parent):
        parent.mkdir(mode=0o700, exist_ok=True)
    write_private(
        path,
        "# Written by the server at each start.\n"
        f"[global]\ndefault_cloud = {LOCAL}\nignore_ssl = on\n\n"
        f'[cloud "{LOCAL}"]\nurl = http://{address}{IDENTITY}\ntoken = {user.token}\n',
    )
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
