"""What the test network does to one connection: lines, flows, links.

A connection through the proxy is a :class:`Link` of two :class:`Flow`\\ s,
:class:`Requests` and :class:`Answers`.  A flow reads a piece from one socket,
sees what it is, asks its direction's :class:`Line` when it will have arrived,
and hands it to the other socket then.  All of it runs in the proxy's thread.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .faults import NOTHING, Fault
from .httpframes import BodyLength, Framer, Head, Part, Piece, answer_body, request_body

CHUNK = 256 * 1024  # bytes taken from a socket at once
SLOW_CHUNK = 16 * 1024  # the same on a line with a rate limit
WINDOW = 32 * 1024 * 1024  # bytes under way in one direction of one connection
BURST = 0.005  # seconds a line may catch up after it was late
EARLY = 0.0005  # seconds: timers have a resolution of a millisecond
NEVER = float("inf")


@dataclass(slots=True)
class Exchange:
    """One request and what became of it; times in seconds since the proxy began."""

    kind: str
    method: str
    target: str
    began: float
    range: str = ""  # the Range asked for
    fault: Fault = NOTHING
    ended: float = 0.0
    status: int = 0  # 0: no answer was passed on
    up: int = 0
    down: int = 0
    length: int | None = None  # of the body now passing, if its head says so
    passed: int = 0  # bytes of it that passed
    struck: bool = False  # whether the fault was carried out

    def record(self) -> dict[str, Any]:
        """The exchange as a line of the log."""
        line = {name: getattr(self, name) for name in ("kind", "method", "target", "status", "up", "down")}
        times = {"began": round(self.began, 6), "seconds": round(self.ended - self.began, 6)}
        wanted = {"range": self.range} if self.range else {}
        return line | wanted | times | ({"fault": self.fault.action} if self.struck else {})


class Line:
    """One direction of the network: a delay, a rate, and the flows that wait for their turn."""

    def __init__(self) -> None:
        self.delay = 0.0  # seconds
        self.rate = 0.0  # bytes a second; 0: no limit
        self.free = 0.0  # when all that was let on has left the sender
        self.waiting: deque[Flow] = deque()
        self.timer_set = False

    def admit(self, size: int, now: float) -> float:
        """Let ``size`` bytes on the line; when their last one will have arrived."""
        if self.rate:
            self.free = max(self.free, now - BURST) + size / self.rate
        return max(self.free, now) + self.delay

    def busy(self, now: float) -> bool:
        """Whether a flow has to wait before it may send more."""
        return self.free > now + BURST


class Parcel(NamedTuple):
    """Bytes on their way, or (``then``) what happens when all before have arrived."""

    due: float
    data: bytes
    then: Callable[[], None] | None = None

    def takes(self, data: bytes, due: float) -> bool:
        """Whether ``data`` may travel along: it is sent at the same time, and both are small."""
        return not self.then and due - self.due < EARLY and len(self.data) + len(data) < CHUNK


class Proxy(Protocol):
    """What a link needs of the proxy it belongs to."""

    selector: selectors.BaseSelector
    family: int
    upstream: Any
    line_up: Line
    line_down: Line
    links: set[Link]
    silent: bool

    def now(self) -> float: ...
    def at(self, due: float, call: Callable[[], None]) -> None: ...
    def say(self, message: str) -> None: ...
    def begin(self, head: Head) -> Exchange: ...
    def count(self, exchange: Exchange, up: int = 0, down: int = 0) -> None: ...
    def strike(self, exchange: Exchange) -> None: ...
    def end(self, exchange: Exchange) -> None: ...
    def queue_for(self, line: Line, flow: Flow) -> None: ...


class Flow:
    """One direction of one connection: reads ``source``, passes on to ``target`` when it is time.

    What the pieces mean is the business of :class:`Requests` and :class:`Answers`.
    """

    def __init__(self, link: Link, source: socket.socket, target: socket.socket, line: Line) -> None:
        self.link, self.source, self.target, self.line = link, source, target, line
        self.proxy = link.proxy
        self.framer = Framer(self.body_length)
        self.parcels: deque[Parcel] = deque()
        self.under_way = 0  # bytes in parcels
        self.reading = False
        self.ended = False  # nothing more is read
        self.blocked = False  # the target takes no more for now
        self.held_until = 0.0  # a stall: nothing arrives before
        self.timer = NEVER  # when deliver is due to be called

    def wants_to_read(self) -> bool:
        """Whether the source's bytes are welcome now."""
        return self.reading and not self.ended and self.under_way < WINDOW

    def read(self) -> None:
        """Take what the source has and put it on the line."""
        if self.line.busy(self.proxy.now()):
            self.reading = False
            self.link.watch()
            self.proxy.queue_for(self.line, self)
            return
        try:
            data = self.source.recv(SLOW_CHUNK if self.line.rate else CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.link.abort()
            return
        if data:
            self._pass_all(data)
        else:
            self.ended = True
            self.end_of_stream()
        self.deliver()

    def _pass_all(self, data: bytes) -> None:
        try:
            for piece in self.framer.feed(data):
                self.pass_on(piece)
                if self.ended:
                    break
        except ValueError as error:
            self.proxy.say(f"closing a connection: {error}")
            self.link.abort()

    def send(self, data: bytes) -> None:
        """Put ``data`` on the line."""
        due = max(self.line.admit(len(data), self.proxy.now()), self.held_until, self._last_due())
        self.under_way += len(data)
        if self.parcels and self.parcels[-1].takes(data, due):
            data = self.parcels.pop().data + data
        if data:
            self.parcels.append(Parcel(due, data))

    def drip(self, data: bytes, rate: float) -> None:
        """Put ``data`` on the line a drop at a time, ``rate`` bytes a second."""
        due = max(self.line.admit(len(data), self.proxy.now()), self._last_due())
        drop = max(1, int(rate / 20))
        for at in range(0, len(data), drop):
            due += drop / rate
            self.parcels.append(Parcel(due, data[at : at + drop]))
        self.under_way += len(data)

    def finish(self, then: Callable[[], None]) -> None:
        """Read no more; when all that is under way has arrived, do ``then``."""
        self.ended = True
        due = max(self.line.admit(0, self.proxy.now()), self.held_until, self._last_due())
        self.parcels.append(Parcel(due, b"", then))

    def _last_due(self) -> float:
        return self.parcels[-1].due if self.parcels else 0.0

    def deliver(self) -> None:
        """Hand over what has arrived; see to it that this is called again in time."""
        self.blocked = False
        horizon = self.proxy.now() + EARLY
        while self.parcels and self.parcels[0].due <= horizon and self._may_deliver():
            self._hand_over(self.parcels.popleft())
        if self._may_deliver() and self.parcels and self.parcels[0].due < self.timer:
            self.timer = self.parcels[0].due
            self.proxy.at(self.timer, self._timer_rang)
        self.link.watch()

    def _may_deliver(self) -> bool:
        return not (self.blocked or self.link.closed or self.proxy.silent)

    def _timer_rang(self) -> None:
        self.timer = NEVER
        self.deliver()

    def _hand_over(self, parcel: Parcel) -> None:
        if parcel.then:
            parcel.then()
            return
        try:
            sent = self.target.send(parcel.data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.link.abort()
            return
        self.under_way -= sent
        if sent < len(parcel.data):
            self.parcels.appendleft(parcel._replace(data=parcel.data[sent:]))
            self.blocked = True

    def spoil(self, piece: Piece, exchange: Exchange, fault: Fault) -> None:
        """Send ``piece``; where ``fault`` strikes in the body, end there or flip a bit.

        A body shorter than ``fault.after`` is struck at its last byte.
        """
        data = piece.data
        if piece.part is not Part.BODY or exchange.struck:
            self.send(data)
            return
        last = NEVER if exchange.length is None else exchange.length - 1
        at = int(min(fault.after, last)) - exchange.passed
        exchange.passed += len(data)
        if at >= len(data):
            self.send(data)
            return
        self.proxy.strike(exchange)
        if fault.action.startswith("cut"):
            self.send(data[:at])
            self.finish(self.link.close)
        else:
            self.send(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

    def body_length(self, head: Head) -> BodyLength:
        """How the body after ``head`` ends."""
        raise NotImplementedError

    def pass_on(self, piece: Piece) -> None:
        """Count a piece and send it, or what a fault makes of it."""
        raise NotImplementedError

    def end_of_stream(self) -> None:
        """The source will say no more."""
        raise NotImplementedError


class Requests(Flow):
    """From the client to the server."""

    exchange: Exchange

    def body_length(self, head: Head) -> BodyLength:
        return request_body(head)

    def pass_on(self, piece: Piece) -> None:
        if piece.head:
            self.exchange = self.link.begin(piece.head)
        exchange, fault = self.exchange, self.exchange.fault
        self.proxy.count(exchange, up=len(piece.data))
        match fault.action:
            case "drop_before":
                self.proxy.strike(exchange)
                self.link.abort()
            case "answer":
                if piece.part is Part.END:
                    self.link.answers.make_up(exchange)
            case "cut_request" | "corrupt_request":
                self.spoil(piece, exchange, fault)
            case "drop_sent" if piece.part is Part.END:
                self.proxy.strike(exchange)
                self.link.reset_client()
                self.finish(self.link.close)
            case _:
                self.send(piece.data)

    def end_of_stream(self) -> None:
        if self.link.answers.held_until == NEVER:
            self.link.abort()
        else:
            self.finish(self.link.half_close)


class Answers(Flow):
    """From the server to the client."""

    def body_length(self, head: Head) -> BodyLength:
        if not self.link.exchanges:
            raise ValueError("the server answers what nobody asked")
        return answer_body(head, self.link.exchanges[0].method)

    def pass_on(self, piece: Piece) -> None:
        exchange = self.link.exchanges[0]
        if piece.head and piece.head.status >= 200:
            exchange.status, exchange.passed = piece.head.status, 0
            exchange.length = int(piece.head.headers.get("content-length", 0)) or None
        self.proxy.count(exchange, down=len(piece.data))
        fault = exchange.fault if exchange.status else NOTHING  # none strikes an interim answer
        match fault.action:
            case "lose_answer":
                self.proxy.strike(exchange)
                self.link.abort()
                return
            case "stall" if piece.head:
                self.proxy.strike(exchange)
                self.held_until = self.proxy.now() + fault.seconds if fault.seconds else NEVER
                self.send(piece.data)
            case "drip" if piece.part is Part.BODY:
                self.proxy.strike(exchange)
                self.drip(piece.data, fault.rate)
            case "cut_answer" | "corrupt_answer":
                self.spoil(piece, exchange, fault)
            case _:
                self.send(piece.data)
        if piece.part is Part.END and exchange.status:
            self.link.end(exchange)

    def make_up(self, exchange: Exchange) -> None:
        """Answer without the server, as the exchange's fault says."""
        fault = exchange.fault
        retry_after = f"Retry-After: {fault.retry_after}\r\n" if fault.retry_after else ""
        body = b"" if exchange.method == "HEAD" else b'{"fault": {"message": "made up by the test network"}}'
        head = f"HTTP/1.1 {fault.status} MADE UP\r\n{retry_after}Content-Length: {len(body)}\r\n\r\n"
        self.proxy.strike(exchange)
        exchange.status = fault.status
        self.proxy.count(exchange, down=len(head) + len(body))
        self.send(head.encode() + body)
        self.link.end(exchange)
        self.deliver()

    def end_of_stream(self) -> None:
        self.finish(self.link.close)


class Link:
    """A connection of a client, the one to the server behind it, and what passes between them."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.server = socket.socket(proxy.family)
        for each in (self.client, self.server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False
        self.exchanges: deque[Exchange] = deque()  # begun, oldest first
        self.requests = Requests(self, self.client, self.server, proxy.line_up)
        self.answers = Answers(self, self.server, self.client, proxy.line_down)
        self._watched: dict[socket.socket, int] = {}
        self.server.connect_ex(proxy.upstream)  # a refusal shows at the first send

    def open(self) -> None:
        """Let the bytes flow."""
        self.requests.reading = self.answers.reading = True
        self.watch()

    def watch(self) -> None:
        """Tell the selector what this connection waits for."""
        if self.closed:
            return
        for flow, back in ((self.requests, self.answers), (self.answers, self.requests)):
            wanted = (selectors.EVENT_READ if flow.wants_to_read() else 0) | (
                selectors.EVENT_WRITE if back.blocked else 0
            )
            self._watch(flow.source, 0 if self.proxy.silent else wanted, flow, back)

    def _watch(self, sock: socket.socket, wanted: int, flow: Flow, back: Flow) -> None:
        now = self._watched.get(sock, 0)
        if wanted == now:
            return
        if not wanted:
            self.proxy.selector.unregister(sock)
        elif now:
            self.proxy.selector.modify(sock, wanted, (flow, back))
        else:
            self.proxy.selector.register(sock, wanted, (flow, back))
        self._watched[sock] = wanted

    def begin(self, head: Head) -> Exchange:
        """A request's head has come."""
        exchange = self.proxy.begin(head)
        self.exchanges.append(exchange)
        return exchange

    def end(self, exchange: Exchange) -> None:
        """Its answer is complete."""
        self.exchanges.remove(exchange)
        self.proxy.end(exchange)

    def half_close(self) -> None:
        """Tell the server that the client has said all."""
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_WR)

    def reset_client(self) -> None:
        """The client's connection breaks; what was sent goes on to the server."""
        self.requests.ended = self.answers.ended = True
        self.answers.parcels.clear()
        self.answers.blocked = False
        self.watch()
        self._reset(self.client)

    def abort(self) -> None:
        """The client's connection breaks, and the server's ends."""
        if not self.closed:
            self._reset(self.client)
            self.close()

    @staticmethod
    def _reset(sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def close(self) -> None:
        """Both connections end."""
        if self.closed:
            return
        self.closed = self.requests.ended = self.answers.ended = True
        for sock, watched in self._watched.items():
            if watched:
                self.proxy.selector.unregister(sock)
        self.client.close()
        self.server.close()
        while self.exchanges:
            self.proxy.end(self.exchanges.popleft())
        self.proxy.links.discard(self)
