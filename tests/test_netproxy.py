"""The test network itself: what it delays, counts and breaks, over real sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from tests.support.faults import ACTIONS, Fault, FaultPlan, storm
from tests.support.httpframes import Framer, Part, request_body
from tests.support.netproxy import NetProxy, kind_of
from tests.support.waiting import eventually

CONTENT = bytes(range(256)) * 1024  # 256 KiB
OBJECT = "/v1/account/container/object"


class EchoServer(ThreadingHTTPServer):
    """Answers GET with CONTENT and anything else with the body it got; remembers what it heard."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.heard: list[tuple[str, str, bytes]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break here on purpose."""


class EchoHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: EchoServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(CONTENT)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "12345")
        self.end_headers()

    def do_PUT(self) -> None:
        self._answer(self._body())

    do_POST = do_PUT

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, content: bytes) -> None:
        self.server.heard.append((self.command, self.path, content))
        self.send_response(200)
        if "chunked" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(content), 100_000):
                piece = content[at : at + 100_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[NetProxy]:
    with NetProxy(f"127.0.0.1:{server.server_port}") as proxy:
        yield proxy


@pytest.fixture
def client() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(maxsize=16, retries=False, timeout=10) as pool:
        yield pool


BROKEN = (urllib3.exceptions.HTTPError, OSError)


# -- passing on -------------------------------------------------------------------


@pytest.mark.parametrize("path", [OBJECT, OBJECT + "/chunked"])
def test_bodies_pass_unchanged_both_ways(proxy: NetProxy, client: urllib3.PoolManager, path: str) -> None:
    assert client.request("GET", proxy.url + path).data == CONTENT
    assert client.request("PUT", proxy.url + path, body=CONTENT[5:]).data == CONTENT[5:]
    chunks = iter([b"one", b"two" * 40_000, b"three"])
    answer = client.request("PUT", proxy.url + path, body=chunks, chunked=True)
    assert answer.data == b"one" + b"two" * 40_000 + b"three"
    assert client.request("HEAD", proxy.url + path).headers["Content-Length"] == "12345"
    assert proxy.connections() == 1


def test_many_connections_at_once(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda _: client.request("GET", proxy.url + OBJECT).data, range(100))
        assert all(data == CONTENT for data in answers)
    assert proxy.counts()["object GET"].requests == 100


def test_what_others_ask_for_is_left_out(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    for path in ("/v1/me/mine/object", "/v1/me/mine?format=json", "/v1/me/mine-too/object", "/v1/me"):
        client.request("GET", proxy.url + path)
    counts = proxy.counts(r"/mine(/|\?|$)")
    assert sum(count.requests for count in counts.values()) == 2
    assert sum(count.down for count in counts.values()) < sum(each.down for each in proxy.counts().values())


def test_it_is_known_since_when_nothing_is_changed(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    began = time.monotonic()
    assert proxy.settled("mine", began + 1) <= began
    client.request("PUT", proxy.url + "/v1/account/mine/object", body=b"content")
    changed = time.monotonic()
    client.request("GET", proxy.url + "/v1/account/mine/object")
    client.request("PUT", proxy.url + "/v1/account/other/object", body=b"content")
    assert began < proxy.settled("mine", changed + 1) <= changed
    assert proxy.settled("mine", began) <= began
    with socket.create_connection(("127.0.0.1", proxy.port)) as slow:
        slow.sendall(b"PUT /v1/account/mine/object HTTP/1.1\r\nContent-Length: 7\r\n\r\n")
        eventually(lambda: len(proxy.requests()) == 4)
        assert proxy.settled("mine", changed + 1000) == pytest.approx(changed + 1000)


def test_bytes_are_counted_with_heads(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    client.request("PUT", proxy.url + OBJECT, body=CONTENT)
    count = proxy.counts()["object PUT"]
    assert count.requests == 1
    assert len(CONTENT) < count.up < len(CONTENT) + 1000
    assert len(CONTENT) < count.down < len(CONTENT) + 1000
    proxy.reset()
    assert proxy.counts() == proxy.counts("object") == {}


def test_each_request_is_logged(server: EchoServer, client: urllib3.PoolManager, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with NetProxy(f"127.0.0.1:{server.server_port}", log=log) as proxy:
        client.request("GET", proxy.url + OBJECT, headers={"X-Auth-Token": "secret"})
        client.request("GET", proxy.url + OBJECT, headers={"Range": "bytes=0-9"})
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["kind"], line["status"]) for line in lines] == [("object GET", 200), ("ranged GET", 200)]
    assert lines[1]["range"] == "bytes=0-9"
    assert "secret" not in log.read_text()


@pytest.mark.parametrize(
    ("method", "target", "headers", "kind"),
    [
        ("POST", "/v1/a/c?update&format=json", {"content-length": "4194304"}, "block POST"),
        ("POST", "/v1/a/c?update=", {"transfer-encoding": "chunked"}, "block POST"),
        ("POST", "/v1/a/c?update", {"content-length": "0"}, "container POST"),
        ("PUT", "/v1/a/c/o?hashmap&format=json", {}, "hashmap PUT"),
        ("GET", "/v1/a/c/o?hashmap=", {}, "hashmap GET"),
        ("GET", "/v1/a/c?format=json&prefix=x%2F", {}, "listing"),
        ("GET", "/v1/a/c/?format=json", {}, "listing"),
        ("GET", "/v1/a", {}, "account listing"),
        ("GET", "/v1/a/c/o", {"range": "bytes=0-1"}, "ranged GET"),
        ("GET", "/v1/a/c/o?version=list&format=json", {}, "history"),
        ("GET", "/store/v1/a/c/d/o%20p?version=3", {}, "object GET"),
        ("HEAD", "/v1/a/c/o", {}, "object HEAD"),
        ("HEAD", "/v1/a/c", {}, "container HEAD"),
        ("PUT", "/v1/a/c/o", {"x-move-from": "/c/p"}, "object MOVE"),
        ("MOVE", "/v1/a/c/o", {"destination": "/c/p"}, "object MOVE"),
        ("PUT", "/v1/a/c/o", {"x-copy-from": "/c/p"}, "object COPY"),
        ("POST", "/identity/v2.0/tokens", {}, "identity"),
        ("GET", "/elsewhere", {}, "other GET"),
    ],
)
def test_kinds(method: str, target: str, headers: dict[str, str], kind: str) -> None:
    assert kind_of(method, target, headers) == kind


def test_framing_does_not_depend_on_how_the_bytes_arrive() -> None:
    stream = (
        b"PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
        b"PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
        b"GET /c HTTP/1.1\r\n\r\n"
    )
    for step in range(1, len(stream) + 1):
        framer = Framer(request_body)
        pieces = [p for at in range(0, len(stream), step) for p in framer.feed(stream[at : at + step])]
        assert b"".join(piece.data for piece in pieces) == stream
        assert b"".join(piece.data for piece in pieces if piece.part is Part.BODY) == b"helloabcde"
        assert sum(piece.part is Part.END for piece in pieces) == 3


# -- the line ------------------------------------------------------------------------


def test_a_round_trip_takes_the_rtt(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    client.request("GET", proxy.url + OBJECT)
    proxy.shape(rtt=0.06)
    began = time.monotonic()
    for _ in range(5):
        client.request("HEAD", proxy.url + OBJECT)
    assert 5 * 0.058 < time.monotonic() - began < 5 * 0.06 + 2


def test_the_delay_is_a_line_and_not_a_sleep(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    """Requests under way at once, and the many pieces of one body, wait together, not in turn."""
    proxy.shape(rtt=0.8)
    began = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: client.request("PUT", proxy.url + OBJECT, body=CONTENT), range(10)))
    took = time.monotonic() - began
    assert all(answer.data == CONTENT for answer in answers)
    assert 1.6 * 0.97 < took < 7  # a handshake and a request; one after the other: 8.8 and more


def test_the_rate_is_shared_by_all_connections(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    proxy.shape(rate=len(CONTENT) * 8 * 2)  # two contents a second
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        ended = list(
            pool.map(lambda _: (client.request("GET", proxy.url + OBJECT), time.monotonic()), range(4))
        )
    times = [end - began for _, end in ended]
    assert 1.9 < max(times) < 10
    assert min(times) > 0.5 * max(times)  # in turns, not one after the other


# -- faults --------------------------------------------------------------------------


def test_a_request_dropped_before_never_reaches_the_server(
    proxy: NetProxy, server: EchoServer, client: urllib3.PoolManager
) -> None:
    plan = proxy.faults(Fault("drop_before", method="PUT"))
    with pytest.raises(BROKEN):
        client.request("PUT", proxy.url + OBJECT, body=b"x")
    assert server.heard == []
    assert client.request("PUT", proxy.url + OBJECT, body=b"x").data == b"x"
    assert plan.hits == {"drop_before": 1}


@pytest.mark.parametrize("action", ["drop_sent", "lose_answer"])
def test_an_answer_lost_leaves_the_request_done(
    proxy: NetProxy, server: EchoServer, client: urllib3.PoolManager, action: str
) -> None:
    proxy.shape(rtt=0.02)
    plan = proxy.faults(Fault(action))
    with pytest.raises(BROKEN):
        client.request("PUT", proxy.url + OBJECT, body=CONTENT)
    eventually(lambda: server.heard == [("PUT", OBJECT, CONTENT)])
    assert plan.hits == {action: 1}


def test_a_request_cut_in_its_body(proxy: NetProxy, server: EchoServer, client: urllib3.PoolManager) -> None:
    proxy.faults(Fault("cut_request", after=1000))
    with pytest.raises(BROKEN):
        client.request("PUT", proxy.url + OBJECT, body=CONTENT)
    eventually(lambda: server.heard and len(server.heard[0][2]) == 1000)


@pytest.mark.parametrize("path", [OBJECT, OBJECT + "/chunked"])
def test_an_answer_cut_in_its_body(proxy: NetProxy, client: urllib3.PoolManager, path: str) -> None:
    proxy.faults(Fault("cut_answer", after=150_000))
    answer = client.request("GET", proxy.url + path, preload_content=False)
    got = bytearray()
    with pytest.raises(BROKEN):
        for piece in answer.stream(1000):
            got += piece
    assert bytes(got) == CONTENT[: len(got)]
    assert 149_000 <= len(got) <= 150_000
    assert client.request("GET", proxy.url + path).data == CONTENT


def test_a_corrupted_byte_each_way(proxy: NetProxy, server: EchoServer, client: urllib3.PoolManager) -> None:
    wrong = CONTENT[:70_000] + bytes([CONTENT[70_000] ^ 1]) + CONTENT[70_001:]
    proxy.faults(Fault("corrupt_answer", after=70_000))
    assert client.request("GET", proxy.url + OBJECT).data == wrong
    proxy.faults(Fault("corrupt_request", after=70_000))
    client.request("PUT", proxy.url + OBJECT, body=CONTENT)
    assert server.heard[-1][2] == wrong


def test_a_body_shorter_than_the_place_is_struck_at_its_end(
    proxy: NetProxy, client: urllib3.PoolManager
) -> None:
    plan = proxy.faults(Fault("corrupt_answer", after=70_000))
    assert client.request("PUT", proxy.url + OBJECT, body=b"abc").data == b"abb"
    assert plan.hits == {"corrupt_answer": 1}


def test_made_up_answers(proxy: NetProxy, server: EchoServer, client: urllib3.PoolManager) -> None:
    proxy.faults(Fault("answer", status=429, retry_after="7"), Fault("answer", status=401, times=2))
    answer = client.request("PUT", proxy.url + OBJECT, body=CONTENT)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert client.request("GET", proxy.url + OBJECT).status == 401
    assert client.request("HEAD", proxy.url + OBJECT).status == 401
    assert server.heard == []
    assert client.request("GET", proxy.url + OBJECT).data == CONTENT
    assert proxy.connections() == 1


def test_a_stall_ends_in_time_or_never(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    proxy.faults(Fault("stall", seconds=0.3), Fault("stall"))
    began = time.monotonic()
    assert client.request("GET", proxy.url + OBJECT).data == CONTENT
    assert time.monotonic() - began > 0.28
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        client.request("GET", proxy.url + OBJECT, timeout=0.3)
    assert client.request("GET", proxy.url + OBJECT).data == CONTENT


def test_a_slow_drip(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    proxy.faults(Fault("drip", rate=len(CONTENT) * 4))
    began = time.monotonic()
    answer = client.request("GET", proxy.url + OBJECT, preload_content=False)
    assert answer.read() == CONTENT
    assert 0.2 < time.monotonic() - began < 3


def test_rules_skip_count_and_match(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    proxy.faults(Fault("answer", kind="object GET", path="odd", skip=1, times=2))
    statuses = [client.request("GET", f"{proxy.url}/v1/a/c/{name}").status for name in ["even", *["odd"] * 4]]
    assert statuses == [200, 200, 503, 503, 200]
    with pytest.raises(ValueError, match="no fault is called 'explode'"):
        Fault("explode")


def test_a_storm_repeats_by_its_seed() -> None:
    def weather(seed: int) -> list[str]:
        plan = FaultPlan(storm(0.5), seed)
        return [plan.pick("object PUT", "PUT", "/", has_body=True).action for _ in range(2000)]

    assert weather(7) == weather(7) != weather(8)
    share = Counter(weather(7))
    assert set(share) == {*ACTIONS, ""}
    assert 900 < share.pop("") < 1100
    assert all(40 < number < 170 for number in share.values())


# -- the whole network ------------------------------------------------------------------


def test_network_down_refuses_and_comes_back(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    idle = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    client.request("GET", proxy.url + OBJECT)
    proxy.down()
    with pytest.raises(ConnectionResetError):
        idle.recv(1)
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.up()
    assert client.request("GET", proxy.url + OBJECT).data == CONTENT


def test_silence_delivers_nothing_and_loses_nothing(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    client.request("GET", proxy.url + OBJECT)
    proxy.down(silent=True)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.request, "GET", proxy.url + OBJECT)
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            client.request("GET", proxy.url + OBJECT + "2", timeout=0.3)
        assert not waiting.done()
        proxy.up()
        assert waiting.result(timeout=30).data == CONTENT


def test_a_silent_network_can_break_altogether(proxy: NetProxy, client: urllib3.PoolManager) -> None:
    idle = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.down(silent=True)
    proxy.down()
    with pytest.raises(ConnectionResetError):
        idle.recv(1)
    idle.close()
    proxy.up()
    assert client.request("GET", proxy.url + OBJECT).data == CONTENT


def test_a_silent_network_can_be_closed(server: EchoServer) -> None:
    with NetProxy(f"127.0.0.1:{server.server_port}") as proxy:
        proxy.down(silent=True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def test_a_server_that_is_gone_resets_the_client(client: urllib3.PoolManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with NetProxy(f"127.0.0.1:{port}") as proxy, pytest.raises(BROKEN):
        client.request("GET", proxy.url + OBJECT)


def test_closing_leaves_no_thread_and_no_socket(server: EchoServer, client: urllib3.PoolManager) -> None:
    proxy = NetProxy(f"127.0.0.1:{server.server_port}")
    client.request("GET", proxy.url + OBJECT)
    proxy.close()
    assert "netproxy" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    with pytest.raises(RuntimeError, match="stopped"):
        proxy.counts()


def test_as_a_process_steered_by_lines(server: EchoServer, client: urllib3.PoolManager) -> None:
    program = Path(__file__).parent / "support" / "netproxy.py"
    command = [sys.executable, str(program), "--to", f"127.0.0.1:{server.server_port}", "--rtt", "10"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        url = json.loads(process.stdout.readline())["url"]

        def order(**words: object) -> dict[str, object]:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        assert order(do="faults", rules=[{"action": "answer", "status": 413}], seed=3) == {"ok": {"seed": 3}}
        assert client.request("GET", url + OBJECT).status == 413
        assert order(do="shape", rtt=0) == {"ok": {}}
        assert client.request("GET", url + OBJECT).data == CONTENT
        counts = order(do="counts")["ok"]
        assert isinstance(counts, dict)
        assert counts["object GET"]["requests"] == 2
        assert "no order" in str(order(do="dance")["error"])
        process.stdin.close()  # the parent is gone
        assert process.wait(timeout=30) == 0
