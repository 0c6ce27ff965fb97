"""Heads of requests and answers: what is read quickly is what the HTTP library reads."""

from __future__ import annotations

import http.client
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithosfs import heads

NAMES = st.text("abcXYZ-_.!09", min_size=1, max_size=12)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f\x85"), max_size=30
)


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_args: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def by_the_library(data: bytes, method: str = "GET") -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(_Socket(data), method=method)  # type: ignore[arg-type]
    response.begin()
    return response


def read(data: bytes, method: str = "GET") -> tuple[bytes, heads.Head | None]:
    return heads.read(io.BytesIO(data), method)


def answer(*fields: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{version} {status}", *fields, "", ""]).encode("latin-1")


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.integers(200, 599), st.integers(0, 10**12))
def test_a_plain_head_says_what_the_library_says(
    fields: list[tuple[str, str]], status: int, length: int
) -> None:
    data = answer(
        *(f"{name}: {value}" for name, value in fields), f"Content-Length: {length}", status=str(status)
    )
    raw, head = read(data + b"body")
    assert raw == data
    known = by_the_library(data)
    if head is None:
        assert len({name.lower() for name, _ in fields}) < len(fields)
        return
    assert (head.status, head.length) == (known.status, known.length)
    for name, _ in fields:
        assert head.headers[name] == known.headers[name].strip(" \t")
        assert head.headers.get(name.upper()) == head.headers[name.lower()]
        assert name.swapcase() in head.headers


@pytest.mark.parametrize(
    "data",
    [
        answer("Transfer-Encoding: chunked"),
        answer("Content-Encoding: gzip", "Content-Length: 5"),
        answer("Connection: close", "Content-Length: 5"),
        answer("Content-Length: 5", "Content-Length: 6"),
        answer("Content-Length: 5, 5"),
        answer("Content-Length: -1"),
        answer("Content-Length: ²"),
        answer("X: a", " folded", "Content-Length: 5"),
        answer("X : a", "Content-Length: 5"),
        answer("X: a\rb", "Content-Length: 5"),
        answer("no colon", "Content-Length: 5"),
        answer("Content-Length: 5", version="HTTP/1.0"),
        answer("Content-Length: 5", version="ICY"),
        answer("Content-Length: 5", status="100 Continue"),
        answer("Content-Length: 5", status="2000"),
        answer(*(f"X-{number}: a" for number in range(101)), "Content-Length: 5"),
        answer("X: " + "a" * 70_000, "Content-Length: 5"),
        answer("X: a"),
        answer("Content-Length: 5").replace(b"\r\n", b"\n"),
        answer("Content-Length: 5")[:-2],
        answer("Content-Length: 5")[:-10],
        b"",
        b"\x16\x03\x01",
    ],
)
def test_any_other_head_is_left_to_the_library(data: bytes) -> None:
    raw, head = read(data)
    assert head is None
    assert data.startswith(raw)


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("DELETE", "204 No Content")]
)
def test_some_answers_have_no_body_whatever_they_say(method: str, status: str) -> None:
    for fields in ([], ["Content-Length: 700"]):
        _, head = read(answer("ETag: x", *fields, status=status), method)
        assert head is not None
        assert head.length == 0
        assert head.headers.get("content-length") == ((fields and "700") or None)


def test_a_request_says_how_long_its_body_is() -> None:
    assert heads.request("GET", "/v1/a?b", "host:80", {"X-A": "é"}, None) == (
        "GET /v1/a?b HTTP/1.1\r\nHost: host:80\r\nX-A: é\r\n\r\n".encode("latin-1")
    )
    assert b"\r\nContent-Length: 7\r\n" in heads.request("PUT", "/", "h", {}, 7)
    assert b"\r\nContent-Length: 0\r\n" in heads.request("MOVE", "/", "h", {}, None)
    assert b"Content-Length" not in heads.request("DELETE", "/", "h", {}, None)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", {}),
        ("/a\r\nX: y", {}),
        ("/é", {}),
        ("/", {"X": "a\r\nY: b"}),
        ("/", {"X": "a\nb"}),
        ("/", {"X\r\nY": "a"}),
        ("/", {"X: Y": "a"}),
        ("/", {"X": "€"}),
    ],
)
def test_nothing_smuggles_a_line_into_a_request(target: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"character|encode"):
        heads.request("GET", target, "host", headers, None)
