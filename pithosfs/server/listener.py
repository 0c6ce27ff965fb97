"""Sockets: HTTP/1.1 framing between clients and the application.

Why the standard library's sockets and not an HTTP server from PyPI (measured
on two cores, four urllib3 client threads; MB/s of 4 MiB bodies, POST hashed
with SHA-256; small requests a second, where the client was the limit):

============================ ===== ===== ======
..                             GET  POST  small
============================ ===== ===== ======
socketserver, sendfile        2336  1549   3046
granian 2.8 (WSGI)            1802  1055   3301
gunicorn 27, gthread          2128   547   2608
cheroot 11                     512   558   2669
============================ ===== ===== ======

And what the recorded answers need is what those libraries rightly forbid or do
not offer: upper-case reason phrases, a Content-Length on 204 and HEAD, raw
bytes in request targets, an answer to a request that was cut short.  What is
left to do is little: a request line, headers, two kinds of body.

One thread serves one connection, so a slow client holds up nobody but itself.
At most ``MAX_CONNECTIONS`` are served at once; further ones wait in the
kernel's queue.
"""

from __future__ import annotations

import contextlib
import html
import io
import logging
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus

from pithosfs import __version__
from pithosfs.server.accesslog import AccessLog
from pithosfs.server.app.http import REASONS, Incomplete, Piece, Request, Response
from pithosfs.server.store.blockfiles import Extent

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
TIMEOUT = 60
"""Seconds a connection may be idle, between requests or within one."""
PATIENCE = 10.0
"""Seconds that requests in work have when the server is stopped."""
MAX_REQUEST_LINE = 4094
MAX_HEADER = 8190
"""Bytes of one header, its line end included."""
MAX_HEADERS = 100
MAX_DRAIN = 64 * 1024 * 1024
"""Bytes of an unread body that are thrown away to keep the connection."""

_METHOD = re.compile(r"[A-Z0-9$_.-]{3,20}")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CHUNK = 64 * 1024

Application = Callable[[Request], Response]


class _BadRequest(Exception):
    """A request that is no HTTP; the message goes onto the error page."""


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Accepts connections and serves each in a thread of its own."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(
        self,
        host: str,
        port: int,
        application: Application,
        access_log: AccessLog | None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.application = application
        self.access_log = access_log
        self.stopping = False
        self._free = threading.BoundedSemaphore(max_connections)
        self._busy = 0
        self._idle = threading.Condition()
        super().__init__((host, port), _Connection)

    @property
    def address(self) -> str:
        """``host:port`` as it is written in a URL."""
        host, port = self.server_address[:2]
        name = str(host)
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], address: object) -> None:
        """Wait for a free place, then start the thread."""
        while not self._free.acquire(timeout=0.2):
            if self.stopping:
                self.shutdown_request(request)
                return
        try:
            super().process_request(request, address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Serve the connection, then free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Count a request while it is worked on."""
        with self._idle:
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def stop(self, patience: float = PATIENCE) -> None:
        """Accept nothing more, and give requests in work ``patience`` seconds to end."""
        self.stopping = True
        self.shutdown()
        self.server_close()
        with self._idle:
            self._idle.wait_for(lambda: not self._busy, patience)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 (its signature)
        """A connection failed in a way nobody foresaw."""
        log.exception("connection from %s failed", client_address)


class _Connection(socketserver.StreamRequestHandler):
    """One connection: requests one after the other."""

    server: Listener
    connection: socket.socket
    rfile: io.BufferedReader
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        # Timeouts by the kernel: the socket stays blocking, as sendfile needs it.
        limit = struct.pack("ll", TIMEOUT, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def handle(self) -> None:
        """Serve requests until one of the two sides wants no more."""
        with contextlib.suppress(ConnectionError, BlockingIOError, TimeoutError):
            while self._serve_one() and not self.server.stopping:
                pass

    def finish(self) -> None:
        """Close without a reset, which could destroy an answer on its way."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
        super().finish()

    def _serve_one(self) -> bool:
        started = time.perf_counter()
        try:
            head = _read_head(self.rfile)
        except _BadRequest as error:
            self._send_page(str(error))
            return False
        if head is None:
            return False
        request, body, keep = head
        request.host = request.host or self.server.address
        if request.headers.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        with self.server.serving():
            response = self.server.application(request)
            sent, keep = self._send(request, response, keep=keep)
        if self.server.access_log is not None:
            self.server.access_log.write(
                request, response.status, body.consumed, sent, time.perf_counter() - started
            )
        return keep and body.drain(MAX_DRAIN)

    def _send(self, request: Request, response: Response, *, keep: bool) -> tuple[int, bool]:
        """Send an answer; (bytes of its body, whether the connection can be kept)."""
        bodyless = request.method == "HEAD" or response.status in (204, 304)
        chunked = response.length is None and keep and not bodyless
        keep = keep and (chunked or bodyless or response.length is not None)
        head = _head_of(response, chunked=chunked, keep=keep)
        if bodyless:
            self.connection.sendall(head)
            return 0, keep
        sent = 0
        try:
            for piece in response.pieces:
                if not len(piece):
                    continue
                sent += len(piece)
                if chunked:
                    head += b"%x\r\n" % len(piece)
                self._send_piece(head, piece)
                head = b"\r\n" if chunked else b""
        except FileNotFoundError as error:
            log.error("%s %s: a block is lost: %s", request.method, request.path, error.filename)  # noqa: TRY400
            raise ConnectionAbortedError from None
        if chunked:
            head += b"0\r\n\r\n"
        if head:
            self.connection.sendall(head)
        return sent, keep

    def _send_piece(self, head: bytes, piece: Piece) -> None:
        if isinstance(piece, Extent):
            self.connection.sendall(head, socket.MSG_MORE)
            piece.send(self.connection)
        else:
            data = piece if isinstance(piece, bytes) else piece.read()
            self.connection.sendall(head + data)

    def _send_page(self, message: str) -> None:
        """The page gunicorn sends for a request it cannot read."""
        body = (
            "<html>\n  <head>\n    <title>Bad Request</title>\n  </head>\n  <body>\n"
            f"    <h1><p>Bad Request</p></h1>\n    {html.escape(message, quote=False)}\n  </body>\n</html>\n"
        ).encode("latin-1", "replace")
        head = (
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/html\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        self.connection.sendall(head + body)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            LengthBody(self.rfile, MAX_DRAIN).drain(MAX_DRAIN)


def _head_of(response: Response, *, chunked: bool, keep: bool) -> bytes:
    reason = response.reason or REASONS.get(response.status) or HTTPStatus(response.status).phrase.upper()
    lines = [
        f"HTTP/1.1 {response.status} {reason}",
        f"Server: pithosfs/{__version__}",
        f"Date: {formatdate(usegmt=True)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
    ]
    if response.length is not None:
        lines.append(f"Content-Length: {response.length}")
    elif chunked:
        lines.append("Transfer-Encoding: chunked")
    lines += [f"{name}: {value}" for name, value in response.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


# -- reading requests ------------------------------------------------------------------


def _read_head(file: io.BufferedReader) -> tuple[Request, LengthBody | ChunkedBody, bool] | None:
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
        raise _BadRequest(message.format(min(len(line) + len(rest) - 2, MAX_HEADER + 2), limit))
    return line


def _request_line(line: bytes) -> tuple[str, str, str]:
    parts = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(parts) != 3:
        raise _BadRequest("Invalid Request Line")
    method, target, version = parts
    if not _METHOD.fullmatch(method):
        raise _BadRequest(f"Invalid Method 'Invalid HTTP method: '{method}''")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise _BadRequest(f"Invalid HTTP Version 'Invalid HTTP Version: '{version}''")
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
            raise _BadRequest(f"Invalid HTTP Header: '{name.strip()[:100]}'")
        key = name.lower().replace("_", "-")
        value = value.strip()
        if "\0" in value or "\r" in value:
            raise _BadRequest(f"Invalid HTTP Header: '{name.upper()}'")
        if key in found and key in ("content-length", "transfer-encoding"):
            raise _BadRequest(f"Invalid HTTP Header: '{name.upper()}'")
        found[key] = f"{found[key]},{value}" if key in found else value
    raise _BadRequest("Error parsing headers: 'limit request headers fields'")


def _body(file: io.BufferedReader, headers: dict[str, str]) -> LengthBody | ChunkedBody:
    coding = headers.get("transfer-encoding", "").lower()
    length = headers.get("content-length")
    if coding and (coding != "chunked" or length is not None):
        raise _BadRequest("Invalid HTTP Header: 'TRANSFER-ENCODING'")
    if coding:
        return ChunkedBody(file)
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
        raise _BadRequest("Invalid HTTP Header: 'CONTENT-LENGTH'")
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
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
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
