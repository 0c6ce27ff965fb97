"""A mount's control socket: JSON lines over a unix socket.

A request is ``{"call": NAME, "args": {…}}``, its answer ``{"result": …}`` or
``{"error": TEXT}``, one line each (with ``"missing": true`` if there is no such
thing); a connection may carry several.  The socket
is made with mode 0600 and answers its own user and root only.  Nothing secret
passes through it.

Sockets are addressed through ``/proc/self/fd``: a unix socket's path may only
be 107 bytes long, a user's runtime directory may not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pithosfs.errors import NotFound, PithosError

log = logging.getLogger(__name__)

Handler = Callable[..., Any]

_MAX_REQUEST = 64 * 1024
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class ControlError(PithosError):
    """The mount's process does not answer, or answers that it cannot."""


class NotThere(ControlError):
    """The mount answers that there is no such file or directory."""


class NoAnswer(ControlError):
    """Nobody listens there, or there was no answer in time."""


# -- in the mount's process -------------------------------------------------------------


class ControlServer:
    """Answers calls on a socket, in threads of its own, until closed.

    A handler is called with the request's ``args`` as keywords and returns
    something JSON can hold; a PithosError becomes an ``error`` answer.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        with _address(path) as address:
            path.unlink(missing_ok=True)
            self._server = _Server(address, handlers)
            path.chmod(0o600)  # its directory is private already
        # woken by calls, and by close(): there is nothing to poll for
        threading.Thread(
            target=self._server.serve_forever, args=(3600.0,), name="control", daemon=True
        ).start()

    def close(self) -> None:
        """Stop answering and remove the socket; calls under way are not waited for."""
        self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that listens
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str, handlers: Mapping[str, Handler]) -> None:
        self.handlers = dict(handlers)
        super().__init__(address, _Connection)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 (socketserver's signature)
        credentials = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(credentials)
        return uid in (0, os.geteuid())

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.debug("control connection ended", exc_info=True)


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while line := self.rfile.readline(_MAX_REQUEST + 1):
            if len(line) > _MAX_REQUEST:
                return
            self.wfile.write(_encode(_answer(self.server.handlers, line)))


def _answer(handlers: Mapping[str, Handler], line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        call, args = request["call"], request.get("args", {})
        handler = handlers[call]
    except (ValueError, TypeError, KeyError):
        return {"error": "the mount does not know this request; is it of another version of pithosfs?"}
    try:
        return {"result": handler(**args)}
    except NotFound as error:
        return {"error": str(error), "missing": True}
    except PithosError as error:
        return {"error": str(error)}
    except Exception:
        log.exception("control call %s failed", call)
        return {"error": f"{call} failed inside the mount; its log says why"}


# -- on the asking side ------------------------------------------------------------------


def ask(path: Path, call: str, /, *, timeout: float, **args: Any) -> Any:
    """Put one call to the mount whose socket is ``path`` and return its result.

    ``timeout`` in seconds bounds the wait for the answer.  Raises NoAnswer, NotThere,
    or ControlError with the mount's own words.
    """
    try:
        with _connect(path, timeout) as connection, connection.makefile("rb") as answers:
            connection.sendall(_encode({"call": call, "args": args}))
            line = answers.readline()
    except TimeoutError as error:
        raise NoAnswer(f"the mount's process does not answer within {timeout:g} s") from error
    except OSError as error:
        raise NoAnswer(f"the mount's process does not answer ({error.strerror})") from error
    if not line.endswith(b"\n"):
        raise NoAnswer("the mount's process closed the connection without an answer")
    answer = json.loads(line)
    if "error" in answer:
        raise (NotThere if answer.get("missing") else ControlError)(answer["error"])
    return answer.get("result")


@contextlib.contextmanager
def _connect(path: Path, timeout: float) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _address(path) as address:
        connection.settimeout(timeout)
        connection.connect(address)
        yield connection


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """A short name for ``path``, valid inside the ``with``."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
