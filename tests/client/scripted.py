"""A server on a real socket that does exactly what a test tells it, well-behaved or not."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass
class Exchange:
    """One request as it came, and the socket to answer on."""

    sock: socket.socket
    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Which connection this is, counted from 0.
    connection: int = 0
    closed: bool = False
    #: Set when the server ends.
    stop: threading.Event = field(default_factory=threading.Event)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(
        self, status: int = 200, body: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/1.1 {status} WHATEVER"]
        given = {"Content-Length": str(len(data))} | dict(headers or {})
        lines += [f"{key}: {value}" for key, value in given.items() if value]
        plain = b"" if self.method == "HEAD" else data
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + plain)

    def fault(self, status: int, name: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        """An error as the store writes it."""
        document = {name: {"message": message, "code": status, "details": ""}}
        self.answer(status, json.dumps(document), headers)

    def close(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Close so that the other side gets a reset, not an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed = True
        self.sock.close()


def stay_silent(exchange: Exchange) -> None:
    """A step that never answers."""
    exchange.stop.wait(60)


def hang_up(exchange: Exchange) -> None:
    """A step that closes the connection instead of answering."""
    exchange.close()


Step = Callable[[Exchange], None]


class Scripted:
    """Answers the n-th request with the n-th step, the rest with the last one."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[Exchange] = []
        self.connections = 0
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def wrap(self, sock: socket.socket) -> socket.socket:
        """What is done to a new connection; overridden for TLS."""
        return sock

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                number, self.connections = self.connections, self.connections + 1
            self._start(self._serve, sock, number)

    def _serve(self, raw: socket.socket, number: int) -> None:
        try:
            sock = self.wrap(raw)
        except OSError:
            raw.close()
            return
        with self._lock:
            self._open.add(sock)
        file = sock.makefile("rb")
        with contextlib.suppress(OSError):
            while exchange := _read(sock, file):
                exchange.connection, exchange.stop = number, self.stop
                with self._lock:
                    self.requests.append(exchange)
                    step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
                step(exchange)
                if exchange.closed:
                    break
        file.close()
        sock.close()


class ScriptedTLS(Scripted):
    """The same with a certificate for 127.0.0.1, issued by ``data/tls/ca.pem``."""

    scheme = "https"

    def wrap(self, sock: socket.socket) -> socket.socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(DATA / "tls" / "server.pem")
        return context.wrap_socket(sock, server_side=True)


def _read(sock: socket.socket, file: object) -> Exchange | None:
    line = file.readline()  # type: ignore[attr-defined]
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := file.readline()).strip():  # type: ignore[attr-defined]
        key, _, value = line.decode("latin-1").partition(":")
        headers[key.strip().lower()] = value.strip()
    body = file.read(int(headers.get("content-length", 0)))  # type: ignore[attr-defined]
    return Exchange(sock, method, target, headers, body)
