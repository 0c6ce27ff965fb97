"""Whether a store is consistent: blocks, hashmaps, totals."""

from __future__ import annotations

from collections.abc import Iterator

from pithosfs import blocks
from pithosfs.server.store.blockfiles import BlockFiles
from pithosfs.server.store.database import Database, Transaction


def problems(database: Database, files: BlockFiles) -> Iterator[str]:
    """One line for each thing that is wrong; nothing if all is well.

    Reads every block.  What is written while it runs is not looked at.
    """
    with database.read() as tx:
        damage = tx.value("PRAGMA quick_check")
        if damage != "ok":
            yield f"the database is damaged: {damage}"
            return
        broken: set[str] = set()
        yield from _blocks(tx, files, broken)
        yield from _hashmaps(tx, broken)
        yield from _totals(tx)


def _blocks(tx: Transaction, files: BlockFiles, broken: set[str]) -> Iterator[str]:
    """Check every block the store counts on; ``broken`` gets the hashes of those it has not whole."""
    for (name,) in tx.rows("SELECT hash FROM block ORDER BY hash"):
        try:
            found = blocks.block_hash(files.read(name))
        except OSError as error:
            yield f"block {name} cannot be read: {error.strerror}"
            broken.add(name)
            continue
        if found != name:
            yield f"block {name} is damaged: its content has the hash {found}"
            broken.add(name)


def _hashmaps(tx: Transaction, broken: set[str]) -> Iterator[str]:
    known = {row[0] for row in tx.rows("SELECT hash FROM block")} - broken
    rows = tx.rows(
        "SELECT v.serial, v.size, v.merkle, o.name, c.name AS container, h.hashes FROM version v "
        "JOIN object o ON o.id = v.object JOIN container c ON c.id = o.container "
        "LEFT JOIN content h ON h.id = v.content WHERE v.state != 2 ORDER BY v.serial"
    )
    for row in rows:
        where = f"version {row['serial']} of {row['container']}/{row['name']}"
        if row["hashes"] is None:
            yield f"{where} has no hashmap"
            continue
        hashes = row["hashes"].split("\n")
        if len(hashes) != max(1, blocks.block_count(row["size"])):
            yield f"{where} has {len(hashes)} blocks for {row['size']} bytes"
        elif blocks.merkle(hashes) != row["merkle"]:
            yield f"{where} has the hash {blocks.merkle(hashes)} instead of {row['merkle']}"
        lost = [each for each in hashes if each.lower() not in known]
        if lost:
            yield f"{where} lacks {len(lost)} of its blocks, the first is {lost[0]}"


def _totals(tx: Transaction) -> Iterator[str]:
    rows = tx.rows(
        "SELECT c.name, c.count, c.bytes, count(v.serial) AS objects, coalesce(sum(v.size), 0) AS size "
        "FROM container c LEFT JOIN version v ON v.container = c.id AND v.state = 1 GROUP BY c.id"
    )
    for row in rows:
        if (row["count"], row["bytes"]) != (row["objects"], row["size"]):
            yield (
                f"container {row['name']} counts {row['count']} objects of {row['bytes']} bytes, "
                f"but has {row['objects']} of {row['size']}"
            )
