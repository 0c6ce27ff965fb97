"""Objects: read, write, copy, move, delete, purge."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pithosfs import blocks
from pithosfs.server.store import accounts, descriptions, listing, sharing, versions
from pithosfs.server.store.blockfiles import BlockFiles, Buffers, Extent
from pithosfs.server.store.database import Database, Row, Transaction
from pithosfs.server.store.errors import (
    AccountFull,
    ContainerFull,
    Invalid,
    MissingBlocks,
    NotAllowed,
    NotFound,
)
from pithosfs.server.store.sharing import Permissions, Shared
from pithosfs.server.store.versions import Container, State, Version

MAX_NAME = 1024
"""Characters of an object's name."""

Source = Callable[[memoryview], int]
"""Fills a buffer and returns how many bytes it got; fewer than fit only at the end, then 0."""
Watch = Callable[[memoryview], object]
Guard = Callable[[Version | None], None]
"""Called with the live version before it is replaced; raises what shall stop that."""


class Target(NamedTuple):
    """The name of an object."""

    account: str
    container: str
    name: str


@dataclass(frozen=True, slots=True)
class Content:
    """What is to become of an object: size, hashes, MD5 if known."""

    size: int
    hashes: Sequence[str]
    md5: str = ""

    @property
    def merkle(self) -> str:
        """The one hash over all blocks."""
        return blocks.merkle(self.hashes)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is set together with an object; None leaves it as it is."""

    type: str | None = None
    meta: Mapping[str, str] | None = None
    permissions: Permissions | None = None
    public: bool | None = None


@dataclass(frozen=True, slots=True)
class ObjectState:
    """A version and what holds for its name: sharing, public token, what the user may do."""

    version: Version
    place: Container
    shared: Shared | None
    public: str | None
    allowed: str | None
    #: when the object was changed last, be it by its deletion
    modified: int


class Moved(NamedTuple):
    """What a copy or move did: new serials, growth of the target, bytes taken away at the source."""

    serials: list[int]
    growth: int
    removed: int
    marked: bool


def no_guard(_: Version | None) -> None:
    """Let everything pass."""


class Objects:
    """The objects of all containers."""

    def __init__(self, database: Database, block_files: BlockFiles) -> None:
        self._database = database
        self._files = block_files
        self._buffers = Buffers()
        # blocks written since they were last made durable; guarded by _fresh_lock
        self._fresh: set[str] = set()
        self._fresh_lock = threading.Lock()

    # -- blocks ------------------------------------------------------------------

    def write_blocks(self, source: Source, limit: int, watch: Watch | None = None) -> tuple[int, list[str]]:
        """Store all that comes from ``source``, cut into blocks: (bytes, hashes).

        ``watch`` sees each block.  Raises Invalid over ``limit`` bytes.
        """
        size, hashes = 0, []
        with self._buffers.borrow() as buffer:
            while count := source(buffer):
                size += count
                if size > limit:
                    raise Invalid("Maximum size is reached")
                if watch is not None:
                    watch(buffer[:count])
                hashes.append(self.write_block(buffer[:count]))
        return size, hashes

    def write_block(self, data: blocks.Buffer) -> str:
        """Store a block unless it is there, and return its hash."""
        block_hash = blocks.block_hash(data)
        if self.missing([block_hash]):
            self._files.write(block_hash, data)
            with self._fresh_lock:
                self._fresh.add(block_hash)
        return block_hash

    def missing(self, hashes: Iterable[str]) -> list[str]:
        """Those of ``hashes`` the store has no block of, each once, in order."""
        wanted = list(dict.fromkeys(hashes))
        with self._fresh_lock:
            unknown = [each for each in wanted if each.lower() not in self._fresh]
        if not unknown:
            return []
        with self._database.read() as tx:
            known = _known(tx, unknown)
        return [each for each in unknown if each.lower() not in known]

    def settle_blocks(self) -> None:
        """Make all blocks durable and known for good, also those that nothing refers to yet."""
        with self._fresh_lock:
            names = list(self._fresh)
        if names:
            with self._settled(names) as note, self._database.write() as tx:
                note(tx)

    @contextlib.contextmanager
    def _settled(self, hashes: Iterable[str]) -> Iterator[Callable[[Transaction], None]]:
        """Make blocks durable; the transaction that refers to them first calls what this gives."""
        with self._fresh_lock:
            names = {each.lower() for each in hashes} & self._fresh
        self._files.sync(names)

        def note(tx: Transaction) -> None:
            tx.many("INSERT OR IGNORE INTO block VALUES (?)", [(name,) for name in names])

        yield note
        with self._fresh_lock:
            self._fresh -= names

    def extents(self, hashes: Sequence[str], start: int, stop: int) -> Iterator[Extent]:
        """Bytes ``start`` to ``stop`` of a content with these hashes."""
        for span in blocks.spans(start, stop - start):
            yield self._files.extent(hashes[span.index], span.start, span.stop)

    def read_block(self, block_hash: str) -> bytes:
        """A stored block, without its trailing zeros."""
        return self._files.read(block_hash)

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
            wanted = _filter(tx, place, ListQuery(listing.Query()), names, {})
            return [each for each in _below(tx, place, prefix) if wanted is None or wanted(each)]

    # -- writing -----------------------------------------------------------------

    def put(
        self, user: str, target: Target, content: Content, attributes: Attributes, guard: Guard = no_guard
    ) -> Version:
        """Make a new version with this content; metadata is replaced."""
        check_name(target.name)
        with self._settled(content.hashes) as note, self._database.write() as tx:
            note(tx)
            _check_access(user, target, attributes)
            place = _writable(tx, user, target)
            before = versions.live(tx, place.id, target.name)
            guard(before)
            missing = _missing(tx, content.hashes)
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
            added = _add(tx, place, target.name, new, before, account_quota=True)
            _set_access(tx, user, target, place, attributes)
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
        with self._settled(hashes) as note, self._database.write() as tx:
            note(tx)
            place = _writable(tx, user, target)
            before = versions.live(tx, place.id, target.name)
            if before is None:
                raise NotFound("Object does not exist")
            guard(before)
            if base is not None and base.serial != before.serial:
                raise Changed
            _check_access(user, target, attributes)
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
                added = _add(tx, place, target.name, new, before, account_quota=True)
            _set_access(tx, user, target, place, attributes)
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
            origin = _readable(tx, user, source)
            versions.container(tx, target.account, target.container)
            guard_source(versions.live(tx, origin.id, source.name))
            first = _source(tx, origin, source.name, serial)
            _check_access(user, target, attributes)
            place = _writable(tx, user, target)
            guard(versions.live(tx, place.id, target.name))
            job = _Copy(tx, user, origin, place, move=move)
            if attributes.type is None and serial is not None:
                now = versions.live(tx, origin.id, source.name)
                attributes = replace(attributes, type=now.type if now else "")
            job.one(first, target.name, attributes)
            if delimiter:
                prefix = source.name if source.name.endswith(delimiter) else source.name + delimiter
                for below in _below(tx, origin, prefix):
                    job.one(below, target.name + below.name[len(source.name) :], Attributes())
            _set_access(tx, user, target, place, attributes)
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
            _mark_deleted(tx, user, place, newest)
            if delimiter:
                prefix = target.name if target.name.endswith(delimiter) else target.name + delimiter
                for below in _below(tx, place, prefix):
                    _mark_deleted(tx, user, place, below)

    def empty(self, user: str, account: str, container: str) -> None:
        """Delete all objects of a container."""
        with self._database.write() as tx:
            place = versions.container(tx, account, container)
            for each in _below(tx, place, ""):
                _mark_deleted(tx, user, place, each)

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
            return _list(tx, user, place, query)


class Changed(Exception):
    """The version an update was made from is not live any more."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A listing, and which of the objects: shared ones, public ones, those with some metadata."""

    query: listing.Query
    shared: bool = False
    public: bool = False
    wanted: Callable[[Version], bool] | None = None


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One entry, with what holds for its name."""

    entry: listing.Entry
    shared: Permissions | None = None
    public: str | None = None
    allowed: str | None = None


def check_name(name: str) -> None:
    """Raises Invalid if no object can be called so."""
    if len(name) > MAX_NAME:
        raise Invalid("Object name too large.")


# -- inside a transaction ------------------------------------------------------------


def _known(tx: Transaction, hashes: Sequence[str]) -> set[str]:
    found = tx.rows(
        "SELECT hash FROM block WHERE hash IN (SELECT value FROM json_each(?))",
        json.dumps([each.lower() for each in hashes]),
    )
    return {row[0] for row in found}


def _missing(tx: Transaction, hashes: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(hashes))
    known = _known(tx, wanted)
    return [each for each in wanted if each.lower() not in known]


def _readable(tx: Transaction, user: str, target: Target) -> Container:
    place = versions.find_container(tx, target.account, target.container)
    if user != target.account:
        sharing.check_read(tx, user, place, target.name)
    return place or versions.container(tx, target.account, target.container)


def _writable(tx: Transaction, user: str, target: Target) -> Container:
    place = versions.find_container(tx, target.account, target.container)
    if user != target.account:
        sharing.check_write(tx, user, place, target.name)
    return place or versions.container(tx, target.account, target.container)


def _state(tx: Transaction, user: str, target: Target, serial: int | None) -> ObjectState:
    place = _readable(tx, user, target)
    version = _source(tx, place, target.name, serial)
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


def _source(tx: Transaction, place: Container, name: str, serial: int | None) -> Version:
    if serial is not None:
        return versions.of_serial(tx, place.id, name, serial)
    version = versions.live(tx, place.id, name)
    if version is None:
        raise NotFound("Object does not exist")
    return version


def _below(tx: Transaction, place: Container, prefix: str) -> list[Version]:
    """All live objects whose names start with ``prefix``."""
    low, high = listing.bounds(prefix)
    rows = tx.all(
        "SELECT * FROM newest WHERE container = ? AND name > ? AND name < ? AND state = 1 ORDER BY name",
        place.id,
        low,
        high,
    )
    return [version for version in map(versions.version_of, rows) if version.name.startswith(prefix)]


def _add(
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


def _mark_deleted(tx: Transaction, user: str, place: Container, version: Version) -> None:
    mark = replace(
        version, state=State.DELETED, size=0, author=user, meta={}, merkle="", md5="", type="", content=0
    )
    versions.add(tx, place, version.name, mark)
    sharing.forget(tx, place, version.name)


def _purge(tx: Transaction, rows: Iterable[Row]) -> None:
    for row in rows:
        versions.remove(tx, versions.version_of(row))


def _check_access(user: str, target: Target, attributes: Attributes) -> None:
    if attributes.permissions is not None and user != target.account:
        raise NotAllowed("Modifying other account's object permissions is not allowed")


def _set_access(tx: Transaction, user: str, target: Target, place: Container, attributes: Attributes) -> None:
    _check_access(user, target, attributes)
    if attributes.permissions is not None:
        sharing.share(tx, place, target.name, attributes.permissions)
    if attributes.public is not None:
        sharing.publish(tx, place, target.name, public=attributes.public)


class _Copy:
    """One copy or move, object by object."""

    def __init__(
        self, tx: Transaction, user: str, origin: Container, place: Container, *, move: bool
    ) -> None:
        self._tx = tx
        self._user = user
        self._origin = origin
        self._place = place
        self._move = move
        # a move inside an account needs no more room in it
        self._counts = not move or origin.account != place.account
        self.result = Moved([], 0, 0, False)

    def one(self, source: Version, name: str, attributes: Attributes) -> None:
        """Copy or move one version to ``name``."""
        tx, place = self._tx, self._place
        before = versions.live(tx, place.id, name)
        itself = place.id == self._origin.id and source.name == name
        new = replace(
            source,
            state=State.LIVE,
            author=self._user,
            uuid=self._uuid(source, before, itself=itself),
            type=source.type if attributes.type is None else attributes.type,
            meta=descriptions.merged(source.meta, attributes.meta or {}),
        )
        added = _add(tx, place, name, new, before, account_quota=self._counts)
        growth = added.size - (before.size if before else 0)
        removed, marked = 0, False
        if self._move and not itself:
            _mark_deleted(tx, self._user, self._origin, source)
            removed, marked = source.size, True
        old = self.result
        self.result = Moved(
            [*old.serials, added.serial], old.growth + growth, old.removed + removed, old.marked or marked
        )

    def _uuid(self, source: Version, before: Version | None, *, itself: bool) -> str:
        if self._move:
            return source.uuid
        if itself and before is not None:
            return before.uuid
        return str(uuid.uuid4())


def _list(tx: Transaction, user: str, place: Container, query: ListQuery) -> list[ListEntry]:
    owner = user == place.account
    names = sharing.names_for(tx, None if owner else user, place)
    public = sharing.public_names(tx, place) if owner else {}
    wanted = _filter(tx, place, query, None if owner and not query.shared else names, public)
    found = listing.entries(tx, place, replace(query.query, wanted=wanted))
    return [_list_entry(tx, user, place, entry, set(names), public) for entry in found]


def _filter(
    tx: Transaction, place: Container, query: ListQuery, names: list[str] | None, public: Mapping[str, str]
) -> Callable[[Version], bool] | None:
    """The test an object must pass to be listed, or None if all do."""
    if names is None and not query.public and query.wanted is None:
        return None
    exact = set(names or ())
    below = tuple(_directory(tx, place, name) for name in exact)
    below = tuple(prefix for prefix in below if prefix)

    def wanted(version: Version) -> bool:
        if names is not None or query.public:
            visible = names is not None and (version.name in exact or version.name.startswith(below))
            if not (visible or (query.public and version.name in public)):
                return False
        return query.wanted is None or query.wanted(version)

    return wanted


def _directory(tx: Transaction, place: Container, name: str) -> str:
    marker = versions.live(tx, place.id, name)
    if marker is None or not marker.is_directory:
        return ""
    return name.rstrip("/") + "/"


def _list_entry(
    tx: Transaction,
    user: str,
    place: Container,
    entry: listing.Entry,
    names: set[str],
    public: Mapping[str, str],
) -> ListEntry:
    if isinstance(entry, listing.Subdirectory):
        return ListEntry(entry)
    shared, allowed = None, None
    if entry.name in names:
        found = sharing.shared(tx, place, entry.name)
        shared = found.permissions if found else None
        if shared and user != place.account:
            allowed = "write" if sharing.granted(tx, user, shared.writers) else "read"
    return ListEntry(entry, shared, public.get(entry.name), allowed)
