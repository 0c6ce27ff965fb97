"""Names of a container by prefix, delimiter, marker and time.

Order is that of the UTF-8 bytes, files, markers and subdirectories mixed.  A
subdirectory is skipped over, not read through: listing the top of a large
tree costs what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from pithosfs.server.store import versions
from pithosfs.server.store.database import Transaction
from pithosfs.server.store.versions import Container, Version

MAX_ENTRIES = 10_000
_BATCH = 500
_HIGHEST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Subdirectory:
    """A common prefix, its delimiter included."""

    name: str


@dataclass(frozen=True, slots=True)
class Query:
    """What to list.  ``until`` in whole seconds; ``wanted`` decides on each object."""

    prefix: str = ""
    delimiter: str = ""
    subdirectories: bool = True
    marker: str = ""
    limit: int = MAX_ENTRIES
    until: int | None = None
    wanted: Callable[[Version], bool] | None = None


Entry = Version | Subdirectory


def entries(tx: Transaction, place: Container, query: Query) -> list[Entry]:
    """The entries after the marker, at most ``limit``."""
    return list(islice(_entries(tx, place, query), min(query.limit, MAX_ENTRIES)))


def _entries(tx: Transaction, place: Container, query: Query) -> Iterator[Entry]:
    low, high = bounds(query.prefix)
    if query.marker > low:
        low = query.marker
    skipping = ""
    scan = _Scan(tx, place.id, query.until, low, high)
    for version in scan:
        name = version.name
        if skipping and name.startswith(skipping):
            scan.skip_to(successor(skipping))
            continue
        skipping = ""
        if query.wanted is not None and not query.wanted(version):
            continue
        found = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        if found < 0:
            yield version
            continue
        skipping = name[: found + len(query.delimiter)]
        if skipping == name:
            yield version
        if query.subdirectories:
            yield Subdirectory(skipping)


class _Scan:
    """The versions shown between two names (both excluded), batch by batch."""

    def __init__(self, tx: Transaction, container_id: int, until: int | None, low: str, high: str) -> None:
        self._tx = tx
        self._container = container_id
        self._until = until
        self._high = high
        self._low = low
        self._inclusive = False

    def skip_to(self, name: str) -> None:
        """Go on at ``name``, itself included, after what is already read."""
        if name > self._low:
            self._low, self._inclusive = name, True

    def __iter__(self) -> Iterator[Version]:
        while True:
            batch = self._batch()
            for version in batch:
                self._low, self._inclusive = max(self._low, version.name), False
                yield version
            if len(batch) < _BATCH:
                return

    def _batch(self) -> list[Version]:
        after = ">=" if self._inclusive else ">"
        if self._until is None:
            source, values = "v.serial = o.latest", []
        else:
            source = "v.serial = (SELECT max(serial) FROM version WHERE object = o.id AND stamp <= ?)"
            values = [self._until * 1_000_000]
        state = "v.state = 1" if self._until is None else "v.state != 2"
        rows = self._tx.rows(
            f"SELECT {versions.COLUMNS} FROM object o JOIN version v ON {source} "  # noqa: S608 (constants)
            f"WHERE o.container = ? AND o.name {after} ? AND o.name < ? AND {state} "
            f"ORDER BY o.name LIMIT {_BATCH}",
            *values,
            self._container,
            self._low,
            self._high,
        )
        return [versions.version_of(row) for row in rows]


def bounds(prefix: str) -> tuple[str, str]:
    """The names between which (both excluded) names of a prefix are looked for.

    The lower one is that of the real server: the name before the prefix, if
    there were no characters above U+FFFF.  Names with such a character in
    that place are therefore found though they have not the prefix.
    """
    if not prefix:
        return "", _HIGHEST * 2
    last = ord(prefix[-1])
    low = prefix[:-1] + (chr(last - 1) + "\uffff" if last else "")
    return low, successor(prefix)


def successor(prefix: str) -> str:
    """The first name after all names that start with ``prefix``."""
    last = ord(prefix[-1])
    if last == ord(_HIGHEST):
        return prefix + _HIGHEST
    return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
