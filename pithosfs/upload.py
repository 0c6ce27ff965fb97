"""The requests of uploads: blocks, hashmaps, small bodies; what they sent and what they spared.

``commit`` and ``ahead`` decide what has to travel.  Waiting is done in the
caller's thread, requests in a pool (or in the thread of a caller that waits to
the end anyway); nothing in the pool waits for the pool.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TypeVar

from cachetools import LRUCache

from pithosfs import blocks
from pithosfs.api import Client, Written
from pithosfs.batches import Batches, Block
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.cache import BlockCache
from pithosfs.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    ProtocolError,
    QuotaExceeded,
    TimedOut,
    Unavailable,
)
from pithosfs.hashing import Hasher
from pithosfs.names import ObjectRef
from pithosfs.twins import Twins
from pithosfs.waiting import ENDING, may_leave, wait

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: What a server that takes no long requests, or a proxy before it, may answer to one: nothing, or this.
_TOO_LONG = (0, 400, 413, 500, 502)


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


@dataclass(slots=True)
class UploadCounts:
    """Blocks that travelled, and blocks that did not have to."""

    sent: int = 0
    sent_bytes: int = 0
    spared: int = 0
    spared_bytes: int = 0


class KnownBlocks:
    """Hashes the server is known to have, those heard of last; blocks are never removed there."""

    def __init__(self, limit: int = 100_000) -> None:
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
        """So many bytes more; 0 when the first are only on their way; not when it has ended."""
        with self._lock:
            known = self._files.get(ref)
            if known is not None:
                self._files[ref] = Progress(known.since, known.sent + size)
            elif not size:
                self._files[ref] = Progress(time.monotonic(), 0)

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
    none; ``container`` is where, if not the object's own one.  At most ``memory``
    bytes of blocks that go together are under way at once (None: what the cache has).
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
        memory: int | None = None,
        hasher: Hasher | None = None,
    ) -> None:
        self.cache = cache
        self.hasher = hasher or Hasher()
        self.known = KnownBlocks()
        self.twins = Twins()
        self.under_way = UnderWay()
        self.counts = UploadCounts()
        self.batches = Batches(threads, cache.memory_limit if memory is None else memory, block_size)
        self.threads = threads
        self._client_of = client_of
        self._own = own
        self._container = container
        self._block_size = block_size
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="upload")
        self._closed = False

    def close(self) -> None:
        """Stop; what is under way is finished."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def submit(self, work: Callable[..., Result], *args: object) -> Future[Result]:
        """Run ``work`` in the pool."""
        try:
            return self._pool.submit(work, *args)
        except RuntimeError as error:
            raise Unavailable(ENDING) from error

    def run(self, work: Callable[..., Result], *args: object) -> Result:
        """Do ``work``: in the pool if the caller may give up waiting, or else right here."""
        return wait(self.submit(work, *args)) if may_leave() or self._closed else work(*args)

    # -- requests ----------------------------------------------------------------------

    def send_blocks(self, ref: ObjectRef, waiting: Sequence[Block]) -> None:
        """POST blocks, together where the server takes that."""
        self.under_way.sent(ref, 0)
        for request in self.batches.requests(waiting):
            began = time.monotonic()
            took = partial(self.batches.took, sum(len(each.data) for each in request))
            try:
                self._send(ref, request)
            except TimedOut:
                took(time.monotonic() - began)
                raise
            took(time.monotonic() - began)

    def _send(self, ref: ObjectRef, request: Sequence[Block]) -> None:
        """POST blocks together; what does not arrive as it was goes alone, once more."""
        refused = False
        if len(request) > 1:
            request, refused = self._send_together(ref, request)
        for block in request:
            self._own.post_block(self._container or ref.container, block.data, expected=block.hash)
            self._stored(ref, block)
        if refused:  # but not if they could not be sent alone, either
            self.batches.refused()

    def _send_together(self, ref: ObjectRef, request: Sequence[Block]) -> tuple[list[Block], bool]:
        """One POST of several blocks: what is left to send, and whether it seems that this was too long."""
        try:
            hashes = self._own.post_blocks(self._container or ref.container, [each.data for each in request])
        except (QuotaExceeded, BadRequest, ProtocolError, Unavailable) as error:
            if isinstance(error, TimedOut) or error.status not in _TOO_LONG:
                raise
            log.info("%s: the server does not take %d blocks at once: %s", ref, len(request), error)
            return list(request), True
        left = []
        for block, stored in zip_longest(request, hashes[: len(request)]):
            if stored == block.hash:
                self._stored(ref, block)
            else:
                left.append(block)
        if left:
            log.warning("%s: %d of %d blocks did not arrive as they were", ref, len(left), len(request))
        return left, len(hashes) != len(request)

    def _stored(self, ref: ObjectRef, block: Block) -> None:
        """A block is on the server."""
        size = len(block.data)
        self.known.add((block.hash,))
        self.under_way.sent(ref, size)
        with self._lock:
            self.counts.sent += 1
            self.counts.sent_bytes += size

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
        """One hashmap PUT, or a copy of what is the same; MissingBlocks if the server lacks some."""
        written = self._put_copy(ref, content, terms) or self._client_of(ref).put_hashmap(
            ref.container,
            ref.name,
            content,
            content_type=terms.content_type,
            meta=terms.meta,
            if_match=terms.if_match or None,
            if_none_match="*" if terms.only_new else None,
        )
        self.known.add(content.hashes[:1024])
        self.twins.add(content, ref, written.version, written.etag, terms.meta)
        return written

    def _put_copy(self, ref: ObjectRef, content: Hashmap, terms: Terms) -> Written | None:
        """A new object as a copy of one with its content, on the server; None if there is none to copy."""
        twin = self.twins.of(content, ref, terms.meta) if terms.only_new else None
        if twin is None:
            return None
        try:
            return self._client_of(ref).put_copy(
                ref.container,
                ref.name,
                content,
                source=(twin.ref.container, twin.ref.name, twin.version),
                etag=twin.etag,
                content_type=terms.content_type,
                meta=terms.meta,
            )
        except (NotFound, Forbidden, BadRequest):  # whatever it is about, a PUT will tell
            self.twins.forget(content)
            return None

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
