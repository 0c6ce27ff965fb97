"""A network to order: a counting HTTP proxy with delay, rate limits and faults.

In a test::

    with NetProxy("127.0.0.1:8085", rtt=0.02) as proxy:
        proxy.faults(Fault("lose_answer", kind="hashmap PUT"))
        ...                     # talk to proxy.url
        assert proxy.counts()["hashmap PUT"].requests == 2

As a process of its own (for benchmarks), steered by JSON lines on its
standard input, gone when that closes::

    python tests/support/netproxy.py --to 127.0.0.1:8085 --rtt 20 --rate 200

One thread, one selector; ``netflow.py`` has what happens to a connection.
The delay is a delay line (what is under way does not hold up what follows),
the rate is shared by all connections of a direction, in turns.  A new
connection waits one round trip, as a handshake does.  What is not modelled:
slow start, loss, TLS.

The thread is one of the process that uses it.  Who touches a *mapped* file of
a mount behind the proxy must do so in another process: a page fault holds the
interpreter's lock while it waits for the mount, the mount waits for the proxy,
and the proxy for the lock.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import re
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO, TypeVar
from urllib.parse import parse_qs, urlsplit

if __name__ == "__main__" and not __package__:  # run as a file: PEP 366
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "support"

from .faults import Fault, FaultPlan
from .httpframes import BodyLength, Head, request_body
from .netflow import BURST, EARLY, NEVER, Exchange, Flow, Line, Link

Answer = TypeVar("Answer")


def kind_of(method: str, target: str, headers: dict[str, str]) -> str:
    """What a request is in Pithos' terms: "block POST", "listing", "object GET" …"""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    _, is_store, below = parts.path.partition("/v1/")
    if not is_store:
        return "identity" if parts.path.endswith("/tokens") else f"other {method}"
    depth = len([part for part in below.split("/", 2) if part])
    if depth == 3:
        return _object_kind(method, query, headers)
    level = "container" if depth == 2 else "account"
    if method == "GET":
        return "listing" if level == "container" else "account listing"
    if method == "POST" and "update" in query and headers.get("content-length") != "0":
        return "block POST"
    return f"{level} {method}"


def _object_kind(method: str, query: dict[str, list[str]], headers: dict[str, str]) -> str:
    if "hashmap" in query:
        return f"hashmap {method}"
    if method == "GET" and query.get("version") == ["list"]:
        return "history"
    if method == "GET" and "range" in headers:
        return "ranged GET"
    if method == "PUT" and "x-move-from" in headers:
        return "object MOVE"
    if method == "PUT" and "x-copy-from" in headers:
        return "object COPY"
    return f"object {method}"


@dataclass(slots=True)
class Count:
    """Requests of one kind, and their bytes each way, heads included."""

    requests: int = 0
    up: int = 0
    down: int = 0


class NetProxy:
    """The proxy; a context manager.  All methods may be called from any thread.

    ``upstream`` is ``host:port``; ``rtt`` seconds; ``rate`` bits a second each
    way (0: no limit); ``log`` a file that gets a JSON line an exchange.
    """

    def __init__(
        self, upstream: str, *, port: int = 0, rtt: float = 0.0, rate: float = 0.0, log: Path | None = None
    ) -> None:
        host, _, upstream_port = upstream.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), int(upstream_port), type=socket.SOCK_STREAM)[0]
        self.family: int = found[0]
        self.upstream: Any = found[4]
        self.line_up, self.line_down = Line(), Line()
        self.links: set[Link] = set()
        self.silent = False
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._began = time.monotonic()
        self._plan = FaultPlan(seed=0)
        self._counts: dict[str, Count] = {}
        self._exchanges: deque[Exchange] = deque(maxlen=200_000)
        self._connections = 0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_out.setblocking(False)
        self.selector.register(self._wake_out, selectors.EVENT_READ)
        self._log: TextIO | None = log.open("w", encoding="utf-8") if log else None
        self._listener: socket.socket | None = None
        self._running = True
        self._listen(port)
        self.port: int = self._listener.getsockname()[1] if self._listener else port
        self._set_shape(rtt, rate)
        self._thread = threading.Thread(target=self._run, name="netproxy", daemon=True)
        self._thread.start()

    # -- for its user -----------------------------------------------------------

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections and the thread."""
        if self._running:
            self._ask(self._stop)
            self._thread.join()

    def shape(self, rtt: float = 0.0, rate: float = 0.0) -> None:
        """Change the network: round trip in seconds, rate in bits a second each way (0: no limit)."""
        self._ask(lambda: self._set_shape(rtt, rate))

    def faults(self, *rules: Fault, seed: int | None = None) -> FaultPlan:
        """From now on these rules; none: no faults.  Says the seed if one was thrown."""
        plan = FaultPlan(rules, seed)
        if seed is None and any(rule.chance < 1 for rule in rules):
            self.say(f"random faults with seed {plan.seed}")
        self._ask(lambda: setattr(self, "_plan", plan))
        return plan

    def down(self, *, silent: bool = False) -> None:
        """Take the network down: connections break and new ones are refused; ``silent``: bytes just stop."""
        self._ask(self._go_silent if silent else self._break_all)

    def up(self) -> None:
        """Bring it back."""
        self._ask(self._come_back)

    def counts(self, target: str = "") -> dict[str, Count]:
        """What passed since the last :meth:`reset`, by kind of request.

        With a regular expression ``target``: of requests made since then (the newest 200,000) whose
        target it is found in.
        """
        if target:
            return self._ask(lambda: self._counts_of(re.compile(target)))
        return self._ask(lambda: {kind: Count(**asdict(count)) for kind, count in self._counts.items()})

    def requests(self) -> list[dict[str, Any]]:
        """Every request since the last :meth:`reset` (the newest 200,000), as in the log."""
        return self._ask(lambda: [exchange.record() for exchange in self._exchanges])

    def settled(self, target: str, by: float) -> float:
        """Since when nothing was under way, until ``by``, that changes something where ``target`` is found.

        Both in seconds of the monotonic clock; ``by`` itself if something still was.  Of requests since the
        last :meth:`reset` (the newest 200,000), each until the last byte of its answer left the server.
        """
        return self._ask(lambda: self._settled(re.compile(target), by - self._began)) + self._began

    def connections(self) -> int:
        """How many connections were opened since the last :meth:`reset`."""
        return self._ask(lambda: self._connections)

    def reset(self) -> None:
        """Forget what was counted."""
        self._ask(self._forget)

    # -- for its links, in the thread ----------------------------------------------

    def now(self) -> float:
        """Seconds since the proxy began."""
        return time.monotonic() - self._began

    def at(self, due: float, call: Callable[[], None]) -> None:
        """Do ``call`` when it is time."""
        if due < NEVER:
            heapq.heappush(self._timers, (due, next(self._number), call))

    def say(self, message: str) -> None:
        """Tell whoever watches."""
        sys.stderr.write(f"netproxy: {message}\n")

    def begin(self, head: Head) -> Exchange:
        """Count a new request and decide its fate."""
        method, target, _ = head.words
        kind = kind_of(method, target, head.headers)
        exchange = Exchange(kind, method, target, self.now(), head.headers.get("range", ""))
        exchange.length = int(head.headers.get("content-length", 0)) or None
        has_body = request_body(head) != BodyLength(0)
        exchange.fault = self._plan.pick(kind, method, target, has_body=has_body)
        self._exchanges.append(exchange)
        self._counts.setdefault(kind, Count()).requests += 1
        return exchange

    def count(self, exchange: Exchange, up: int = 0, down: int = 0) -> None:
        """Bytes of an exchange went by."""
        exchange.up += up
        exchange.down += down
        total = self._counts.setdefault(exchange.kind, Count())
        total.up += up
        total.down += down

    def strike(self, exchange: Exchange) -> None:
        """The exchange's fault is being carried out."""
        if not exchange.struck:
            exchange.struck = True
            self._plan.hits[exchange.fault.action] += 1

    def end(self, exchange: Exchange) -> None:
        """An exchange is over."""
        exchange.ended = self.now()
        if self._log:
            self._log.write(json.dumps(exchange.record()) + "\n")

    def queue_for(self, line: Line, flow: Flow) -> None:
        """Let ``flow`` read when ``line`` is free and it is its turn."""
        line.waiting.append(flow)
        self._set_turn_timer(line)

    # -- the thread -------------------------------------------------------------------

    def _set_turn_timer(self, line: Line) -> None:
        if line.waiting and not line.timer_set:
            line.timer_set = True
            self.at(line.free - BURST, lambda: self._give_turns(line))

    def _give_turns(self, line: Line) -> None:
        line.timer_set = False
        while line.waiting and not line.busy(self.now()):
            flow = line.waiting.popleft()
            flow.reading = True
            if not (flow.link.closed or self.silent or not flow.wants_to_read()):
                flow.read()
            flow.link.watch()
        self._set_turn_timer(line)

    def _run(self) -> None:
        while self._running:
            pause = self._timers[0][0] - self.now() - EARLY if self._timers else None
            for key, events in self.selector.select(None if pause is None else max(0.0, pause)):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake_out:
                    self._answer_calls()
                elif key.data is not None:  # else a listener that was just closed
                    self._serve(key.data, events)
            while self._timers and self._timers[0][0] <= self.now() + EARLY:
                heapq.heappop(self._timers)[2]()

    @staticmethod
    def _serve(flows: tuple[Flow, Flow], events: int) -> None:
        flow, back = flows
        if events & selectors.EVENT_WRITE and back.blocked:
            back.deliver()
        if events & selectors.EVENT_READ and flow.wants_to_read() and not flow.proxy.silent:
            flow.read()

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Have ``question`` answered in the thread."""
        if not self._running:
            raise RuntimeError("the proxy has stopped")
        future: Future[Answer] = Future()
        self._calls.append((question, future))
        self._wake_in.send(b"!")
        return future.result(timeout=30)

    def _answer_calls(self) -> None:
        self._wake_out.recv(4096)
        while self._calls:
            question, future = self._calls.popleft()
            try:
                future.set_result(question())
            except Exception as error:  # for whoever asked
                future.set_exception(error)

    def _listen(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self._listener.setblocking(False)
        self.selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._listener:
                client, _ = self._listener.accept()
                link = Link(self, client)
                self.links.add(link)
                self._connections += 1
                handshake = self.line_up.delay + self.line_down.delay
                if handshake:
                    self.at(self.now() + handshake, link.open)
                else:
                    link.open()

    def _set_shape(self, rtt: float, rate: float) -> None:
        for line in (self.line_up, self.line_down):
            line.delay, line.rate = rtt / 2, rate / 8

    def _counts_of(self, target: re.Pattern[str]) -> dict[str, Count]:
        found: dict[str, Count] = {}
        for exchange in self._exchanges:
            if target.search(exchange.target):
                count = found.setdefault(exchange.kind, Count())
                count.requests += 1
                count.up += exchange.up
                count.down += exchange.down
        return found

    def _settled(self, target: re.Pattern[str], by: float) -> float:
        changes = [
            each
            for each in self._exchanges
            if each.began < by and each.method not in {"GET", "HEAD"} and target.search(each.target)
        ]
        return min(by, max((each.ended or by for each in changes), default=0.0))

    def _forget(self) -> None:
        self._counts.clear()
        self._exchanges.clear()
        self._connections = 0

    def _break_all(self) -> None:
        if self._listener:
            if self._listener in self.selector.get_map():  # not while the network is silent
                self.selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for link in tuple(self.links):
            link.abort()

    def _go_silent(self) -> None:
        if self._listener and not self.silent:
            self.selector.unregister(self._listener)  # the kernel goes on accepting, nobody answers
        self.silent = True
        for link in self.links:
            link.watch()

    def _come_back(self) -> None:
        if not self._listener:
            self._listen(self.port)
        elif self.silent:
            self.selector.register(self._listener, selectors.EVENT_READ)
        self.silent = False
        for link in tuple(self.links):
            link.answers.deliver()
            link.requests.deliver()

    def _stop(self) -> None:
        self.silent = False
        self._running = False
        self._break_all()
        if self._log:
            self._log.close()


def steer(proxy: NetProxy, order: dict[str, Any]) -> Any:
    """Carry out one order of the control channel; what it answers."""
    match order.pop("do", None):
        case "shape":
            proxy.shape(order.get("rtt", 0) / 1000, order.get("rate", 0) * 1e6)
        case "faults":
            plan = proxy.faults(*(Fault(**rule) for rule in order.get("rules", [])), seed=order.get("seed"))
            return {"seed": plan.seed}
        case "counts":
            return {kind: asdict(count) for kind, count in proxy.counts(order.get("target", "")).items()}
        case "connections":
            return proxy.connections()
        case "requests":
            return proxy.requests()
        case "settled":
            return proxy.settled(order.get("target", ""), order["by"])
        case "reset":
            proxy.reset()
        case "down":
            proxy.down(silent=order.get("silent", False))
        case "up":
            proxy.up()
        case unknown:
            raise ValueError(f"no order is called {unknown!r}")
    return {}


def main() -> None:
    """Run as a process: orders come as JSON lines on standard input, its end is ours."""
    parser = argparse.ArgumentParser(description="A counting HTTP proxy with delay, rate limits and faults.")
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the server behind it")
    parser.add_argument("--listen", type=int, default=0, metavar="PORT", help="on 127.0.0.1; 0: a free one")
    parser.add_argument("--rtt", type=float, default=0.0, metavar="MS", help="round trip in milliseconds")
    parser.add_argument("--rate", type=float, default=0.0, metavar="MBIT", help="Mbit/s each way; 0: any")
    parser.add_argument("--log", type=Path, help="write a JSON line an exchange here")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this decides
    with NetProxy(
        options.to, port=options.listen, rtt=options.rtt / 1000, rate=options.rate * 1e6, log=options.log
    ) as proxy:
        print(json.dumps({"url": proxy.url, "port": proxy.port}), flush=True)
        for line in sys.stdin:
            try:
                answer = {"ok": steer(proxy, json.loads(line))}
            except (ValueError, TypeError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
