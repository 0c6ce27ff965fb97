"""The object level: reading, metadata, deletion."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from pithosfs import blocks
from pithosfs.server.app import conditions, headers, ranges, render
from pithosfs.server.app.context import PUBLIC, Context, answer, epoch, finished
from pithosfs.server.app.http import Headers, Piece, Response, http_date
from pithosfs.server.store.errors import Invalid, NotFound, Refused
from pithosfs.server.store.values import ObjectState, Target
from pithosfs.server.store.versions import Version


def head(context: Context, target: Target) -> Response:
    """What is known of the object."""
    state = _state(context, target)
    conditions.check_dates(context.request, state.modified)
    conditions.check_tags(context.request, context.etag(state.version))
    size = size_of(context, state)
    response = Response(200, object_headers(context, state), (), size)
    return finished(context.request, response)


def get(context: Context, target: Target) -> Response:
    """The data, the hashmap, or the history."""
    request = context.request
    if request.parameters.get("version") == "list":
        return _history(context, target)
    state = _state(context, target)
    conditions.check_dates(request, state.modified)
    conditions.check_tags(request, context.etag(state.version))
    fields = object_headers(context, state)
    if "hashmap" in request.parameters:
        return _hashmap(context, target, state.version, fields)
    found = content_of(context, state)
    request.serialization = "text"
    return data(context, state, found, fields)


def delete(context: Context, target: Target) -> Response:
    """Delete the object, with what is below it (``delimiter``), or purge versions (``until``)."""
    request = context.request
    until = request.number("until")
    if until is not None:
        context.store.objects.purge(context.user, target, until)
    else:
        context.store.objects.delete(context.user, target, request.parameters.get("delimiter", ""))
    return answer(request, 204)


class Readable:
    """The content of a version, or of the versions a manifest names, as one run of bytes."""

    def __init__(self, context: Context, versions: Sequence[Version]) -> None:
        self._objects = context.store.objects
        self._blocks = context.store.blocks
        self._versions = versions
        self.size = sum(version.size for version in versions)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The bytes from ``start`` to ``stop``."""
        for version in self._versions:
            if start < version.size and stop > 0 and start < stop:
                found = self._objects.hashes(version)
                yield from self._blocks.extents(found, max(start, 0), min(stop, version.size))
            start, stop = start - version.size, stop - version.size


def content_of(context: Context, state: ObjectState) -> Readable:
    """What reading the object gives; a manifest stands for the objects it names."""
    manifest = state.version.meta.get("X-Object-Manifest")
    if manifest is None:
        return Readable(context, [state.version])
    container, _, prefix = manifest.partition("/")
    if not prefix:
        raise Invalid("Invalid X-Object-Manifest header")
    parts = context.store.objects.parts(context.user, state.place.account, container, prefix)
    return Readable(context, parts)


def size_of(context: Context, state: ObjectState) -> int:
    """The size of what reading the object gives; of a manifest that leads nowhere, its own."""
    try:
        return content_of(context, state).size
    except Refused:
        return state.version.size


def data(context: Context, state: ObjectState, content: Readable, fields: Headers) -> Response:
    """The bytes, or the ranges of them asked for."""
    request = context.request
    wanted = None
    if _range_applies(context, state.version):
        wanted = ranges.parse_range(request.header("range"), content.size)
    fields = _with_disposition(context, state.version, fields)
    if wanted is None:
        response = Response(200, fields, content.pieces(0, content.size), content.size)
    elif len(wanted) == 1:
        start, stop = wanted[0]
        fields.append(("Content-Range", f"bytes {start}-{stop - 1}/{content.size}"))
        response = Response(206, fields, content.pieces(start, stop), stop - start)
    else:
        boundary = uuid.uuid4().hex
        fields = [(name, value) for name, value in fields if name != "Content-Type"]
        fields.append(("Content-Type", f"multipart/byteranges; boundary={boundary}"))
        response = Response(206, fields, _multipart(content, wanted, boundary), None)
    return finished(request, response)


def _range_applies(context: Context, version: Version) -> bool:
    condition = context.request.header("if-range")
    return condition is None or condition == version.md5


def _multipart(content: Readable, wanted: Sequence[tuple[int, int]], boundary: str) -> Iterator[Piece]:
    for start, stop in wanted:
        yield (
            f"--{boundary}\r\nContent-Range: bytes {start}-{stop - 1}/{content.size}\r\n"
            "Content-Transfer-Encoding: binary\r\n\r\n"
        ).encode()
        yield from content.pieces(start, stop)
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _with_disposition(context: Context, version: Version, fields: Headers) -> Headers:
    kind = context.request.parameters.get("disposition-type", "inline")
    if kind not in ("inline", "attachment"):
        kind = "inline"
    if any(name == "Content-Disposition" for name, _ in fields):
        return fields
    return [*fields, ("Content-Disposition", f'{kind}; filename="{version.name}"')]


def _state(context: Context, target: Target) -> ObjectState:
    return context.store.objects.state(
        context.user, target, serial_of(context.request.parameters.get("version"))
    )


def serial_of(text: str | None) -> int | None:
    """A version number; None if there is none.  Raises NotFound if it cannot be one."""
    if text is None:
        return None
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise NotFound("Version does not exist")
    return int(digits)


def _history(context: Context, target: Target) -> Response:
    found = [(serial, epoch(stamp)) for serial, stamp in context.store.objects.history(context.user, target)]
    request = context.request
    if request.serialization == "xml":
        return answer(request, 200, render.versions_xml(target.name, found))
    request.serialization = "json"
    return answer(request, 200, render.as_json({"versions": found}))


def _hashmap(context: Context, target: Target, version: Version, fields: Headers) -> Response:
    hashmap = {
        "block_hash": blocks.ALGORITHM,
        "hashes": context.store.objects.hashes(version),
        "block_size": blocks.BLOCK_SIZE,
        "bytes": version.size,
    }
    request = context.request
    if request.serialization == "xml":
        return answer(request, 200, render.hashmap_xml(target.name, hashmap), fields)
    return answer(request, 200, render.as_json(hashmap), fields)


def object_headers(context: Context, state: ObjectState, *, public: bool = False) -> Headers:
    """What GET and HEAD tell of an object; less of it to strangers."""
    version = state.version
    found: Headers = [
        ("ETag", context.etag(version)),
        ("Content-Type", version.type),
        ("Last-Modified", http_date(state.modified)),
        ("Available", "1"),
    ]
    kept = [(name, version.meta[name]) for name in headers.KEPT if name in version.meta]
    if public:
        return found + [field for field in kept if field[0] != "X-Object-Manifest"]
    found += [
        ("X-Object-Hash", version.merkle),
        ("X-Object-UUID", version.uuid),
        ("X-Object-Version", str(version.serial)),
        ("X-Object-Version-Timestamp", http_date(version.stamp)),
        ("X-Object-Modified-By", version.author),
        *((name, value) for name, value in version.meta.items() if name not in headers.KEPT),
        *kept,
    ]
    if state.shared:
        found.append(("X-Object-Sharing", headers.sharing_text(state.shared.permissions)))
        if state.shared.name != version.name:
            place = state.place
            found.append(("X-Object-Shared-By", f"{place.account}/{place.name}/{state.shared.name}"))
    if state.allowed:
        found.append(("X-Object-Allowed-To", state.allowed))
    if state.public:
        found.append(("X-Object-Public", f"{context.request.base}{PUBLIC}/{state.public}"))
    return found
