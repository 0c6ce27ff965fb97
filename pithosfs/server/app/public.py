"""Objects by their public name: no token, and no word about the owner."""

from __future__ import annotations

from pithosfs.server.app import conditions, objects
from pithosfs.server.app.context import Context, finished
from pithosfs.server.app.http import Response
from pithosfs.server.store.errors import NotFound
from pithosfs.server.store.values import ObjectState, Target


def head(context: Context, token: str) -> Response:
    """Size and type."""
    state = _state(context, token)
    conditions.check_dates(context.request, state.modified)
    conditions.check_tags(context.request, context.etag(state.version))
    size = objects.size_of(context, state)
    response = Response(200, objects.object_headers(context, state, public=True), (), size)
    return finished(context.request, response)


def get(context: Context, token: str) -> Response:
    """The data."""
    state = _state(context, token)
    conditions.check_dates(context.request, state.modified)
    conditions.check_tags(context.request, context.etag(state.version))
    context.request.serialization = "text"
    fields = objects.object_headers(context, state, public=True)
    return objects.data(context, state, objects.content_of(context, state), fields)


def _state(context: Context, token: str) -> ObjectState:
    found = context.store.sharing.of_public(token)
    if found is None:
        raise NotFound("Object does not exist")
    context.user = found[0]  # reads what the owner may read
    return context.store.objects.public_state(Target(*found))
