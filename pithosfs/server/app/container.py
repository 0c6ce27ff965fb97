"""The container level."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pithosfs import blocks
from pithosfs.server.app import conditions, headers, render
from pithosfs.server.app.context import MAX_UPLOAD, PUBLIC, Context, answer, epoch, iso, text_listing
from pithosfs.server.app.http import ApiError, Headers, Response, http_date
from pithosfs.server.store import listing
from pithosfs.server.store.containers import ContainerState
from pithosfs.server.store.errors import Invalid, NotAllowed
from pithosfs.server.store.shown import ListEntry, ListQuery
from pithosfs.server.store.versions import META_PREFIX, Version

MAX_NAME = 256
"""Characters of a container's name."""


def head(context: Context, account: str, name: str) -> Response:
    """Totals, policy, metadata."""
    state = _state(context, account, name)
    conditions.check_dates(context.request, state.container.changed)
    return answer(context.request, 204, b"", _headers(context, state))


def list_objects(context: Context, account: str, name: str) -> Response:
    """The listing."""
    request = context.request
    state = _state(context, account, name)
    conditions.check_dates(request, state.container.changed)
    found = context.store.objects.entries(context.user, state.container, _query(context, account))
    fields = _headers(context, state)
    if request.serialization == "text":
        return text_listing(request, [each.entry.name for each in found], fields)
    items = [_item(context, each) for each in found]
    if request.serialization == "xml":
        return answer(request, 200, render.objects_xml(name, items), fields)
    return answer(request, 200, render.as_json(items), fields)


def create(context: Context, account: str, name: str) -> Response:
    """Make the container, or update the one there."""
    meta = headers.meta(context.request, "X-Container-Meta-")
    policy = headers.policy(context.request)
    _check_owner(context, account)
    if len(name) > MAX_NAME:
        raise Invalid("Container name too large")
    created = context.store.containers.put(account, name, policy, meta)
    return answer(context.request, 201 if created else 202)


def update(context: Context, account: str, name: str) -> Response:
    """Policy, metadata, and blocks in the body."""
    request = context.request
    meta = headers.meta(request, "X-Container-Meta-")
    policy = headers.policy(request)
    replace = "update" not in request.parameters
    _check_owner(context, account)
    if policy or meta or replace:
        context.store.containers.update(account, name, policy, meta, replace=replace)
    if request.content_type != "application/octet-stream":
        return answer(request, 202)
    _, hashes = context.store.blocks.write_all(request.body.read_into, MAX_UPLOAD)
    if not hashes:
        return answer(request, 202)
    body = render.items_xml(hashes) if request.serialization == "xml" else render.as_json(hashes)
    return answer(request, 202, body)


def delete(context: Context, account: str, name: str) -> Response:
    """Delete, empty (``delimiter``) or purge (``until``) the container."""
    request, store = context.request, context.store
    _check_owner(context, account)
    until = request.number("until")
    if until is not None:
        store.objects.purge_container(account, name, until)
    elif request.parameters.get("delimiter"):
        store.objects.empty(context.user, account, name)
    else:
        store.containers.delete(account, name)
    return answer(request, 204)


def _check_owner(context: Context, account: str) -> None:
    if context.user != account:
        raise NotAllowed("User does not have write access to the container")


def _state(context: Context, account: str, name: str) -> ContainerState:
    store, until = context.store, context.request.number("until")
    if context.user != account:
        if name not in store.sharing.containers_for(context.user, account):
            raise NotAllowed("User does not have read access to the container")
        if until is not None:
            raise NotAllowed("Accessing other account's historical information is not allowed")
    return store.containers.state(account, name, until)


def _headers(context: Context, state: ContainerState) -> Headers:
    place = state.container
    found: Headers = [
        ("Last-Modified", http_date(place.changed)),
        ("X-Container-Block-Size", str(blocks.BLOCK_SIZE)),
        ("X-Container-Block-Hash", blocks.ALGORITHM),
        ("X-Container-Object-Meta", ",".join(state.object_keys)),
    ]
    if context.user != place.account:
        return found
    found += [
        ("X-Container-Object-Count", str(state.count)),
        ("X-Container-Bytes-Used", str(state.bytes)),
        ("X-Container-Policy-Quota", str(place.quota)),
        ("X-Container-Policy-Versioning", place.versioning),
        ("X-Container-Policy-Project", place.project),
        *state.meta.items(),
    ]
    if state.until is not None:
        found.append(("X-Container-Until-Timestamp", http_date(state.until)))
    return found


def _query(context: Context, account: str) -> ListQuery:
    request = context.request
    parameters = request.parameters
    path = parameters.get("path")
    prefix, delimiter = parameters.get("prefix", ""), parameters.get("delimiter", "")
    if path:
        prefix, delimiter = path, "/"
    prefix = prefix.lstrip("/")
    if prefix and delimiter and not prefix.endswith(delimiter):
        prefix += delimiter
    if prefix and ord(prefix[-1]) > 0xFFFF:
        raise ApiError(500, "Unexpected error")
    return ListQuery(
        listing.Query(
            prefix=prefix,
            delimiter=delimiter,
            subdirectories=not path,
            marker=parameters.get("marker", ""),
            limit=request.number("limit") or listing.MAX_ENTRIES,
            until=request.number("until"),
        ),
        shared="shared" in parameters,
        public="public" in parameters and context.user == account,
        wanted=_meta_filter(parameters.get("meta", "")),
    )


_TERM = re.compile(r"(?P<no>!)?(?P<key>[^=<>!]+?)\s*(?:(?P<op><=|>=|!=|=|<|>)\s*(?P<value>.*))?")
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _meta_filter(text: str) -> Callable[[Version], bool] | None:
    """``meta=key,!key,key=value``: some key is there, none of the others, all comparisons hold."""
    some, none = [], []
    comparisons: list[tuple[str, Callable[[str, str], bool], str]] = []
    for part in text.split(","):
        term = _TERM.fullmatch(part.strip())
        if not term:
            continue
        key = META_PREFIX + headers.key_of(term["key"].strip())
        if term["no"]:
            none.append(key)
        elif term["op"]:
            comparisons.append((key, _COMPARE[term["op"]], term["value"]))
        else:
            some.append(key)
    if not (some or none or comparisons):
        return None

    def wanted(version: Version) -> bool:
        meta = version.meta
        return (
            (not some or any(key in meta for key in some))
            and not any(key in meta for key in none)
            and all(key in meta and compare(meta[key], value) for key, compare, value in comparisons)
        )

    return wanted


def _item(context: Context, found: ListEntry) -> dict[str, Any]:
    entry = found.entry
    if isinstance(entry, listing.Subdirectory):
        return {"subdir": entry.name}
    item: dict[str, Any] = {
        "available": 1,
        "hash": entry.md5,
        "name": entry.name,
        "bytes": entry.size,
        "x_object_version_timestamp": epoch(entry.stamp),
        "x_object_uuid": entry.uuid,
    }
    now = context.request.number("until") is None
    if now:
        item["last_modified"] = iso(entry.stamp)
    item |= {
        "content_type": entry.type,
        "x_object_hash": entry.merkle,
        "map_check_timestamp": None,
        "x_object_version": entry.serial,
        "x_object_modified_by": entry.author,
    }
    if found.shared and now:
        item["x_object_sharing"] = headers.sharing_text(found.shared)
    if found.public is not None and now:
        item["x_object_public"] = f"{context.request.base}{PUBLIC}/{found.public}"
    if found.allowed is not None and now:
        item["x_object_allowed_to"] = found.allowed
    return item
