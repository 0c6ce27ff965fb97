"""The versions of objects: what they were, how they differ, and bringing them back.

Everything happens on the server: a version is restored by its hashmap or by a
copy, no data moves.  Only :func:`differences` reads bytes, those of blocks
whose hashes differ.

Times are nanoseconds since 1970, offsets and sizes bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pithosfs import attributes, blocks
from pithosfs.api import Client, Entry, Info, Version
from pithosfs.attributes import Kind
from pithosfs.blocks import Hashmap
from pithosfs.errors import NotFound
from pithosfs.moments import SECOND
from pithosfs.names import ObjectRef

_PARALLEL = 8
#: Differing bytes so close together are told as one range.
_GAP = 16
#: Bytes that are searched at once: searching takes more than a hundred times their memory.
_PIECE = 64 * 1024
_RANGES = re.compile(rb"[^\0](?:\0{0,%d}[^\0])*" % (_GAP - 1), re.DOTALL)


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One version of a file; ``changed`` counts the blocks that the one before has not in their place."""

    number: int
    time_ns: int
    size: int
    hash: str
    content_type: str
    modified_by: str
    blocks: int
    changed: int


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``start`` to ``stop`` (exclusive)."""

    start: int
    stop: int


def versions(client: Client, ref: ObjectRef) -> list[FileVersion]:
    """All versions of a name, oldest first; also of one that is gone.  NotFound if it never was."""
    told: list[FileVersion] = []
    before: tuple[str, ...] = ()
    for version, info, content in _contents(client, ref):
        entry = info.entry
        told.append(
            FileVersion(
                version.serial,
                version.time_ns,
                entry.size,
                entry.hash,
                attributes.parse(entry.content_type).base_type,
                entry.modified_by or "",
                len(content.hashes),
                _changed(before, content.hashes),
            )
        )
        before = content.hashes
    return told


def _contents(client: Client, ref: ObjectRef) -> Iterator[tuple[Version, Info, Hashmap]]:
    """All versions with their headers and hashmaps, oldest first."""
    listed = client.versions(ref.container, ref.name)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = pool.map(lambda each: client.hashmap(ref.container, ref.name, each.serial), listed)
        for version, (info, content) in zip(listed, found, strict=True):
            yield version, info, content


def _changed(before: tuple[str, ...], now: tuple[str, ...]) -> int:
    return sum(1 for index, each in enumerate(now) if index >= len(before) or before[index] != each)


def version_at(client: Client, ref: ObjectRef, moment: int) -> Version:
    """The newest version that is not younger than ``moment``."""
    then = [each for each in client.versions(ref.container, ref.name) if each.time_ns <= moment]
    if not then:
        raise NotFound(f"{ref} did not exist then", 404)
    return then[-1]


# -- differences ------------------------------------------------------------------------


def differences(client: Client, ref: ObjectRef, first: int, second: int) -> Iterator[Range]:
    """The ranges in which version ``second`` has other bytes than ``first``, in order.

    Bytes beyond the end of the shorter one are a range of their own.  Ranges
    less than 16 equal bytes apart are told as one.
    """
    one = client.hashmap(ref.container, ref.name, first)[1]
    other = client.hashmap(ref.container, ref.name, second)[1]
    common = min(one.size, other.size)
    found = _differing(client, ref, (first, one), (second, other), common)
    tail = [Range(common, max(one.size, other.size))] if one.size != other.size else []
    yield from _joined(found, tail)


def _differing(
    client: Client, ref: ObjectRef, one: tuple[int, Hashmap], other: tuple[int, Hashmap], common: int
) -> Iterator[Range]:
    size = one[1].block_size
    for index in range(blocks.block_count(common, size)):
        start, stop = index * size, min((index + 1) * size, common)
        if one[1].hashes[index] == other[1].hashes[index]:
            continue
        read = [client.read(ref.container, ref.name, start, stop, each[0]) for each in (one, other)]
        yield from _byte_ranges(bytes(read[0]), bytes(read[1]), start)


def _byte_ranges(one: bytes, other: bytes, offset: int) -> Iterator[Range]:
    different = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    data = different.to_bytes(len(one), "little")
    for start in range(0, len(data), _PIECE):
        for match in _RANGES.finditer(data, start, start + _PIECE):
            yield Range(offset + match.start(), offset + match.end())


def _joined(*parts: Iterable[Range]) -> Iterator[Range]:
    waiting: Range | None = None
    for part in parts:
        for each in part:
            if waiting is not None and each.start - waiting.stop < _GAP:
                waiting = Range(waiting.start, each.stop)
                continue
            if waiting is not None:
                yield waiting
            waiting = each
    if waiting is not None:
        yield waiting


# -- bringing back -------------------------------------------------------------------------


def restore_version(
    client: Client,
    ref: ObjectRef,
    version: int,
    to: ObjectRef,
    *,
    content_type: str = "",
    exists: bool | None = None,
) -> None:
    """Make ``to`` what ``ref`` was in ``version``, with its metadata; no data moves.

    What is at ``to`` becomes a version of its history; sharing and public link
    stay.  ``content_type`` is the version's, ``exists`` whether anything is at
    ``to``; both are asked for where they are not known.
    """
    if _exists(client, to) if exists is None else exists:
        # A copy would end sharing and public link; the hashmap of a version is all it takes.
        info, content = client.hashmap(ref.container, ref.name, version)
        client.put_hashmap(
            to.container, to.name, content, content_type=info.entry.content_type, meta=info.meta
        )
        return
    # Unless it is told, the store takes the content type of the present object, if there is one.
    kept = content_type or client.head(ref.container, ref.name, version).entry.content_type
    client.copy(ref.container, ref.name, to.container, to.name, version=version, content_type=kept)


def _exists(client: Client, ref: ObjectRef) -> bool:
    try:
        client.head(ref.container, ref.name)
    except NotFound:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes to make a directory what it was.

    ``bring`` are entries of then that are not there now or are different,
    ``same`` counts the others, ``newer`` are names of now that were not there.
    ``replaced`` are the names, at the target, of what is there but different.
    ``own`` is the directory's own object of then, or the file there was instead;
    ``in_the_way`` says that at the target is a file.
    """

    source: ObjectRef
    target: ObjectRef
    bring: list[Entry]
    same: int
    newer: list[str]
    replaced: frozenset[str]
    own: Entry | None
    in_the_way: bool

    def target_of(self, entry: Entry) -> ObjectRef:
        """Where an entry of the past is brought."""
        if entry is self.own:
            return self.target
        return ObjectRef(self.target.container, self.target.prefix + entry.name[len(self.source.prefix) :])

    @property
    def size(self) -> int:
        """Bytes of what is brought back (on the server)."""
        return sum(each.size for each in self.bring)


def plan(client: Client, ref: ObjectRef, until: int, to: ObjectRef) -> Plan:
    """Compare directory ``ref`` at ``until`` (whole seconds) with what is at ``to`` now.

    NotFound if there was no such directory.
    """
    then = below(client, ref, until)
    if not then:
        raise NotFound(f"there was no {ref} then", 404)
    own = then.get("")
    if not to.name:
        then.pop("", None)  # a container has no object of its own
    now = below(client, to)
    bring, same = [], 0
    replaced: set[str] = set()
    for relative, entry in then.items():
        present = now.get(relative)
        if present is not None and _same(entry, present):
            same += 1
        else:
            bring.append(entry)
            replaced |= {present.name} if present is not None else set()
    newer = [each.name for relative, each in now.items() if relative not in then]
    there = now.get("")
    in_the_way = there is not None and attributes.kind_of(there.content_type) is not Kind.DIRECTORY
    return Plan(ref, to, bring, same, newer, frozenset(replaced), own, in_the_way)


def below(client: Client, ref: ObjectRef, until: int | None = None) -> dict[str, Entry]:
    """A directory's own object (as "") and all objects below it, by "/" and the rest of the name."""
    found: dict[str, Entry] = {}
    if ref.name:
        own = client.entry(ref.container, ref.name, until=until)
        if own is not None:
            found[""] = own
    for each in client.list_all(ref.container, prefix=ref.prefix, until=until):
        found |= {f"/{entry.name[len(ref.prefix) :]}": entry for entry in each.entries}
    return found


def _same(one: Entry, other: Entry) -> bool:
    return (one.hash, one.size, one.content_type) == (other.hash, other.size, other.content_type)


def carry_out(client: Client, found: Plan, told: Callable[[Entry], None], *, exact: bool = False) -> None:
    """Restore what ``found`` says, several at a time; ``exact`` deletes what was not there then.

    ``told`` is called for each object brought back, from any thread.
    """

    def bring(entry: Entry) -> None:
        source, target = ObjectRef(found.source.container, entry.name), found.target_of(entry)
        restore_version(
            client,
            source,
            entry.version,
            target,
            content_type=entry.content_type,
            exists=target.name in found.replaced,
        )
        told(entry)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(bring, found.bring))
        if exact:
            list(pool.map(lambda name: client.delete(found.target.container, name), found.newer))


# -- the end of history ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Purge:
    """What destroying history up to ``until`` (whole seconds) takes away.

    How many ``versions``; nothing that stays of the same objects needs their blocks
    of ``size`` bytes (another object may).
    """

    until: int
    versions: int
    size: int


def purgeable(client: Client, ref: ObjectRef, before: int) -> Purge:
    """What there is to destroy of one file's history; its present content is never part of it."""
    live = client.entry(ref.container, ref.name)
    # The store would destroy the present version, too, if it is that old.
    limit = before if live is None else min(before, _before(live.modified_ns))
    until = limit // SECOND
    needed: set[str] = set()
    freed: dict[str, int] = {}
    count = 0
    for version, _, content in _contents(client, ref):
        if version.time_ns > until * SECOND:
            needed.update(content.hashes)
            continue
        count += 1
        for index, block in enumerate(content.hashes):
            freed[block] = blocks.block_length(index, content.size, content.block_size)
    size = sum(size for block, size in freed.items() if block not in needed)
    return Purge(until, count, size)


def _before(moment: int) -> int:
    return (moment - 1) // SECOND * SECOND


def purgeable_container(client: Client, container: str, before: int) -> Purge:
    """What there is to destroy of the history of what a container holds now.

    Of objects that are gone nobody can tell how much there is: it comes on top.
    """
    until = before // SECOND
    names = [entry.name for page in client.list_all(container) for entry in page.entries]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(lambda name: _old_sizes(client, container, name, until), names))
    return Purge(until, sum(map(len, found)), sum(sum(each) for each in found))


def _old_sizes(client: Client, container: str, name: str, until: int) -> list[int]:
    """The sizes of all versions up to ``until`` but the present one."""
    listed = client.versions(container, name)[:-1]
    old = [each for each in listed if each.time_ns <= until * SECOND]
    return [client.head(container, name, each.serial).entry.size for each in old]
