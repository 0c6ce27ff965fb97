"""HTTP/1.1 as bytes: request lines, headers, bodies.

Limits and error texts are those of gunicorn, which stands before the recorded
server.  Header names are taken with ``_`` for ``-``, as WSGI servers of that
time did; what makes the length of a body doubtful is refused.
"""

from __future__ import annotations

import io
import re

from pithosfs.server.app.http import Incomplete, Request

MAX_REQUEST_LINE = 4094
MAX_HEADER = 8190
"""Bytes of one header, its line end included."""
MAX_HEADERS = 100

_METHOD = re.compile(r"[A-Z0-9$_.-]{3,20}")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FRAMING = frozenset(("content-length", "content-type", "transfer-encoding", "connection", "expect", "host"))
"""Headers that must be spelled rightly to be taken for what they are."""
_CHUNK = 64 * 1024


class BadRequest(Exception):
    """A request that is no HTTP; the message goes onto the error page."""


def read_request(file: io.BufferedReader) -> tuple[Request, LengthBody | ChunkedBody, bool] | None:
    """(request, its body, whether the client keeps the connection); None at the end."""
    line = b"\r\n"
    while line in (b"\r\n", b"\n"):  # some clients send an empty line after a body
        line = _line(file, MAX_REQUEST_LINE, "Request Line is too large ({} > {})")
        if not line:
            return None
    method, target, version = _request_line(line)
    headers = _headers(file)
    if headers is None:
        return None
    body = _body(file, headers)
    path, _, query = _origin(target).partition("?")
    connection = headers.get("connection", "").lower()
    keep = "close" not in connection and (version != "HTTP/1.0" or "keep-alive" in connection)
    chunked = isinstance(body, ChunkedBody)
    request = Request(method, path, query, headers, body, host=headers.get("host", ""), chunked=chunked)
    return request, body, keep


def _line(file: io.BufferedReader, limit: int, message: str) -> bytes:
    line = file.readline(limit + 1)
    if len(line) > limit:
        rest = file.readline(64 * 1024)
        raise BadRequest(message.format(min(len(line) + len(rest) - 2, MAX_HEADER + 2), limit))
    return line


def _request_line(line: bytes) -> tuple[str, str, str]:
    parts = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(parts) != 3:
        raise BadRequest("Invalid Request Line")
    method, target, version = parts
    if not _METHOD.fullmatch(method):
        raise BadRequest(f"Invalid Method 'Invalid HTTP method: '{method}''")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(f"Invalid HTTP Version 'Invalid HTTP Version: '{version}''")
    return method, target, version


def _origin(target: str) -> str:
    """The path and query of a request target that may be a whole URL."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*", target)
    return target[found.end() :] or "/" if found else target


def _headers(file: io.BufferedReader) -> dict[str, str] | None:
    """Headers by lower-case name, ``_`` read as ``-``; repeated ones joined by commas."""
    found: dict[str, str] = {}
    for _ in range(MAX_HEADERS + 1):
        line = _line(file, MAX_HEADER, "Error parsing headers: 'limit request headers fields size'")
        if line in (b"\r\n", b"\n"):
            return found
        if not line.endswith(b"\n"):
            return None
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not _HEADER_NAME.fullmatch(name):
            raise BadRequest(f"Invalid HTTP Header: '{name.strip()[:100]}'")
        key = name.lower().replace("_", "-")
        if key != name.lower() and key in _FRAMING:
            continue  # content_length is not Content-Length
        value = value.strip(" \t\r\n")
        if "\0" in value or "\r" in value:
            raise BadRequest(f"Invalid HTTP Header: '{name.upper()}'")
        if key in found and key in ("content-length", "transfer-encoding"):
            raise BadRequest(f"Invalid HTTP Header: '{name.upper()}'")
        found[key] = f"{found[key]},{value}" if key in found else value
    raise BadRequest("Error parsing headers: 'limit request headers fields'")


def _body(file: io.BufferedReader, headers: dict[str, str]) -> LengthBody | ChunkedBody:
    coding = headers.get("transfer-encoding", "").lower()
    length = headers.get("content-length")
    if coding and (coding != "chunked" or length is not None):
        raise BadRequest("Invalid HTTP Header: 'TRANSFER-ENCODING'")
    if coding:
        return ChunkedBody(file)
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
        raise BadRequest("Invalid HTTP Header: 'CONTENT-LENGTH'")
    return LengthBody(file, int(length or 0))


class LengthBody:
    """A body of known length."""

    def __init__(self, file: io.BufferedReader, length: int) -> None:
        self._file = file
        self._left = length
        self.consumed = 0

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end.  Raises Incomplete."""
        buffer = bytearray(min(size, self._left))
        self.read_into(memoryview(buffer))
        return bytes(buffer)

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``, less of it only at the end, and return the number of bytes."""
        wanted = min(len(buffer), self._left)
        got = self._file.readinto(buffer[:wanted]) or 0 if wanted else 0
        self._left -= got
        self.consumed += got
        if got < wanted:
            self._left = 0
            raise Incomplete
        return got

    def drain(self, limit: int) -> bool:
        """Throw away what is left; False if that is more than ``limit`` or does not come."""
        if self._left > limit:
            return False
        try:
            while self.read(_CHUNK):
                pass
        except Incomplete:
            return False
        return True


class ChunkedBody:
    """A body sent in chunks."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._left = 0
        self._ended = False
        self.consumed = 0

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end.  Raises Incomplete."""
        parts: list[bytes] = []
        missing = size
        while missing and not self._ended:
            if not self._left and not self._next_chunk():
                break
            data = self._file.read(min(missing, self._left)) or b""
            if not data:
                self._ended = True
                raise Incomplete
            parts.append(data)
            self._left -= len(data)
            missing -= len(data)
            self.consumed += len(data)
            if not self._left:
                self._end_of_line()
        return b"".join(parts)

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``, less of it only at the end, and return the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next_chunk(self) -> bool:
        line = self._file.readline(_CHUNK)
        size = line.partition(b";")[0].strip()
        if not line.endswith(b"\n") or not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            self._ended = True
            raise Incomplete
        self._left = int(size, 16)
        if self._left:
            return True
        self._ended = True
        for _ in range(MAX_HEADERS):  # trailers
            if self._file.readline(MAX_HEADER) in (b"\r\n", b"\n", b""):
                return False
        raise Incomplete

    def _end_of_line(self) -> None:
        if self._file.readline(3) not in (b"\r\n", b"\n"):
            self._ended = True
            raise Incomplete

    def drain(self, limit: int) -> bool:
        """Throw away what is left; False if that is more than ``limit`` or does not come."""
        start = self.consumed
        try:
            while self.read(_CHUNK):
                if self.consumed - start > limit:
                    return False
        except Incomplete:
            return False
        return True
