"""Which blocks the store has, and which of them are safe on the disk.

A block that was written is *fresh* until a transaction refers to it: only
then it is made durable and noted in the database.  After a crash a block that
is not noted counts as missing, whatever lies on the disk; whoever still wants
it sends it again.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from pithosfs import blocks
from pithosfs.server.store.blockfiles import BlockFiles, Buffers, Extent
from pithosfs.server.store.database import Database, Transaction
from pithosfs.server.store.errors import Invalid

Source = Callable[[memoryview], int]
"""Fills a buffer and returns how many bytes it got; fewer than fit only at the end, then 0."""
Watch = Callable[[memoryview], object]


class Blocks:
    """All blocks of the store, whoever brought them."""

    def __init__(self, database: Database, files: BlockFiles) -> None:
        self._database = database
        self._files = files
        self._buffers = Buffers()
        self._fresh: set[str] = set()
        self._fresh_lock = threading.Lock()

    def write_all(self, source: Source, limit: int, watch: Watch | None = None) -> tuple[int, list[str]]:
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
                hashes.append(self.write(buffer[:count]))
        return size, hashes

    def write(self, data: blocks.Buffer) -> str:
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

    def settle_all(self) -> None:
        """Make all blocks durable and known for good, also those that nothing refers to yet."""
        with self._fresh_lock:
            names = list(self._fresh)
        if names:
            with self.settled(names) as note, self._database.write() as tx:
                note(tx)

    @contextlib.contextmanager
    def settled(self, hashes: Iterable[str]) -> Iterator[Callable[[Transaction], None]]:
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

    def read(self, block_hash: str) -> bytes:
        """A stored block, without its trailing zeros."""
        return self._files.read(block_hash)


def missing(tx: Transaction, hashes: Sequence[str]) -> list[str]:
    """Those of ``hashes`` that are not noted, each once, in order."""
    wanted = list(dict.fromkeys(hashes))
    known = _known(tx, wanted)
    return [each for each in wanted if each.lower() not in known]


def _known(tx: Transaction, hashes: Sequence[str]) -> set[str]:
    found = tx.rows(
        "SELECT hash FROM block WHERE hash IN (SELECT value FROM json_each(?))",
        json.dumps([each.lower() for each in hashes]),
    )
    return {row[0] for row in found}
