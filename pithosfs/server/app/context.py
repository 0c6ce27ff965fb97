"""What every handler gets, and what all answers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pithosfs.server.app import headers, render
from pithosfs.server.app.http import ApiError, Headers, Request, Response, http_date
from pithosfs.server.store import Store
from pithosfs.server.store.versions import Version

PREFIX = "/pithos/object-store/v1"
PUBLIC = "/pithos/public"

MAX_UPLOAD = 5 * 1024**3
"""Bytes of the body of one PUT."""
MAX_HASHMAP = 64 * 1024**2
"""Bytes of the JSON of a hashmap: about a million blocks, 4 TiB."""


@dataclass(frozen=True)
class Settings:
    """How the server is told to differ from its defaults.

    ``md5_etags``: the ETag of answers is the MD5 of the content, as servers
    set up for Swift clients have it.  ``racy_conditions``: If-Match and
    If-None-Match are checked before the lock is taken, as the real server
    does, and not again under it.
    """

    md5_etags: bool = False
    racy_conditions: bool = False


@dataclass
class Context:
    """One request of one user.  ``user`` is a uuid."""

    store: Store
    settings: Settings
    request: Request
    user: str

    def etag(self, version: Version) -> str:
        """What the ETag of an answer is."""
        return (self.settings.md5_etags and version.md5) or version.merkle


def answer(
    request: Request,
    status: int,
    body: bytes = b"",
    headers_: Iterable[tuple[str, str]] = (),
    *,
    content_type: str | None = None,
) -> Response:
    """An answer with the headers all of them have."""
    response = Response.of(status, body, headers_)
    return finished(request, response, content_type)


def text_listing(request: Request, names: Sequence[str], fields: Headers | None = None) -> Response:
    """Names, one a line; an empty listing is ``204 OK``."""
    response = answer(request, 200 if names else 204, render.lines(names), fields or ())
    response.reason = "OK"
    return response


def finished(request: Request, response: Response, content_type: str | None = None) -> Response:
    """Add the headers all answers have to one that is otherwise complete."""
    now = http_date(request.time)
    names = {name for name, _ in response.headers}
    common: Headers = [
        ("Content-Language", "en"),
        ("Expires", now),
        ("Vary", "X-Auth-Token, Accept-Language"),
        ("Cache-Control", "no-cache, no-store, must-revalidate, max-age=0"),
    ]
    if "Last-Modified" not in names:
        common.append(("Last-Modified", now))
    if "Content-Type" not in names:
        common.append(("Content-Type", content_type or render.CONTENT_TYPES[request.serialization]))
    for _, value in response.headers:
        if "\n" in value or "\r" in value:
            raise ApiError(400, f"Header values can't contain newlines (got {value!r})")
    response.headers = headers.encoded(response.headers) + common
    return response


def error_answer(request: Request, error: ApiError) -> Response:
    """The answer that says what went wrong."""
    if error.status == 304:
        body = b""
        request.serialization = "json"
    else:
        body = render.error(request.serialization, error.key, error.message, error.status, error.details)
    return answer(request, error.status, body, error.headers)


def choose_serialization(request: Request, default: str) -> str:
    """What the answer is written in: format=, else the end of the path, else Accept."""
    wanted = request.parameters.get("format")
    if wanted in ("json", "xml"):
        return wanted
    if wanted is not None:
        return default
    for ending in ("json", "xml"):
        if request.path.endswith("." + ending):
            return ending
    for item in request.headers.get("accept", "").split(","):
        kind = item.partition(";")[0].strip()
        if kind == "application/json":
            return "json"
        if kind in ("application/xml", "text/xml"):
            return "xml"
    return default


def iso(stamp: int) -> str:
    """Microseconds since 1970 as listings write times."""
    return datetime.fromtimestamp(stamp / 1_000_000, UTC).isoformat()


def epoch(stamp: int) -> str:
    """Microseconds since 1970 as seconds with six digits after the point."""
    return f"{stamp // 1_000_000}.{stamp % 1_000_000:06d}"
