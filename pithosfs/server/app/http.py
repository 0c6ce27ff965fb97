"""Requests, answers and errors, as the rest of the application sees them.

Nothing here knows sockets; :mod:`pithosfs.server.listener` makes requests and
sends answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from functools import cached_property
from typing import Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

Headers = list[tuple[str, str]]


class BodyReader(Protocol):
    """The body of a request, read piece by piece."""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end.  Raises Incomplete if it is cut short."""

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``, less of it only at the end, and return the number of bytes."""


class Sendable(Protocol):
    """A piece of an answer that can put itself onto a socket, or into memory."""

    def __len__(self) -> int: ...

    def read(self) -> bytes:
        """The bytes."""


Piece = bytes | Sendable


class Incomplete(Exception):
    """The client went away, or stopped sending, in the middle of a body."""


class ApiError(Exception):
    """An answer with an error: status, key of the error object, message."""

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        key: str | None = None,
        details: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.key = key or _KEYS[status]
        self.details = details
        self.headers = list(headers)


_KEYS = {
    304: "notModified",
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "notAllowed",
    409: "conflict",
    411: "lengthRequired",
    412: "preconditionFailed",
    413: "requestEntityTooLarge",
    416: "rangeNotSatisfiable",
    422: "unprocessableEntity",
    500: "internalServerError",
    503: "serviceUnavailable",
}


@dataclass
class Request:
    """A request.  ``path`` and ``query`` as sent; header names in lower case with dashes."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: BodyReader
    host: str = ""
    chunked: bool = False
    #: what an answer is written in: text, json or xml
    serialization: str = "json"
    #: when it came, in microseconds since 1970
    time: int = 0

    @property
    def base(self) -> str:
        """Scheme and host the client used."""
        return f"http://{self.host}"

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query; of a repeated parameter the last counts."""
        raw = self.query.encode("latin-1")
        pairs = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")
        return dict(pairs)

    def number(self, name: str) -> int | None:
        """A whole, not negative number from the query; None if it is anything else."""
        text = self.parameters.get(name, "").strip()
        return min(int(text), _LAST_SECOND) if re.fullmatch(r"\+?[0-9]{1,4000}", text) else None

    def header(self, name: str) -> str | None:
        """A header, percent-decoded once; None if it was not sent.  Raises ApiError."""
        value = self.headers.get(name)
        return None if value is None else decoded(value)

    def decoded_headers(self) -> dict[str, str]:
        """All headers with names and values percent-decoded.  Raises ApiError 400."""
        return {decoded(name): decoded(value) for name, value in self.headers.items()}

    def check_headers(self) -> None:
        """Raises ApiError 400 if a header is not UTF-8."""
        for name, value in self.headers.items():
            if "%" in value or not value.isascii():
                decoded(value)
            if "%" in name:
                decoded(name)

    @cached_property
    def content_type(self) -> str | None:
        """The Content-Type as sent, or None."""
        return self.headers.get("content-type")

    @cached_property
    def content_length(self) -> int | None:
        """The Content-Length, or None."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None


_LAST_SECOND = 253402300799
"""Of the year 9999: what comes after cannot be written as a date."""


def decoded(value: str) -> str:
    """A header value, percent-decoded.  Raises ApiError 400 if it is not ASCII, or then not UTF-8."""
    try:
        return unquote_to_bytes(value.encode("ascii")).decode()
    except UnicodeError:
        raise ApiError(400, "Bad character in headers.") from None


@dataclass
class Response:
    """An answer.  ``length`` of None means the pieces are sent chunked."""

    status: int
    headers: Headers = field(default_factory=list)
    pieces: Iterable[Piece] = ()
    length: int | None = 0
    reason: str | None = None

    @classmethod
    def of(cls, status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> Response:
        """An answer with its whole body."""
        return cls(status, list(headers), (body,) if body else (), len(body))


REASONS = {
    200: "OK",
    201: "CREATED",
    202: "ACCEPTED",
    204: "NO CONTENT",
    206: "PARTIAL CONTENT",
    304: "NOT MODIFIED",
    400: "BAD REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT FOUND",
    405: "METHOD NOT ALLOWED",
    409: "CONFLICT",
    411: "LENGTH REQUIRED",
    412: "PRECONDITION FAILED",
    413: "REQUEST ENTITY TOO LARGE",
    416: "REQUESTED RANGE NOT SATISFIABLE",
    422: "UNPROCESSABLE ENTITY",
    500: "INTERNAL SERVER ERROR",
    503: "SERVICE UNAVAILABLE",
}


def http_date(stamp: int) -> str:
    """Microseconds since 1970 as an HTTP date."""
    return formatdate(stamp // 1_000_000, usegmt=True)


_DATE = re.compile(
    r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"
    r"|\w{6,9}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT"
    r"|\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}",
    re.ASCII,
)


def parse_http_date(text: str) -> int | None:
    """Seconds since 1970 of an HTTP date in any of its three forms, or None."""
    if not _DATE.fullmatch(text):
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return int(found.replace(tzinfo=UTC).timestamp())
