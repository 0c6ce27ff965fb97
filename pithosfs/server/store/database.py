"""One SQLite file: schema, transactions, serial numbers.

Readers see the state of one moment (WAL snapshots) and wait for nobody;
writers take turns.  Lock order: ``Database._writing`` first, then nothing.

Serial numbers (``X-Object-Version``) come from one counter for the whole
server and, like those of a database sequence, are never given back: an
operation that fails after it has taken one leaves a gap, as on the real
server.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pithosfs.server.store.errors import Unavailable

FORMAT = 1
"""Version of the schema; a file of another version is refused, not guessed at."""

_SCHEMA = """
CREATE TABLE user (
    uuid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, token TEXT NOT NULL UNIQUE,
    quota INTEGER NOT NULL);
CREATE TABLE counter (serial INTEGER NOT NULL);
INSERT INTO counter VALUES (0);

CREATE TABLE account (uuid TEXT PRIMARY KEY);
CREATE TABLE member (
    position INTEGER PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, member TEXT NOT NULL,
    UNIQUE (account, name, member));
CREATE TABLE container (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, name TEXT NOT NULL,
    quota INTEGER NOT NULL DEFAULT 0, versioning TEXT NOT NULL DEFAULT 'auto',
    project TEXT NOT NULL, changed INTEGER NOT NULL,
    count INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, name));
-- metadata of accounts (container 0) and containers, each change a version
CREATE TABLE description (
    serial INTEGER PRIMARY KEY, account TEXT NOT NULL, container INTEGER NOT NULL,
    stamp INTEGER NOT NULL, meta TEXT NOT NULL);
CREATE INDEX description_of ON description (account, container, serial);

CREATE TABLE object (
    id INTEGER PRIMARY KEY AUTOINCREMENT, container INTEGER NOT NULL, name TEXT NOT NULL,
    latest INTEGER NOT NULL, UNIQUE (container, name));
CREATE TABLE content (id INTEGER PRIMARY KEY AUTOINCREMENT, hashes TEXT NOT NULL);
CREATE TABLE version (
    serial INTEGER PRIMARY KEY, object INTEGER NOT NULL, container INTEGER NOT NULL,
    state INTEGER NOT NULL, size INTEGER NOT NULL, type TEXT NOT NULL, merkle TEXT NOT NULL,
    md5 TEXT NOT NULL, uuid TEXT NOT NULL, author TEXT NOT NULL, stamp INTEGER NOT NULL,
    meta TEXT NOT NULL, content INTEGER NOT NULL);
CREATE INDEX version_of ON version (object, serial);
CREATE INDEX version_content ON version (content);
CREATE INDEX version_live ON version (container, serial) WHERE state = 1;
-- all versions with their names, and the newest of each object
CREATE VIEW every AS SELECT v.serial, v.object, o.container, v.state, v.size, v.type, v.merkle, v.md5,
    v.uuid, v.author, v.stamp, v.meta, v.content, o.name
    FROM object o JOIN version v ON v.object = o.id;
CREATE VIEW newest AS SELECT v.serial, v.object, o.container, v.state, v.size, v.type, v.merkle, v.md5,
    v.uuid, v.author, v.stamp, v.meta, v.content, o.name
    FROM object o JOIN version v ON v.serial = o.latest;
CREATE TABLE live_key (
    container INTEGER NOT NULL, key TEXT NOT NULL, object INTEGER NOT NULL,
    PRIMARY KEY (container, key, object)) WITHOUT ROWID;
CREATE INDEX live_key_of ON live_key (object);

CREATE TABLE sharing (
    container INTEGER NOT NULL, name TEXT NOT NULL, readers TEXT NOT NULL, writers TEXT NOT NULL,
    PRIMARY KEY (container, name)) WITHOUT ROWID;
CREATE TABLE public (
    container INTEGER NOT NULL, name TEXT NOT NULL, token TEXT NOT NULL UNIQUE,
    PRIMARY KEY (container, name)) WITHOUT ROWID;

CREATE TABLE block (hash TEXT PRIMARY KEY) WITHOUT ROWID;
"""

Row = sqlite3.Row
Clock = Callable[[], int]
"""Tells the time in microseconds since 1970."""


class Transaction:
    """What one transaction can do."""

    def __init__(self, connection: sqlite3.Connection, database: Database | None) -> None:
        self._connection = connection
        self._database = database

    def all(self, sql: str, *values: Any) -> list[Row]:
        """All rows."""
        return self._connection.execute(sql, values).fetchall()

    def rows(self, sql: str, *values: Any) -> Iterator[Row]:
        """The rows, one at a time."""
        return iter(self._connection.execute(sql, values))

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def run(self, sql: str, *values: Any) -> int:
        """Execute, and return the id of the row inserted last."""
        return self._connection.execute(sql, values).lastrowid or 0

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute once for each of ``rows``."""
        self._connection.executemany(sql, rows)

    def stamp(self) -> int:
        """Now, in microseconds since 1970; never the same twice."""
        if self._database is None:
            raise RuntimeError("a reading transaction changes nothing")
        return self._database.take_stamp()

    def next_serial(self) -> int:
        """Take the next serial number; it is gone even if the transaction fails."""
        if self._database is None:
            raise RuntimeError("a reading transaction takes no serial numbers")
        return self._database.take_serial()


class Database:
    """The file at ``path``; made if it is not there."""

    def __init__(self, path: Path, clock: Clock, *, durable: bool = True) -> None:
        self._path = path
        self._clock = clock
        self._durable = durable
        self._writing = threading.Lock()
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        path.touch(mode=0o600)
        try:
            self._writer = self._connect()
            self._create()
            self._serial = self._counter()
            self._last = self._newest()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} is damaged or no database of this program ({error})") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        connection.execute("PRAGMA cache_size = -16384")
        return connection

    def _create(self) -> None:
        self._writer.execute("BEGIN IMMEDIATE")  # another process may be at it, too
        found = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            for statement in _SCHEMA.split(";"):
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version = {FORMAT}")
        self._writer.execute("COMMIT")
        if found not in (0, FORMAT):
            raise ValueError(f"{self._path} has format {found}; this program knows format {FORMAT}")

    def _counter(self) -> int:
        row = self._writer.execute("SELECT serial FROM counter").fetchone()
        return int(row[0])

    def _newest(self) -> int:
        """The time of the newest change there is: the clock may have been set back since."""
        rows = self._writer.execute(
            "SELECT * FROM (SELECT stamp FROM version ORDER BY serial DESC LIMIT 1) UNION ALL "
            "SELECT * FROM (SELECT stamp FROM description ORDER BY serial DESC LIMIT 1)"
        )
        return max((int(row[0]) for row in rows), default=0)

    def take_stamp(self) -> int:
        """A time no other change has; only for the transaction that is writing."""
        self._last = max(self._last + 1, self._clock())
        return self._last

    def take_serial(self) -> int:
        """The next serial number; only for the transaction that is writing."""
        self._serial += 1
        return self._serial

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that may change things: all of it on return, nothing on an error.

        Raises Unavailable if the disk does not take it.
        """
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                # another process may have taken numbers (a user was added)
                self._serial = max(self._serial, self._counter())
                taken = self._serial
                yield Transaction(self._writer, self)
                if self._serial != taken:
                    self._writer.execute("UPDATE counter SET serial = ?", (self._serial,))
                self._writer.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._roll_back()
                raise Unavailable(f"The database cannot be written: {error}") from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._writer.in_transaction:  # after some errors SQLite has done it itself
            self._writer.execute("ROLLBACK")

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that sees one moment and changes nothing."""
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection, None)
            finally:
                connection.execute("ROLLBACK")
        finally:
            self._readers.put(connection)

    def close(self) -> None:
        """Close the file; the database must not be used afterwards."""
        with self._writing:
            while True:
                try:
                    self._readers.get_nowait().close()
                except queue.Empty:
                    break
            self._writer.close()
