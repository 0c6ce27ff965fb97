"""What several operations on objects do inside their transaction."""

from __future__ import annotations

from dataclasses import replace

from pithosfs.server.store import accounts, descriptions, listing, sharing, versions
from pithosfs.server.store.database import Transaction
from pithosfs.server.store.errors import AccountFull, ContainerFull, NotAllowed, NotFound
from pithosfs.server.store.values import Attributes, Target
from pithosfs.server.store.versions import Container, State, Version


def readable(tx: Transaction, user: str, target: Target) -> Container:
    """The container of an object the user may read.  Raises NotAllowed, NotFound."""
    place = versions.find_container(tx, target.account, target.container)
    if user != target.account:
        sharing.check_read(tx, user, place, target.name)
    return place or versions.container(tx, target.account, target.container)


def writable(tx: Transaction, user: str, target: Target) -> Container:
    """The container of an object the user may write.  Raises NotAllowed, NotFound."""
    place = versions.find_container(tx, target.account, target.container)
    if user != target.account:
        sharing.check_write(tx, user, place, target.name)
    return place or versions.container(tx, target.account, target.container)


def source_of(tx: Transaction, place: Container, name: str, serial: int | None) -> Version:
    """The version with this number, or the live one.  Raises NotFound."""
    if serial is not None:
        return versions.of_serial(tx, place.id, name, serial)
    version = versions.live(tx, place.id, name)
    if version is None:
        raise NotFound("Object does not exist")
    return version


def below(tx: Transaction, place: Container, prefix: str) -> list[Version]:
    """All live objects whose names start with ``prefix``."""
    low, high = listing.bounds(prefix)
    rows = tx.all(
        "SELECT * FROM newest WHERE container = ? AND name > ? AND name < ? AND state = 1 ORDER BY name",
        place.id,
        low,
        high,
    )
    return [version for version in map(versions.version_of, rows) if version.name.startswith(prefix)]


def add(
    tx: Transaction,
    place: Container,
    name: str,
    version: Version,
    before: Version | None,
    *,
    account_quota: bool,
) -> Version:
    """Add a version and see whether the quotas allow it, in the order of the real server."""
    added = versions.add(tx, place, name, version)
    descriptions.check_count(version.meta)
    growth = version.size - (before.size if before else 0)
    if growth > 0:
        used = tx.value("SELECT bytes FROM container WHERE id = ?", place.id)
        if place.quota and used > place.quota:
            raise ContainerFull(place.quota, used)
        available = accounts.limit(tx, place.account) - (accounts.usage(tx, place.account) - growth)
        if account_quota and growth > available:
            raise AccountFull(max(available, 0), growth)
    return added


def mark_deleted(tx: Transaction, user: str, place: Container, version: Version) -> None:
    """Put a deletion mark on an object; its sharing and public name go."""
    mark = replace(
        version, state=State.DELETED, size=0, author=user, meta={}, merkle="", md5="", type="", content=0
    )
    versions.add(tx, place, version.name, mark)
    sharing.forget(tx, place, version.name)


def check_access(user: str, target: Target, attributes: Attributes) -> None:
    """Raises NotAllowed if somebody else than the owner wants to share."""
    if attributes.permissions is not None and user != target.account:
        raise NotAllowed("Modifying other account's object permissions is not allowed")


def set_access(tx: Transaction, place: Container, name: str, attributes: Attributes) -> None:
    """Share and publish as ``attributes`` say."""
    if attributes.permissions is not None:
        sharing.share(tx, place, name, attributes.permissions)
    if attributes.public is not None:
        sharing.publish(tx, place, name, public=attributes.public)
