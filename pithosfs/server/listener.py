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
from pithosfs.server.app.http import REASONS, Piece, Request, Response
from pithosfs.server.framing import BadRequest, LengthBody, read_request
from pithosfs.server.store.blockfiles import Extent

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
TIMEOUT = 60
"""Seconds a connection may be idle, between requests or within one."""
PATIENCE = 10.0
"""Seconds that requests in work have when the server is stopped."""
MAX_DRAIN = 64 * 1024 * 1024
"""Bytes of an unread body that are thrown away to keep the connection."""


Application = Callable[[Request], Response]


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
            head = read_request(self.rfile)
        except BadRequest as error:
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
            # before the client knows: who has the answer finds the line
            if self.server.access_log is not None:
                self.server.access_log.write(request, response, body.consumed, time.perf_counter() - started)
            keep = self._send(request, response, keep=keep)
        return keep and body.drain(MAX_DRAIN)

    def _send(self, request: Request, response: Response, *, keep: bool) -> bool:
        """Send an answer; whether the connection can be kept."""
        bodyless = request.method == "HEAD" or response.status in (204, 304)
        chunked = response.length is None and keep and not bodyless
        keep = keep and (chunked or bodyless or response.length is not None)
        head = _head_of(response, chunked=chunked, keep=keep)
        if bodyless:
            self.connection.sendall(head)
            return keep
        try:
            for piece in response.pieces:
                if not len(piece):
                    continue
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
        return keep

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
