"""Requests over real sockets, to servers that misbehave in every way a network can."""

from __future__ import annotations

import gzip
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pithosfs import breaker, connections, errors, transport
from pithosfs.transport import Request, Response, Transport
from tests.client.conftest import Tokens
from tests.client.scripted import DATA, Exchange, Scripted, ScriptedTLS, Step, hang_up, stay_silent
from tests.support.waiting import eventually

Serve = Callable[..., Scripted]
Connect = Callable[..., Transport]


def say(status: int = 200, body: bytes | str = b"fine", **headers: str) -> Step:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda exchange: exchange.answer(status, body, named)


def get(url: str, **more: object) -> Request:
    return Request("GET", url + "/v1/account/pithos/file", label="pithos/file", **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.01)


# -- the ordinary case ------------------------------------------------------------


def test_a_request_and_its_answer(serve: Serve, connect: Connect) -> None:
    server = serve(say(200, b"hello", X_Object_Version="7"))
    answer = connect(user_agent="me/1").send(get(server.url, headers={"X-Extra": "1"}))
    assert (answer.status, bytes(answer.body), answer.headers["x-object-version"]) == (200, b"hello", "7")
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("GET", "/v1/account/pithos/file")
    assert sent.headers["x-auth-token"] == "secret-token"
    assert sent.headers["user-agent"] == "me/1"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["x-extra"] == "1"


def test_the_target_is_sent_exactly_as_given(serve: Serve, connect: Connect) -> None:
    server = serve(say())
    connect().send(Request("GET", server.url + "/v1/a/c/x//../%2e/./%C3%A9%2F?format=json&marker=a%2Fb"))
    assert server.requests[0].target == "/v1/a/c/x//../%2e/./%C3%A9%2F?format=json&marker=a%2Fb"
    for rest, target in (("", "/"), ("?a=b/c", "/?a=b/c"), ("/x?y#z", "/x?y"), ("#z/", "/")):
        connect().send(Request("GET", server.url + rest))
        assert server.requests[-1].target == target


@pytest.mark.parametrize("method", ["PUT", "POST", "MOVE", "COPY", "DELETE"])
def test_a_body_of_any_kind_of_buffer_arrives(serve: Serve, connect: Connect, method: str) -> None:
    server = serve(say(201, b""))
    data = bytes(range(256)) * 2000
    for body in (data, bytearray(data), memoryview(data)[5:]):
        connect().send(Request(method, server.url, body=body))
        assert server.requests[-1].body == bytes(body)
    connect().send(Request(method, server.url))
    assert server.requests[-1].body == b""


def test_connections_are_reused_by_one_thread_and_not_shared_by_many(serve: Serve, connect: Connect) -> None:
    server = serve(say())
    client = connect(pool=3)
    for _ in range(5):
        client.send(get(server.url))
    assert server.connections == 1
    with ThreadPoolExecutor(12) as threads:
        bodies = list(threads.map(lambda _: bytes(client.send(get(server.url)).body), range(120)))
    assert bodies == [b"fine"] * 120
    assert server.connections <= 3


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(serve: Serve, connect: Connect, status: int) -> None:
    server = serve(lambda each: each.send(f"HTTP/1.1 {status} OK\r\n\r\n".encode()))
    client = connect()
    for _ in range(2):
        assert client.send(get(server.url)).status == status
    assert server.connections == 1


def test_head_has_a_length_but_no_body(serve: Serve, connect: Connect) -> None:
    server = serve(say(200, b"x" * 1000))
    client = connect()
    for _ in range(2):
        answer = client.send(Request("HEAD", server.url))
        assert (answer.headers["content-length"], bytes(answer.body)) == ("1000", b"")
    assert server.connections == 1


def test_chunked_bodies(serve: Serve, connect: Connect) -> None:
    def chunked(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )

    server = serve(chunked)
    client = connect()
    assert [bytes(client.send(get(server.url)).body) for _ in range(2)] == [b"abcde", b"abcde"]
    assert server.connections == 1


def test_a_compressed_answer_is_read(serve: Serve, connect: Connect) -> None:
    document = b'{"a": 1}' * 1000
    server = serve(say(200, gzip.compress(document), Content_Encoding="gzip"))
    assert connect().send(get(server.url)).body == document


def test_an_object_stored_compressed_is_not_touched(serve: Serve, connect: Connect) -> None:
    stored = gzip.compress(b"text")
    server = serve(say(206, stored, Content_Encoding="gzip"))
    client = connect()
    assert client.send(get(server.url, expected=len(stored))).body == stored
    with client.stream(get(server.url, expected=len(stored))) as body:
        assert _read_all(body) == stored


def test_an_object_compressed_on_the_way_is_unpacked(serve: Serve, connect: Connect) -> None:
    plain = b"text" * 5000
    server = serve(say(206, gzip.compress(plain), Content_Encoding="gzip"))
    client = connect()
    assert client.send(get(server.url, expected=len(plain))).body == plain
    with client.stream(get(server.url, expected=len(plain))) as body:
        assert _read_all(body, 999) == plain


def _read_all(body: transport.StreamedBody, piece: int = 1 << 16) -> bytes:
    data, view = b"", memoryview(bytearray(piece))
    while count := body.readinto(view):
        data += view[:count]
    return data


def test_a_long_body_is_streamed_into_the_callers_buffer(serve: Serve, connect: Connect) -> None:
    data = os.urandom(3_000_000)
    server = serve(say(200, data))
    client = connect()
    with client.stream(get(server.url)) as body:
        assert body.length == len(data)
        assert _read_all(body, 1_000_001) == data
        assert body.readinto(memoryview(bytearray(10))) == 0
    assert client.stats.snapshot().bytes_down == len(data)
    client.send(get(server.url))
    assert server.connections == 1


def test_a_body_not_read_to_its_end_costs_its_connection_only(serve: Serve, connect: Connect) -> None:
    server = serve(say(200, bytes(5_000_000)), say())
    client = connect(pool=1)
    with client.stream(get(server.url)) as body:
        assert body.readinto(memoryview(bytearray(10))) == 10
    assert bytes(client.send(get(server.url)).body) == b"fine"
    assert server.connections == 2


# -- connections that break -----------------------------------------------------------


def test_a_connection_closed_while_idle_is_replaced_in_silence(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's end may arrive just after the request was sent: that is no failure."""
    server = serve(say(), hang_up, say())
    client = connect(retries=0)
    client.send(get(server.url))
    with caplog.at_level(logging.INFO):
        client.send(get(server.url))
    assert (server.connections, len(server.requests)) == (2, 3)
    assert client.stats.snapshot().retries == 0
    assert not caplog.records


def test_a_connection_idle_too_long_is_not_used(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(say())
    client = connect()
    client.send(get(server.url))
    monkeypatch.setattr(connections, "MAX_IDLE", 0.0)
    client.send(Request("MOVE", server.url))
    assert (server.connections, len(server.requests)) == (2, 2)


def test_a_closed_idle_connection_is_noticed_before_it_is_used(serve: Serve, connect: Connect) -> None:
    closed = threading.Event()

    def answer_and_close(exchange: Exchange) -> None:
        exchange.answer(200, b"one")
        exchange.close()
        closed.set()

    server = serve(answer_and_close, say())
    client = connect()
    client.send(get(server.url))
    assert closed.wait(20)
    time.sleep(0.05)  # the end has to arrive
    client.send(Request("MOVE", server.url))
    assert len(server.requests) == 2


@pytest.mark.parametrize("failing", [hang_up, Exchange.reset])
def test_a_lost_answer_is_asked_for_again(serve: Serve, connect: Connect, failing: Step) -> None:
    server = serve(failing, failing, say())
    client = connect()
    answer = client.send(get(server.url))
    assert bytes(answer.body) == b"fine"
    assert answer.maybe_done
    assert client.stats.snapshot().retries == 2


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_what_must_not_be_repeated_is_sent_once(serve: Serve, connect: Connect, method: str) -> None:
    server = serve(hang_up, say(201))
    with pytest.raises(errors.Unavailable) as caught:
        connect().send(Request(method, server.url, label="a"))
    assert caught.value.maybe_done
    assert len(server.requests) == 1


def test_retries_are_counted_and_end(serve: Serve, connect: Connect) -> None:
    server = serve(hang_up)
    client = connect(retries=3)
    with pytest.raises(errors.Unavailable, match="closed the connection"):
        client.send(get(server.url))
    assert len(server.requests) == 4
    assert client.stats.snapshot().errors == {"Unavailable": 1}


@pytest.mark.parametrize("method", ["GET", "MOVE"])
def test_a_refused_connection_is_tried_again_whatever_the_method(connect: Connect, method: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = connect(retries=2)
    with pytest.raises(
        errors.Unavailable, match=f"cannot connect to 127.0.0.1:{port}: connection refused"
    ) as e:
        client.send(Request(method, f"http://127.0.0.1:{port}/"))
    assert not e.value.maybe_done
    assert client.stats.snapshot().retries == 2


def whole(answer: bytes) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.send(answer)
        exchange.close()

    return step


def cut(head: bytes, body: bytes) -> Step:
    return whole(head + b"\r\n\r\n" + body)


CUT_SHORT = [
    cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100", b"x" * 60),
    cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"5\r\nabcde\r\n5\r\nab"),
    cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"5\r\nabcde\r\n"),
    cut(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100", gzip.compress(b"x" * 99)[:20]),
    cut(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5", b"junk!"),
    whole(b"HTTP/1.0 200 OK\r\n\r\nonly its end would tell its length"),
    whole(b"HTTP/1.1 200 OK\r\nConte\r\n\r\n"),
    whole(b"HTTP/1.1 200 OK\r\nConte"),
    whole(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Object"),
    whole(b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n"),
    whole(b"HTTP/1.1 200 OK\r\n"),
    whole(b"HTTP/1.1 2"),
    whole(b"junk junk junk\r\n\r\n"),
    whole(b"\x16\x03\x01\x02\x00\x01\r\n\r\n"),
]


@pytest.mark.parametrize("broken", CUT_SHORT, ids=range(len(CUT_SHORT)))
def test_a_broken_answer_is_asked_for_again_and_never_passed_on(
    serve: Serve, connect: Connect, broken: Step
) -> None:
    server = serve(broken, say())
    assert bytes(connect().send(get(server.url)).body) == b"fine"
    server = serve(broken)
    with pytest.raises(errors.StoreError) as caught:
        connect(retries=1).send(get(server.url))
    assert isinstance(caught.value, errors.ProtocolError | errors.Unavailable)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", CUT_SHORT[:5], ids=range(5))
def test_a_stream_that_breaks_off_raises(serve: Serve, connect: Connect, broken: Step) -> None:
    server = serve(broken)
    client = connect(retries=0)
    with pytest.raises(errors.ProtocolError), client.stream(get(server.url)) as body:
        _read_all(body)
    assert client.stats.snapshot().errors == {"ProtocolError": 1}


def test_more_bytes_than_announced_are_no_answer(serve: Serve, connect: Connect) -> None:
    def too_much(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine and more")

    server = serve(too_much, say())
    client = connect()
    assert bytes(client.send(get(server.url)).body) == b"fine"
    assert len(server.requests) == 2
    server = serve(too_much)
    with pytest.raises(errors.ProtocolError, match="more than"):
        connect(retries=0).send(get(server.url))


@pytest.mark.parametrize("length", [3, 5])
def test_a_length_other_than_expected(serve: Serve, connect: Connect, length: int) -> None:
    server = serve(say(206, b"x" * length), say(206, b"good"))
    assert bytes(connect().send(get(server.url, expected=4)).body) == b"good"
    server = serve(say(206, b"x" * length))
    with pytest.raises(errors.ProtocolError, match=f"{length} bytes came where 4"):
        connect(retries=0).send(get(server.url, expected=4))


def test_an_early_refusal_of_a_large_body_is_understood(serve: Serve, connect: Connect) -> None:
    """A server may answer and close before it has read the body."""
    client = connect(retries=0)
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        sock, _ = listener.accept()
        sock.recv(1000)
        body = b'{"requestEntityTooLarge": {"message": "Quota exceeded", "code": 413, "details": ""}}'
        sock.sendall(
            b"HTTP/1.1 413 X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):
            pass
        sock.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with pytest.raises(errors.QuotaExceeded, match="Quota exceeded"):
        client.send(Request("PUT", url, body=bytes(20_000_000)))
    thread.join()
    listener.close()


# -- time -----------------------------------------------------------------------------


def test_a_silent_server_is_not_waited_for_forever(serve: Serve, connect: Connect) -> None:
    server = serve(stay_silent)
    started = time.monotonic()
    with pytest.raises(errors.TimedOut, match="no answer"):
        connect(timeout=2.0).send(get(server.url))
    assert time.monotonic() - started < 20
    assert len(server.requests) == 2  # half the time each


def test_what_must_not_be_repeated_has_the_whole_time(serve: Serve, connect: Connect) -> None:
    def late(exchange: Exchange) -> None:
        time.sleep(2.4)
        exchange.answer(201)

    server = serve(late)
    assert connect(timeout=4.0).send(Request("MOVE", server.url)).status == 201


@pytest.mark.parametrize("part", ["head", "body", "chunks"])
def test_a_slow_drip_does_not_stretch_the_time(serve: Serve, connect: Connect, part: str) -> None:
    """Each byte comes well within a socket's timeout; together they would take minutes."""
    beginning = {
        "head": b"HTTP/1.1 200 OK\r\nX-Long: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n",
    }[part]

    def drip(exchange: Exchange) -> None:
        exchange.send(beginning)
        while not server.stop.wait(0.02):
            exchange.send(b"x")

    server = serve(drip)
    started = time.monotonic()
    with pytest.raises(errors.TimedOut):
        connect(timeout=0.5).send(get(server.url))
    assert time.monotonic() - started < 20


def test_a_slow_body_that_keeps_coming_is_read(serve: Serve, connect: Connect) -> None:
    """More than the timeout in all, but progress all the time."""

    def slow(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(10):
            time.sleep(0.3)
            exchange.send(bytes(100_000))

    server = serve(slow)
    assert len(connect(timeout=2.0).send(get(server.url)).body) == 1_000_000
    assert len(server.requests) == 1


def test_a_reader_may_take_its_time(serve: Serve, connect: Connect) -> None:
    """What it does between two reads is not the server's delay."""
    server = serve(say(200, bytes(10_000_000)))
    with connect(timeout=1.0).stream(get(server.url)) as body:
        buffer = memoryview(bytearray(4_000_000))
        for _ in range(2):
            time.sleep(1.2)
            assert body.readinto(buffer) == 4_000_000


def test_an_upload_nobody_reads_ends(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(errors.TimedOut):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            connect(timeout=0.5).send(Request("PUT", url, body=bytes(50_000_000)))
        assert time.monotonic() - started < 20


def test_a_request_may_have_a_time_of_its_own(serve: Serve, connect: Connect) -> None:
    def late(exchange: Exchange) -> None:
        time.sleep(0.5)
        exchange.answer(200)

    server = serve(late)
    assert connect(timeout=0.2).send(get(server.url, timeout=5.0)).status == 200


def test_waiting_for_a_free_connection_ends(serve: Serve, connect: Connect) -> None:
    server = serve(say(200, bytes(5_000_000)))
    client = connect(pool=1, timeout=1.5)
    with client.stream(get(server.url)), pytest.raises(errors.TimedOut, match=r"connections .* are busy"):
        client.send(get(server.url))


def test_close_ends_what_waits(serve: Serve, connect: Connect) -> None:
    server = serve(stay_silent)
    client = connect(timeout=60.0)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.send, get(server.url))
        eventually(lambda: server.requests)
        client.close()
        with pytest.raises(errors.Unavailable):
            waiting.result(30)
    with pytest.raises(errors.Unavailable, match="closed"):
        client.send(get(server.url))


# -- the circuit breaker -----------------------------------------------------------------


class Later:
    """The time, so many seconds later."""

    seconds = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds


def test_a_dead_server_costs_the_full_time_only_once(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Later()
    monkeypatch.setattr(breaker, "PAUSE", 600.0)
    monkeypatch.setattr(breaker, "time", later)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:  # accepts, never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = connect(timeout=0.5, retries=0)
        with pytest.raises(errors.TimedOut):
            client.send(get(url))
        for _ in range(20):
            with pytest.raises(errors.Unavailable, match="tried a moment ago"):
                client.send(get(url))
        assert client.stats.snapshot().requests["GET"] == 1
        later.seconds = 600.0
        with ThreadPoolExecutor(8) as threads:  # one of them tries, the others fail at once
            results = list(threads.map(lambda _: _failure(client, url), range(8)))
        assert sum("tried a moment ago" not in each for each in results) == 1


def _failure(client: Transport, url: str) -> str:
    with pytest.raises(errors.Unavailable) as caught:
        client.send(get(url))
    return str(caught.value)


def test_it_goes_on_when_the_server_is_back(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "PAUSE", 0.05)
    server = serve(hang_up, say())
    client = connect(retries=0)
    with pytest.raises(errors.Unavailable):
        client.send(get(server.url))
    time.sleep(0.1)
    for _ in range(3):
        assert client.send(get(server.url)).status == 200


def test_error_answers_do_not_open_it(serve: Serve, connect: Connect) -> None:
    server = serve(say(503, b""), say(404, b""), say())
    client = connect(retries=0)
    for expected in (errors.Unavailable, errors.NotFound):
        with pytest.raises(expected):
            client.send(get(server.url))
    assert client.send(get(server.url)).status == 200


def test_one_lost_answer_does_not_open_it(serve: Serve, connect: Connect) -> None:
    server = serve(hang_up, say())
    client = connect()
    with pytest.raises(errors.Unavailable):
        client.send(Request("MOVE", server.url))
    assert client.send(get(server.url)).status == 200


def test_one_slow_request_does_not_open_it_for_the_others(serve: Serve, connect: Connect) -> None:
    server = serve(stay_silent, say())
    client = connect(timeout=2.0, retries=0)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(_failure, client, server.url)
        while not slow.done():
            if server.requests:
                client.send(get(server.url))
            time.sleep(0.01)
    assert client.send(get(server.url)).status == 200


# -- statuses and messages -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (405, errors.BadRequest),
        (409, errors.Conflict),
        (411, errors.BadRequest),
        (412, errors.Stale),
        (413, errors.QuotaExceeded),
        (414, errors.NameTooLong),
        (416, errors.BadRange),
        (418, errors.BadRequest),
        (422, errors.BadRequest),
        (500, errors.Unavailable),
        (502, errors.Unavailable),
        (503, errors.Unavailable),
        (504, errors.Unavailable),
        (507, errors.Unavailable),
    ],
)
def test_statuses_become_errors(
    serve: Serve, connect: Connect, status: int, kind: type[errors.StoreError]
) -> None:
    server = serve(lambda each: each.fault(status, "whatever", "the store's words"))
    with pytest.raises(kind, match=rf"^pithos/file: the store's words \({status}\)$") as caught:
        connect(retries=0).send(get(server.url))
    assert caught.value.status == status
    assert type(caught.value) is kind


def test_an_allowed_status_is_returned(serve: Serve, connect: Connect) -> None:
    server = serve(say(409, b"[]"))
    answer: Response = connect().send(get(server.url, allow=frozenset({409})))
    assert (answer.status, bytes(answer.body)) == (409, b"[]")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "not found"),
        (b"<html>\n<body>Not here</body></html>", "not found"),
        (b"[]", "not found"),
        (b"{}", "not found"),
        (b'{"itemNotFound": null}', "not found"),
        (b'{"itemNotFound": {"message": "", "code": 404}}', "not found"),
        (b'{"itemNotFound": {"message": 5, "details": ["x"]}}', "not found"),
        (b"[" * 100_000, "not found"),
        (b'{"itemNotFound": {"message": "gone\\nfor\\tgood\\u0007", "code": 404}}', "gone for good?"),
        (b'{"fault": {"message": "No.", "details": "Because."}}', "No. Because."),
        (b'{"fault": {"message": "NO", "details": "{\\"a\\": 1}"}}', "NO"),
        (b'{"x": {"message": "' + b"long " * 1000 + b'"}}', ("long " * 1000)[:199] + "…"),
    ],
)
def test_the_servers_message_on_one_line(serve: Serve, connect: Connect, body: bytes, text: str) -> None:
    server = serve(say(404, body))
    with pytest.raises(errors.NotFound) as caught:
        connect().send(get(server.url))
    assert str(caught.value) == f"pithos/file: {text} (404)"


def test_a_proxys_413_is_not_a_full_quota(serve: Serve, connect: Connect) -> None:
    server = serve(say(413, b"<html>too large</html>"))
    with pytest.raises(errors.BadRequest, match="in between"):
        connect().send(get(server.url))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_troubles_are_waited_out(serve: Serve, connect: Connect, status: int) -> None:
    server = serve(say(status, b"busy"), say())
    client = connect()
    answer = client.send(get(server.url))
    assert bytes(answer.body) == b"fine"
    assert not answer.maybe_done
    assert server.connections == 1


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_does_not_know_what_was_done(serve: Serve, connect: Connect, status: int) -> None:
    server = serve(say(status, b"busy"), say())
    assert connect().send(get(server.url)).maybe_done
    server = serve(say(status, b"busy"), say())
    with pytest.raises(errors.Unavailable) as caught:
        connect().send(Request("MOVE", server.url))
    assert caught.value.maybe_done


def test_a_lasting_500_is_asked_once_more_only(serve: Serve, connect: Connect) -> None:
    server = serve(say(500, b""))
    with pytest.raises(errors.Unavailable):
        connect(retries=4).send(get(server.url))
    assert len(server.requests) == 2


def test_only_a_429_is_repeated_for_what_must_not_be_sent_twice(serve: Serve, connect: Connect) -> None:
    server = serve(say(429), say(201))
    assert connect().send(Request("MOVE", server.url)).status == 201
    server = serve(say(503), say(201))
    with pytest.raises(errors.Unavailable):
        connect().send(Request("MOVE", server.url))


def test_retry_after_is_respected(serve: Serve, connect: Connect) -> None:
    server = serve(say(503, b"", Retry_After="1"), say())
    started = time.monotonic()
    connect().send(get(server.url))
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("status", [429, 502, 503])
def test_what_must_not_come_late_is_not_repeated_then(serve: Serve, connect: Connect, status: int) -> None:
    server = serve(say(status, b"", Retry_After="1"), say(), say(status), say())
    client = connect()
    with pytest.raises(errors.TooLate) as caught:
        client.send(Request("DELETE", server.url, repeat_within=0))
    assert (caught.value.status, caught.value.maybe_done) == (status, status == 502)
    assert len(server.requests) == 1
    client.send(get(server.url))
    client.send(Request("DELETE", server.url, repeat_within=10))
    assert [each.method for each in server.requests] == ["DELETE", "GET", "DELETE", "DELETE"]


@pytest.mark.parametrize("when", ["3600", "Wed, 01 Jan 2120 00:00:00 GMT"])
def test_a_retry_after_beyond_the_time_allowed_fails_at_once(
    serve: Serve, connect: Connect, when: str
) -> None:
    server = serve(say(429, b"", Retry_After=when))
    started = time.monotonic()
    with pytest.raises(errors.Unavailable):
        connect(timeout=60.0).send(get(server.url))
    assert time.monotonic() - started < 20
    assert len(server.requests) == 1


@pytest.mark.parametrize("when", ["soon", "-1", "", "Thu, 01 Jan 1970 00:00:00 GMT", "1e9"])
def test_a_senseless_retry_after_is_ignored(serve: Serve, connect: Connect, when: str) -> None:
    server = serve(say(503, b"", Retry_After=when), say())
    assert connect().send(get(server.url)).status == 200


def test_a_check_that_fails_is_asked_again(serve: Serve, connect: Connect) -> None:
    def check(_status: int, headers: object) -> None:
        if "x-good" not in headers:  # type: ignore[operator]
            raise errors.ProtocolError("not good")

    server = serve(say(), say(200, b"", X_Good="1"))
    assert connect().send(get(server.url, check=check)).status == 200
    server = serve(say())
    with pytest.raises(errors.ProtocolError, match="not good"):
        connect(retries=0).send(get(server.url, check=check))


def test_a_request_line_no_server_takes_is_not_sent(serve: Serve, connect: Connect) -> None:
    server = serve(say())
    with pytest.raises(errors.NameTooLong):
        connect().send(Request("GET", server.url + "/" + "n" * 4000, label="n" * 4000))
    assert not server.requests


# -- tokens ------------------------------------------------------------------------------------


def only(*good: str) -> Step:
    """Accept these tokens and no other."""

    def step(exchange: Exchange) -> None:
        if exchange.headers.get("x-auth-token") in good:
            exchange.answer(200, b"fine")
        else:
            exchange.fault(401, "unauthorized", "Invalid token")

    return step


def test_a_renewed_token_is_found_after_a_401(serve: Serve, connect: Connect) -> None:
    server = serve(only("old"))
    source = Tokens("old")
    client = connect(source)
    client.send(get(server.url))
    server.steps[:] = [only("new")]
    source.candidates = ["new"]
    assert client.send(Request("MOVE", server.url)).status == 200
    assert [each.headers["x-auth-token"] for each in server.requests] == ["old", "old", "new"]
    client.send(get(server.url))
    assert (source.reads, len(server.requests)) == (2, 4)


def test_each_candidate_is_tried_once(serve: Serve, connect: Connect) -> None:
    server = serve(only("c"))
    assert connect(Tokens("a", "b", "c", "d")).send(get(server.url)).status == 200
    server = serve(only("z"))
    with pytest.raises(errors.Unauthorized, match="Invalid token"):
        connect(Tokens("a", "b", "c")).send(get(server.url))
    assert [each.headers["x-auth-token"] for each in server.requests] == ["a", "b", "c"]


def test_a_source_without_news_is_not_read_for_each_request(serve: Serve, connect: Connect) -> None:
    server = serve(only("z"))
    source = Tokens("a")
    client = connect(source)
    for _ in range(5):
        with pytest.raises(errors.Unauthorized):
            client.send(get(server.url))
    assert source.reads == 2
    server.steps[:] = [only("a")]  # the store changed its mind
    assert client.send(get(server.url)).status == 200


def test_one_thread_renews_for_all(serve: Serve, connect: Connect) -> None:
    server = serve(only("old"))
    source = Tokens("old")
    client = connect(source, pool=8)
    client.send(get(server.url))
    server.steps[:] = [only("new")]
    source.candidates = ["new"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.send(get(server.url)).status, range(40)))
    assert answers == [200] * 40
    assert source.reads == 2


def test_a_source_that_fails_leaves_the_servers_word(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Tokens):
        def read(self) -> list[str]:
            if self.reads:
                raise errors.ConfigError("cannot read the token file")
            return super().read()

    server = serve(only("z"))
    with pytest.raises(errors.Unauthorized, match="Invalid token"):
        connect(Failing("a")).send(get(server.url))
    assert "cannot read the token file" in caplog.text


def test_no_token_in_messages(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    def echo(exchange: Exchange) -> None:
        exchange.fault(403, "forbidden", f"token {exchange.headers['x-auth-token']} may not")

    server = serve(echo)
    client = connect(Tokens("s3cret-t0ken"))
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.Forbidden) as caught:
        client.send(get(server.url))
    assert "s3cret" not in str(caught.value) + caplog.text
    assert "may not" in str(caught.value)


def test_anonymous_requests_carry_no_token(serve: Serve, connect: Connect) -> None:
    server = serve(say())
    connect(anonymous=True).send(get(server.url))
    assert "x-auth-token" not in server.requests[0].headers


# -- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_server_is_followed(serve: Serve, connect: Connect, status: int) -> None:
    server = serve(say(status, b"", Location="/elsewhere?x=1"), say())
    answer = connect().send(Request("PUT", server.url + "/here", body=b"data"))
    assert answer.status == 200
    assert [each.target for each in server.requests] == ["/here", "/elsewhere?x=1"]
    assert server.requests[1].body == b"data"
    assert server.requests[1].headers["x-auth-token"] == "secret-token"


def test_the_token_goes_to_no_other_server(serve: Serve, connect: Connect) -> None:
    other = serve(say())
    server = serve(say(302, b"", Location=other.url + "/x"))
    with pytest.raises(errors.ProtocolError, match=f"redirects to 127.0.0.1:{other.port}"):
        connect().send(get(server.url))
    with pytest.raises(errors.ProtocolError):
        connect(anonymous=True).send(get(server.url, headers={"X-Auth-Token": "mine"}))
    assert not other.requests
    connect(anonymous=True).send(get(server.url))
    assert len(other.requests) == 1


@pytest.mark.parametrize("location", ["", "/again", "ftp://127.0.0.1/x", "http://", "//"])
def test_redirects_that_lead_nowhere(serve: Serve, connect: Connect, location: str) -> None:
    server = serve(say(302, b"", Location=location))
    with pytest.raises(errors.PithosError) as caught:
        connect().send(get(server.url))
    assert len(str(caught.value).splitlines()) == 1
    assert len(server.requests) <= 6


# -- TLS ------------------------------------------------------------------------------------------

CA = str(DATA / "tls" / "ca.pem")


def test_a_server_that_cannot_prove_who_it_is_gets_nothing(serve: Serve, connect: Connect) -> None:
    server = serve(say(), kind=ScriptedTLS)
    with pytest.raises(errors.Unavailable, match=r"certificate of 127\.0\.0\.1:\d+ is not trusted.*ca_certs"):
        connect().send(get(server.url))
    assert not server.requests
    assert server.connections == 1  # trying again would not help


def test_a_certificate_for_another_host_is_refused(serve: Serve, connect: Connect) -> None:
    server = serve(say(), kind=ScriptedTLS)
    with pytest.raises(errors.Unavailable, match=r"not trusted.*localhost"):
        connect(ca_certs=CA).send(get(f"https://localhost:{server.port}"))
    assert not server.requests


def test_ca_certs_is_trusted(serve: Serve, connect: Connect) -> None:
    data = os.urandom(1_000_000)
    server = serve(say(200, data), kind=ScriptedTLS)
    client = connect(ca_certs=CA)
    for _ in range(2):
        assert client.send(Request("PUT", server.url, body=data)).body == data
    assert server.requests[1].body == data
    assert server.connections == 1


def test_verification_can_be_switched_off(serve: Serve, connect: Connect) -> None:
    server = serve(say(), kind=ScriptedTLS)
    assert connect(verify=False).send(get(server.url)).status == 200


def test_an_unusable_bundle_is_named(serve: Serve, connect: Connect) -> None:
    server = serve(say(), kind=ScriptedTLS)
    for path in (__file__, "/nowhere/ca.pem"):
        with pytest.raises(errors.ConfigError, match=f"cannot use ca_certs {path}"):
            connect(ca_certs=path).send(get(server.url))


def test_the_token_follows_an_upgrade_to_https(serve: Serve, connect: Connect) -> None:
    secure = serve(say(), kind=ScriptedTLS)
    server = serve(say(301, b"", Location=secure.url + "/x"))
    assert connect(ca_certs=CA).send(get(server.url)).status == 200
    assert secure.requests[0].headers["x-auth-token"] == "secret-token"
    back = serve(say(301, b"", Location=server.url), kind=ScriptedTLS)
    with pytest.raises(errors.ProtocolError):
        connect(ca_certs=CA, anonymous=True).send(get(back.url))


def test_a_drip_inside_tls_ends_too(serve: Serve, connect: Connect) -> None:
    def drip(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while not exchange.stop.wait(0.02):
            exchange.send(b"x")

    server = serve(drip, kind=ScriptedTLS)
    started = time.monotonic()
    with pytest.raises(errors.TimedOut):
        connect(timeout=0.5, ca_certs=CA).send(get(server.url))
    assert time.monotonic() - started < 20


# -- processes --------------------------------------------------------------------------------------


FORKING = """
import os, sys
from pithosfs.transport import Request, Transport

class Tokens:
    def read(self):
        return ["token"]

def send():
    assert bytes(client.send(Request("GET", sys.argv[1])).body) == b"fine"

client = Transport(Tokens(), timeout=5)
send()
child = os.fork()
send()  # parent and child at once: on one connection they would get each other's answers
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    send()
"""


def test_a_forked_child_has_connections_of_its_own(serve: Serve) -> None:
    server = serve(say())
    subprocess.run([sys.executable, "-c", FORKING, server.url], check=True, timeout=30)
    assert (server.connections, len(server.requests)) == (2, 4)


def test_nothing_is_started_before_the_first_request() -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    client = Transport(Tokens("a"))
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    client.close()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "host/x",
        "http:///x",
        "http://h:port/x",
        "http://[x/",
        "http://h/a b",
        "http://h/ü",
        "http://h:99999/",
    ],
)
def test_urls_that_are_none(connect: Connect, url: str) -> None:
    with pytest.raises(errors.ConfigError, match="not an http or https URL"):
        connect().send(Request("GET", url))
