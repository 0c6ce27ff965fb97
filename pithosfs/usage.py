"""How much objects take: apparent size against the blocks that are really stored."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pithosfs import blocks
from pithosfs.api import Client, Entry

_PARALLEL = 8


@dataclass(frozen=True, slots=True)
class Usage:
    """``apparent`` bytes of ``objects`` are ``stored`` bytes of ``blocks`` that are different."""

    objects: int
    apparent: int
    blocks: int
    stored: int


def apparent(entries: Iterable[Entry]) -> tuple[int, int]:
    """How many objects, and how many bytes they show."""
    count = size = 0
    for entry in entries:
        count, size = count + 1, size + entry.size
    return count, size


def deduplicated(client: Client, container: str, entries: Iterable[Entry], block_size: int) -> Usage:
    """Count each block once, and holes not at all.

    An object of one block tells its hash in the listing; others are asked for
    their hashmap, each content once.
    """
    count = size = 0
    stored: dict[str, int] = {}
    larger: dict[tuple[str, int], Entry] = {}
    for entry in entries:
        count, size = count + 1, size + entry.size
        if 0 < entry.size <= block_size and entry.hash:
            _keep(stored, entry.hash, entry.size)
        elif entry.size:
            larger[entry.hash or entry.name, entry.size] = entry
    with ThreadPoolExecutor(_PARALLEL) as pool:
        asked = pool.map(lambda each: client.hashmap(container, each.name)[1], larger.values())
        for content in asked:
            for index, block in enumerate(content.hashes):
                _keep(stored, block, blocks.block_length(index, content.size, content.block_size))
    stored.pop(blocks.ZERO_HASH, None)
    return Usage(count, size, len(stored), sum(stored.values()))


def _keep(stored: dict[str, int], block: str, size: int) -> None:
    stored[block] = max(size, stored.get(block, 0))
