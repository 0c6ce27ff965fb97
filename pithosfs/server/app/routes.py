"""Which handler a path and a method mean, who asks, and what an error looks like."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from pithosfs.server.app import account, container, copying, identity, objects, public, render, writing
from pithosfs.server.app.context import (
    PREFIX,
    PUBLIC,
    Context,
    Settings,
    answer,
    choose_serialization,
    error_answer,
)
from pithosfs.server.app.http import ApiError, Headers, Incomplete, Request, Response
from pithosfs.server.store import Store
from pithosfs.server.store import errors as refused
from pithosfs.server.store.values import Target, check_name

log = logging.getLogger(__name__)

_SERVICE = PREFIX.rpartition("/")[0]
# As on the real server, a newline ends a name (at its end) or makes it no name at all.
_OBJECT = re.compile(r"(.+?)/(.+?)/(.+?)$")
_CONTAINER = re.compile(r"(.+?)/(.+?)/?$")
_ACCOUNT = re.compile(r"(.+?)/?$")
_TOKEN = re.compile(r"([^/\n]+)/?$")


class Method(NamedTuple):
    """A handler; what it writes if the client does not say; whether the client has a say."""

    handler: Callable[..., Response]
    default: str = "json"
    negotiable: bool = False


_TOP = {"GET": Method(account.list_accounts, "text", True)}
_ACCOUNT_METHODS = {
    "HEAD": Method(account.head),
    "POST": Method(account.update),
    "GET": Method(account.list_containers, "text", True),
}
_CONTAINER_METHODS = {
    "HEAD": Method(container.head),
    "PUT": Method(container.create),
    "POST": Method(container.update, "json", True),
    "DELETE": Method(container.delete),
    "GET": Method(container.list_objects, "text", True),
}
_OBJECT_METHODS = {
    "HEAD": Method(objects.head),
    "GET": Method(objects.get, "json", True),
    "PUT": Method(writing.put),
    "COPY": Method(copying.copy),
    "MOVE": Method(copying.move),
    "POST": Method(writing.post),
    "DELETE": Method(objects.delete),
}
_PUBLIC_METHODS = {"HEAD": Method(public.head), "GET": Method(public.get)}


class App:
    """The whole application."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def __call__(self, request: Request) -> Response:
        """The answer to a request; never raises, but for a body cut short after its start."""
        request.time = self._store.clock()
        try:
            return self._dispatch(request)
        except Exception as error:  # the one place where errors become answers
            return self._error(request, error)

    def _dispatch(self, request: Request) -> Response:
        raw = unquote_to_bytes(request.path.encode("latin-1"))
        try:
            path = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return _page(400, b"")
        if path == _SERVICE or path.startswith(_SERVICE + "/"):
            return self._object_store(request, path)
        if path.startswith(PUBLIC + "/"):
            return self._public(request, path[len(PUBLIC) + 1 :])
        if path.startswith(("/identity/", "/account/")):
            return identity.handle(self._store, request, path)
        return _page(404, _NOT_FOUND, [("Content-Language", "en"), ("Vary", "Accept-Language")])

    def _object_store(self, request: Request, path: str) -> Response:
        if not path.startswith(PREFIX + "/"):
            raise ApiError(400, "API endpoint not found")
        rest = path[len(PREFIX) + 1 :]
        if not rest:
            return self._top(request)
        if found := _OBJECT.match(rest):
            target = Target(*found.groups())
            return self._call(request, _OBJECT_METHODS, target)
        if found := _CONTAINER.match(rest):
            return self._call(request, _CONTAINER_METHODS, *found.groups())
        if found := _ACCOUNT.match(rest):
            return self._call(request, _ACCOUNT_METHODS, *found.groups())
        raise ApiError(400, "API endpoint not found")

    def _top(self, request: Request) -> Response:
        has_token = "X-Auth-Token" in request.parameters or "x-auth-token" in request.headers
        if request.method == "GET" and not has_token:
            return self._login(request)
        return self._call(request, _TOP)

    def _login(self, request: Request) -> Response:
        """The way old Swift clients log in."""
        user, key = request.header("x-auth-user"), request.header("x-auth-key")
        if not user or not key:
            raise ApiError(400, "Missing X-Auth-User or X-Auth-Key header")
        known = self._store.accounts.user_of(key)
        if known is None or user not in (known.uuid, known.name):
            raise _invalid_token()
        fields = [("X-Auth-Token", known.token), ("X-Storage-Url", f"{request.base}{PREFIX}/{known.uuid}")]
        return answer(request, 204, b"", fields)

    def _call(self, request: Request, methods: dict[str, Method], *arguments: Any) -> Response:
        method = _method(request, methods)
        request.serialization = method.default
        if method.negotiable:
            request.serialization = choose_serialization(request, method.default)
        request.check_headers()
        context = Context(self._store, self._settings, request, self._authenticate(request))
        if arguments and isinstance(arguments[0], Target):
            check_name(arguments[0].name)
        if "\0" in request.path or "%00" in f"{request.path}{request.query}":
            raise ApiError(400, "A string literal cannot contain NUL (0x00) characters.")
        return method.handler(context, *arguments)

    def _authenticate(self, request: Request) -> str:
        token = request.parameters.get("X-Auth-Token", request.header("x-auth-token"))
        if not token:
            raise ApiError(401, "Access denied. No authentication token")
        user = self._store.accounts.user_of(token)
        if user is None:
            raise _invalid_token()
        return user.uuid

    def _public(self, request: Request, rest: str) -> Response:
        found = _TOKEN.match(rest)
        if found is None:
            raise ApiError(404, "Object does not exist")
        method = _method(request, _PUBLIC_METHODS)
        request.check_headers()
        return method.handler(Context(self._store, self._settings, request, ""), found[1])

    def _error(self, request: Request, error: Exception) -> Response:
        if isinstance(error, refused.MissingBlocks):
            request.serialization = "json"
            return answer(request, 409, render.as_json(error.hashes))
        return error_answer(request, _api_error(error))


def _method(request: Request, methods: dict[str, Method]) -> Method:
    if request.method not in methods:
        raise ApiError(405, "Method not allowed", headers=[("Allow", ",".join(methods))])
    return methods[request.method]


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, refused.AccountFull):
        message = "Resource Limit Exceeded for your account."
        return ApiError(413, message, key="fault", details=str(error))
    if isinstance(error, refused.Unavailable):
        log.error("%s", error)
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return ApiError(status, str(error))
    if not isinstance(error, UnicodeEncodeError):  # a lone surrogate in a name, as on the real server
        log.error("unexpected error", exc_info=error)
    return ApiError(500, "Unexpected error")


_STATUS: dict[type[Exception], int] = {
    refused.NotAllowed: 403,
    refused.NotFound: 404,
    refused.NotEmpty: 409,
    refused.ContainerFull: 413,
    refused.Invalid: 400,
    refused.Unavailable: 503,
    Incomplete: 400,
}


def _invalid_token() -> ApiError:
    details = '{"unauthorized": {"code": 401, "message": "Invalid token", "details": ""}}'
    return ApiError(401, "UNAUTHORIZED", key="fault", details=details)


_NOT_FOUND = b"<!doctype html>\n<title>Page not found</title>\n<h1>Page not found</h1>\n"


def _page(status: int, body: bytes, headers: Headers | None = None) -> Response:
    """A page made by the framework below the API: chunked HTML."""
    fields = [("Content-Type", "text/html; charset=utf-8"), *(headers or [])]
    return Response(status, fields, (body,), None)
