"""Commit: PUT the hashmap, POST the blocks the server lacks in parallel, PUT again.

What travels is decided by what the server has, in as few requests as can be:

* a new object of one block is one PUT with its body;
* blocks that are complete while the program still writes are hashed and sent
  ahead (:class:`Ahead`), after one question whether the server has them;
* one changed block in a large object is surely new: POST, then PUT;
* else the PUT itself is the question.

A commit that returns means the server answered 201 for exactly these bytes.
Waiting is done in the caller's thread, requests in a pool; nothing in the
pool waits for the pool.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_all
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from cachetools import LRUCache

from pithosfs import blocks
from pithosfs.api import Client, Written
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.cache import BlockCache
from pithosfs.errors import MissingBlocks, PithosError, ProtocolError, Unavailable
from pithosfs.names import ObjectRef
from pithosfs.waiting import if_cancelled, wait

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Blocks to be hashed before the server is first asked which of them it has.
_ASK_AT = 3
#: As long as the server has all of them, ask again after so many.
_ASK_AGAIN = 128
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


@dataclass(frozen=True, slots=True)
class Terms:
    """How an object is to be written: type, all its metadata, and on which condition.

    ``if_match`` lists the ETags the object may have now; ``only_new`` refuses
    any; with neither the object is overwritten whatever it is.
    """

    content_type: str
    meta: Mapping[str, str]
    if_match: tuple[str, ...] = ()
    only_new: bool = False


class Committed(NamedTuple):
    """A commit's outcome: what the server answered and what is there now."""

    written: Written
    hashmap: Hashmap


@dataclass(slots=True)
class UploadCounts:
    """Blocks that travelled, and blocks that did not have to."""

    sent: int = 0
    sent_bytes: int = 0
    spared: int = 0
    spared_bytes: int = 0


class KnownBlocks:
    """Hashes the server is known to have; blocks are never removed there."""

    def __init__(self, limit: int = 200_000) -> None:
        self._lock = threading.Lock()
        self._known: LRUCache[str, bool] = LRUCache(limit)

    def add(self, hashes: Iterable[str]) -> None:
        """The server has these."""
        with self._lock:
            for each in hashes:
                self._known[each] = True

    def __contains__(self, block: str) -> bool:
        with self._lock:
            return block in self._known


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of a file that were sent since ``since`` (monotonic seconds)."""

    since: float
    sent: int

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return self.sent / max(0.001, time.monotonic() - self.since)


class UnderWay:
    """Files whose blocks are being sent and that are not committed yet."""

    def __init__(self, limit: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._files: LRUCache[ObjectRef, Progress] = LRUCache(limit)

    def sent(self, ref: ObjectRef, size: int) -> None:
        """So many bytes more; 0 when the first are only on their way."""
        with self._lock:
            known = self._files.get(ref, Progress(time.monotonic(), 0))
            self._files[ref] = Progress(known.since, known.sent + size)

    def ended(self, ref: ObjectRef) -> None:
        """Committed, or given up for now."""
        with self._lock:
            self._files.pop(ref, None)

    def of(self, ref: ObjectRef) -> Progress | None:
        """How far a file is; None if nothing of it is on its way."""
        with self._lock:
            return self._files.get(ref)


class Uploader:
    """Sends blocks and hashmaps.

    ``own`` is the account blocks are posted to, for others' containers take
    none; ``container`` is where, if not the object's own one.
    """

    def __init__(
        self,
        client_of: Callable[[ObjectRef], Client],
        own: Client,
        cache: BlockCache,
        *,
        container: str | None = None,
        threads: int = 8,
        block_size: int = blocks.BLOCK_SIZE,
    ) -> None:
        self.cache = cache
        self.known = KnownBlocks()
        self.under_way = UnderWay()
        self.counts = UploadCounts()
        self.threads = threads
        self._client_of = client_of
        self._own = own
        self._container = container
        self._block_size = block_size
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="upload")

    def close(self) -> None:
        """Stop; what is under way is finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def submit(self, work: Callable[..., Result], *args: object) -> Future[Result]:
        """Run ``work`` in the pool."""
        try:
            return self._pool.submit(work, *args)
        except RuntimeError as error:
            raise Unavailable("the mount is being ended") from error

    # -- requests ----------------------------------------------------------------------

    def send_block(self, ref: ObjectRef, block: str, data: Buffer) -> None:
        """POST one block whose hash is ``block``."""
        self.under_way.sent(ref, 0)
        if self._own.post_block(self._container or ref.container, data, expected=block) != block:
            raise ProtocolError(f"the server stored a block of {ref} under another hash")
        self.known.add((block,))
        self.under_way.sent(ref, len(data))
        with self._lock:
            self.counts.sent += 1
            self.counts.sent_bytes += len(data)

    def missing(self, ref: ObjectRef, hashes: Sequence[str]) -> set[str]:
        """Which of ``hashes`` the server lacks; nothing is created."""
        client = self._client_of(ref)
        lacking = set(client.missing_blocks(ref.container, ref.name, hashes, block_size=self._block_size))
        self.known.add(each for each in hashes if each not in lacking)
        return lacking

    def spared(self, count: int, size: int) -> None:
        """So many blocks did not have to travel."""
        with self._lock:
            self.counts.spared += count
            self.counts.spared_bytes += size

    def put_hashmap(self, ref: ObjectRef, content: Hashmap, terms: Terms) -> Written:
        """One hashmap PUT; MissingBlocks if the server lacks some."""
        written = self._client_of(ref).put_hashmap(
            ref.container,
            ref.name,
            content,
            content_type=terms.content_type,
            meta=terms.meta,
            if_match=terms.if_match or None,
            if_none_match="*" if terms.only_new else None,
        )
        self.known.add(content.hashes[:1024])
        return written

    def put_body(self, ref: ObjectRef, data: Buffer, merkle: str, terms: Terms) -> Written:
        """One PUT with the object's bytes, whose Merkle hash is ``merkle``."""
        self.under_way.sent(ref, 0)
        written = self._client_of(ref).put_object(
            ref.container,
            ref.name,
            data,
            content_type=terms.content_type,
            meta=terms.meta,
            if_match=terms.if_match or None,
            if_none_match="*" if terms.only_new else None,
            expected=merkle,
        )
        with self._lock:
            self.counts.sent += 1
            self.counts.sent_bytes += len(data)
        return written

    # -- commit --------------------------------------------------------------------------

    def commit(
        self,
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
        job = _Job(self, ref, source, hashes, ahead.sent if ahead else set(), attempted)
        try:
            for attempt in range(_ROUNDS):
                try:
                    return job.run(terms)
                except Changed:
                    if attempt == _ROUNDS - 1:
                        raise
        finally:
            self.under_way.ended(ref)
        raise AssertionError("unreachable")

    def hashmap(self, ref: ObjectRef, source: Source) -> Hashmap:
        """What ``source`` is as a hashmap, without sending anything."""
        return _Job(self, ref, source, {}, set()).hash_all()


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
            self.uploader.cache.put(block, data)
            if block in self.uploader.known or block in self.sent:
                try:
                    written = self._put(content, terms)
                except MissingBlocks:
                    break
                self._count_spared([block])
                return Committed(written, content)
        self.attempted(content)
        written = wait(self.uploader.submit(self.uploader.put_body, self.ref, data, content.merkle, terms))
        self.uploader.known.add(content.hashes)
        return Committed(written, content)

    def _put(self, content: Hashmap, terms: Terms) -> Written:
        self.attempted(content)
        return wait(self.uploader.submit(self.uploader.put_hashmap, self.ref, content, terms))

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
        block = blocks.block_hash(data)
        self.hashed[index] = (stamp, block)
        self.where[block] = index
        self.uploader.cache.put(block, data)
        return block

    def _unsent(self, content: Hashmap) -> list[str]:
        """Hashes of changed blocks nobody has sent or seen on the server, each once."""
        known = self.uploader.known
        fresh = {block for block in self.where if block not in self.sent and block not in known}
        return list(dict.fromkeys(block for block in content.hashes if block in fresh))

    def _send(self, hashes: Sequence[str]) -> None:
        self._in_parallel(self._send_one, hashes)
        self.sent.update(hashes)

    def _send_one(self, block: str) -> None:
        if block == blocks.ZERO_HASH:
            self.uploader.send_block(self.ref, block, b"\0")
            return
        data = self.uploader.cache.get(block)
        if data is None:
            data = self._look_again(block)
        self.uploader.send_block(self.ref, block, data)

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

    def _in_parallel(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
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
        finally:
            for each in pending:
                each.cancel()
            wait_all(pending)
        return results

    def _count_spared(self, hashes: Sequence[str]) -> None:
        self.uploader.spared(len(hashes), len(hashes) * self.source.block_size)


class Ahead:
    """Hashes and sends complete blocks of one file while the program still writes it.

    ``read`` gives a block's stamp and bytes, or None if it is no longer worth
    sending.  Never waits, never raises: what did not work is left to the commit.
    """

    def __init__(
        self, uploader: Uploader, ref: ObjectRef, read: Callable[[int], tuple[int, Buffer] | None]
    ) -> None:
        self.sent: set[str] = set()
        self._uploader = uploader
        self._ref = ref
        self._read = read
        self._lock = threading.Lock()
        self._queue: deque[int] = deque()
        self._offered: set[int] = set()
        self._workers = 0
        self._idle: Future[None] = Future()
        self._idle.set_result(None)
        self._hashed: dict[int, tuple[int, str]] = {}
        self._unasked: list[str] = []
        self._ask_at = _ASK_AT
        self._server_has_all: bool | None = None
        self._failed = False

    def offer(self, index: int) -> None:
        """Block ``index`` is complete, and probably stays as it is."""
        with self._lock:
            if index in self._offered or self._failed:
                return
            self._offered.add(index)
            self._queue.append(index)
            if self._workers >= self._uploader.threads:
                return
            if not self._workers:
                self._idle = Future()
            self._workers += 1
        self._go_on()

    def finish(self) -> dict[int, tuple[int, str]]:
        """Wait for what is under way; returns the stamp and hash of each block looked at."""
        with self._lock:
            idle = self._idle
        wait(idle)
        with self._lock:
            return dict(self._hashed)

    def _go_on(self) -> None:
        try:
            if_cancelled(self._uploader.submit(self._work), self._rest)
        except PithosError:
            self._failed = True
            self._rest()

    def _work(self) -> None:
        """One block, then to the end of the pool's queue: other files get their turn."""
        with self._lock:
            index = self._queue.popleft() if self._queue and not self._failed else None
        if index is None:
            self._rest()
            return
        try:
            self._one(index)
        except Exception:
            self._failed = True  # the commit meets the same trouble and reports it
        self._go_on()

    def _rest(self) -> None:
        with self._lock:
            self._workers -= 1
            last = not self._workers
            idle = self._idle
        if last:
            idle.set_result(None)

    def _one(self, index: int) -> None:
        found = self._read(index)
        if found is None:
            return
        stamp, data = found
        block = blocks.block_hash(data)
        self._uploader.cache.put(block, data)
        with self._lock:
            self._hashed[index] = (stamp, block)
        if block in self._uploader.known or block == blocks.ZERO_HASH:
            return
        if self._server_has_all is not False:
            self._consider_asking(block)
        if self._server_has_all is False and block not in self.sent and block not in self._uploader.known:
            self._uploader.send_block(self._ref, block, data)
            self.sent.add(block)

    def _consider_asking(self, block: str) -> None:
        with self._lock:
            self._unasked.append(block)
            if len(self._unasked) < self._ask_at:
                return
            batch, self._unasked = self._unasked, []
            self._ask_at = _ASK_AGAIN
        self._server_has_all = not self._uploader.missing(self._ref, batch)
