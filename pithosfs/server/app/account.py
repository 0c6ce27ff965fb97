"""The account level, and the list of accounts above it."""

from __future__ import annotations

from typing import Any

from pithosfs.server.app import conditions, headers, render
from pithosfs.server.app.context import Context, answer, iso, text_listing
from pithosfs.server.app.http import Headers, Response, http_date
from pithosfs.server.store.accounts import AccountState
from pithosfs.server.store.errors import NotAllowed
from pithosfs.server.store.listing import MAX_ENTRIES
from pithosfs.server.store.versions import Container


def list_accounts(context: Context) -> Response:
    """``GET /``: accounts that share something with the user."""
    store, request = context.store, context.request
    names = store.sharing.accounts_for(context.user)
    names = _page(names, request.parameters.get("marker"), request.number("limit"))
    if request.serialization == "text":
        return text_listing(request, names)
    items = [{"last_modified": iso(store.accounts.state(name).modified), "name": name} for name in names]
    if request.serialization == "xml":
        return answer(request, 200, render.accounts_xml(context.user, items))
    return answer(request, 200, render.as_json(items))


def head(context: Context, account: str) -> Response:
    """Usage, quota, groups and metadata."""
    state = _state(context, account)
    conditions.check_dates(context.request, state.modified)
    return answer(context.request, 204, b"", _headers(context, account, state))


def list_containers(context: Context, account: str) -> Response:
    """The containers of the account."""
    request = context.request
    state = _state(context, account)
    conditions.check_dates(request, state.modified)
    found = _containers(context, account)
    fields = _headers(context, account, state)
    if request.serialization == "text":
        return text_listing(request, [place.name for place in found], fields)
    items = [_item(context, place) for place in found]
    if request.serialization == "xml":
        return answer(request, 200, render.containers_xml(account, items), fields)
    return answer(request, 200, render.as_json(items), fields)


def update(context: Context, account: str) -> Response:
    """Groups and metadata."""
    request = context.request
    meta = headers.meta(request, "X-Account-Meta-")
    groups = headers.groups(request)
    if context.user != account:
        raise NotAllowed("User does not have write access to the account")
    context.store.accounts.update(account, meta, groups, replace="update" not in request.parameters)
    return answer(request, 202)


def _state(context: Context, account: str) -> AccountState:
    store, until = context.store, context.request.number("until")
    if context.user == account:
        store.accounts.ensure(account)
    else:
        if not store.sharing.containers_for(context.user, account):
            raise NotAllowed("User does not have read access to the account")
        if until is not None:
            raise NotAllowed("Accessing other account's historical information is not allowed")
    return store.accounts.state(account, until)


def _headers(context: Context, account: str, state: AccountState) -> Headers:
    found: Headers = [("Last-Modified", http_date(state.modified))]
    if context.user != account:
        return found
    used, limit = context.store.accounts.quota(account)
    found += [
        ("X-Account-Container-Count", str(state.containers)),
        ("X-Account-Bytes-Used", str(used)),
        ("X-Account-Policy-Quota", str(limit)),
        (f"X-Account-Policy-Quota-{account}", str(limit)),
    ]
    found += [
        (f"X-Account-Group-{name.capitalize()}", ",".join(members)) for name, members in state.groups.items()
    ]
    found += list(state.meta.items())
    if state.until is not None:
        found.append(("X-Account-Until-Timestamp", http_date(state.until)))
    return found


def _containers(context: Context, account: str) -> list[Container]:
    store, request = context.store, context.request
    limit = min(request.number("limit") or MAX_ENTRIES, MAX_ENTRIES)
    marker = request.parameters.get("marker")
    shared, public = "shared" in request.parameters, "public" in request.parameters
    if public and context.user != account:
        raise NotAllowed("PUblic container listing is not allowed to non path owners")
    if context.user == account and not (shared or public):
        return store.containers.names(account, marker, limit, request.number("until"))
    if context.user == account:
        visible = store.sharing.containers_shared(account, shared=shared, public=public)
    else:
        visible = set(store.sharing.containers_for(context.user, account))
    found = {place.name: place for place in store.containers.names(account, None, MAX_ENTRIES, None)}
    return [found[name] for name in _page(sorted(visible & found.keys()), marker, limit)]


def _item(context: Context, place: Container) -> dict[str, Any]:
    if context.user != place.account:
        return {"last_modified": iso(place.changed), "name": place.name}
    item: dict[str, Any] = {
        "count": place.count,
        "last_modified": iso(place.changed),
        "bytes": place.bytes,
        "name": place.name,
    }
    until = context.request.number("until")
    if until is not None:
        state = context.store.containers.state(place.account, place.name, until)
        item |= {"count": state.count, "bytes": state.bytes}
        item["x_container_until_timestamp"] = iso(state.until or 0)
    policy = {"project": place.project, "quota": str(place.quota), "versioning": place.versioning}
    return {**item, "x_container_policy": policy}


def _page(names: list[str], marker: str | None, limit: int | None) -> list[str]:
    start = names.index(marker) + 1 if marker in names else 0
    return names[start:][: limit or MAX_ENTRIES]
