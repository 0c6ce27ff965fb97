"""POST with data: patch, append, truncate."""

from __future__ import annotations

import tempfile
from typing import IO

from pithosfs import blocks
from pithosfs.server.app import content, ranges
from pithosfs.server.app.context import MAX_UPLOAD, Context
from pithosfs.server.app.http import ApiError
from pithosfs.server.app.objects import serial_of
from pithosfs.server.app.paths import split_path
from pithosfs.server.app.preparing import content_length
from pithosfs.server.store.errors import NotFound
from pithosfs.server.store.objects import Changed
from pithosfs.server.store.values import Attributes, Content, Guard, Target
from pithosfs.server.store.versions import Version

_ATTEMPTS = 100
"""How often an update is tried again because another one came in between."""


class Update:
    """One change of an object's content by POST: a patch, an append, a truncation.

    The data is read to its end before anything is done with it, so a slow
    client holds nobody up.  If another change comes first, it is done again on
    top of that one; with racy conditions the earlier change is lost, as on the
    real server.
    """

    def __init__(
        self, context: Context, target: Target, attributes: Attributes, guard: Guard, *, merge: bool
    ) -> None:
        self._context = context
        self._request = context.request
        self._objects = context.store.objects
        self._blocks = context.store.blocks
        self._target = target
        self._attributes = attributes
        self._guard = guard
        self._merge = merge

    def run(self) -> Version:
        """Do it and return the new version."""
        request = self._request
        text = request.header("content-range")
        if not text:
            raise ApiError(400, "Missing Content-Range header")
        wanted = ranges.parse_content_range(text)
        if wanted is None:
            raise ApiError(416, "Invalid Content-Range header")
        base = self._base()
        source = request.header("x-source-object")
        origin = None if source is None else self._origin(source, wanted)
        length = self._check_length(wanted) if origin is None else wanted.length
        self._offset(base.size, wanted, length)
        self._truncated(0)
        with tempfile.SpooledTemporaryFile(max_size=blocks.BLOCK_SIZE) as spool:
            size = self._receive(spool) if origin is None else self._receive_source(spool, origin, wanted)
            for _ in range(_ATTEMPTS):
                version = self._attempt(spool, size, wanted, length)
                if version is not None:
                    return version
        raise ApiError(503, "Too many updates at the same time")

    def _base(self) -> Version:
        base = self._objects.live(self._context.user, self._target)
        if base is None:
            raise NotFound("Object does not exist")
        return base

    def _offset(self, size: int, wanted: ranges.ContentRange, length: int | None) -> int:
        offset = size if wanted.start is None else wanted.start
        if offset > size:
            raise ApiError(416, "Supplied offset is beyond object limits")
        if wanted.total is not None and (
            wanted.total != size or offset >= size or (length and offset + length >= size)
        ):
            raise ApiError(416, "Supplied range will change provided object limits")
        return offset

    def _check_length(self, wanted: ranges.ContentRange) -> int | None:
        if self._request.chunked:
            return None
        length = content_length(self._request)
        if wanted.length is not None and length != wanted.length:
            raise ApiError(400, "Content length does not match range length")
        return length

    def _receive(self, spool: IO[bytes]) -> int:
        size = 0
        while data := self._request.body.read(blocks.BLOCK_SIZE):
            size += len(data)
            if size > MAX_UPLOAD:
                raise ApiError(400, "Maximum size is reached")
            spool.write(data)
        return size

    def _origin(self, source: str, wanted: ranges.ContentRange) -> Version:
        request = self._request
        container, name = split_path(source, "Invalid source object")
        account = request.header("x-source-account") or self._context.user
        origin = Target(account, container, name)
        version = self._objects.state(
            self._context.user, origin, serial_of(request.header("x-source-version"))
        ).version
        if wanted.length is not None and version.size < wanted.length:
            raise ApiError(400, "Object length is smaller than range length")
        return version

    def _receive_source(self, spool: IO[bytes], origin: Version, wanted: ranges.ContentRange) -> int:
        size = origin.size if wanted.length is None else wanted.length
        for extent in self._blocks.extents(self._objects.hashes(origin), 0, size):
            spool.write(extent.read())
        return size

    def _attempt(
        self, spool: IO[bytes], size: int, wanted: ranges.ContentRange, length: int | None
    ) -> Version | None:
        base = self._base()
        offset = self._offset(base.size, wanted, length)
        new = self._patched(base, spool, offset, size)
        racy = self._context.settings.racy_conditions
        try:
            return self._objects.update(
                self._context.user,
                self._target,
                self._attributes,
                merge=self._merge,
                guard=self._guard,
                content=new,
                base=None if racy else base,
            )
        except Changed:
            return None

    def _patched(self, base: Version, spool: IO[bytes], offset: int, length: int) -> Content:
        hashes = self._objects.hashes(base) if base.size else []
        size = max(base.size, offset + length)
        spool.seek(0)
        for span in blocks.spans(offset, length):
            data = spool.read(span.stop - span.start)
            new = span.index >= len(hashes)
            if not new and span.stop - span.start < blocks.BLOCK_SIZE:
                block = bytearray(self._blocks.read(hashes[span.index]))
                blocks.paste(block, span.start, data)
                data = bytes(block)
            elif span.start:
                data = bytes(span.start) + data
            block_hash = self._blocks.write(data)
            hashes[span.index : span.index + 1] = [block_hash]
        size = self._truncated(size)
        hashes = hashes[: blocks.block_count(size)] or [self._blocks.write(b"")]
        return Content(size, hashes, content.md5_of(self._context, size, hashes))

    def _truncated(self, size: int) -> int:
        text = self._request.header("x-object-bytes")
        if text is None:
            return size
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise ApiError(400, "Invalid X-Object-Bytes header")
        return min(int(text), size)
