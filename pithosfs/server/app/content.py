"""Content from the body of a request: data, a hashmap, a form."""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Any

from pithosfs import blocks
from pithosfs.server.app import conditions
from pithosfs.server.app.context import MAX_HASHMAP, MAX_UPLOAD, Context
from pithosfs.server.app.http import ApiError
from pithosfs.server.store.errors import MissingBlocks
from pithosfs.server.store.values import Content

_OCTETS = "application/octet-stream"


def from_data(context: Context) -> Content:
    """The body itself.  Raises ApiError 400, 422."""
    request, store = context.request, context.store.blocks
    if (request.content_length or 0) > MAX_UPLOAD:
        raise ApiError(400, "Maximum size is reached")
    wanted = _tag_of(request.header("etag"))
    md5 = hashlib.md5(usedforsecurity=False) if wanted or context.settings.md5_etags else None
    size, hashes = store.write_all(request.body.read_into, MAX_UPLOAD, md5.update if md5 else None)
    digest = md5.hexdigest() if md5 is not None else ""
    if wanted and wanted != digest:
        raise ApiError(422, "Object ETag does not match")
    return Content(size, hashes or [store.write(b"")], digest)


def from_hashmap(context: Context) -> Content:
    """The blocks the JSON of the body names.  Raises ApiError 400, MissingBlocks."""
    request = context.request
    text = request.body.read(MAX_HASHMAP + 1)
    if len(text) > MAX_HASHMAP:
        raise ApiError(400, "Invalid data formatting")
    size, hashes = parse_hashmap(text)
    expected = blocks.block_count(max(size, 0))
    if size == 0 and hashes in ([], [blocks.ZERO_HASH]):
        context.store.blocks.write(b"")
        return Content(0, [blocks.ZERO_HASH], md5_of(context, 0, [blocks.ZERO_HASH]))
    if size <= 0 or len(hashes) != expected:
        raise ApiError(400, "The object's size does not match with the object's hashmap length")
    checked = [_checked_hash(each) for each in hashes]
    missing = context.store.blocks.missing(checked)
    if missing:
        raise MissingBlocks(missing)
    return Content(size, checked, md5_of(context, size, checked))


def from_form(context: Context) -> tuple[str, Content]:
    """(type, content) of the part ``X-Object-Data`` of an upload form.  Raises ApiError 400."""
    found = re.search(r"boundary=\"?([^\";]+)", context.request.content_type or "")
    body = context.request.body.read(MAX_HASHMAP + 1)
    if len(body) > MAX_HASHMAP:
        raise ApiError(400, "Maximum size is reached")
    part = _form_part(body, found[1].encode("latin-1") if found else b"")
    if part is None:
        raise ApiError(400, "Missing X-Object-Data field")
    kind, data = part
    store = context.store.blocks
    size, hashes = store.write_all(io.BytesIO(data).readinto, MAX_UPLOAD)
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest() if context.settings.md5_etags else ""
    return kind, Content(size, hashes or [store.write(b"")], digest)


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


def md5_of(context: Context, size: int, hashes: list[str]) -> str:
    """The MD5 of stored blocks, read back, where the server is set to have it."""
    if not context.settings.md5_etags:
        return ""
    md5 = hashlib.md5(usedforsecurity=False)
    for index, block_hash in enumerate(hashes[: blocks.block_count(size)]):
        block = context.store.blocks.read(block_hash)
        md5.update(blocks.cut(block, 0, blocks.block_length(index, size)))
    return md5.hexdigest()


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


def _tag_of(text: str | None) -> str:
    return conditions.parse_tags(text)[0].lower() if text else ""


def _form_part(body: bytes, boundary: bytes) -> tuple[str, bytes] | None:
    for part in body.split(b"--" + boundary)[1:]:
        head, found, content = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if found and b'name="X-Object-Data"' in head:
            kind = re.search(rb"(?im)^content-type:\s*([^\r\n]+)", head)
            content = content[:-2] if content.endswith(b"\r\n") else content
            return (kind[1].decode("latin-1").strip() if kind else _OCTETS), content
    return None
