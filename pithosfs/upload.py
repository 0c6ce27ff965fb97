"""The requests of uploads: blocks, hashmaps, small bodies; what they sent and what they spared.

``commit`` and ``ahead`` decide what has to travel.  Waiting is done in the
caller's thread, requests in a pool (or in the thread of a caller that waits to
the end anyway); nothing in the pool waits for the pool.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from cachetools import LRUCache

from pithosfs import blocks
from pithosfs.api import Client, Written
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.cache import BlockCache
from pithosfs.errors import BadRequest, Forbidden, NotFound, ProtocolError, Unavailable
from pithosfs.names import ObjectRef
from pithosfs.twins import Twins
from pithosfs.waiting import may_leave, wait

Result = TypeVar("Result")


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
        self.twins = Twins()
        self.under_way = UnderWay()
        self.counts = UploadCounts()
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
            raise Unavailable("the mount is being ended") from error

    def run(self, work: Callable[..., Result], *args: object) -> Result:
        """Do ``work``: in the pool if the caller may give up waiting, or else right here."""
        return wait(self.submit(work, *args)) if may_leave() or self._closed else work(*args)

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
