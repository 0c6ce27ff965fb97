"""Tokens, user catalogues and quotas: as much of Astakos as clients ask for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pithosfs.server.app import render
from pithosfs.server.app.context import PREFIX, PUBLIC
from pithosfs.server.app.http import ApiError, Request, Response
from pithosfs.server.store import Store
from pithosfs.server.store.accounts import User

IDENTITY = "/identity/v2.0"
ACCOUNT = "/account/v1.0"
_MAX_BODY = 1024 * 1024


def handle(store: Store, request: Request, path: str) -> Response:
    """Answer a request to the identity or the account service."""
    routes = {
        (f"{IDENTITY}/tokens", "POST"): _tokens,
        (f"{IDENTITY}/tokens", "GET"): _tokens,
        (f"{ACCOUNT}/user_catalogs", "POST"): _catalogs,
        (f"{ACCOUNT}/service/user_catalogs", "POST"): _catalogs,
        (f"{ACCOUNT}/quotas", "GET"): _quotas,
        (f"{ACCOUNT}/authenticate", "GET"): _authenticate,
    }
    clean = path.rstrip("/")
    handler = routes.get((clean, request.method))
    if handler is not None:
        return handler(store, request)
    if any(known == clean for known, _ in routes):
        raise ApiError(405, "Method not allowed")
    raise ApiError(404, "Not found")


def _json(value: Any) -> Response:
    return Response.of(200, render.as_json(value), [("Content-Type", render.CONTENT_TYPES["json"])])


def _body(request: Request) -> dict[str, Any]:
    text = request.body.read(_MAX_BODY)
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        raise ApiError(400, "Invalid JSON data") from None
    if not isinstance(found, dict):
        raise ApiError(400, "Invalid JSON data")
    return found


def _user(store: Store, token: str | None) -> User:
    user = store.accounts.user_of(token) if token else None
    if user is None:
        raise ApiError(401, "Invalid token")
    return user


def _tokens(store: Store, request: Request) -> Response:
    body = _body(request)
    try:
        token = body["auth"]["token"]["id"]
    except (KeyError, TypeError):
        token = request.header("x-auth-token")
    if "auth" not in body and request.method == "POST" and token is None:
        return _json({"access": {"serviceCatalog": _catalog(request)}})
    user = _user(store, token if isinstance(token, str) else None)
    return _json(
        {
            "access": {
                "token": {
                    "id": user.token,
                    "expires": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
                    "tenant": {"id": user.uuid, "name": user.name},
                },
                "user": {
                    "id": user.uuid,
                    "uuid": user.uuid,
                    "name": user.name,
                    "roles": [{"id": "1", "name": "default"}],
                    "roles_links": [],
                    "projects": [user.uuid],
                },
                "serviceCatalog": _catalog(request),
            }
        }
    )


def _catalog(request: Request) -> list[dict[str, Any]]:
    services = [
        ("astakos_account", "account", "v1.0", ACCOUNT),
        ("astakos_identity", "identity", "v2.0", IDENTITY),
        ("pithos_object-store", "object-store", "v1", PREFIX),
        ("pithos_public", "pithos_public", "", PUBLIC),
    ]
    return [
        {
            "name": name,
            "type": kind,
            "endpoints_links": [],
            "endpoints": [
                {
                    "publicURL": request.base + path,
                    "versionId": version,
                    "region": "default",
                    "SNF:uiURL": request.base + "/",
                }
            ],
        }
        for name, kind, version, path in services
    ]


def _authenticate(store: Store, request: Request) -> Response:
    user = _user(store, request.header("x-auth-token"))
    return _json({"uuid": user.uuid, "displayname": user.name, "id": user.uuid, "name": user.name})


def _catalogs(store: Store, request: Request) -> Response:
    _user(store, request.header("x-auth-token"))
    body = _body(request)
    uuids, names = _strings(body.get("uuids")), _strings(body.get("displaynames"))
    users = store.accounts.users()
    return _json(
        {
            "uuid_catalog": {user.uuid: user.name for user in users if user.uuid in uuids},
            "displayname_catalog": {user.name: user.uuid for user in users if user.name in names},
        }
    )


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _quotas(store: Store, request: Request) -> Response:
    user = _user(store, request.header("x-auth-token"))
    used, limit = store.accounts.quota(user.uuid)
    return _json(
        {
            user.uuid: {
                "pithos.diskspace": {
                    "usage": used,
                    "limit": limit,
                    "pending": 0,
                    "project_usage": used,
                    "project_limit": limit,
                    "project_pending": 0,
                }
            }
        }
    )
