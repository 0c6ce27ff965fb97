"""Connections to one server: pooled, each wait bounded.  The only user of urllib3.

urllib3 makes the connections (TLS, host names) and reads all answers that are
not plain (:mod:`pithosfs.heads`): chunked, compressed, in pieces of another
protocol's manners.  What it leaves open is done here:

* a time limit for the whole answer: a socket timeout starts anew with every
  byte, so a server that sends one byte a minute would be waited for forever.
  :class:`Patience` ends when nothing worth mentioning has moved for a while;
* idle connections: servers close them after about two seconds, and a request
  sent just then is lost.  The pool keeps none that long, and tells whether a
  connection was fresh, so that its user knows what a failure means;
* bodies go from the socket into the caller's buffer without a copy, and a
  small one leaves together with its head.

Failures leave this module as :class:`Failure` only, which says what the
transport needs to know about them.  Nothing is opened before the first
request, and a forked child never uses its parent's connections.

Locks: ``Pool._changed`` is the only one; nothing is called while it is held.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from pithosfs import heads
from pithosfs.blocks import Buffer
from pithosfs.errors import ConfigError, ProtocolError, StoreError, TimedOut, Unavailable

#: Seconds an unused connection is kept; common servers close it after two.
MAX_IDLE = 1.5
#: Seconds to wait for a connection to be accepted.
CONNECT_TIMEOUT = 10.0
#: Bytes that count as progress: that many in time, and waiting starts anew.
PROGRESS = 64 * 1024
#: Bytes handed to the kernel in one call when sending, and of a body that goes with its head.
_SEND_PIECE, _SEND_TOGETHER = 256 * 1024, 64 * 1024
_READER = 64 * 1024
#: The body of a request: one piece, or several that are sent one after the other.
Body = Buffer | tuple[Buffer, ...]
_BROKEN = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
#: What OpenSSL says of a certificate: not valid yet (9), expired (10).
_OUT_OF_TIME = (9, 10)
#: What OpenSSL makes of a server that answers in plain HTTP.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


class Failure(Exception):
    """An exchange that did not succeed.

    ``error`` is what to raise in the end.  ``sent`` says that the server may
    have got the request; ``stale`` that the connection had been used before
    and broke before the first byte of an answer (the server closed it while it
    was idle); ``final`` that trying again cannot help.
    """

    def __init__(
        self, error: StoreError, *, sent: bool = True, stale: bool = False, final: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.sent = sent
        self.stale = stale
        self.final = final


class Patience:
    """How long an exchange may still take.

    It ends ``seconds`` after it began, or after the last :data:`PROGRESS`
    bytes moved; one attempt ends as long as ``stall`` seconds after that.
    """

    def __init__(self, seconds: float, stall: float | None = None) -> None:
        self.seconds = seconds
        self._stall = seconds if stall is None else min(stall, seconds)
        self._since = self._until = time.monotonic()
        self._until += seconds
        self._suspended = self._since
        self._moved = 0

    def attempt(self) -> None:
        """Another attempt begins: what the one before has moved is no progress."""
        self._since, self._moved = time.monotonic(), 0

    def left(self) -> float:
        """Seconds until it ends, not below 0."""
        return max(0.0, self._until - time.monotonic())

    def wait(self) -> float:
        """Seconds the next single wait may take; TimeoutError if none are left."""
        left = min(self.left(), self._since + self._stall - time.monotonic())
        if left <= 0:
            raise TimeoutError
        return left

    def suspend(self) -> None:
        """What comes now, until :meth:`resume`, is the caller's own time and does not count."""
        self._suspended = time.monotonic()

    def resume(self) -> None:
        """Go on with the time that was left."""
        paused = time.monotonic() - self._suspended
        self._since += paused
        self._until += paused

    def moved(self, count: int) -> None:
        """Note that ``count`` bytes were sent or received."""
        self._moved += count
        if self._moved >= PROGRESS:
            self._moved = 0
            self._since = time.monotonic()
            self._until = self._since + self.seconds


class _TimedSocket:
    """A socket whose every wait is bounded by the patience of the moment.

    It stands in for ``socket.socket`` towards urllib3's connection, which needs
    no more of it than what is here.
    """

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self.patience = patience
        self._raw = _TimedReader(self)
        self.reader = io.BufferedReader(self._raw, _READER)
        #: Set when the other side has closed.
        self.ended = False

    def send(self, head: bytes, body: Body | None) -> None:
        """Send a request."""
        first, *more = [memoryview(each).cast("B") for each in _pieces(body)]
        if len(first) <= _SEND_TOGETHER:
            self._send_all(memoryview(head + first))
        else:
            self._send_all(memoryview(head))
            self._send_all(first)
        for view in more:
            self._send_all(view)

    def _send_all(self, view: memoryview) -> None:
        while view:
            self._sock.settimeout(self.patience.wait())
            sent = self._sock.send(view[:_SEND_PIECE])
            self.patience.moved(sent)
            view = view[sent:]

    def receive(self, view: memoryview) -> int:
        self._sock.settimeout(self.patience.wait())
        count = self._sock.recv_into(view)
        self.patience.moved(count)
        self.ended = not count
        return count

    def surplus(self) -> bool:
        """Whether more has come than was read."""
        self._raw.stopped = True
        try:
            return bool(self.reader.peek(1))
        finally:
            self._raw.stopped = False

    def close(self) -> None:
        self._sock.close()

    def abort(self) -> None:
        """End all waiting on this socket at once, from any thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def fileno(self) -> int:
        return self._sock.fileno()


class _TimedReader(io.RawIOBase):
    """The receiving side of a :class:`_TimedSocket` as a raw file."""

    def __init__(self, sock: _TimedSocket) -> None:
        self._timed = sock
        #: Set when only what has come already is wanted.
        self.stopped = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.stopped:
            return None
        return self._timed.receive(memoryview(buffer).cast("B"))


class _Again(io.RawIOBase):
    """What was read of an answer already, and the rest: as the socket http.client wants."""

    def __init__(self, read: bytes, rest: io.BufferedReader[_TimedReader]) -> None:
        self._read = read
        self._rest = rest

    def makefile(self, *_args: Any, **_options: Any) -> io.BufferedReader:
        return io.BufferedReader(self, _READER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if not self._read:
            return self._rest.readinto1(view)
        count = min(len(view), len(self._read))
        view[:count], self._read = self._read[:count], self._read[count:]
        return count


class TLS:
    """How servers are verified; the context is made when first needed."""

    def __init__(self, ca_certs: str | None = None, verify: bool = True) -> None:
        self._ca_certs = ca_certs
        self._verify = verify
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context; ConfigError if the CA bundle cannot be used."""
        if self._context is None:
            self._context = self._make()
        return self._context

    def _make(self) -> ssl.SSLContext:
        directory = self._ca_certs and Path(self._ca_certs).is_dir()
        try:
            context = ssl.create_default_context(
                cafile=None if directory else self._ca_certs,
                capath=self._ca_certs if directory else None,
            )
        except OSError as error:
            reason = error.strerror or "not a bundle of certificates"
            raise ConfigError(f"cannot use ca_certs {self._ca_certs}: {reason}") from error
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Connection:
    """One connection, used for one exchange at a time."""

    def __init__(self, http_connection: HTTPConnection) -> None:
        self._http = http_connection
        self._timed: _TimedSocket | None = None
        #: Whether the connection as it is now has carried an exchange.
        self.used = False
        self.idle_since = 0.0

    @property
    def place(self) -> str:
        """``host:port``, for messages."""
        return f"{self._http.host}:{self._http.port}"

    @property
    def connected(self) -> bool:
        """Whether the server has neither closed an idle connection nor sent anything unasked."""
        return self._http.is_connected

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: Body | None, patience: Patience
    ) -> Answer:
        """Send a request, after :meth:`connect`, and read the head of the answer; raises :class:`Failure`."""
        timed = self.connect(patience)
        timed.patience = patience
        reused, self.used = self.used, True
        length = None if body is None else size_of(body)
        request = heads.request(method, target, self._host, headers, length)
        response: urllib3.HTTPResponse | None = None
        try:
            # The server may answer and close without reading all of the body:
            # what it said is still there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                timed.send(request, body)
            read, head = heads.read(timed.reader, method)
            if head is None:
                response = _read_again(read, timed.reader, method)
        except _BROKEN as error:
            raise self._broken(error, reused) from error
        if timed.ended:
            # http.client takes a head without its end for a whole one.
            raise Failure(ProtocolError(f"{self.place} closed the connection within the head of an answer"))
        return Answer(self, timed, head, response)

    @property
    def _host(self) -> str:
        """What the header Host says."""
        host = f"[{self._http.host}]" if ":" in self._http.host else self._http.host
        return host if self._http.port == self._http.default_port else f"{host}:{self._http.port}"

    def connect(self, patience: Patience) -> _TimedSocket:
        """Have a connection to the server; raises :class:`Failure`."""
        if self._timed is not None and self._http.sock is not None:
            return self._timed
        try:
            self._http.timeout = min(CONNECT_TIMEOUT, patience.wait())
            self._http.connect()
        except _BROKEN as error:
            self._http.close()
            raise self._unreachable(error) from error
        self.used = False
        self._timed = _TimedSocket(cast(socket.socket, self._http.sock), patience)
        self._http.sock = cast(Any, self._timed)
        return self._timed

    def _unreachable(self, error: Exception) -> Failure:
        untrusted = _find(error, ssl.SSLCertVerificationError)
        if isinstance(untrusted, ssl.SSLCertVerificationError):
            why = untrusted.verify_message or str(untrusted)
            what_to_do = "set ca_certs to its issuer"
            if untrusted.verify_code in _OUT_OF_TIME:
                what_to_do = f"is this machine's clock right? It says {time.strftime('%Y-%m-%d %H:%M')}"
            text = f"the certificate of {self.place} is not trusted: {why}; {what_to_do}"
            return Failure(Unavailable(text), sent=False, final=True)
        plain = _find(error, ssl.SSLError)
        if isinstance(plain, ssl.SSLError) and plain.reason in _NO_TLS:
            text = f"{self.place} does not speak TLS: its URL should begin with http://, not https://"
            return Failure(Unavailable(text), sent=False)
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            return Failure(Unavailable(f"the host name {self._http.host} is not known"), sent=False)
        # urllib3 derives "refused" from "timed out", hence the question what it is not.
        late = TimeoutError | urllib3.exceptions.ConnectTimeoutError
        if isinstance(error, late) and not isinstance(error, urllib3.exceptions.NewConnectionError):
            return Failure(TimedOut(f"no connection to {self.place} within the time allowed"), sent=False)
        return Failure(Unavailable(f"cannot connect to {self.place}: {_reason(error)}"), sent=False)

    def _broken(self, error: Exception, reused: bool) -> Failure:
        if isinstance(error, TimeoutError):
            return Failure(TimedOut(f"no answer from {self.place} within the time allowed"))
        if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
            text = f"{self.place} closed the connection without an answer"
            return Failure(Unavailable(text), stale=reused)
        if isinstance(error, OSError):
            return Failure(Unavailable(f"the connection to {self.place} broke: {_reason(error)}"))
        return Failure(ProtocolError(f"{self.place} does not answer in HTTP: {_reason(error)}"))

    def abort(self) -> None:
        """Make whoever waits on this connection fail at once."""
        if self._timed is not None:
            self._timed.abort()

    def close(self) -> None:
        """Close; a later exchange would connect anew."""
        self._http.close()
        self._timed = None


class Answer:
    """The head of an answer, and its body to be read once."""

    def __init__(
        self,
        connection: Connection,
        timed: _TimedSocket,
        head: heads.Head | None,
        response: urllib3.HTTPResponse | None,
    ) -> None:
        """One of ``head``, of a plain answer, and ``response``, of any other."""
        self._connection = connection
        self._response = response
        self._timed = timed
        self.status: int
        self.headers: Mapping[str, str]
        #: Bytes of the body on the wire, None where only its end will tell.
        self.length: int | None
        if head is not None:
            self.status, self.headers, self.length = head
        elif response is not None:
            self.status, self.headers = response.status, response.headers
            self.length = response.length_remaining
        self._remaining = self.length
        self._decode = False
        #: Set when the whole body has been read and the connection can be used again.
        self.complete = False
        if self.length == 0:
            self._end()
        elif self.length is None and response is not None and not response.chunked:
            # Its end could not be told from a broken connection.
            raise Failure(ProtocolError(f"{connection.place} sent an answer without a length"))

    @property
    def patience(self) -> Patience:
        """How long its body may take."""
        return self._timed.patience

    def decode(self) -> None:
        """Undo the Content-Encoding; to be called before the first read."""
        self._decode = bool(self.headers.get("content-encoding", "").strip())
        if self._decode and self.length != 0:
            self.length = None

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` from the body; fewer bytes only at its end.  Raises :class:`Failure`."""
        if self.complete or not view:
            return 0
        try:
            return self._read(view)
        except _BROKEN as error:
            raise self._broken(error) from error

    def _read(self, view: memoryview) -> int:
        if self._response is not None:
            return self._read_decoded(self._response, view)
        return self._read_direct(view[: self._remaining])

    def _read_direct(self, view: memoryview) -> int:
        count = self._timed.reader.readinto(view)
        if count < len(view):
            raise Failure(self._cut_short())
        self._remaining = (self._remaining or 0) - count
        if not self._remaining:
            self._end()
        return count

    def _read_decoded(self, response: urllib3.HTTPResponse, view: memoryview) -> int:
        done = 0
        while done < len(view):
            data = response.read(min(len(view) - done, 256 * 1024), decode_content=self._decode)
            if not data:
                self._end()
                break
            view[done : done + len(data)] = data
            done += len(data)
        return done

    def _cut_short(self) -> StoreError:
        return ProtocolError(f"{self._connection.place} closed the connection within an answer")

    def _broken(self, error: Exception) -> Failure:
        if isinstance(error, TimeoutError | urllib3.exceptions.ReadTimeoutError):
            return Failure(TimedOut(f"{self._connection.place} stopped within an answer"))
        if isinstance(error, urllib3.exceptions.DecodeError):
            return Failure(ProtocolError(f"{self._connection.place} sent a body that cannot be decoded"))
        return Failure(self._cut_short())

    def _end(self) -> None:
        surplus = self._timed.surplus()  # what has come beyond the body belongs to no answer
        if surplus and self.length and self._response is None:
            raise Failure(ProtocolError(f"{self._connection.place} sent more than the answer's length"))
        if surplus or (self._response is not None and _is_last(self._response)):
            self._connection.close()
        if self._response is not None:
            self._response.close()
        self.complete = True


def _is_last(response: urllib3.HTTPResponse) -> bool:
    """Whether the server has said that it closes the connection after this."""
    return cast(http.client.HTTPResponse, response._original_response).will_close


def _read_again(read: bytes, rest: io.BufferedReader[_TimedReader], method: str) -> urllib3.HTTPResponse:
    """The answer to a request that is not plain, of which ``read`` was read."""
    response = http.client.HTTPResponse(cast(Any, _Again(read, rest)), method=method)
    response.begin()
    return urllib3.HTTPResponse(
        body=response,
        headers=urllib3.HTTPHeaderDict(response.msg.items()),
        status=response.status,
        version=response.version,
        reason=response.reason,
        preload_content=False,
        original_response=response,
        request_method=method,
    )


class Pool:
    """At most ``size`` connections to one server (``scheme://host:port``)."""

    def __init__(self, scheme: str, host: str, port: int, size: int, tls: TLS) -> None:
        self._scheme, self._host, self._port = scheme, host, port
        self._size = size
        self._tls = tls
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._owner = os.getpid()
        self._closed = False

    def acquire(self, patience: Patience) -> Connection:
        """A connection, the most recently used first; :class:`Failure` if all stay busy."""
        with self._changed:
            self._forget_parent()
            free = self._changed.wait_for(
                lambda: self._closed or len(self._busy) < self._size, timeout=patience.left()
            )
            if self._closed:
                raise Failure(Unavailable("the client is closed"), sent=False, final=True)
            if not free:
                text = f"all {self._size} connections to {self._host} are busy"
                raise Failure(TimedOut(text), sent=False)
            expired = self._take_expired(time.monotonic())
            connection = self._idle.pop() if self._idle else Connection(self._make())
            self._busy.add(connection)
        for each in expired:
            each.close()
        return connection

    def _take_expired(self, now: float) -> list[Connection]:
        """Take what is too old out of the idle ones, and what the server has closed from their top."""
        expired = [each for each in self._idle if now - each.idle_since > MAX_IDLE]
        self._idle = [each for each in self._idle if each not in expired]
        while self._idle and not self._idle[-1].connected:
            expired.append(self._idle.pop())
        return expired

    def _make(self) -> HTTPConnection:
        if self._scheme == "https":
            return HTTPSConnection(self._host, self._port, ssl_context=self._tls.context())
        return HTTPConnection(self._host, self._port)

    def _forget_parent(self) -> None:
        """In a forked child: drop the parent's connections, which it still uses."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._idle.clear()
            self._busy.clear()

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """Give a connection back; it is kept if its last answer was read to the end."""
        if not reusable:
            connection.close()
        with self._changed:
            self._busy.discard(connection)
            keep = reusable and not self._closed
            if keep:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            self._changed.notify()
        if not keep:
            connection.close()

    def close(self) -> None:
        """Close all; exchanges going on fail at once."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
            self._changed.notify_all()
        for each in idle:
            each.close()
        for each in busy:
            each.abort()


def size_of(body: Body | None) -> int:
    """Bytes of a request's body."""
    return sum(memoryview(each).nbytes for each in _pieces(body))


def _pieces(body: Body | None) -> tuple[Buffer, ...]:
    """A body's pieces, one at least."""
    if isinstance(body, tuple):
        return body or (b"",)
    return (b"" if body is None else body,)


def _find(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first of ``kind`` among an error, its arguments and its causes."""
    seen: list[BaseException] = [error]
    for each in seen:
        if isinstance(each, kind):
            return each
        more = [*each.args, each.__cause__, each.__context__]
        seen += [one for one in more if isinstance(one, BaseException) and one not in seen]
    return None


def _reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    cause = _find(error, OSError)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return (str(error) or type(error).__name__).splitlines()[0][:200]
