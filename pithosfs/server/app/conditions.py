"""If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since."""

from __future__ import annotations

import re

from pithosfs.server.app.http import ApiError, Request, parse_http_date

_QUOTED_TAG = re.compile(r'"((?:\\.|[^"])*)"')


def check_dates(request: Request, modified: int) -> None:
    """Raises ApiError 304 or 412; ``modified`` in microseconds, compared in whole seconds."""
    seconds = modified // 1_000_000
    since = request.header("if-modified-since")
    if since is not None:
        found = parse_http_date(since)
        if found is not None and seconds <= found:
            raise ApiError(304, "Resource has not been modified")
    since = request.header("if-unmodified-since")
    if since is not None:
        found = parse_http_date(since)
        if found is not None and seconds > found:
            raise ApiError(412, "Resource has been modified")


def has_tags(request: Request) -> bool:
    """Whether the request depends on an ETag."""
    return bool(request.headers.get("if-match") or request.headers.get("if-none-match"))


def check_tags(request: Request, tag: str | None) -> None:
    """Raises ApiError 304 or 412; ``tag`` is the object's ETag, None if there is no object."""
    wanted = request.header("if-match")
    if wanted is not None:
        if tag is None:
            raise ApiError(412, "Resource does not exist")
        if wanted != "*" and tag not in parse_tags(wanted):
            raise ApiError(412, "Resource ETag does not match")
    unwanted = request.header("if-none-match")
    if unwanted is not None and tag is not None and (unwanted == "*" or tag in parse_tags(unwanted)):
        if request.method in ("GET", "HEAD"):
            raise ApiError(304, "Resource ETag matches", headers=[("ETag", tag)])
        raise ApiError(412, "Resource exists or ETag matches")


def parse_tags(text: str) -> list[str]:
    """The tags of a condition: all quoted ones, or the whole text if none is quoted."""
    tags = _QUOTED_TAG.findall(text) or [text]
    return [tag.lower() for tag in tags]
