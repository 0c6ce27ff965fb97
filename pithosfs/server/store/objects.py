"""Objects: read, write, copy, move, delete, purge."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace

from pithosfs.server.store import blockset, changes, descriptions, listing, sharing, shown, versions
from pithosfs.server.store.blockset import Blocks
from pithosfs.server.store.copying import Copying
from pithosfs.server.store.database import Database, Row, Transaction
from pithosfs.server.store.errors import MissingBlocks, NotAllowed, NotFound
from pithosfs.server.store.shown import ListEntry, ListQuery
from pithosfs.server.store.values import (
    Attributes,
    Content,
    Guard,
    Moved,
    ObjectState,
    Target,
    check_name,
    no_guard,
)
from pithosfs.server.store.versions import Container, State, Version


class Changed(Exception):
    """The version an update was made from is not live any more."""


class Objects:
    """The objects of all containers."""

    def __init__(self, database: Database, blocks: Blocks) -> None:
        self._database = database
        self._blocks = blocks

    # -- reading -----------------------------------------------------------------

    def state(self, user: str, target: Target, serial: int | None = None) -> ObjectState:
        """The live version, or an old one by its number.  Raises NotFound, NotAllowed."""
        with self._database.read() as tx:
            return _state(tx, user, target, serial)

    def public_state(self, target: Target) -> ObjectState:
        """The live version for anybody who knows the public name."""
        return self.state(target.account, target)

    def hashes(self, version: Version) -> list[str]:
        """The hashmap of a version."""
        with self._database.read() as tx:
            return versions.hashes(tx, version)

    def history(self, user: str, target: Target) -> list[tuple[int, int]]:
        """(serial, microseconds) of each version kept, oldest first.  Raises NotFound."""
        with self._database.read() as tx:
            place = versions.find_container(tx, target.account, target.container)
            if user != target.account:
                sharing.check_read(tx, user, place, target.name)
            place = place or versions.container(tx, target.account, target.container)
            rows = tx.all(
                "SELECT v.serial, v.stamp FROM version v JOIN object o ON o.id = v.object "
                "WHERE o.container = ? AND o.name = ? AND v.state != ? ORDER BY v.serial",
                place.id,
                target.name,
                State.DELETED,
            )
            if not rows:
                raise NotFound("Object does not exist")
            return [(row[0], row[1]) for row in rows]

    def live(self, user: str, target: Target) -> Version | None:
        """The live version, or None if there is none.  Raises NotAllowed."""
        with self._database.read() as tx:
            place = versions.find_container(tx, target.account, target.container)
            if user != target.account:
                sharing.check_read(tx, user, place, target.name)
            return None if place is None else versions.live(tx, place.id, target.name)

    def parts(self, user: str, account: str, container: str, prefix: str) -> list[Version]:
        """The live objects a manifest names: all those whose names start with ``prefix``."""
        with self._database.read() as tx:
            if user != account and container not in sharing.containers_for(tx, user, account):
                raise NotAllowed("User does not have read access to the container")
            place = versions.container(tx, account, container)
            names = None if user == account else sharing.names_for(tx, user, place)
            wanted = shown.wanted_by(tx, place, ListQuery(listing.Query()), names, {})
            return [each for each in changes.below(tx, place, prefix) if wanted is None or wanted(each)]

    # -- writing -----------------------------------------------------------------

    def put(
        self, user: str, target: Target, content: Content, attributes: Attributes, guard: Guard = no_guard
    ) -> Version:
        """Make a new version with this content; metadata is replaced."""
        check_name(target.name)
        with self._blocks.settled(content.hashes) as note, self._database.write() as tx:
            note(tx)
            changes.check_access(user, target, attributes)
            place = changes.writable(tx, user, target)
            before = versions.live(tx, place.id, target.name)
            guard(before)
            missing = blockset.missing(tx, content.hashes)
            if missing:
                raise MissingBlocks(missing)
            new = Version(
                serial=0,
                object=0,
                container=place.id,
                state=State.LIVE,
                size=content.size,
                type=attributes.type or "",
                merkle=content.merkle,
                md5=content.md5,
                uuid=before.uuid if before else str(uuid.uuid4()),
                author=user,
                stamp=0,
                meta=dict(attributes.meta or {}),
                content=versions.new_content(tx, content.hashes),
                name=target.name,
            )
            added = changes.add(tx, place, target.name, new, before, account_quota=True)
            changes.set_access(tx, place, target.name, attributes)
            return added

    def update(
        self,
        user: str,
        target: Target,
        attributes: Attributes,
        *,
        merge: bool,
        guard: Guard = no_guard,
        content: Content | None = None,
        base: Version | None = None,
    ) -> Version | None:
        """Change metadata, access and perhaps content; the new version if one was made.

        ``base`` is the version ``content`` was made from; Changed is raised if
        it is not live any more.
        """
        hashes = () if content is None else content.hashes
        with self._blocks.settled(hashes) as note, self._database.write() as tx:
            note(tx)
            place = changes.writable(tx, user, target)
            before = versions.live(tx, place.id, target.name)
            if before is None:
                raise NotFound("Object does not exist")
            guard(before)
            if base is not None and base.serial != before.serial:
                raise Changed
            changes.check_access(user, target, attributes)
            added = None
            meta = attributes.meta or {}
            if content is not None or meta or not merge:
                new = replace(
                    before, author=user, meta=descriptions.merged(before.meta if merge else {}, meta)
                )
                if content is not None:
                    new = replace(
                        new,
                        size=content.size,
                        merkle=content.merkle,
                        md5=content.md5,
                        content=versions.new_content(tx, content.hashes),
                    )
                added = changes.add(tx, place, target.name, new, before, account_quota=True)
            changes.set_access(tx, place, target.name, attributes)
            return added

    # -- copy, move --------------------------------------------------------------

    def copy(
        self,
        user: str,
        source: Target,
        target: Target,
        attributes: Attributes,
        *,
        serial: int | None = None,
        delimiter: str = "",
        move: bool = False,
        guard: Guard = no_guard,
        guard_source: Guard = no_guard,
    ) -> Moved:
        """Copy or move an object, with everything below it if there is a delimiter."""
        check_name(target.name)
        with self._database.write() as tx:
            if move and user != source.account:
                raise NotAllowed("")
            origin = changes.readable(tx, user, source)
            versions.container(tx, target.account, target.container)
            guard_source(versions.live(tx, origin.id, source.name))
            first = changes.source_of(tx, origin, source.name, serial)
            changes.check_access(user, target, attributes)
            place = changes.writable(tx, user, target)
            guard(versions.live(tx, place.id, target.name))
            job = Copying(tx, user, origin, place, move=move)
            if attributes.type is None and serial is not None:
                now = versions.live(tx, origin.id, source.name)
                attributes = replace(attributes, type=now.type if now else "")
            job.one(first, target.name, attributes)
            if delimiter:
                prefix = source.name if source.name.endswith(delimiter) else source.name + delimiter
                for below in changes.below(tx, origin, prefix):
                    job.one(below, target.name + below.name[len(source.name) :], Attributes())
            changes.set_access(tx, place, target.name, attributes)
            return job.result

    # -- delete ------------------------------------------------------------------

    def delete(self, user: str, target: Target, delimiter: str = "") -> None:
        """Put a deletion mark on an object, and on everything below it."""
        if user != target.account:
            raise NotAllowed("")
        with self._database.write() as tx:
            place = versions.container(tx, target.account, target.container)
            newest = versions.newest(tx, place.id, target.name)
            if newest is None:
                raise NotFound("Object does not exist")
            if newest.state is State.DELETED:
                raise NotFound("Object is deleted.")
            changes.mark_deleted(tx, user, place, newest)
            if delimiter:
                prefix = target.name if target.name.endswith(delimiter) else target.name + delimiter
                for below in changes.below(tx, place, prefix):
                    changes.mark_deleted(tx, user, place, below)

    def empty(self, user: str, account: str, container: str) -> None:
        """Delete all objects of a container."""
        with self._database.write() as tx:
            place = versions.container(tx, account, container)
            for each in changes.below(tx, place, ""):
                changes.mark_deleted(tx, user, place, each)

    def purge(self, user: str, target: Target, until: int) -> None:
        """Take out all versions of an object up to the second ``until``, the live one too."""
        if user != target.account:
            raise NotAllowed("")
        with self._database.write() as tx:
            place = versions.container(tx, target.account, target.container)
            if versions.newest(tx, place.id, target.name) is None:
                raise NotFound("Object does not exist")
            rows = tx.all(
                "SELECT * FROM every WHERE container = ? AND name = ? AND stamp <= ? ORDER BY serial",
                place.id,
                target.name,
                until * 1_000_000,
            )
            _purge(tx, rows)
            tx.run("UPDATE container SET changed = ? WHERE id = ?", tx.stamp(), place.id)
            if rows and versions.live(tx, place.id, target.name) is None:
                sharing.forget(tx, place, target.name)

    def purge_container(self, account: str, container: str, until: int) -> None:
        """Take out all versions up to the second ``until`` that are not live."""
        with self._database.write() as tx:
            place = versions.container(tx, account, container)
            rows = tx.all(
                "SELECT * FROM every WHERE container = ? AND stamp <= ? AND state != ? ORDER BY serial",
                place.id,
                until * 1_000_000,
                State.LIVE,
            )
            _purge(tx, rows)

    # -- lists -------------------------------------------------------------------

    def entries(self, user: str, place: Container, query: ListQuery) -> list[ListEntry]:
        """What a listing of the container shows to the user."""
        with self._database.read() as tx:
            return shown.entries(tx, user, place, query)


def _state(tx: Transaction, user: str, target: Target, serial: int | None) -> ObjectState:
    place = changes.readable(tx, user, target)
    version = changes.source_of(tx, place, target.name, serial)
    found = sharing.shared(tx, place, target.name) if serial is None else None
    if serial is None and user != target.account:
        sharing.check_shown(tx, user, found)
    newest = versions.newest(tx, place.id, target.name)
    modified = newest.stamp if newest else version.stamp
    allowed = None
    if user != target.account and found is not None:
        allowed = "write" if sharing.granted(tx, user, found.permissions.writers) else "read"
    public = None
    if serial is None and user == target.account:
        public = sharing.public_token(tx, place, target.name)
    return ObjectState(version, place, found, public, allowed, modified)


def _purge(tx: Transaction, rows: Iterable[Row]) -> None:
    for row in rows:
        versions.remove(tx, versions.version_of(row))
