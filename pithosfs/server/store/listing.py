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
from pithosfs.server.store.database import Row, Transaction
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


_NOW = (
    "SELECT * FROM newest WHERE container = ? AND name >= ? AND name < ? AND state = 1 ORDER BY name LIMIT ?"
)
_THEN = (
    "SELECT * FROM every e WHERE container = ? AND name >= ? AND name < ? AND state != 2 AND serial ="
    " (SELECT max(serial) FROM version WHERE object = e.object AND stamp <= ?) ORDER BY name LIMIT ?"
)


class _Scan:
    """The versions shown between two names (both excluded), batch by batch, none read before it is wanted."""

    def __init__(self, tx: Transaction, container_id: int, until: int | None, low: str, high: str) -> None:
        self._tx = tx
        self._container = container_id
        self._until = until
        self._high = high
        self._from = _after(low)

    def skip_to(self, name: str) -> None:
        """Go on at ``name``, itself included."""
        self._from = max(self._from, name)

    def __iter__(self) -> Iterator[Version]:
        more = True
        while more:
            more = False
            for number, row in enumerate(self._batch(), 1):
                version = versions.version_of(row)
                following = self._from = _after(version.name)
                yield version
                more = self._from > following or number == _BATCH
                if more:
                    break

    def _batch(self) -> Iterator[Row]:
        if self._until is None:
            return self._tx.rows(_NOW, self._container, self._from, self._high, _BATCH)
        horizon = self._until * 1_000_000
        return self._tx.rows(_THEN, self._container, self._from, self._high, horizon, _BATCH)


def _after(name: str) -> str:
    """The first text that comes after ``name``; no name contains NUL."""
    return name + "\0"


def bounds(prefix: str) -> tuple[str, str]:
    """The names between which (both excluded) names of a prefix are looked for.

    The lower one is that of the real server: the name before the prefix, if
    there were no characters above U+FFFF.  Names with such a character in
    that place are therefore found though they have not the prefix.
    """
    if not prefix:
        return "", _HIGHEST * 2
    last = ord(prefix[-1])
    low = prefix[:-1] + (chr(0xD7FF if last == 0xE000 else last - 1) + "\uffff" if last else "")
    return low, successor(prefix)


def successor(prefix: str) -> str:
    """The first name after all names that start with ``prefix``."""
    last = ord(prefix[-1])
    if last == ord(_HIGHEST):
        return prefix + _HIGHEST
    return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
