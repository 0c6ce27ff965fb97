"""Who may read or write what, and which objects have a public name.

Permissions belong to a name, not to a version.  Those of a directory marker
hold for everything below it that has none of its own.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pithosfs.server.store import versions
from pithosfs.server.store.database import Database, Row, Transaction
from pithosfs.server.store.errors import NotAllowed
from pithosfs.server.store.versions import Container

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Who may read and who may write: uuids, ``account:group``, or ``*``."""

    readers: Sequence[str] = ()
    writers: Sequence[str] = ()

    @property
    def everybody(self) -> list[str]:
        """Whoever may read: who may write may read."""
        return [*self.readers, *self.writers]


@dataclass(frozen=True, slots=True)
class Shared:
    """The permissions that hold for an object and the name they were given to."""

    name: str
    permissions: Permissions


class Sharing:
    """Questions about sharing that are not about one object."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts_for(self, user: str) -> list[str]:
        """Accounts, other than the user's own, that share something with the user."""
        with self._database.read() as tx:
            rows = tx.all("SELECT DISTINCT c.account FROM sharing s JOIN container c ON c.id = s.container")
            others = sorted(row[0] for row in rows if row[0] != user)
            return [account for account in others if containers_for(tx, user, account)]

    def containers_for(self, user: str, account: str) -> list[str]:
        """Names of the account's containers in which the user may read something."""
        with self._database.read() as tx:
            return containers_for(tx, user, account)

    def containers_shared(self, account: str, *, shared: bool, public: bool) -> set[str]:
        """Names of the account's containers with shared, or public, objects."""
        with self._database.read() as tx:
            found: set[str] = set()
            if shared:
                found |= {row["container_name"] for row in _shared_rows(tx, account)}
            if public:
                rows = tx.rows(
                    "SELECT DISTINCT c.name FROM public p JOIN container c ON c.id = p.container "
                    "WHERE c.account = ?",
                    account,
                )
                found |= {row[0] for row in rows}
            return found

    def of_public(self, token: str) -> tuple[str, str, str] | None:
        """(account, container, object) of a public name, or None."""
        with self._database.read() as tx:
            row = tx.one(
                "SELECT c.account, c.name, p.name FROM public p JOIN container c ON c.id = p.container "
                "WHERE p.token = ?",
                token,
            )
            return None if row is None else (row[0], row[1], row[2])


# -- questions inside a transaction ------------------------------------------------


def shared(tx: Transaction, place: Container, name: str) -> Shared | None:
    """The permissions that hold for an object: its own, else those of the nearest directory."""
    rows = {
        row["name"]: row
        for row in tx.rows(
            "SELECT * FROM sharing WHERE container = ? AND name IN (SELECT value FROM json_each(?))",
            place.id,
            json.dumps([name, *_above(name)]),
        )
    }
    for candidate in sorted(rows, reverse=True):
        if candidate == name:
            return Shared(name, _permissions(rows[name]))
        marker = versions.live(tx, place.id, candidate)
        if marker is not None and marker.is_directory:
            return Shared(candidate, _permissions(rows[candidate]))
    return None


def granted(tx: Transaction, user: str, members: Iterable[str]) -> bool:
    """Whether ``members`` include the user, directly, by a group or by ``*``."""
    for member in members:
        if member in (user, EVERYBODY):
            return True
        account, colon, group = member.partition(":")
        if colon and tx.one(
            "SELECT 1 FROM member WHERE account = ? AND lower(name) = ? AND member = ?", account, group, user
        ):
            return True
    return False


def check_read(tx: Transaction, user: str, place: Container | None, name: str) -> None:
    """Raises NotAllowed unless ``user``, who is not the owner, may read the object's versions.

    A public object may be read by everybody who has a token; its present state
    is shown only to those in :func:`check_shown`.
    """
    if place is not None and public_token(tx, place, name) is not None:
        return
    found = shared(tx, place, name) if place else None
    if found is None:
        raise NotAllowed("User does not have access to the object")
    if not granted(tx, user, found.permissions.everybody):
        raise NotAllowed("User does not have read access to the object")


def check_shown(tx: Transaction, user: str, found: Shared | None) -> None:
    """Raises NotAllowed unless ``user``, who is not the owner, is named in the permissions."""
    if found is None or not granted(tx, user, found.permissions.everybody):
        raise NotAllowed("User does not have access to the path")


def check_write(tx: Transaction, user: str, place: Container | None, name: str) -> None:
    """Raises NotAllowed unless ``user``, who is not the owner, may write the object."""
    found = shared(tx, place, name) if place else None
    if found is None:
        raise NotAllowed("User does not have access to the object")
    if not granted(tx, user, found.permissions.writers):
        raise NotAllowed("User does not have write access to the object")


def containers_for(tx: Transaction, user: str, account: str) -> list[str]:
    """Names of the account's containers in which the user may read something."""
    found = set()
    for row in _shared_rows(tx, account):
        if granted(tx, user, _permissions(row).everybody):
            found.add(row["container_name"])
    return sorted(found)


def names_for(tx: Transaction, user: str | None, place: Container) -> list[str]:
    """Names in a container with permissions for ``user`` (of any kind if None)."""
    rows = tx.rows("SELECT * FROM sharing WHERE container = ? ORDER BY name", place.id)
    return [row["name"] for row in rows if user is None or granted(tx, user, _permissions(row).everybody)]


def public_names(tx: Transaction, place: Container) -> dict[str, str]:
    """Public tokens of a container's objects, by object name."""
    return {
        row["name"]: row["token"]
        for row in tx.rows("SELECT name, token FROM public WHERE container = ?", place.id)
    }


def public_token(tx: Transaction, place: Container, name: str) -> str | None:
    """The object's public token, or None."""
    found: str | None = tx.value("SELECT token FROM public WHERE container = ? AND name = ?", place.id, name)
    return found


# -- changes inside a transaction ----------------------------------------------------


def share(tx: Transaction, place: Container, name: str, permissions: Permissions) -> None:
    """Set who may read and write an object; empty permissions unshare it."""
    if not permissions.everybody:
        tx.run("DELETE FROM sharing WHERE container = ? AND name = ?", place.id, name)
        return
    tx.run(
        "INSERT OR REPLACE INTO sharing VALUES (?, ?, ?, ?)",
        place.id,
        name,
        json.dumps(list(permissions.readers)),
        json.dumps(list(permissions.writers)),
    )


def publish(tx: Transaction, place: Container, name: str, *, public: bool) -> None:
    """Give an object a public name, or take it away; one it has stays."""
    if public:
        tx.run("INSERT OR IGNORE INTO public VALUES (?, ?, ?)", place.id, name, secrets.token_urlsafe(16))
    else:
        tx.run("DELETE FROM public WHERE container = ? AND name = ?", place.id, name)


def forget(tx: Transaction, place: Container, name: str) -> None:
    """Drop permissions and public name of an object that is no more."""
    tx.run("DELETE FROM sharing WHERE container = ? AND name = ?", place.id, name)
    tx.run("DELETE FROM public WHERE container = ? AND name = ?", place.id, name)


def _permissions(row: Row) -> Permissions:
    return Permissions(json.loads(row["readers"]), json.loads(row["writers"]))


def _shared_rows(tx: Transaction, account: str) -> list[Row]:
    return tx.all(
        "SELECT s.*, c.name AS container_name FROM sharing s JOIN container c ON c.id = s.container "
        "WHERE c.account = ?",
        account,
    )


def _above(name: str) -> list[str]:
    """Names of the directories above an object: ``a/b/c`` → ``a``, ``a/``, ``a/b``, ``a/b/``."""
    found = []
    parts = name.rstrip("/").split("/")
    for length in range(1, len(parts)):
        directory = "/".join(parts[:length])
        found += [directory, directory + "/"]
    return found
