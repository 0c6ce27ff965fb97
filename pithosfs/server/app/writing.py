"""PUT and POST of objects."""

from __future__ import annotations

from pithosfs.server.app import content, copying
from pithosfs.server.app.context import Context, answer
from pithosfs.server.app.http import ApiError, Response
from pithosfs.server.app.preparing import attributes_of, checked_guard, content_length, written
from pithosfs.server.app.updating import Update
from pithosfs.server.store.values import Attributes, Target

_OCTETS = "application/octet-stream"


def put(context: Context, target: Target) -> Response:
    """A new version: from the body, from a hashmap, or from another object."""
    request = context.request
    guard = checked_guard(context, target)
    for header, move in (("X-Move-From", True), ("X-Copy-From", False)):
        if request.header(header.lower()):
            return copying.onto(context, target, header, guard, move=move)
    attributes = attributes_of(request)
    if not request.chunked:
        content_length(request)
    if request.content_type is None:
        raise ApiError(411, "Missing Content-Type header")
    read = content.from_hashmap if "hashmap" in request.parameters else content.from_data
    version = context.store.objects.put(context.user, target, read(context), attributes, guard)
    return answer(request, 201, b"", written(context, version))


def post(context: Context, target: Target) -> Response:
    """Metadata and access; with data, a change of the content."""
    request = context.request
    kind = (request.content_type or "").partition(";")[0].strip()
    if kind == "multipart/form-data":
        return _form(context, target)
    attributes = attributes_of(request)
    guard = checked_guard(context, target, must_exist=True)
    merge = "update" in request.parameters
    if (request.content_type or "") != _OCTETS and request.header("x-source-object") is None:
        version = context.store.objects.update(context.user, target, attributes, merge=merge, guard=guard)
        fields = [("X-Object-Version", str(version.serial))] if version else []
        return answer(request, 202, b"", fields)
    version = Update(context, target, attributes, guard, merge=merge).run()
    return answer(request, 204, b"", written(context, version))


def _form(context: Context, target: Target) -> Response:
    """The upload form of the web interface."""
    kind, data = content.from_form(context)
    version = context.store.objects.put(context.user, target, data, Attributes(type=kind, meta={}))
    return answer(context.request, 201, b"", written(context, version))
