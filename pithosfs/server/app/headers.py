"""Headers that carry metadata, policies, groups, sharing: parsing and writing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from pithosfs.server.app.http import ApiError, Headers, Request
from pithosfs.server.store.sharing import Permissions

MAX_HEADERS = 90
MAX_NAME = 128
MAX_VALUE = 256

_SAFE = '/=,:@; "'
_PLAIN = re.compile(r'[A-Za-z0-9_.\-/=,:@; "]*')
_QUOTED = ("X-Object-", "X-Container-", "X-Account-", "Content-")

#: headers kept with an object beside its X-Object-Meta-*
KEPT = ("Content-Encoding", "Content-Disposition", "X-Object-Manifest")


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers of an answer, percent-encoded where the protocol does it."""
    return [
        (_quote(name), _quote(value)) if name.startswith(_QUOTED) else (name, value)
        for name, value in headers
    ]


def _quote(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return quote(text, safe=_SAFE).replace("~", "%7E")


def key_of(name: str) -> str:
    """A header's name as it is kept: ``x-object-meta-mIxEd`` → ``X-Object-Meta-Mixed``."""
    return "-".join(part.capitalize() for part in name.split("-"))


def with_prefix(request: Request, prefix: str) -> dict[str, str]:
    """Headers whose names start with ``prefix`` and are longer than that."""
    return {
        key_of(name): value.replace("~", "")
        for name, value in request.decoded_headers().items()
        if name.startswith(prefix.lower()) and len(name) > len(prefix)
    }


def meta(request: Request, prefix: str) -> dict[str, str]:
    """Metadata headers with this prefix.  Raises ApiError 400 over the limits."""
    found = with_prefix(request, prefix)
    if len(found) > MAX_HEADERS:
        raise ApiError(400, "Too many headers.")
    for name, value in found.items():
        if len(name) > MAX_NAME:
            raise ApiError(400, "Header name too large.")
        if len(value) > MAX_VALUE:
            raise ApiError(400, "Header value too large.")
    return found


def policy(request: Request) -> dict[str, str]:
    """X-Container-Policy-* by the names of the policies in lower case."""
    prefix = "X-Container-Policy-"
    return {
        name[len(prefix) :].lower(): value.replace(" ", "")
        for name, value in with_prefix(request, prefix).items()
    }


def object_meta(request: Request) -> dict[str, str]:
    """What is kept with an object: X-Object-Meta-* and the headers of ``KEPT``."""
    found = meta(request, "X-Object-Meta-")
    for name in KEPT:
        value = request.header(name.lower())
        if value:
            found[name] = value
    return found


def groups(request: Request) -> dict[str, list[str]]:
    """X-Account-Group-*: members by group."""
    prefix = "X-Account-Group-"
    found = {}
    for name, value in with_prefix(request, prefix).items():
        group = name[len(prefix) :].lower()
        if "-" in group or "_" in group:
            raise ApiError(400, "Bad characters in group name")
        members = value.replace(" ", "").split(",")
        found[group] = [member for member in members if member]
    return found


def public(request: Request) -> bool | None:
    """X-Object-Public; None if it was not sent."""
    value = request.header("x-object-public")
    if value is None:
        return None
    value = value.replace(" ", "").lower()
    if value == "true":
        return True
    if value in ("false", ""):
        return False
    raise ApiError(400, "Bad X-Object-Public header value")


def sharing(request: Request) -> Permissions | None:
    """X-Object-Sharing; None if it was not sent."""
    value = request.header("x-object-sharing")
    return None if value is None else parse_sharing(value)


def parse_sharing(value: str) -> Permissions:
    """``read=a,b;write=c``.  Raises ApiError 400."""
    permissions = value.replace(" ", "").lower()
    if not permissions:
        return Permissions()
    found: dict[str, list[str]] = {"read": [], "write": []}
    for part in permissions.split(";"):
        action, equals, members = part.partition("=")
        if not equals or action not in found:
            raise ApiError(400, "Bad X-Object-Sharing header value: missing prefix")
        names = list(dict.fromkeys(name for name in members.split(",") if name))
        if "*" in names:
            names = ["*"]
        if not names:
            raise ApiError(400, "Bad X-Object-Sharing header value: invalid length")
        found[action] = names
    # who may write may read: naming both keeps the stronger
    found["read"] = [name for name in found["read"] if name not in found["write"]]
    return Permissions(found["read"], found["write"])


def sharing_text(permissions: Permissions) -> str:
    """The header's value."""
    parts = []
    if permissions.readers:
        parts.append("read=" + ",".join(permissions.readers))
    if permissions.writers:
        parts.append("write=" + ",".join(permissions.writers))
    return "; ".join(parts)
