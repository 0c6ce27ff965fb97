"""Commit: PUT the hashmap, POST the blocks the server lacks in parallel, PUT again.

What travels is decided by what the server has, in as few requests as can be:

* an object of one block is one PUT with its body, unless the server may have it;
* what was sent ahead, while the program still wrote, is not sent again;
* one changed block in a large object is surely new: POST, then PUT;
* else the PUT itself is the question.

A commit that returns means the server answered 201 for exactly these bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_all
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from pithosfs import blocks
from pithosfs.ahead import Ahead
from pithosfs.api import Written
from pithosfs.batches import Block
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.errors import Interrupted, MissingBlocks, PithosError
from pithosfs.names import ObjectRef
from pithosfs.upload import Terms, Uploader
from pithosfs.waiting import wait

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How often a commit begins anew because the file changed under it.
_ROUNDS = 5


class Changed(PithosError):
    """The bytes of a block are no longer those that were hashed; commit again."""


class Source(Protocol):
    """What is to become an object, block by block."""

    @property
    def size(self) -> int:
        """Bytes of the whole."""

    @property
    def block_size(self) -> int:
        """Bytes of a block."""

    def hash_of(self, index: int) -> str | None:
        """The block's hash if it is known without looking at its bytes."""

    def read(self, index: int) -> tuple[int, Buffer]:
        """The block's bytes, a copy nobody changes, and a stamp that changes when they do."""

    def stamp(self, index: int) -> int:
        """The block's present stamp."""


class Committed(NamedTuple):
    """A commit's outcome: what the server answered and what is there now."""

    written: Written
    hashmap: Hashmap


def commit(
    uploader: Uploader,
    ref: ObjectRef,
    source: Source,
    terms: Terms,
    ahead: Ahead | None = None,
    attempted: Callable[[Hashmap], object] = lambda _: None,
) -> Committed:
    """Make ``source`` the object ``ref``.

    ``attempted`` is told what is about to be put; whether that worked may stay unknown.
    Raises what the store raised; Changed after too many rounds.
    """
    hashes = ahead.finish() if ahead else {}
    if source.size % source.block_size:  # of the last block only a part may be in this version
        hashes.pop(source.size // source.block_size, None)
    job = _Job(uploader, ref, source, hashes, ahead.sent if ahead else set(), attempted)
    try:
        for attempt in range(_ROUNDS):
            job.at_once = attempt == _ROUNDS - 1
            try:
                done = job.run(terms)
            except Changed:
                if job.at_once:
                    raise
            else:
                # Not before: while it is sent the local disk may be the server's, too.
                uploader.cache.keep(list(job.where))
                return done
    finally:
        uploader.under_way.ended(ref)
    raise AssertionError("unreachable")


def hashmap_of(uploader: Uploader, ref: ObjectRef, source: Source) -> Hashmap:
    """What ``source`` is as a hashmap, without sending anything."""
    return _Job(uploader, ref, source, {}, set()).hash_all()


@dataclass(slots=True)
class _Job:
    """One commit: which blocks have to be looked at, their hashes, and where each is."""

    uploader: Uploader
    ref: ObjectRef
    source: Source
    hashed: dict[int, tuple[int, str]]
    sent: set[str]
    attempted: Callable[[Hashmap], object] = lambda _: None
    where: dict[str, int] = field(default_factory=dict)
    at_once: bool = False  # send each block when it is hashed: later it may have changed again

    def run(self, terms: Terms) -> Committed:
        if self.source.size <= self.source.block_size:
            done = self._small(terms)
            if done:
                return done
        content = self.hash_all()
        fresh = self._unsent(content)
        if len(fresh) == 1 and len(content.hashes) > 1:
            self._send(fresh)  # an edit in place: surely new, asking would be a request more
        lacking: set[str] = set()
        try:
            written = self._put(content, terms)
        except MissingBlocks as missing:
            lacking = set(missing.hashes)
            self._send(missing.hashes)
            written = self._put(content, terms)
        looked_at = {block for block in content.hashes if block in self.where}
        self._count_spared([each for each in looked_at if each not in lacking and each not in self.sent])
        return Committed(written, content)

    def _small(self, terms: Terms) -> Committed | None:
        """An object of at most one block: its body is the PUT, unless the server may have the block."""
        size = self.source.size
        known = self.source.hash_of(0) if size else None
        if known is not None:
            return None
        _, data = self.source.read(0) if size else (0, b"")
        content = blocks.hashmap_of(data, self.source.block_size)
        for block in content.hashes:
            self.where[block] = 0
            self.uploader.cache.put(block, data, on_disk=False)
            if block in self.uploader.known or block in self.sent:
                try:
                    written = self._put(content, terms)
                except MissingBlocks:
                    break
                self._count_spared([block])
                return Committed(written, content)
        self.attempted(content)
        written = self.uploader.run(self.uploader.put_body, self.ref, data, content.merkle, terms)
        self.uploader.known.add(content.hashes)
        return Committed(written, content)

    def _put(self, content: Hashmap, terms: Terms) -> Written:
        self.attempted(content)
        return self.uploader.run(self.uploader.put_hashmap, self.ref, content, terms)

    def hash_all(self) -> Hashmap:
        """The whole as a hashmap; blocks that changed are hashed."""
        size, block_size = self.source.size, self.source.block_size
        hashes: list[str] = []
        todo: list[int] = []
        for index in range(blocks.block_count(size, block_size)):
            block = self.source.hash_of(index)
            if block is None:
                stamp, block = self.hashed.get(index, (-1, ""))
                if stamp != self.source.stamp(index):
                    todo.append(index)
                else:
                    self.where[block] = index
            hashes.append(block)
        for index, block in zip(todo, self._in_parallel(self._hash, todo), strict=True):
            hashes[index] = block
        return Hashmap(size, tuple(hashes), block_size)

    def _hash(self, index: int) -> str:
        stamp, data = self.source.read(index)
        block = self.uploader.hasher.hash(data)
        self.hashed[index] = (stamp, block)
        self.where[block] = index
        self.uploader.cache.put(block, data, on_disk=False)
        if self.at_once and block not in self.sent and block != blocks.ZERO_HASH:
            self.uploader.send_blocks(self.ref, [Block(block, data)])
            self.sent.add(block)
        return block

    def _unsent(self, content: Hashmap) -> list[str]:
        """Hashes of changed blocks nobody has sent or seen on the server, each once."""
        known = self.uploader.known
        fresh = {block for block in self.where if block not in self.sent and block not in known}
        return list(dict.fromkeys(block for block in content.hashes if block in fresh))

    def _send(self, hashes: Sequence[str]) -> None:
        self._in_parallel(self._send_some, self.uploader.batches.shares(hashes))
        self.sent.update(hashes)

    def _send_some(self, hashes: Sequence[str]) -> None:
        self.uploader.send_blocks(self.ref, [Block(each, self._bytes_of(each)) for each in hashes])

    def _bytes_of(self, block: str) -> Buffer:
        if block == blocks.ZERO_HASH:
            return b"\0"
        return self.uploader.cache.get(block) or self._look_again(block)

    def _look_again(self, block: str) -> Buffer:
        index = self.where.get(block)
        if index is None:  # a block of the base the server claims not to have
            count = blocks.block_count(self.source.size, self.source.block_size)
            index = next((each for each in range(count) if self.source.hash_of(each) == block), None)
        if index is None:
            raise Changed(f"{self.ref} changed while it was sent")
        _, data = self.source.read(index)
        if blocks.block_hash(data) != block:
            raise Changed(f"{self.ref} changed while it was sent")
        return data

    def _in_parallel(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``work`` on each item in the pool, a bounded number at a time; the first error is raised."""
        results: list[Result] = []
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(pending) >= self.uploader.threads:
                    results.append(wait(pending.popleft()))
                pending.append(self.uploader.submit(work, item))
            while pending:
                results.append(wait(pending.popleft()))
        except BaseException as error:
            for each in pending:
                each.cancel()
            if not isinstance(error, Interrupted):  # else nobody looks at what comes of those under way
                wait_all(pending)
            raise
        return results

    def _count_spared(self, hashes: Sequence[str]) -> None:
        self.uploader.spared(len(hashes), len(hashes) * self.source.block_size)
