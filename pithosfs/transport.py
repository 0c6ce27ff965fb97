"""One ``send()``: requests to the store, with all that makes them dependable.

* **Token**: ``X-Auth-Token`` on every request.  After a 401 the token source
  is read again, by one thread for all, and the request sent once more with
  each token not yet refused.  A token never goes to another host.
* **Time**: a request takes at most ``timeout`` seconds over all its attempts,
  longer only while its bytes keep moving (:class:`~pithosfs.connections.Patience`).
* **Repeating**: what is lost or refused for the moment is sent again with
  growing, random pauses, if sending it twice is the same as once.  By default
  that is GET, HEAD, PUT, DELETE and POST; the caller excludes single requests
  (``repeatable=False``: MOVE, COPY, recursive DELETE), which are only repeated
  when the server cannot have got them (no connection, or 429); or those that
  would come late (``repeat_within``: a DELETE, which might take what others have
  made meanwhile; the error is TooLate).  A connection
  the server closed while it was idle is replaced at once.  An error after a
  lost answer says so (``maybe_done``): a repeated PUT under a condition may
  find its own success, a repeated DELETE nothing.
* **Circuit breaker**: once a server could not be reached in all the time
  allowed, further requests fail at once for a moment, then one at a time
  tries again, so that a dead network does not cost each of them the full time.
* **Errors**: a status becomes one of :mod:`pithosfs.errors`, with the server's
  own message on one line.

Locks: ``Transport._lock`` (pools, breakers), ``Credentials._lock`` (held
while the token source is read, so that one thread asks for all),
``Breaker._lock`` and ``Stats._lock``; none is taken while another is held.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from pithosfs import __version__, errors
from pithosfs.answers import error_of, retry_after
from pithosfs.breaker import PROBE_TIMEOUT, Breaker
from pithosfs.connections import TLS, Answer, Body, Connection, Failure, Patience, Pool, size_of
from pithosfs.credentials import Credentials, TokenReader
from pithosfs.stats import Stats

log = logging.getLogger(__name__)

USER_AGENT = f"pithosfs/{__version__}"
#: Longest request line common front ends accept, with a little room.
MAX_REQUEST_LINE = 4000
#: Largest answer read into memory: the hashmap of an object of some 15 TiB.
MAX_BODY = 256 * 1024 * 1024

_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "POST"})
_REDIRECTS = frozenset({301, 302, 307, 308})
#: Said by a proxy, which cannot know what the server behind it has done.
_PROXIED = frozenset({502, 504})
_MAX_REDIRECTS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_DRAIN = 64 * 1024
_PRINTABLE = re.compile("[!-~]+")
_SITE = re.compile("https?://[^/?#]+")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request: an absolute, percent-encoded ``url`` and what goes with it.

    ``label`` names its object in messages.  ``timeout`` is in seconds, None
    for the transport's own.  It is sent again no later than ``repeat_within``
    seconds after it was first to be sent.  Statuses in ``allow`` are returned, not raised.
    ``expected`` is the length the body of a successful answer must have; then
    it is never decoded, for an object may be stored compressed.  ``check``
    looks at status and headers of a successful answer and raises
    ProtocolError; such an answer is asked for again like a broken one.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    label: str = ""
    timeout: float | None = None
    repeatable: bool | None = None
    repeat_within: float = math.inf
    allow: frozenset[int] = frozenset()
    expected: int | None = None
    check: Callable[[int, Mapping[str, str]], None] | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether sending it twice does the same as sending it once."""
        return self.method in _REPEATABLE if self.repeatable is None else self.repeatable


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer.  ``maybe_done``: an earlier sending's answer was lost."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray
    maybe_done: bool = False


class StreamedBody:
    """The body of a successful answer, to be read once and in order."""

    def __init__(self, answer: Answer, stats: Stats, length: int | None) -> None:
        self._answer = answer
        self._stats = stats
        self.status = answer.status
        self.headers = answer.headers
        #: Bytes of the body, None where only its end will tell.
        self.length = length
        answer.patience.suspend()

    def readinto(self, view: memoryview) -> int:
        """Fill ``view``; fewer bytes only at the end of the body, 0 after it.

        Raises TimedOut or ProtocolError when the body breaks off.
        """
        self._answer.patience.resume()
        try:
            count = self._answer.readinto(view)
        except Failure as failure:
            self._stats.failed(failure.error)
            raise failure.error from failure
        finally:
            self._answer.patience.suspend()
        self._stats.received(count)
        return count


class Transport:
    """Sends requests to any number of servers; safe for use by many threads.

    ``timeout`` in seconds, ``pool`` connections to each server, ``retries``
    repetitions of a repeatable request at most.  ``token`` is the candidate
    already known to be good.  Without a ``token_source`` requests are
    anonymous and redirects to other hosts are followed.
    """

    def __init__(
        self,
        token_source: TokenReader | None,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        pool: int = 16,
        ca_certs: str | None = None,
        verify: bool = True,
        user_agent: str = USER_AGENT,
        retries: int = 4,
    ) -> None:
        self.timeout = timeout
        self.retries = retries
        self.user_agent = user_agent
        self.stats = Stats()
        self.credentials = None if token_source is None else Credentials(token_source, token)
        self._pool_size = pool
        self._tls = TLS(ca_certs, verify)
        self._lock = threading.Lock()
        self._servers: dict[tuple[str, str, int], _Server] = {}
        self._sites: dict[str, _Server] = {}  # the same by the beginnings of URLs
        self._closed = threading.Event()

    def send(self, request: Request) -> Response:
        """Send a request and read the whole answer; raises StoreError."""
        return _Sending(self, request).run(self._collect)

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[StreamedBody]:
        """Send a request and hand out the body as it arrives.

        Repeats until the head of the answer is there, not later.
        """
        held, body = _Sending(self, request).run(self._open)
        try:
            yield body
        finally:
            held.give_back()

    def close(self) -> None:
        """Close all connections; requests under way and later ones fail."""
        self._closed.set()
        with self._lock:
            servers = list(self._servers.values())
        for each in servers:
            each.pool.close()

    def server(self, url: str) -> _Server:
        """The server of a URL, with its connections and breaker."""
        site = _SITE.match(url)
        found = self._sites.get(site[0]) if site and _PRINTABLE.fullmatch(url) else None
        if found is not None:
            return found
        key = _origin(url)
        with self._lock:
            if key not in self._servers:
                self._servers[key] = _Server(Pool(*key, self._pool_size, self._tls), Breaker())
            if site:
                self._sites[site[0]] = self._servers[key]
            return self._servers[key]

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond ``close()``."""
        self._closed.wait(seconds)

    def _collect(self, held: _Held, answer: Answer) -> Response:
        """Read all of an answer and give its connection back."""
        length = _body_length(answer, held.request.expected)
        if length is None:
            data = _read_to_end(answer)
        elif length <= MAX_BODY:
            data = bytearray(length)
            answer.readinto(memoryview(data))
        else:
            raise Failure(errors.ProtocolError("the answer is too large"), final=True)
        self.stats.received(len(data))
        _check_length(len(data), held.request.expected)
        held.give_back()
        return Response(answer.status, answer.headers, data, held.maybe_done)

    def _open(self, held: _Held, answer: Answer) -> tuple[_Held, StreamedBody]:
        length = _body_length(answer, held.request.expected)
        return held, StreamedBody(answer, self.stats, length)


@dataclass(frozen=True, slots=True)
class _Server:
    pool: Pool
    breaker: Breaker


class _Held:
    """A connection in use for a request, and the answer once there is one."""

    def __init__(self, request: Request, pool: Pool, connection: Connection) -> None:
        self.request = request
        self.maybe_done = False
        self._pool = pool
        self._connection = connection
        self.answer: Answer | None = None

    def give_back(self) -> None:
        """Let others use the connection, if the answer was read to its end."""
        self._pool.release(self._connection, reusable=self.answer is not None and self.answer.complete)


class _Sending:
    """One request on its way, over all its attempts."""

    def __init__(self, transport: Transport, request: Request) -> None:
        self._transport = transport
        self._request = request
        self._url = request.url
        self._patience = Patience(0)
        self._repeats = 0
        self._repeats_left = transport.retries
        self._redirects = 0
        self._maybe_done = False
        self._failed: errors.StoreError | None = None  # the attempt before
        self._started = time.monotonic()
        self._token: str | None = None
        self._refused: set[str] = set()

    def run(self, take: Callable[[_Held, Answer], T]) -> T:
        """Send until ``take`` accepts an answer; raises StoreError."""
        breaker = self._transport.server(self._url).breaker
        probing = False
        try:
            check_request_line(self._request)
            probing = breaker.enter()
            self._set_limits(probing=probing)
            while True:
                try:
                    return self._attempt(take)
                except Failure as failure:
                    self._failed = failure.error
                    self._after(failure)
        except errors.StoreError as error:
            if self._shows_server_gone(error):
                breaker.failed(error, self._started, probing=probing)
            self._transport.stats.failed(error)
            error.maybe_done = self._maybe_done
            raise

    def _shows_server_gone(self, error: errors.StoreError) -> bool:
        """Whether ``error`` means more than that one answer was lost."""
        unanswered = error.status == 0 and isinstance(error, errors.Unavailable)
        alone = self._maybe_done and not self._request.may_repeat
        late = isinstance(error, errors.TooLate)
        return unanswered and not late and (isinstance(error, errors.TimedOut) or not alone)

    def _set_limits(self, *, probing: bool) -> None:
        seconds = self._request.timeout or self._transport.timeout
        repeatable = self._request.may_repeat
        if probing and repeatable:
            seconds, self._repeats_left = min(seconds, PROBE_TIMEOUT), 0
        self._patience = Patience(seconds, stall=seconds / 2 if repeatable else None)

    def _attempt(self, take: Callable[[_Held, Answer], T]) -> T:
        """Send once; what ``take`` makes of the answer, or Failure.

        A successful ``take`` gives the connection back, or hands it on.
        """
        request, headers = self._request, self._headers()
        server = self._transport.server(self._url)
        connection = server.pool.acquire(self._patience)
        held = _Held(request, server.pool, connection)
        try:
            self._patience.attempt()
            connection.connect(self._patience)
            self._check_not_late()
            self._transport.stats.sent(request.method, size_of(request.body))
            answer = held.answer = connection.exchange(
                request.method, _target(self._url), headers, request.body, self._patience
            )
            server.breaker.succeeded()
            self._judge(answer)
            held.maybe_done = self._maybe_done
            return take(held, answer)
        except BaseException:
            held.give_back()
            raise

    def _check_not_late(self) -> None:
        """Raise TooLate unless this is the first attempt, or may still be made."""
        before = self._failed
        if before is not None and time.monotonic() - self._started > self._request.repeat_within:
            raise errors.TooLate(str(before), before.status)

    def _judge(self, answer: Answer) -> None:
        """Raise Failure unless the answer is a success, or allowed."""
        request, status = self._request, answer.status
        if 200 <= status < 300:
            try:
                if request.check is not None:
                    request.check(status, answer.headers)
            except errors.ProtocolError as error:
                raise Failure(error) from error
        elif status != 304 and status not in request.allow:
            raise self._refusal(answer)

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": self._transport.user_agent, "Accept-Encoding": "identity"}
        if self._transport.credentials is not None and "X-Auth-Token" not in self._request.headers:
            if self._token is None:
                self._token = self._transport.credentials.current()
            headers["X-Auth-Token"] = self._token
        return headers | dict(self._request.headers)

    def _refusal(self, answer: Answer) -> Failure:
        """What an answer that is no success means."""
        body = _read_some(answer)
        if answer.status in _REDIRECTS:
            return _Redirected(errors.ProtocolError("redirected"), answer.headers.get("location", ""))
        error = error_of(
            answer.status, body, self._request.label, self._token or self._request.headers.get("X-Auth-Token")
        )
        if answer.status == 401:
            return _Refused(error)
        pause = retry_after(answer.headers) if answer.status in (429, 503) else None
        transient = answer.status in (408, 429, 500, 502, 503, 504)
        return _Status(error, pause, sent=answer.status != 429, final=not transient)

    def _after(self, failure: Failure) -> None:
        """Prepare the next attempt, or raise the error if there is none."""
        if isinstance(failure, _Redirected):
            self._follow(failure.location)
        elif isinstance(failure, _Refused):
            self._renew_token(failure)
        else:
            self._repeat(failure)

    def _repeat(self, failure: Failure) -> None:
        lost = failure.sent and (not isinstance(failure, _Status) or failure.error.status in _PROXIED)
        self._maybe_done = self._maybe_done or lost
        allowed = self._request.may_repeat or not failure.sent
        if failure.final or not allowed:
            raise failure.error from failure
        # Only the first one: were every connection closed like this, it would not be idleness.
        was_idle = failure.stale and not self._repeats
        pause = 0.0 if was_idle else self._pause_for(failure)
        if was_idle:
            self._repeats += 1
            return
        if self._repeats_left <= 0 or pause >= self._patience.left():
            raise failure.error from failure
        self._repeats += 1
        self._repeats_left -= 1
        if failure.error.status == 500:
            self._repeats_left = 0  # mostly a defect that stays; once more is enough
        self._transport.stats.retried()
        log.info("%s %s again after: %s", self._request.method, self._request.label, failure.error)
        self._transport.pause(pause)

    def _pause_for(self, failure: Failure) -> float:
        asked = failure.pause if isinstance(failure, _Status) else None
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self._repeats)
        return max(asked or 0.0, longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret

    def _renew_token(self, failure: Failure) -> None:
        credentials = self._transport.credentials
        if credentials is None or self._token is None:
            raise failure.error from failure
        self._refused.add(self._token)
        self._token = credentials.renew(self._refused)
        if self._token is None:
            raise failure.error from failure
        log.info("the token was refused; going on with another one")

    def _follow(self, location: str) -> None:
        """Go on at ``location`` if the token may be shown there."""
        old = _origin(self._url)
        self._redirects += 1
        try:
            target = urljoin(self._url, location)
            new = _origin(target)
        except (ValueError, errors.ConfigError):
            location = ""
        if not location or self._redirects > _MAX_REDIRECTS:
            raise errors.ProtocolError(f"{old[1]} redirects without end or without a target")
        upgrade = old[:2] == ("http", new[1]) and new[0] == "https"
        anonymous = self._transport.credentials is None and "X-Auth-Token" not in self._request.headers
        elsewhere = anonymous and new[0] in ("https", old[0])
        if not (new == old or upgrade or elsewhere):
            raise errors.ProtocolError(
                f"{old[1]}:{old[2]} redirects to {new[1]}:{new[2]}, where the token is not sent;"
                " set the URL to that server if you trust it"
            )
        self._url = target


class _Redirected(Failure):
    """A 3xx with its target."""

    def __init__(self, error: errors.StoreError, location: str) -> None:
        super().__init__(error)
        self.location = location


class _Refused(Failure):
    """A 401."""


class _Status(Failure):
    """An error status; ``pause`` is what Retry-After asks for, in seconds."""

    def __init__(self, error: errors.StoreError, pause: float | None, *, sent: bool, final: bool) -> None:
        super().__init__(error, sent=sent, final=final)
        self.pause = pause


def _read_some(answer: Answer) -> bytes:
    """The beginning of an error body, its rest dropped if it is short."""
    answer.decode()
    data = bytearray(_DRAIN)
    try:
        done = answer.readinto(memoryview(data))
        if done == _DRAIN:
            answer.readinto(memoryview(bytearray(_DRAIN)))
    except Failure:
        return b""
    return bytes(data[:done])


def _body_length(answer: Answer, expected: int | None) -> int | None:
    """How long the body will be, None if only its end tells; Failure if not as ``expected``.

    A body of just the expected length is taken as it is, whatever its
    Content-Encoding: an object may be stored compressed.  Any other was
    compressed on the way.
    """
    if expected is None or answer.length != expected:
        answer.decode()
    if answer.length is not None:
        _check_length(answer.length, expected)
    return answer.length


def _check_length(length: int, expected: int | None) -> None:
    if expected is not None and length != expected:
        raise Failure(errors.ProtocolError(f"{length} bytes came where {expected} were asked for"))


def _read_to_end(answer: Answer) -> bytearray:
    data = bytearray()
    piece = memoryview(bytearray(256 * 1024))
    while count := answer.readinto(piece):
        data += piece[:count]
        if len(data) > MAX_BODY:
            raise Failure(errors.ProtocolError("the answer is too large"), final=True)
    return data


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL; ConfigError if it is none."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if not _PRINTABLE.fullmatch(url):
        host = None
    if scheme not in ("http", "https") or not host:
        raise errors.ConfigError(f"{url} is not an http or https URL")
    return scheme, host, port or (443 if scheme == "https" else 80)


def _target(url: str) -> str:
    """Path and query of a URL, exactly as they are: object names may hold ``//`` and ``..``."""
    rest = url.split("://", 1)[1].partition("#")[0]
    start = re.search("[/?]", rest)
    target = rest[start.start() :] if start else ""
    return target if target.startswith("/") else "/" + target


def check_request_line(request: Request) -> None:
    """Raise NameTooLong for a request line no common server takes."""
    length = len(request.method) + len(_target(request.url)) + len("  HTTP/1.1")
    if length > MAX_REQUEST_LINE:
        raise errors.NameTooLong(f"{request.label[:60]}…: the name is too long for a request")
