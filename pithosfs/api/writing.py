"""Objects written: by their data, by hashmaps and blocks.

* What the store says it got is compared with what was sent, and damaged data
  is sent again.
* After a lost answer a PUT under a condition that finds its own success has
  succeeded.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pithosfs import blocks, wire
from pithosfs.answers import error_of
from pithosfs.api.calls import JSON, list_of, written_of
from pithosfs.api.reading import Reading
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.errors import MissingBlocks, ProtocolError, Stale, StoreError
from pithosfs.transport import Response
from pithosfs.wire import Info, Written

log = logging.getLogger(__name__)

#: How often bytes are sent that arrive damaged each time.
_INTEGRITY_ATTEMPTS = 3
_MD5_DIGITS = 32
#: Before it answers a hashmap, the store may read every block of it (for an MD5) and write it to disk. More
#: than so many bytes are given time for, at so many a second, on top of what any request has; so are the
#: blocks of one request after the first.
_AT_ONCE, _STORE_RATE = 1 << 30, 32 << 20


class Writing(Reading):
    """What an object becomes."""

    def put_object(
        self,
        container: str,
        name: str,
        data: Buffer,
        *,
        content_type: str,
        meta: Mapping[str, str] | None = None,
        if_match: str | Sequence[str] | None = None,
        if_none_match: str | None = None,
        expected: str | None = None,
    ) -> Written:
        """Write an object with its data in one request; all its metadata is replaced.

        Conditions are Merkle hashes (of several any may hold), or ``*``; Stale if they do not hold.
        ``expected`` is the Merkle hash of ``data`` where it is known.  Data that
        was damaged on the way is written again, over that one version only.
        """
        merkle = expected or blocks.hashmap_of(data).merkle
        headers = _writing(content_type, meta, if_match, if_none_match)
        damaged: tuple[int, ...] = ()
        for attempt in range(_INTEGRITY_ATTEMPTS):
            try:
                written = written_of(self._send("PUT", container, name, headers=headers, body=data))
            except Stale as error:
                if not error.maybe_done:
                    raise
                size = memoryview(data).nbytes
                written = self._own_success(error, container, name, (merkle, size, content_type))
            if _agrees(written.etag, merkle, data):
                return replace(written, damaged=damaged)
            damaged += (written.version,)
            log.warning("%s/%s was damaged on its way (%d)", container, name, attempt + 1)
            headers = _writing(content_type, meta, written.etag, None)
        raise ProtocolError(f"{container}/{name}: the store gets other bytes than are sent, each time")

    def put_hashmap(
        self,
        container: str,
        name: str,
        hashmap: Hashmap,
        *,
        content_type: str,
        meta: Mapping[str, str] | None = None,
        if_match: str | Sequence[str] | None = None,
        if_none_match: str | None = None,
    ) -> Written:
        """Write an object whose blocks the store has; all its metadata is replaced.

        Raises MissingBlocks for those it has not, Stale if a condition does
        not hold.
        """
        headers = _writing(content_type, meta, if_match, if_none_match)
        body = _hashmap_body(hashmap.size, hashmap.hashes)
        try:
            answer = self._put_map(container, name, headers, body, size=hashmap.size)
        except Stale as error:
            if not error.maybe_done:
                raise
            return self._own_success(error, container, name, (hashmap.merkle, hashmap.size, content_type))
        if answer.status == 409:
            raise _missing(answer, hashmap.hashes, f"{container}/{name}")
        written = written_of(answer)
        if len(written.etag) == len(hashmap.merkle) and written.etag != hashmap.merkle:
            raise ProtocolError(f"{container}/{name}: the store got another hashmap than was sent", 201)
        return written

    def put_copy(
        self,
        container: str,
        name: str,
        hashmap: Hashmap,
        *,
        source: tuple[str, str, int],
        etag: str,
        content_type: str,
        meta: Mapping[str, str],
    ) -> Written:
        """Write a new object as a copy of a version that has this content; as :meth:`put_hashmap` would.

        ``source`` is its container, name and version, ``etag`` its MD5.  A copy inherits metadata, and
        its answer tells nothing of the content: it is looked at, and written over if it is not as wanted.
        Raises NotFound if there is no such version, Stale if there is an object of the name.
        """
        headers = _writing(content_type, meta, None, "*")
        headers["X-Copy-From"] = wire.path_of(*source[:2])
        headers["X-Source-Version"] = str(source[2])
        try:
            version = written_of(self._send("PUT", container, name, headers=headers)).version
        except Stale as error:
            if not error.maybe_done:
                raise
            sent = (hashmap.merkle, hashmap.size, content_type)
            version = self._own_success(error, container, name, sent).version
        try:
            return self._looked_at(container, name, Written(version, etag), hashmap, content_type, meta)
        except StoreError as error:
            error.maybe_done = True  # the copy was made
            raise

    def _looked_at(
        self,
        container: str,
        name: str,
        copy: Written,
        hashmap: Hashmap,
        content_type: str,
        meta: Mapping[str, str],
    ) -> Written:
        """``copy`` if it is what a PUT of this makes; else the version that is put over it."""
        info = self.head(container, name, copy.version)
        if info.etag == copy.etag and _is_as_put(info, hashmap, content_type, meta):
            return copy
        log.info("%s/%s: a copy is not as wanted, and put anew", container, name)
        written = self.put_hashmap(
            container,
            name,
            hashmap,
            content_type=content_type,
            meta=meta,
            if_match=tuple(each for each in (info.etag, info.entry.hash) if each),
        )
        return replace(written, damaged=(copy.version,))

    def missing_blocks(
        self, container: str, name: str, hashes: Sequence[str], *, block_size: int = blocks.BLOCK_SIZE
    ) -> list[str]:
        """Which of these blocks the store has not, each once and in order.  Nothing is written.

        Asked by a hashmap for ``name`` that can never become an object, for
        it also names a hash that no block has.
        """
        asked = [*hashes, blocks.IMPOSSIBLE_HASH]
        body = _hashmap_body(len(asked) * block_size, asked)
        answer = self._put_map(container, name, {"Content-Type": wire.DATA}, body)
        if answer.status != 409:
            raise ProtocolError(f"{container}/{name}: the store has a block that cannot be", answer.status)
        missing = _missing(answer, asked, f"{container}/{name}").hashes
        return [each for each in missing if each != blocks.IMPOSSIBLE_HASH]

    def _put_map(
        self, container: str, name: str, headers: Mapping[str, str], body: bytes, *, size: int = 0
    ) -> Response:
        large = max(0, size - _AT_ONCE) / _STORE_RATE
        return self._send(
            "PUT",
            container,
            name,
            query=[JSON],
            flags=["hashmap"],
            headers=headers,
            body=body,
            timeout=self.transport.timeout + large,
            allow=frozenset({409}),
        )

    def _own_success(self, error: Stale, container: str, name: str, sent: tuple[str, int, str]) -> Written:
        """After a repeated PUT found its condition broken: the version it made itself the first time.

        ``sent`` is hash, size and content type; any other version is somebody else's.
        """
        info = self.head(container, name)
        entry = info.entry
        if (entry.hash, entry.size, entry.content_type) != sent:
            raise error
        return Written(entry.version, info.etag)

    def post_block(self, container: str, data: Buffer, *, expected: str | None = None) -> str:
        """Store a block of at most the container's block size; returns its hash.

        ``expected`` saves hashing it again where the hash is known.  Zero
        bytes at the end are not sent, for the hash leaves them out too; but
        an empty body would store nothing, so of an all-zero block one stays.
        What was damaged on the way is sent again.
        """
        wanted = expected or blocks.block_hash(data)
        for _ in range(_INTEGRITY_ATTEMPTS):
            stored = self._post_data(container, (_stripped(data),))
            if stored == [wanted]:
                return wanted
            log.warning("a block was damaged on its way to %s", container)
        raise ProtocolError(f"{container}: the store gives a block another hash than {wanted}")

    def post_blocks(self, container: str, parts: Sequence[Buffer]) -> list[str]:
        """Store several blocks in one request; returns the hashes of those the store says it got, in order.

        All but the last are as long as the container's blocks, zeros included:
        the store cuts what comes at that length.  Comparing the hashes, and
        sending again what was damaged, is left to the caller.
        """
        if not parts:
            return []
        return self._post_data(container, (*parts[:-1], _stripped(parts[-1])))

    def _post_data(self, container: str, body: tuple[Buffer, ...]) -> list[str]:
        more = sum(len(each) for each in body[1:])
        answer = self._send(
            "POST",
            container,
            query=[JSON],
            flags=["update"],
            headers={"Content-Type": wire.DATA},
            body=body,
            timeout=self.transport.timeout + more / _STORE_RATE,
        )
        return [wire.hash_of(each) for each in list_of(answer, container)]


def _stripped(data: Buffer) -> memoryview:
    """A block without the zeros at its end, but never nothing."""
    body = memoryview(data).cast("B")[: max(1, blocks.stripped_length(data))]
    return body if len(body) else memoryview(b"\0")


def _writing(
    content_type: str,
    meta: Mapping[str, str] | None,
    if_match: str | Sequence[str] | None,
    if_none_match: str | None,
) -> dict[str, str]:
    """The headers of a PUT."""
    headers = {"Content-Type": wire.content_type_header(content_type), **wire.meta_headers(meta)}
    if if_match is not None:
        headers["If-Match"] = wire.etag_condition(if_match)
    if if_none_match is not None:
        headers["If-None-Match"] = wire.etag_condition(if_none_match)
    return headers


def _is_as_put(info: Info, hashmap: Hashmap, content_type: str, meta: Mapping[str, str]) -> bool:
    """Whether an object is what a PUT of this hashmap, type and metadata makes."""
    entry = info.entry
    return (
        (entry.hash, entry.size, entry.content_type) == (hashmap.merkle, hashmap.size, content_type)
        and dict(info.meta) == {key.lower(): value for key, value in meta.items()}
        and info.encoding is None
        and info.disposition is None
    )


def _agrees(etag: str, merkle: str, data: Buffer) -> bool:
    """Whether an ETag is that of ``data``: its Merkle hash or, as the server is set up, its MD5."""
    if len(etag) == len(merkle):
        return etag == merkle
    if len(etag) == _MD5_DIGITS:
        return etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
    return True


def _hashmap_body(size: int, hashes: Sequence[str]) -> bytes:
    return json.dumps({"bytes": size, "hashes": list(hashes)}, separators=(",", ":")).encode()


def _missing(answer: Response, asked: Sequence[str], label: str) -> MissingBlocks:
    """The blocks a 409 names, of those asked for; Conflict if it means something else."""
    document = wire.json_of(answer.body, label)
    if not isinstance(document, list):
        raise error_of(409, bytes(answer.body), label)
    named = {wire.hash_of(each) for each in document}
    missing = [each for each in dict.fromkeys(asked) if each in named]
    if not missing:
        raise ProtocolError(f"{label}: the store lacks blocks it was not asked for", 409)
    return MissingBlocks(f"{label}: the store lacks {len(missing)} blocks", missing)
