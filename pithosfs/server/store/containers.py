"""Containers: their policies, metadata and totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pithosfs.server.store import accounts, descriptions, versions
from pithosfs.server.store.database import Database, Transaction
from pithosfs.server.store.errors import Invalid, NotEmpty, NotFound
from pithosfs.server.store.versions import Container


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What HEAD of a container tells; times in microseconds since 1970."""

    container: Container
    count: int
    bytes: int
    meta: Mapping[str, str]
    object_keys: Sequence[str]
    until: int | None = None


class Containers:
    """The containers of all accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, account: str, name: str, policy: Mapping[str, str], meta: Mapping[str, str]) -> bool:
        """Make a container, or update the one there; True if it is new."""
        checked = checked_policy(policy)
        with self._database.write() as tx:
            place = versions.find_container(tx, account, name)
            created = place is None
            if place is None:
                place = self._create(tx, account, name)
            _set_policy(tx, place, checked, replace=False)
            if meta:
                stamp = descriptions.change(tx, account, place.id, meta, replace=False)
                tx.run("UPDATE container SET changed = ? WHERE id = ?", stamp, place.id)
            return created

    def _create(self, tx: Transaction, account: str, name: str) -> Container:
        accounts.ensure(tx, account)
        identity = tx.run(
            "INSERT INTO container (account, name, project, changed) VALUES (?, ?, ?, 0)",
            account,
            name,
            account,
        )
        stamp = descriptions.change(tx, account, identity, {}, replace=True)
        tx.run("UPDATE container SET changed = ? WHERE id = ?", stamp, identity)
        return versions.container(tx, account, name)

    def update(
        self, account: str, name: str, policy: Mapping[str, str], meta: Mapping[str, str], *, replace: bool
    ) -> None:
        """Change policy and metadata; ``replace`` resets what is not named."""
        checked = checked_policy(policy)
        with self._database.write() as tx:
            place = versions.container(tx, account, name)
            _set_policy(tx, place, checked, replace=replace)
            if meta or replace:
                stamp = descriptions.change(tx, account, place.id, meta, replace=replace)
                tx.run("UPDATE container SET changed = ? WHERE id = ?", stamp, place.id)

    def state(self, account: str, name: str, until: int | None = None) -> ContainerState:
        """The container now, or at the second ``until``."""
        with self._database.read() as tx:
            place = versions.container(tx, account, name)
            if until is None:
                meta = descriptions.current(tx, account, place.id)
                return ContainerState(place, place.count, place.bytes, meta, _live_keys(tx, place.id))
            return _past_state(tx, place, until * 1_000_000)

    def names(
        self, account: str, marker: str | None, limit: int, until: int | None = None
    ) -> list[Container]:
        """Containers in byte order after ``marker``, at most ``limit``."""
        with self._database.read() as tx:
            rows = tx.all(
                "SELECT * FROM container WHERE account = ? AND name > ? ORDER BY name", account, marker or ""
            )
            found = [Container(*row) for row in rows]
            if until is not None:
                horizon = until * 1_000_000
                found = [c for c in found if descriptions.at(tx, account, c.id, horizon) is not None]
            return found[:limit]

    def delete(self, account: str, name: str) -> None:
        """Take away an empty container and all its history.  Raises NotEmpty."""
        with self._database.write() as tx:
            place = versions.container(tx, account, name)
            if place.count:
                raise NotEmpty("Container is not empty")
            for statement in (
                "DELETE FROM content WHERE id IN (SELECT content FROM version WHERE container = ?1) AND"
                " NOT EXISTS (SELECT 1 FROM version v WHERE v.content = content.id AND v.container != ?1)",
                "DELETE FROM version WHERE container = ?1",
                "DELETE FROM object WHERE container = ?1",
                "DELETE FROM sharing WHERE container = ?1",
                "DELETE FROM public WHERE container = ?1",
                "DELETE FROM description WHERE container = ?1",
                "DELETE FROM container WHERE id = ?1",
            ):
                tx.run(statement, place.id)


def checked_policy(policy: Mapping[str, str]) -> dict[str, str]:
    """The policy with what is empty taken out.  Raises Invalid on what cannot be."""
    for key, value in policy.items():
        if key == "quota":
            if not (value.isascii() and value.isdigit() and len(value) < 20) and value != "":
                raise Invalid("The quota policy value should be a positive integer.")
        elif key == "versioning":
            if value not in ("auto", "none", ""):
                raise Invalid("The versioning policy value should be either 'auto' or 'none'.")
        elif key != "project":
            raise Invalid("The only allowed policies are 'quota' or 'versioning'.")
    return {key: value for key, value in policy.items() if value}


def _set_policy(tx: Transaction, place: Container, policy: Mapping[str, str], *, replace: bool) -> None:
    quota = int(policy["quota"]) if "quota" in policy else (0 if replace else place.quota)
    versioning = policy.get("versioning", "auto" if replace else place.versioning)
    project = policy.get("project", place.project)
    tx.run(
        "UPDATE container SET quota = ?, versioning = ?, project = ? WHERE id = ?",
        min(quota, 2**63 - 1),
        versioning,
        project,
        place.id,
    )


def _live_keys(tx: Transaction, container_id: int) -> list[str]:
    """The metadata keys in use, by skipping from key to key."""
    keys: list[str] = []
    key: str | None = ""
    while True:
        key = tx.value(
            "SELECT key FROM live_key WHERE container = ? AND key > ? ORDER BY key LIMIT 1", container_id, key
        )
        if key is None:
            return keys
        keys.append(key)


def _past_state(tx: Transaction, place: Container, horizon: int) -> ContainerState:
    meta = descriptions.at(tx, place.account, place.id, horizon)
    if meta is None:
        raise NotFound("Path does not exist")
    found = [
        versions.version_of(row)
        for row in tx.rows(
            "SELECT * FROM every e WHERE serial = "
            "(SELECT max(serial) FROM version WHERE object = e.object AND stamp <= ?) AND container = ?",
            horizon,
            place.id,
        )
    ]
    described = tx.value(
        "SELECT max(stamp) FROM description WHERE container = ? AND stamp <= ?", place.id, horizon
    )
    newest = max([described, *(version.stamp for version in found)])
    present = [version for version in found if version.state is not versions.State.DELETED]
    prefix = versions.META_PREFIX
    keys = {key[len(prefix) :] for version in present for key in version.meta if key.startswith(prefix)}
    return ContainerState(
        place, len(present), sum(version.size for version in present), meta, sorted(keys), newest
    )
