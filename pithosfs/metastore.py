"""What never changes and costs a request to learn, remembered on disk (SQLite).

* a version's user metadata (listings do not show it),
* an object's hashmap, by its Merkle hash and size,
* the inode number an object was given before its uuid was known.

All of it can be had again: a damaged or older store is thrown away and begun
anew, and trouble with it is never an error for the caller.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pithosfs.blocks import ZERO_HASH, Hashmap, stored_size

log = logging.getLogger(__name__)

FORMAT = 2
#: What is kept of each, the newest: versions' metadata, bytes of hashmaps, inode numbers.
KEPT_META, KEPT_HASHMAPS, KEPT_INODES = 200_000, 64 * 1024 * 1024, 100_000
#: How often, in writes, the rest is thrown away.
_PRUNE_EVERY = 10_000
#: Versions whose metadata is at hand without asking the database.
_RECENT = 2_000
#: Files with holes whose real size is at hand.
_SPARSE = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (version INTEGER PRIMARY KEY, fields TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hashmap (
    merkle TEXT, size INTEGER, block_size INTEGER, hashes BLOB NOT NULL, stored INTEGER NOT NULL,
    PRIMARY KEY (merkle, size, block_size));
CREATE TABLE IF NOT EXISTS inode (uuid TEXT PRIMARY KEY, ino INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS newborn (name TEXT PRIMARY KEY, ino INTEGER NOT NULL);
"""
_PRUNE = """
DELETE FROM meta WHERE version <= (SELECT version FROM meta ORDER BY version DESC LIMIT 1 OFFSET :meta);
DELETE FROM hashmap WHERE rowid <= (
    SELECT max(rowid) FROM (
        SELECT rowid, sum(length(hashes)) OVER (ORDER BY rowid DESC) AS total FROM hashmap)
    WHERE total > :hashmaps);
DELETE FROM inode WHERE rowid <= (SELECT rowid FROM inode ORDER BY rowid DESC LIMIT 1 OFFSET :inodes);
DELETE FROM newborn WHERE rowid <= (SELECT rowid FROM newborn ORDER BY rowid DESC LIMIT 1 OFFSET :inodes);
"""


class MetaStore:
    """The store in the file ``path``; in memory where that cannot be."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._database = self._open(path)
        self._written = 0
        self._recent: dict[int, dict[str, str]] = {}  # what was remembered last: it is asked for again soon
        self.prune()
        self._sparse = self._find_sparse()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @staticmethod
    def _open(path: Path | None) -> sqlite3.Connection:
        if path is not None:
            for _ in range(2):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    return _connect(path)
                except (sqlite3.Error, OSError) as error:
                    if _is_busy(error):  # with somebody else's work: it is not ours to throw away
                        log.warning("the metadata store %s is not used this time: %s", path, error)
                        break
                    log.warning("the metadata store %s is begun anew: %s", path, error)
                    for each in (
                        path,
                        path.with_name(path.name + "-wal"),
                        path.with_name(path.name + "-shm"),
                    ):
                        with contextlib.suppress(OSError):
                            each.unlink(missing_ok=True)
        return _connect(None)

    # -- facts -------------------------------------------------------------------------

    def meta(self, version: int) -> dict[str, str] | None:
        """The user metadata of a version, if it was ever seen."""
        known = self._recent.get(version)
        if known is not None:
            return dict(known)
        row = self._one("SELECT fields FROM meta WHERE version = ?", version) if version else None
        with contextlib.suppress(ValueError, TypeError):
            return dict(json.loads(row[0])) if row else None
        return None

    def remember_meta(self, version: int, meta: dict[str, str]) -> None:
        """A version's user metadata, complete."""
        if version and self._do("INSERT OR REPLACE INTO meta VALUES (?, ?)", version, json.dumps(meta)):
            with self._lock:
                self._recent[version] = dict(meta)
                if len(self._recent) > _RECENT:
                    self._recent.pop(next(iter(self._recent)))

    def hashmap(self, merkle: str, size: int, block_size: int) -> Hashmap | None:
        """The hashmap with this Merkle hash and size, if it was ever seen."""
        row = self._one(
            "SELECT hashes FROM hashmap WHERE merkle = ? AND size = ? AND block_size = ?",
            merkle,
            size,
            block_size,
        )
        if not row:
            return None
        raw, width = bytes(row[0]), len(merkle) // 2
        with contextlib.suppress(ValueError):
            found = Hashmap(
                size, tuple(raw[at : at + width].hex() for at in range(0, len(raw), width)), block_size
            )
            if found.merkle == merkle:
                return found
        return None

    def remember_hashmap(self, content: Hashmap) -> None:
        """A hashmap of more than one block (one block's is its Merkle hash)."""
        if len(content.hashes) > 1:
            raw = bytes.fromhex("".join(content.hashes))
            stored = stored_size(content)
            self._do(
                "INSERT OR REPLACE INTO hashmap VALUES (?, ?, ?, ?, ?)",
                content.merkle,
                content.size,
                content.block_size,
                raw,
                stored,
            )
            if stored < content.size:
                self._sparse[content.merkle, content.size] = stored
                if len(self._sparse) > _SPARSE:
                    self._sparse.pop(next(iter(self._sparse)))

    def stored_size(self, merkle: str, size: int) -> int:
        """How many bytes of a content are not in holes, as far as its hashmap was ever seen."""
        return 0 if merkle == ZERO_HASH else self._sparse.get((merkle, size), size)

    def _find_sparse(self) -> dict[tuple[str, int], int]:
        try:
            with self._lock:
                rows = self._database.execute(
                    "SELECT merkle, size, stored FROM hashmap WHERE stored < size LIMIT ?", (_SPARSE,)
                )
                return {(merkle, size): stored for merkle, size, stored in rows}
        except sqlite3.Error as error:
            log.warning("the metadata store cannot be read: %s", error)
            return {}

    def inodes(self) -> dict[str, int]:
        """Inode numbers by uuid, of objects whose number is not the one their uuid makes."""
        return self._numbers("SELECT uuid, ino FROM inode")

    def name_by_uuid(self, told: Sequence[tuple[str, str, int]]) -> None:
        """Objects of these names turn out to have these uuids, and keep their inode numbers.

        Many at once are one transaction: ten thousand by themselves would take a third of a second.
        """
        try:
            with self._lock:
                self._database.execute("BEGIN IMMEDIATE")
                with self._database:
                    numbers = ((uuid, ino) for _, uuid, ino in told)
                    self._database.executemany("INSERT OR REPLACE INTO inode VALUES (?, ?)", numbers)
                    names = ((name,) for name, _, _ in told)
                    self._database.executemany("DELETE FROM newborn WHERE name = ?", names)
        except sqlite3.Error as error:
            log.warning("the metadata store cannot be written: %s", error)
        self._count(len(told))

    def newborn(self) -> dict[str, int]:
        """Inode numbers by name, of objects whose uuid is not known yet."""
        return self._numbers("SELECT name, ino FROM newborn")

    def remember_newborn(self, name: str, ino: int) -> None:
        """The object of this name keeps this inode number."""
        self._do("INSERT OR REPLACE INTO newborn VALUES (?, ?)", name, ino)

    def forget_newborn(self, name: str) -> None:
        """There is no such object, or its uuid is known."""
        self._do("DELETE FROM newborn WHERE name = ?", name)

    def prune(self, meta: int = KEPT_META, hashmaps: int = KEPT_HASHMAPS, inodes: int = KEPT_INODES) -> None:
        """Throw away all but the newest; each can be asked for again, or is a number like any other."""
        with self._lock:
            self._recent.clear()
        limits = {"meta": meta, "hashmaps": hashmaps, "inodes": inodes}
        for statement in filter(str.strip, _PRUNE.split(";")):
            self._execute(statement, limits)

    # -- access --------------------------------------------------------------------------

    def _numbers(self, query: str) -> dict[str, int]:
        try:
            with self._lock:
                return dict(self._database.execute(query).fetchall())
        except sqlite3.Error as error:
            log.warning("the metadata store cannot be read: %s", error)
            return {}

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        try:
            with self._lock:
                row = self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            log.warning("the metadata store cannot be read: %s", error)
            return None
        return tuple(row) if row else None

    def _do(self, statement: str, *values: object) -> bool:
        done = self._execute(statement, values)
        self._count(1)
        return done

    def _count(self, rows: int) -> None:
        """So many were written: from time to time the oldest are thrown away."""
        before, self._written = self._written, self._written + rows
        if before // _PRUNE_EVERY != self._written // _PRUNE_EVERY:
            self.prune()

    def _execute(self, statement: str, values: Any) -> bool:
        """Whether it could be written."""
        try:
            with self._lock:
                self._database.execute(statement, values)
        except sqlite3.Error as error:
            log.warning("the metadata store cannot be written: %s", error)
            return False
        return True


def _is_busy(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what extended codes add
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _connect(path: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=5)
    try:
        if path is not None:
            path.chmod(0o600)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"format {found}, this program wants {FORMAT}")
        if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {FORMAT}")
    except BaseException:
        database.close()
        raise
    return database
