"""Objects and their versions, row by row.

An object is a name in a container; its newest version is live or a deletion
mark.  Everything above works on :class:`Version` and the functions here, so
that totals and metadata keys of a container always follow its versions.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pithosfs.server.store.database import Row, Transaction
from pithosfs.server.store.errors import NotFound

META_PREFIX = "X-Object-Meta-"
"""Keys with this prefix are the user's own; others are headers kept with the object."""


class State(enum.IntEnum):
    """What a version is now."""

    HISTORY = 0
    LIVE = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Container:
    """A container's row.  ``quota`` in bytes, 0 for none; ``changed`` in microseconds."""

    id: int
    account: str
    name: str
    quota: int
    versioning: str
    project: str
    changed: int
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one object.  ``stamp`` in microseconds; ``content`` names its hashmap."""

    serial: int
    object: int
    container: int
    state: State
    size: int
    type: str
    merkle: str
    md5: str
    uuid: str
    author: str
    stamp: int
    meta: Mapping[str, str]
    content: int
    name: str

    @property
    def is_directory(self) -> bool:
        """Whether this marks a directory, by its content type."""
        return self.type.split(";", 1)[0].strip() in ("application/directory", "application/folder")


def version_of(row: Row) -> Version:
    """A version from a row of the views ``every`` and ``newest``."""
    fields = dict(row)
    return Version(**{**fields, "meta": json.loads(fields["meta"]), "state": State(fields["state"])})


def find_container(tx: Transaction, account: str, name: str) -> Container | None:
    """The container, or None."""
    row = tx.one("SELECT * FROM container WHERE account = ? AND name = ?", account, name)
    return None if row is None else Container(*row)


def container(tx: Transaction, account: str, name: str) -> Container:
    """The container.  Raises NotFound."""
    found = find_container(tx, account, name)
    if found is None:
        raise NotFound("Container does not exist")
    return found


def newest(tx: Transaction, container_id: int, name: str) -> Version | None:
    """The newest version of an object, a deletion mark included, or None."""
    row = tx.one("SELECT * FROM newest WHERE container = ? AND name = ?", container_id, name)
    return None if row is None else version_of(row)


def live(tx: Transaction, container_id: int, name: str) -> Version | None:
    """The live version of an object, or None."""
    found = newest(tx, container_id, name)
    return found if found is not None and found.state is State.LIVE else None


def of_serial(tx: Transaction, container_id: int, name: str, serial: int) -> Version:
    """A version by its number.  Raises NotFound if the object never had it or it was purged."""
    row = None
    if -(2**63) <= serial < 2**63:
        row = tx.one(
            "SELECT * FROM every WHERE serial = ? AND container = ? AND name = ?",
            serial,
            container_id,
            name,
        )
    if row is None or row["state"] == State.DELETED:
        raise NotFound("Version does not exist")
    return version_of(row)


def hashes(tx: Transaction, version: Version) -> list[str]:
    """The hashmap of a version."""
    text: str = tx.value("SELECT hashes FROM content WHERE id = ?", version.content)
    return text.split("\n")


def new_content(tx: Transaction, block_hashes: Sequence[str]) -> int:
    """Store a hashmap; versions made from this one refer to it, too."""
    return tx.run("INSERT INTO content (hashes) VALUES (?)", "\n".join(block_hashes))


def add(tx: Transaction, place: Container, name: str, version: Version) -> Version:
    """Make ``version`` the newest of object ``name``; number, time and object are filled in.

    The version that was live becomes history, or goes if the container keeps none.
    """
    before = newest(tx, place.id, name)
    object_id = (
        before.object
        if before is not None
        else tx.run("INSERT INTO object (container, name, latest) VALUES (?, ?, 0)", place.id, name)
    )
    serial, stamp = tx.next_serial(), tx.stamp()
    tx.run(
        "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        serial,
        object_id,
        place.id,
        version.state,
        version.size,
        version.type,
        version.merkle,
        version.md5,
        version.uuid,
        version.author,
        stamp,
        json.dumps(dict(version.meta)),
        version.content,
    )
    tx.run("UPDATE object SET latest = ? WHERE id = ?", serial, object_id)
    if before is not None and before.state is State.LIVE:
        _retire(tx, place, before)
    if version.state is State.LIVE:
        _count(tx, place.id, 1, version.size)
        _index_keys(tx, place.id, object_id, version.meta)
    tx.run("UPDATE container SET changed = ? WHERE id = ?", stamp, place.id)
    fields = {slot: getattr(version, slot) for slot in Version.__slots__}
    fields |= {"serial": serial, "object": object_id, "container": place.id, "stamp": stamp, "name": name}
    return Version(**fields)


def remove(tx: Transaction, version: Version) -> None:
    """Take a version out for good; the object goes with its last one."""
    if version.state is State.LIVE:
        _count(tx, version.container, -1, -version.size)
        tx.run("DELETE FROM live_key WHERE object = ?", version.object)
    tx.run("DELETE FROM version WHERE serial = ?", version.serial)
    _drop_content(tx, version.content)
    left = tx.value("SELECT max(serial) FROM version WHERE object = ?", version.object)
    if left is None:
        tx.run("DELETE FROM object WHERE id = ?", version.object)
    else:
        tx.run("UPDATE object SET latest = ? WHERE id = ?", left, version.object)


def _retire(tx: Transaction, place: Container, version: Version) -> None:
    _count(tx, place.id, -1, -version.size)
    tx.run("DELETE FROM live_key WHERE object = ?", version.object)
    if place.versioning == "auto":
        tx.run("UPDATE version SET state = ? WHERE serial = ?", State.HISTORY, version.serial)
    else:
        tx.run("DELETE FROM version WHERE serial = ?", version.serial)
        _drop_content(tx, version.content)


def _count(tx: Transaction, container_id: int, objects: int, size: int) -> None:
    tx.run(
        "UPDATE container SET count = count + ?, bytes = bytes + ? WHERE id = ?", objects, size, container_id
    )


def _index_keys(tx: Transaction, container_id: int, object_id: int, meta: Mapping[str, str]) -> None:
    keys = [key for key in meta if key.startswith(META_PREFIX)]
    tx.many(
        "INSERT INTO live_key VALUES (?, ?, ?)",
        [(container_id, key[len(META_PREFIX) :], object_id) for key in keys],
    )


def _drop_content(tx: Transaction, content: int) -> None:
    tx.run(
        "DELETE FROM content WHERE id = ? AND NOT EXISTS (SELECT 1 FROM version WHERE content = ?)",
        content,
        content,
    )
