"""What an open file consists of: blocks on the server, local bytes, zeros.  No I/O.

A byte of the file is, in this order of precedence,

1. in the file's scratch, if ``dirty`` has it;
2. in a block spliced in from another object (a copy inside the mount);
3. in the base, the version that was opened, up to ``limit``;
4. zero.

Not thread-safe: its owner's lock is held around every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pithosfs import blocks
from pithosfs.blocks import Hashmap
from pithosfs.extents import Extents
from pithosfs.ranges import Address, Origin


class Local(NamedTuple):
    """Bytes of the scratch, ``start`` to ``stop``."""

    start: int
    stop: int


class Remote(NamedTuple):
    """Bytes ``start`` to ``stop`` of a block on the server."""

    address: Address
    start: int
    stop: int


class Zeros(NamedTuple):
    """``length`` zero bytes."""

    length: int


Part = Local | Remote | Zeros


@dataclass(slots=True)
class _Since:
    """What changed after a freeze."""

    dirty: Extents = field(default_factory=Extents)
    spliced: set[int] = field(default_factory=set)
    lowest: int = 0


class Content:
    """The bytes of one open file, as places where they are."""

    def __init__(self, base: Hashmap, origin: Origin) -> None:
        self.base = base
        self.origin = origin
        self.size = base.size
        self.limit = base.size
        self.dirty = Extents()
        self.spliced: dict[int, tuple[Address, int]] = {}  # block -> address, how much of it is in effect
        self._since: _Since | None = None

    @property
    def block_size(self) -> int:
        """Bytes in a block."""
        return self.base.block_size

    @property
    def count(self) -> int:
        """How many blocks the file has now."""
        return blocks.block_count(self.size, self.block_size)

    @property
    def changed(self) -> bool:
        """Whether the file differs from its base."""
        return bool(self.dirty or self.spliced or self.size != self.base.size or self.limit != self.base.size)

    # -- looking ------------------------------------------------------------------------

    def block(self, index: int) -> tuple[Address, int] | None:
        """The server's block behind block ``index`` and how many of its bytes are in effect."""
        if index in self.spliced:
            return self.spliced[index]
        length = blocks.block_length(index, self.base.size, self.block_size)
        effective = min(length, self.limit - index * self.block_size)
        if effective <= 0:
            return None
        address = Address(self.origin, index, self.base.hashes[index], length, self.block_size)
        return address, effective

    def parts(self, start: int, stop: int) -> Iterator[Part]:
        """Where bytes ``start`` to ``stop`` are, in order; ``stop`` is not past the end."""
        for span in blocks.spans(start, stop - start, self.block_size):
            first = span.index * self.block_size
            for low, high, local in self.dirty.pieces(first + span.start, first + span.stop):
                if local:
                    yield Local(low, high)
                else:
                    yield from self._below(span.index, low - first, high - first)

    def _below(self, index: int, start: int, stop: int) -> Iterator[Part]:
        found = self.block(index)
        effective = found[1] if found and found[0].hash != blocks.ZERO_HASH else 0
        if found and start < effective:
            yield Remote(found[0], start, min(stop, effective))
        if stop > effective:
            yield Zeros(stop - max(start, effective))

    def hash_of(self, index: int) -> str | None:
        """The hash of block ``index`` if its bytes need not be looked at; else None."""
        start = index * self.block_size
        if self.dirty.intersects(start, min(start + self.block_size, self.size)):
            return None
        found = self.block(index)
        if found is None:
            return blocks.ZERO_HASH
        address, effective = found
        if effective < address.length:
            return None
        # A last block that others cut short keeps the hash of all its bytes: zeros behind it are not sure.
        whole = address.length == self.block_size or address.hash == blocks.ZERO_HASH
        return address.hash if whole or self.size <= start + address.length else None

    def is_hole(self, index: int) -> bool:
        """Whether block ``index`` is known to be all zeros."""
        return self.hash_of(index) == blocks.ZERO_HASH

    def complete(self, index: int) -> bool:
        """Whether all bytes of a full block ``index`` are local."""
        start = index * self.block_size
        return self.dirty.covers(start, start + self.block_size)

    # -- changing ------------------------------------------------------------------------

    def wrote(self, start: int, stop: int) -> None:
        """The scratch now has bytes ``start`` to ``stop``."""
        self.dirty.add(start, stop)
        self.size = max(self.size, stop)
        if self._since:
            self._since.dirty.add(start, stop)

    def resize(self, size: int) -> None:
        """Cut, or grow by zeros."""
        if size < self.size:
            self.limit = min(self.limit, size)
            self.dirty.remove(size, self.size)
            for index in [each for each in self.spliced if (each + 1) * self.block_size > size]:
                address, effective = self.spliced.pop(index)
                left = size - index * self.block_size
                if left > 0:
                    self.spliced[index] = (address, min(effective, left))
            if self._since:
                self._since.dirty.remove(size, self.size)
                self._since.lowest = min(self._since.lowest, size)
        self.size = size

    def splice(self, index: int, address: Address, length: int) -> None:
        """Block ``index`` is now the server's block at ``address``, ``length`` bytes of it."""
        start = index * self.block_size
        self.dirty.remove(start, start + self.block_size)
        self.spliced[index] = (address, length)
        self.size = max(self.size, start + length)
        if self._since:
            self._since.dirty.remove(start, start + self.block_size)
            self._since.spliced.add(index)

    # -- committing -----------------------------------------------------------------------

    def freeze(self) -> None:
        """Begin to remember what changes from here on."""
        self._since = _Since(lowest=self.size)

    def cut_to(self) -> int:
        """How much of the file has stayed what it was at :meth:`freeze`, or was only written over."""
        return self.size if self._since is None else self._since.lowest

    def thaw(self) -> None:
        """The commit did not happen."""
        self._since = None

    def rebase(self, base: Hashmap, origin: Origin) -> None:
        """The content at :meth:`freeze` is on the server as ``base``; only what changed since is left."""
        since = self._since or _Since(lowest=self.size)
        self._since = None
        self.base, self.origin = base, origin
        self.limit = min(base.size, since.lowest)
        self.dirty = since.dirty
        self.spliced = {index: self.spliced[index] for index in since.spliced if index in self.spliced}
