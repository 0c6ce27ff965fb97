"""Users with their tokens and quotas; accounts with their groups and metadata."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pithosfs.server.store import descriptions
from pithosfs.server.store.database import Database, Transaction
from pithosfs.server.store.errors import Invalid

DEFAULT_QUOTA = 100 * 1024**3


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a token.  ``uuid`` is also the name of the account."""

    uuid: str
    name: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccountState:
    """What HEAD of an account tells; times in microseconds since 1970."""

    modified: int
    meta: Mapping[str, str]
    groups: Mapping[str, Sequence[str]]
    containers: int
    until: int | None = None


class Accounts:
    """Users and accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, User] = {}
        self._known_lock = threading.Lock()

    # -- users -----------------------------------------------------------------

    def add_user(self, user: User, quota: int = DEFAULT_QUOTA) -> None:
        """Add a user.  Raises Invalid if the name, the uuid or the token is taken."""
        with self._database.write() as tx:
            taken = tx.one(
                "SELECT 1 FROM user WHERE uuid = ? OR name = ? OR token = ?", user.uuid, user.name, user.token
            )
            if taken:
                raise Invalid(f"a user with this name, uuid or token exists already: {user.name}")
            tx.run("INSERT INTO user VALUES (?, ?, ?, ?)", user.uuid, user.name, user.token, quota)

    def users(self) -> list[User]:
        """All users, by name."""
        with self._database.read() as tx:
            return [User(*row) for row in tx.all("SELECT uuid, name, token FROM user ORDER BY name")]

    def user_of(self, token: str) -> User | None:
        """The user who has this token.  The time it takes tells nothing about tokens."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        user = self._known.get(digest) or self._reread().get(digest)
        if user is None or not hmac.compare_digest(
            user.token.encode(), token.encode("utf-8", "surrogatepass")
        ):
            return None
        return user

    def _reread(self) -> dict[bytes, User]:
        # another process may have added a user
        with self._known_lock:
            self._known = {hashlib.sha256(user.token.encode()).digest(): user for user in self.users()}
            return self._known

    # -- quota -----------------------------------------------------------------

    def set_quota(self, uuid: str, quota: int) -> None:
        """Limit the account to ``quota`` bytes."""
        with self._database.write() as tx:
            tx.run("UPDATE user SET quota = ? WHERE uuid = ?", quota, uuid)

    def quota(self, uuid: str) -> tuple[int, int]:
        """(bytes used by live objects, limit in bytes)."""
        with self._database.read() as tx:
            return usage(tx, uuid), limit(tx, uuid)

    # -- accounts --------------------------------------------------------------

    def ensure(self, uuid: str) -> None:
        """Make the account if this is the first time its user comes."""
        with self._database.read() as tx:
            if tx.one("SELECT 1 FROM account WHERE uuid = ?", uuid):
                return
        with self._database.write() as tx:
            ensure(tx, uuid)

    def state(self, uuid: str, until: int | None = None) -> AccountState:
        """The account now, or (metadata, containers) at the second ``until``."""
        with self._database.read() as tx:
            groups: dict[str, list[str]] = {}
            for row in tx.rows("SELECT name, member FROM member WHERE account = ? ORDER BY position", uuid):
                groups.setdefault(row["name"], []).append(row["member"])
            modified = _modified(tx, uuid)
            if until is None:
                meta = descriptions.current(tx, uuid, 0)
                return AccountState(modified, meta, groups, len(_containers(tx, uuid)))
            horizon = until * 1_000_000
            past = _modified(tx, uuid, horizon)
            meta = descriptions.at(tx, uuid, 0, horizon) or {}
            return AccountState(
                modified, meta, groups, len(_containers(tx, uuid, horizon)), past or until * 1_000_000
            )

    def update(
        self, uuid: str, meta: Mapping[str, str], groups: Mapping[str, Sequence[str]], *, replace: bool
    ) -> None:
        """Change metadata and groups; an empty value removes, ``replace`` drops the rest."""
        with self._database.write() as tx:
            ensure(tx, uuid)
            if groups:
                if replace:
                    tx.run("DELETE FROM member WHERE account = ?", uuid)
                for name, members in groups.items():
                    tx.run("DELETE FROM member WHERE account = ? AND name = ?", uuid, name)
                    tx.many(
                        "INSERT OR IGNORE INTO member (account, name, member) VALUES (?, ?, ?)",
                        [(uuid, name, member) for member in members],
                    )
            if meta or replace:
                descriptions.change(tx, uuid, 0, meta, replace=replace)


def ensure(tx: Transaction, uuid: str) -> None:
    """Make the account inside ``tx`` if it is not there: its first description."""
    if not tx.one("SELECT 1 FROM account WHERE uuid = ?", uuid):
        tx.run("INSERT INTO account VALUES (?)", uuid)
        descriptions.change(tx, uuid, 0, {}, replace=True)


def usage(tx: Transaction, uuid: str) -> int:
    """Bytes of all live objects of the account."""
    return tx.value("SELECT coalesce(sum(bytes), 0) FROM container WHERE account = ?", uuid) or 0


def limit(tx: Transaction, uuid: str) -> int:
    """The account's quota in bytes."""
    found = tx.value("SELECT quota FROM user WHERE uuid = ?", uuid)
    return DEFAULT_QUOTA if found is None else found


def _containers(tx: Transaction, uuid: str, horizon: int | None = None) -> list[int]:
    if horizon is None:
        return [row[0] for row in tx.rows("SELECT id FROM container WHERE account = ?", uuid)]
    return [
        row[0]
        for row in tx.rows(
            "SELECT DISTINCT c.id FROM container c JOIN description d ON d.container = c.id "
            "WHERE c.account = ? AND d.account = c.account AND d.stamp <= ?",
            uuid,
            horizon,
        )
    ]


def _modified(tx: Transaction, uuid: str, horizon: int | None = None) -> int:
    """The newest time among the account's metadata and its live objects.

    Deletions leave nothing behind that counts, so it does not follow them.
    """
    horizon = horizon if horizon is not None else 1 << 62
    described = tx.value("SELECT max(stamp) FROM description WHERE account = ? AND stamp <= ?", uuid, horizon)
    newest = [described or 0]
    for container in _containers(tx, uuid):
        found = tx.value(
            "SELECT stamp FROM version WHERE container = ? AND state = 1 AND stamp <= ? "
            "ORDER BY serial DESC LIMIT 1",
            container,
            horizon,
        )
        newest.append(found or 0)
    return max(newest)
