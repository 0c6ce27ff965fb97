"""Hashmap algebra: what Pithos means by a block, a hash and a hashmap.  No I/O.

An object is its size and the hashes of its blocks, in order.  A block is
hashed *without its trailing zero bytes*, so blocks of different length share
a hash, the all-zero block is the hash of nothing, and the length of a stored
block says nothing: :func:`cut` pads.  Hashes are lower-case hexadecimal text.

Client and server share this module; its golden values are pinned in
``tests/test_blocks.py`` against exchanges recorded from a real server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview

BLOCK_SIZE = 4 * 1024 * 1024
#: The hash of all blocks, by the name servers give it; of a server that has another one nothing is read.
ALGORITHM = "sha256"
ZERO_HASH = hashlib.sha256(b"").hexdigest()
#: A hash no block has; a hashmap that names it can never become an object.
IMPOSSIBLE_HASH = "f" * 64

_ZEROS = bytes(64 * 1024)


class Span(NamedTuple):
    """A piece of one block: bytes ``start`` to ``stop`` of block ``index``."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    start: int
    stop: int


@dataclass(frozen=True)
class Hashmap:
    """An object's content: ``size`` in bytes and the hash of each of its blocks."""

    size: int
    hashes: tuple[str, ...]
    block_size: int = BLOCK_SIZE

    def __post_init__(self) -> None:
        if len(self.hashes) != block_count(self.size, self.block_size):
            raise ValueError(f"{len(self.hashes)} hashes for {self.size} bytes")

    @cached_property
    def merkle(self) -> str:
        """The one hash over all (``X-Object-Hash``): milliseconds for a few thousand blocks."""
        return merkle(self.hashes)


def block_count(size: int, block_size: int = BLOCK_SIZE) -> int:
    """How many blocks an object of ``size`` bytes has; none if it is empty."""
    return -(-size // block_size)


def block_length(index: int, size: int, block_size: int = BLOCK_SIZE) -> int:
    """How many bytes of block ``index`` belong to an object of ``size`` bytes."""
    return max(0, min(block_size, size - index * block_size))


def stored_size(content: Hashmap) -> int:
    """How many of the bytes are in blocks that have anything but zeros."""
    size = content.block_size
    filled = (index for index, each in enumerate(content.hashes) if each != ZERO_HASH)
    return sum(block_length(index, content.size, size) for index in filled)


def spans(offset: int, length: int, block_size: int = BLOCK_SIZE) -> Iterator[Span]:
    """The pieces of blocks that make up ``length`` bytes at ``offset``."""
    position, end = offset, offset + length
    while position < end:
        index, start = divmod(position, block_size)
        stop = min(block_size, start + end - position)
        yield Span(index, start, stop)
        position += stop - start


def stripped_length(data: Buffer) -> int:
    """The length of ``data`` without its trailing zero bytes."""
    end = len(data)
    if not end or data[end - 1]:
        return end
    view = memoryview(data)
    while end:
        step = min(end, len(_ZEROS))
        piece = view[end - step : end]
        if piece != _ZEROS[:step]:
            return end - step + len(bytes(piece).rstrip(b"\0"))
        end -= step
    return 0


def block_hash(data: Buffer) -> str:
    """The hash of a block: over ``data`` without its trailing zero bytes."""
    view = memoryview(data)[: stripped_length(data)]
    return hashlib.sha256(view, usedforsecurity=False).hexdigest()


def merkle(hashes: Sequence[str]) -> str:
    """The top of the binary tree over ``hashes``.

    Leaves are the raw hashes, padded with zero leaves to the next power of
    two; a parent is the hash of its two children.  One block is its own hash,
    no block at all is the hash of nothing.
    """
    if not hashes:
        return ZERO_HASH
    level = [bytes.fromhex(each) for each in hashes]
    width = 1
    while width < len(level):
        width *= 2
    level += [bytes(len(level[0]))] * (width - len(level))
    while len(level) > 1:
        level = [
            hashlib.sha256(level[i] + level[i + 1], usedforsecurity=False).digest()
            for i in range(0, len(level), 2)
        ]
    return level[0].hex()


def hashmap_of(data: Buffer, block_size: int = BLOCK_SIZE) -> Hashmap:
    """The hashmap of ``data``, all of it in memory."""
    view = memoryview(data)
    hashes = tuple(block_hash(view[at : at + block_size]) for at in range(0, len(view), block_size))
    return Hashmap(len(view), hashes, block_size)


def cut(block: Buffer, start: int, stop: int) -> Buffer:
    """Bytes ``start`` to ``stop`` of a block, zeros where the stored block is shorter.

    Returns a view where nothing has to be padded.
    """
    piece = memoryview(block)[start:stop]
    missing = stop - start - len(piece)
    return bytes(piece) + bytes(missing) if missing > 0 else piece


def paste(block: bytearray, start: int, data: Buffer) -> None:
    """Write ``data`` at ``start`` of ``block``, growing it with zeros as needed."""
    gap = start - len(block)
    if gap > 0:
        block.extend(bytes(gap))
    block[start : start + len(data)] = data
