"""The object level: PUT, POST, COPY, MOVE."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from typing import IO, Any

from pithosfs import blocks
from pithosfs.server.app import conditions, headers, ranges
from pithosfs.server.app.context import MAX_HASHMAP, MAX_UPLOAD, Context, answer
from pithosfs.server.app.http import ApiError, Headers, Request, Response
from pithosfs.server.app.objects import serial_of
from pithosfs.server.store.errors import NotFound
from pithosfs.server.store.objects import Attributes, Changed, Content, Guard, Moved, Target, no_guard
from pithosfs.server.store.versions import Version

_OCTETS = "application/octet-stream"
_ATTEMPTS = 100
"""How often an update is tried again because another one came in between."""


def put(context: Context, target: Target) -> Response:
    """A new version: from the body, from a hashmap, or from another object."""
    request = context.request
    guard = _checked_guard(context, target)
    for header, move in (("X-Move-From", True), ("X-Copy-From", False)):
        if request.header(header.lower()):
            return _from(context, target, header, guard, move=move)
    attributes = _attributes(request)
    if not request.chunked:
        _length(request)
    if request.content_type is None:
        raise ApiError(411, "Missing Content-Type header")
    content = _hashmap(context) if "hashmap" in request.parameters else _upload(context)
    version = context.store.objects.put(context.user, target, content, attributes, guard)
    return answer(request, 201, b"", _written(context, version))


def post(context: Context, target: Target) -> Response:
    """Metadata and access; with data, a change of the content."""
    request = context.request
    kind = (request.content_type or "").partition(";")[0].strip()
    if kind == "multipart/form-data":
        return _form(context, target)
    attributes = _attributes(request)
    guard = _checked_guard(context, target, must_exist=True)
    merge = "update" in request.parameters
    if (request.content_type or "") != _OCTETS and request.header("x-source-object") is None:
        version = context.store.objects.update(context.user, target, attributes, merge=merge, guard=guard)
        fields = [("X-Object-Version", str(version.serial))] if version else []
        return answer(request, 202, b"", fields)
    version = _Update(context, target, attributes, guard, merge=merge).run()
    return answer(request, 204, b"", _written(context, version))


def copy(context: Context, target: Target) -> Response:
    """COPY to the Destination."""
    return _to(context, target, move=False)


def move(context: Context, target: Target) -> Response:
    """MOVE to the Destination."""
    return _to(context, target, move=True)


# -- conditions ------------------------------------------------------------------------


def _checked_guard(context: Context, target: Target, *, must_exist: bool = False) -> Guard:
    """Check the conditions on ``target`` now; the guard checks them again under the lock."""
    request = context.request
    if not conditions.has_tags(request) and not must_exist:
        return no_guard
    state = context.store.objects.live(context.user, target)
    if must_exist and state is None:
        raise NotFound("Object does not exist")
    guard = _guard(context)
    if conditions.has_tags(request):
        guard(state)
    return no_guard if context.settings.racy_conditions else guard


def _guard(context: Context) -> Guard:
    def guard(version: Version | None) -> None:
        if conditions.has_tags(context.request):
            conditions.check_tags(context.request, None if version is None else context.etag(version))

    return guard


# -- PUT -------------------------------------------------------------------------------


def _attributes(request: Request) -> Attributes:
    return Attributes(
        type=request.content_type,
        meta=headers.object_meta(request),
        permissions=headers.sharing(request),
        public=headers.public(request),
    )


def _length(request: Request) -> int:
    if request.content_length is None:
        raise ApiError(411, "Missing or invalid Content-Length header")
    return request.content_length


def _written(context: Context, version: Version) -> Headers:
    return [("ETag", context.etag(version)), ("X-Object-Version", str(version.serial))]


def _hashmap(context: Context) -> Content:
    request = context.request
    text = request.body.read(MAX_HASHMAP + 1)
    if len(text) > MAX_HASHMAP:
        raise ApiError(400, "Invalid data formatting")
    size, hashes = parse_hashmap(text)
    expected = blocks.block_count(max(size, 0))
    if size == 0 and hashes in ([], [blocks.ZERO_HASH]):
        context.store.objects.write_block(b"")
        return Content(0, [blocks.ZERO_HASH], _md5_of(context, 0, [blocks.ZERO_HASH]))
    if size <= 0 or len(hashes) != expected:
        raise ApiError(400, "The object's size does not match with the object's hashmap length")
    checked = [_checked_hash(each) for each in hashes]
    missing = context.store.objects.missing(checked)
    if missing:
        raise MissingAnswer(missing)
    return Content(size, checked, _md5_of(context, size, checked))


class MissingAnswer(Exception):
    """The 409 that names missing blocks."""

    def __init__(self, hashes: list[str]) -> None:
        super().__init__()
        self.hashes = hashes


def parse_hashmap(text: bytes) -> tuple[int, list[Any]]:
    """(bytes, hashes) of the JSON.  Raises ApiError 400."""
    try:
        found = json.loads(text)
        size, hashes = int(found["bytes"]), found["hashes"]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ApiError(400, "Invalid data formatting") from None
    if not isinstance(hashes, list | dict | str):
        raise ApiError(500, "Unexpected error")
    return size, list(hashes)


def _checked_hash(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if not text.isascii():
        raise ApiError(
            400,
            f"'ascii' codec can't encode characters in position 0-{len(text) - 1}: ordinal not in range(128)",
        )
    if not isinstance(value, str) or len(text) % 2 or not re.fullmatch("[0-9a-fA-F]*", text):
        raise ApiError(400, f"Invalid hash: {text}")
    return text


def _upload(context: Context) -> Content:
    request, objects = context.request, context.store.objects
    if (request.content_length or 0) > MAX_UPLOAD:
        raise ApiError(400, "Maximum size is reached")
    wanted = _plain_tag(request.header("etag"))
    md5 = hashlib.md5(usedforsecurity=False) if wanted or context.settings.md5_etags else None
    size, hashes = objects.write_blocks(request.body.read_into, MAX_UPLOAD, md5.update if md5 else None)
    digest = md5.hexdigest() if md5 is not None else ""
    if wanted and wanted != digest:
        raise ApiError(422, "Object ETag does not match")
    return Content(size, hashes or [objects.write_block(b"")], digest)


def _plain_tag(text: str | None) -> str:
    return conditions.parse_tags(text)[0].lower() if text else ""


def _md5_of(context: Context, size: int, hashes: list[str]) -> str:
    """The MD5 of stored blocks, read back, where the server is set to have it."""
    if not context.settings.md5_etags:
        return ""
    md5 = hashlib.md5(usedforsecurity=False)
    for index, block_hash in enumerate(hashes[: blocks.block_count(size)]):
        block = context.store.objects.read_block(block_hash)
        md5.update(blocks.cut(block, 0, blocks.block_length(index, size)))
    return md5.hexdigest()


def _form(context: Context, target: Target) -> Response:
    """The upload form of the web interface: one part, ``X-Object-Data``."""
    found = re.search(r"boundary=\"?([^\";]+)", context.request.content_type or "")
    body = context.request.body.read(MAX_HASHMAP)
    part = _form_part(body, found[1].encode("latin-1") if found else b"")
    if part is None:
        raise ApiError(400, "Missing X-Object-Data field")
    kind, content = part
    objects = context.store.objects
    size, hashes = objects.write_blocks(io.BytesIO(content).readinto, MAX_UPLOAD)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest() if context.settings.md5_etags else ""
    version = objects.put(
        context.user,
        target,
        Content(size, hashes or [objects.write_block(b"")], digest),
        Attributes(type=kind, meta={}),
    )
    return answer(context.request, 201, b"", [*_written(context, version)])


def _form_part(body: bytes, boundary: bytes) -> tuple[str, bytes] | None:
    for part in body.split(b"--" + boundary)[1:]:
        head, found, content = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if found and b'name="X-Object-Data"' in head:
            kind = re.search(rb"(?im)^content-type:\s*([^\r\n]+)", head)
            content = content[:-2] if content.endswith(b"\r\n") else content
            return (kind[1].decode("latin-1").strip() if kind else _OCTETS), content
    return None


# -- copy, move ------------------------------------------------------------------------


def _from(context: Context, target: Target, header: str, guard: Guard, *, move: bool) -> Response:
    request = context.request
    _length(request)
    container, name = _path(request.header(header.lower()), f"Invalid {header} header")
    account = request.header("x-source-account") or context.user
    source = Target(account, container, name)
    serial = None if move else _source_version(request)
    return _copy(context, source, target, serial=serial, move=move, guard=guard)


def _to(context: Context, source: Target, *, move: bool) -> Response:
    request = context.request
    path = request.header("destination")
    if not path:
        raise ApiError(400, "Missing Destination header")
    container, name = _path(path, "Invalid Destination header")
    target = Target(request.header("destination-account") or context.user, container, name)
    guard = _checked_guard(context, source, must_exist=conditions.has_tags(request))
    serial = None if move else _source_version(request)
    return _copy(context, source, target, serial=serial, move=move, guard_source=guard)


def _copy(
    context: Context,
    source: Target,
    target: Target,
    *,
    serial: int | None,
    move: bool,
    guard: Guard = no_guard,
    guard_source: Guard = no_guard,
) -> Response:
    request = context.request
    attributes = _attributes(request)
    if "ignore_content_type" in request.parameters:
        attributes = Attributes(None, attributes.meta, attributes.permissions, attributes.public)
    done = context.store.objects.copy(
        context.user,
        source,
        target,
        attributes,
        serial=serial,
        delimiter=request.parameters.get("delimiter", ""),
        move=move,
        guard=guard,
        guard_source=guard_source,
    )
    version = _moved_text(done) if move else str(done.serials[0])
    return answer(request, 201, b"", [("X-Object-Version", version)])


def _moved_text(done: Moved) -> str:
    """What the real server sends as the version of a move: a Python 2 tuple."""
    serials = ", ".join(str(serial) for serial in done.serials)
    return f"([{serials}], {done.growth}L, {done.removed}{'L' if done.marked else ''})"


def _source_version(request: Request) -> int | None:
    return serial_of(request.header("x-source-version"))


def _path(text: str | None, message: str) -> tuple[str, str]:
    """Container and name of ``/container/name``."""
    found = re.fullmatch(r"/([^/]+)/(.+)", text or "", re.DOTALL)
    if not found:
        raise ApiError(400, message)
    return found[1], found[2]


# -- POST with data --------------------------------------------------------------------


class _Update:
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
        raise ApiError(503, "Too many updates at the same time", key="serviceUnavailable")

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
        length = _length(self._request)
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
        container, name = _path(source, "Invalid source object")
        account = request.header("x-source-account") or self._context.user
        origin = Target(account, container, name)
        version = self._objects.state(self._context.user, origin, _source_version(request)).version
        if wanted.length is not None and version.size < wanted.length:
            raise ApiError(400, "Object length is smaller than range length")
        return version

    def _receive_source(self, spool: IO[bytes], origin: Version, wanted: ranges.ContentRange) -> int:
        size = origin.size if wanted.length is None else wanted.length
        for extent in self._objects.extents(self._objects.hashes(origin), 0, size):
            spool.write(extent.read())
        return size

    def _attempt(
        self, spool: IO[bytes], size: int, wanted: ranges.ContentRange, length: int | None
    ) -> Version | None:
        base = self._base()
        offset = self._offset(base.size, wanted, length)
        content = self._patched(base, spool, offset, size)
        racy = self._context.settings.racy_conditions
        try:
            return self._objects.update(
                self._context.user,
                self._target,
                self._attributes,
                merge=self._merge,
                guard=self._guard,
                content=content,
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
                block = bytearray(self._objects.read_block(hashes[span.index]))
                blocks.paste(block, span.start, data)
                data = bytes(block)
            elif span.start:
                data = bytes(span.start) + data
            block_hash = self._objects.write_block(data)
            hashes[span.index : span.index + 1] = [block_hash]
        size = self._truncated(size)
        hashes = hashes[: blocks.block_count(size)] or [self._objects.write_block(b"")]
        return Content(size, hashes, _md5_of(self._context, size, hashes))

    def _truncated(self, size: int) -> int:
        text = self._request.header("x-object-bytes")
        if text is None:
            return size
        if not (text.isascii() and text.isdigit()):
            raise ApiError(400, "Invalid X-Object-Bytes header")
        return min(int(text), size)
