"""What PUT, POST, COPY and MOVE of objects have in common."""

from __future__ import annotations

from pithosfs.server.app import conditions, headers
from pithosfs.server.app.context import Context
from pithosfs.server.app.http import ApiError, Headers, Request
from pithosfs.server.store.errors import NotFound
from pithosfs.server.store.values import Attributes, Guard, Target, no_guard
from pithosfs.server.store.versions import Version


def checked_guard(context: Context, target: Target, *, must_exist: bool = False) -> Guard:
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


def attributes_of(request: Request) -> Attributes:
    """What the headers say is to be kept with the object.  Raises ApiError 400."""
    return Attributes(
        type=request.content_type,
        meta=headers.object_meta(request),
        permissions=headers.sharing(request),
        public=headers.public(request),
    )


def content_length(request: Request) -> int:
    """The Content-Length.  Raises ApiError 411."""
    if request.content_length is None:
        raise ApiError(411, "Missing or invalid Content-Length header")
    return request.content_length


def written(context: Context, version: Version) -> Headers:
    """The headers that tell of a new version."""
    return [("ETag", context.etag(version)), ("X-Object-Version", str(version.serial))]
