"""What nobody well-meaning sends: half requests, slow ones, huge ones, odd names, wrong tokens."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pithosfs import blocks
from pithosfs.server.app import App, Settings, conditions, content, headers, ranges
from pithosfs.server.app.http import ApiError, Request, decoded, parse_http_date
from pithosfs.server.listener import Listener
from pithosfs.server.store import Store
from tests.server.harness import ALICE, BOB, ENDPOINT, OCTETS, Api, Server

BOX = f"{ENDPOINT}/{ALICE.uuid}/box"


def send(server: Server, data: bytes, *, end: bool = True) -> bytes:
    """What the server answers to these bytes (and the end of them)."""
    with socket.create_connection(server.listener.server_address, timeout=20) as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def head(method: str, path: str, *fields: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: h", f"X-Auth-Token: {ALICE.token}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


# -- who asks ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["", "x", "tok-alic", "tok-alicee", "TOK-ALICE", "é", "%00", "tok-alice%20"]
)
def test_wrong_tokens_are_refused(server: Server, token: str) -> None:
    for path in ("", "/box", "/box/f"):
        line = f"GET {ENDPOINT}/{ALICE.uuid}{path}?X-Auth-Token={token} HTTP/1.1"
        answer = send(server, f"{line}\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 401 UNAUTHORIZED"), answer
        assert b"tok-alice" not in answer


def test_others_see_403_whatever_is_there(server: Server, api: Api) -> None:
    api.put("/box/f", b"private")
    bob = api.as_user(BOB)
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "COPY", "MOVE"):
        for path in ("/box/f", "/box/none", "/none/none"):
            answer = bob.request(
                method, path, b"x", account=ALICE.uuid, Content_Type=OCTETS, Destination="/box/g"
            )
            assert answer.status in (403, 404) if method in ("COPY", "MOVE") else answer.status == 403, (
                method,
                path,
            )
            assert b"private" not in answer.data
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        assert bob.request(method, "/box", account=ALICE.uuid).status == 403
    assert api.get("/box/f") == b"private"


# -- half a request ------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Content-Length: 100") + b"half",
        head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Transfer-Encoding: chunked") + b"5\r\nhalf",
        head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Transfer-Encoding: chunked")
        + b"0004\r\nhalf\r\n0",  # of 0004
        head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Transfer-Encoding: chunked") + b"4\r\nhalf\r\n",
        head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Transfer-Encoding: chunked")
        + b"zz\r\nhalf\r\n0\r\n\r\n",
        head("PUT", f"{BOX}/f?hashmap", f"Content-Type: {OCTETS}", "Content-Length: 50") + b'{"bytes": 0',
        head(
            "POST",
            f"{BOX}/old?update",
            f"Content-Type: {OCTETS}",
            "Content-Range: bytes */*",
            "Content-Length: 9",
        )
        + b"half",
    ],
)
def test_a_body_cut_short_stores_nothing(server: Server, api: Api, request_bytes: bytes) -> None:
    api.put("/box/old", b"old")
    answer = send(server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 BAD REQUEST")
    assert api.names("/box") == ["old"]
    assert api.get("/box/old") == b"old"


def test_a_cut_block_is_not_kept(server: Server, api: Api) -> None:
    half = b"half of it"
    send(server, head("POST", f"{BOX}?update", f"Content-Type: {OCTETS}", "Content-Length: 100") + half)
    assert server.store.blocks.missing([blocks.block_hash(half)])


def test_a_request_may_come_byte_by_byte(server: Server, api: Api) -> None:
    data = (
        head("PUT", f"{BOX}/slow", f"Content-Type: {OCTETS}", "Content-Length: 3", "Connection: close")
        + b"abc"
    )
    with socket.create_connection(server.listener.server_address, timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.send(bytes([byte]))
        assert b" 201 CREATED" in connection.recv(4096)
    assert api.get("/box/slow") == b"abc"


def test_200_slow_clients_do_not_stop_it(server: Server, api: Api) -> None:
    slow = []
    try:
        for number in range(200):
            connection = socket.create_connection(server.listener.server_address, timeout=20)
            part = head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Content-Length: 1000") + b"part"
            connection.sendall(part if number % 2 else part[: number // 2])
            slow.append(connection)
        started = time.monotonic()
        for number in range(20):
            api.put(f"/box/quick{number}", b"x")
        assert time.monotonic() - started < 20
    finally:
        for connection in slow:
            connection.close()
    assert len(api.names("/box")) == 20


def test_more_connections_than_places_wait_and_do_not_stop_the_stop(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.accounts.add_user(ALICE)
    listener = Listener("127.0.0.1", 0, App(store, Settings()), None, max_connections=2)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    first, second, third = (socket.create_connection(listener.server_address, timeout=20) for _ in range(3))
    with first, second, third:
        third.sendall(head("HEAD", f"{ENDPOINT}/{ALICE.uuid}"))
        third.settimeout(0.5)
        with pytest.raises(TimeoutError):
            third.recv(1)
        first.close()
        third.settimeout(20)
        assert third.recv(4096).startswith(b"HTTP/1.1 204")
        with socket.create_connection(listener.server_address):
            started = time.monotonic()
            listener.stop()
            assert time.monotonic() - started < 10
    thread.join()
    store.close()


# -- too much -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 5_000_000, 400),
        (head("GET", "/", "X-Junk: " + "j" * 9000), 400),
        (head("GET", "/", *["X-Junk: j"] * 200), 400),
        (head("GET", "/", *[f"X-J{n}: j" for n in range(200)]), 400),
        (head("GET", "/", "no colon"), 400),
        (head("GET", "/", ": no name"), 400),
        (head("GET", "/", "X-Bad: a\rb"), 400),
        (head("PUT", f"{BOX}/f", "Content-Length: -1"), 400),
        (head("PUT", f"{BOX}/f", "Content-Length: 1", "Content-Length: 2") + b"xx", 400),
        (head("PUT", f"{BOX}/f", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (head("PUT", f"{BOX}/f", "Transfer-Encoding: gzip"), 400),
        (head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Content-Length: 999999999999999999"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # somebody tries TLS
        (
            head("PUT", f"{BOX}/f", f"Content-Type: {OCTETS}", "Content_Length: 3", "Connection: close")
            + b"abc",
            411,
        ),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\0" * 10_000, 400),
    ],
)
def test_nonsense_is_refused(server: Server, api: Api, request_bytes: bytes, status: int) -> None:
    assert send(server, request_bytes).startswith(b"HTTP/1.1 %d " % status)
    assert api.names("/box") == []


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"bytes": 1, "hashes": ' + b"[" * 100_000,
        b'{"bytes": 1e400, "hashes": []}',
        b'{"bytes": ' + b"9" * 6000 + b', "hashes": []}',
        b'{"bytes": NaN, "hashes": []}',
        b'{"bytes": 1, "hashes": [["a"]]}',
        b'{"bytes": 1, "hashes": [null]}',
        b'{"bytes": 1, "hashes": ["\\ud800"]}',
        b"\xff\xfe",
        b'"' + b"x" * 1_000_000 + b'"',
    ],
)
def test_absurd_hashmaps_are_answered_400(api: Api, text: bytes) -> None:
    answer = api.request("PUT", "/box/f?hashmap&format=json", text, Content_Type=OCTETS)
    assert answer.status == 400, answer.data
    assert api.names("/box") == []


def test_a_hashmap_of_many_blocks(api: Api) -> None:
    count = 100_000
    body = json.dumps({"bytes": count * blocks.BLOCK_SIZE, "hashes": [f"{n:064x}" for n in range(count)]})
    answer = api.request("PUT", "/box/f?hashmap&format=json", body, Content_Type=OCTETS)
    assert answer.status == 409
    assert len(answer.json()) == count


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/box?until=" + "9" * 3000, {}, 200),
        ("HEAD", "?until=" + "9" * 18, {}, 204),
        ("GET", "/box?limit=" + "9" * 3000, {}, 200),
        ("DELETE", "/box/f?until=" + "9" * 3000, {}, 204),
        ("GET", "/box/f?version=" + "9" * 3000, {}, 404),
        ("COPY", "/box/f", {"Destination": "/box/g", "X_Source_Version": "9" * 6000}, 404),
        ("POST", "/box?update", {"X_Container_Policy_Quota": "9" * 6000}, 400),
        ("GET", "/box/f", {"Range": "bytes=0-" + "9" * 6000}, 200),
        ("POST", "/box/f?update", {"Content_Type": OCTETS, "Content_Range": f"bytes 0-{'9' * 6000}/*"}, 416),
        (
            "POST",
            "/box/f?update",
            {"Content_Type": OCTETS, "Content_Range": "bytes */*", "X_Object_Bytes": "9" * 6000},
            400,
        ),
        ("GET", "/box?prefix=%00", {}, 400),
        ("GET", "/box?meta=" + "!,=,<,a=,=b,%ff", {}, 204),
    ],
)
def test_numbers_and_texts_out_of_all_bounds(
    api: Api, method: str, path: str, fields: dict[str, str], status: int
) -> None:
    api.put("/box/f", b"x")
    assert api.request(method, path, **fields).status == status


# -- names ----------------------------------------------------------------------------

TRAVERSALS = [
    "../../etc/passwd",
    "..%2f..%2fetc",
    "/etc/passwd",
    "a/../../b",
    "..",
    ".",
    "%2e%2e/x",
    "~root",
    "a//b/",
]


@pytest.mark.parametrize("name", TRAVERSALS)
def test_names_are_only_names(server: Server, api: Api, tmp_path: Path, name: str) -> None:
    before = {path for path in tmp_path.rglob("*") if "blocks" not in path.parts}
    raw = (
        head("PUT", f"{BOX}/{name}", f"Content-Type: {OCTETS}", "Content-Length: 4", "Connection: close")
        + b"evil"
    )
    assert b" 201 CREATED" in send(server, raw, end=False)
    assert b"evil" in send(server, head("GET", f"{BOX}/{name}", "Connection: close"), end=False)
    assert {path for path in tmp_path.rglob("*") if "blocks" not in path.parts} == before


@pytest.mark.parametrize("hash_", ["../../../etc/passwd", "/etc/passwd", "..", "a" * 200, ""])
def test_hashes_are_no_paths(api: Api, hash_: str) -> None:
    body = json.dumps({"bytes": 5, "hashes": [hash_]})
    assert api.request("PUT", "/box/f?hashmap&format=json", body, Content_Type=OCTETS).status in (400, 409)


# -- parsers --------------------------------------------------------------------------

TEXT = st.text(alphabet=st.characters(max_codepoint=255), max_size=60)


def request_with(**fields: str) -> Request:
    return Request(
        "GET", "/", "", {name.replace("_", "-"): value for name, value in fields.items()}, body=None
    )  # type: ignore[arg-type]


@given(st.one_of(TEXT, st.from_regex(r"bytes=[0-9 ,-]{0,20}", fullmatch=True)), st.integers(0, 50))
def test_any_range_header(text: str, size: int) -> None:
    try:
        found = ranges.parse_range(text, size)
    except ApiError as error:
        assert error.status == 416
    else:
        assert found is None or all(0 <= start < stop <= size for start, stop in found)


@given(st.one_of(TEXT, st.from_regex(r"bytes [0-9*/-]{0,20}", fullmatch=True)))
def test_any_content_range_header(text: str) -> None:
    found = ranges.parse_content_range(text)
    assert (
        found is None
        or found.start is None
        or (found.start >= 0 and (found.length is None or found.length > 0))
    )


@given(TEXT, TEXT)
def test_any_condition(text: str, tag: str) -> None:
    for name in ("if_match", "if_none_match", "if_modified_since", "if_unmodified_since"):
        request = request_with(**{name: text})
        try:
            conditions.check_tags(request, tag)
            conditions.check_dates(request, 10**15)
        except ApiError as error:
            assert error.status in (304, 400, 412)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Sun, 06 Nov 1994 08:49:37 +0200", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("1994-11-06", None),
        ("", None),
    ],
)
def test_dates(text: str, expected: int | None) -> None:
    assert parse_http_date(text) == expected


@given(TEXT)
def test_any_header_value(text: str) -> None:
    for parse in (decoded, headers.parse_sharing):
        try:
            parse(text)
        except ApiError as error:
            assert error.status == 400
    parse_http_date(text)


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_hashmap(text: bytes) -> None:
    try:
        size, hashes = content.parse_hashmap(text)
    except ApiError as error:
        assert error.status in (400, 500)
    else:
        assert isinstance(size, int)
        assert isinstance(hashes, list)
