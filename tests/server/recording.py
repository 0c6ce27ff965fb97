"""The recorded exchanges: reading them, sending them again, comparing answers."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data" / "wire"


def exchanges() -> list[dict[str, Any]]:
    with lzma.open(DATA / "exchanges.jsonl.xz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def request_body(request: dict[str, Any]) -> bytes:
    if "body_b64" in request:
        return base64.b64decode(request["body_b64"])
    body = b"".join(request_part(part) for part in request["body_parts"])
    assert hashlib.sha256(body).hexdigest() == request["body_sha256"]
    return body


def request_part(part: dict[str, Any]) -> bytes:
    if "zeros" in part:
        return bytes(part["zeros"])
    if "b64" in part:
        return base64.b64decode(part["b64"])
    skip, size = part.get("skip", 0), part["len"]
    stream = _STREAMS.setdefault(part["seed"], bytearray())
    start = hashlib.sha256(f"{part['seed']}:".encode())
    for number in range(len(stream) // 32, (skip + size) // 32 + 1):
        digest = start.copy()
        digest.update(b"%d" % number)
        stream += digest.digest()
    return bytes(stream[skip : skip + size])


_STREAMS: dict[str, bytearray] = {}


@dataclass
class Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    interim: list[list[Any]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Client:
    """Sends requests byte for byte, over one connection as long as it is kept."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, request: dict[str, Any], body: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=20)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._socket
        connection.sendall(_head(request))
        reader = connection.makefile("rb")
        chunks = request.get("chunks")
        connection.sendall(_chunked(body, chunks) if chunks or _is_chunked(request) else body)
        if request.get("half_close"):
            connection.shutdown(socket.SHUT_WR)
        answer = _read(reader, request["method"])
        if answer.header("connection") == "close" or request.get("half_close"):
            self.close()
        return answer


def _head(request: dict[str, Any]) -> bytes:
    target = request["path"] + (f"?{request['query']}" if request["query"] else "")
    lines = [f"{request['method']} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request["headers"]]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _is_chunked(request: dict[str, Any]) -> bool:
    return any(name.lower() == "transfer-encoding" for name, _ in request["headers"])


def _chunked(body: bytes, sizes: list[int] | None) -> bytes:
    out, position = b"", 0
    for size in [*(sizes or []), len(body)]:
        piece = body[position : position + size]
        position += len(piece)
        if piece:
            out += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    return out + b"0\r\n\r\n"


def _read(reader: Any, method: str) -> Answer:
    interim: list[list[Any]] = []
    while True:
        version, status, reason = reader.readline().decode("latin-1").rstrip("\r\n").split(" ", 2)
        assert version == "HTTP/1.1"
        headers = list(_headers(reader))
        if not status.startswith("1"):
            break
        interim.append([int(status), reason])
    answer = Answer(int(status), reason, headers, b"", interim)
    if method == "HEAD" or answer.status in (204, 304):
        return answer
    if answer.header("transfer-encoding") == "chunked":
        while size := int(reader.readline(), 16):
            answer.body += reader.read(size)
            reader.readline()
        reader.readline()
    elif (length := answer.header("content-length")) is not None:
        answer.body = reader.read(int(length))
    else:
        answer.body = reader.read()
    return answer


def _headers(reader: Any) -> Iterator[tuple[str, str]]:
    while (line := reader.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        yield name, value.strip()


# -- comparing -----------------------------------------------------------------

#: What differs from run to run: each recorded one stands for one of ours, everywhere.
_RUN = re.compile(
    r"(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # uuids
    r"|(?<=/pithos/public/)[A-Za-z0-9_-]{22}"
    r"|\b\d{10}\.\d{6}\b"  # times in microseconds
    r"|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?\+00:00"
    r"|(?<=boundary=)[0-9a-f]{32}|(?<=--)[0-9a-f]{32}"
)


class Mapping:
    """Which of ours stands for what was recorded; one for one."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}
        self._recorded: dict[str, str] = {}

    def pair(self, recorded: str, ours: str) -> bool:
        return self._ours.setdefault(recorded, ours) == ours and (
            self._recorded.setdefault(ours, recorded) == recorded
        )

    def ours(self, text: str) -> str:
        return _RUN.sub(lambda found: self._ours.get(found[0], found[0]), text)

    def same(self, recorded: str, ours: str) -> bool:
        if not _close(_RUN.split(recorded), _RUN.split(ours)):
            return False
        pairs = zip(_RUN.findall(recorded), _RUN.findall(ours), strict=True)
        return not [pair for pair in pairs if not self.pair(*pair)]


_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")


def _close(recorded: list[str], ours: list[str]) -> bool:
    """Whether the texts are the same, but for dates a second apart."""
    if recorded == ours:
        return True
    left, right = "\0".join(recorded), "\0".join(ours)
    if _DATE.split(left) != _DATE.split(right):
        return False
    dates = zip(_DATE.findall(left), _DATE.findall(right), strict=True)
    return all(
        abs((parsedate_to_datetime(a) - parsedate_to_datetime(b)).total_seconds()) <= 1 for a, b in dates
    )


def translated(request: dict[str, Any], mapping: Mapping) -> dict[str, Any]:
    """The request with what was recorded of other answers replaced by ours."""
    return {
        **request,
        "path": mapping.ours(request["path"]),
        "query": mapping.ours(request["query"]),
        "headers": [[name, mapping.ours(value)] for name, value in request["headers"]],
    }


NOT_OURS = {"server", "date"}


def differences(recorded: dict[str, Any], answer: Answer, mapping: Mapping) -> list[str]:
    """One line for each way in which ``answer`` differs from what was recorded."""
    found = []
    if (recorded["status"], recorded["reason"]) != (answer.status, answer.reason):
        found.append(f"status {recorded['status']} {recorded['reason']} / {answer.status} {answer.reason}")
    if recorded.get("interim", []) != answer.interim:
        found.append(f"interim {recorded.get('interim')} / {answer.interim}")
    found += _header_differences([tuple(each) for each in recorded["headers"]], answer.headers, mapping)
    if not _same_body(recorded, answer, mapping):
        found.append(f"body {_short(recorded)} / {answer.body[:300]!r}")
    return found


def _header_differences(
    recorded: list[tuple[str, str]], ours: list[tuple[str, str]], mapping: Mapping
) -> Iterator[str]:
    left = {name.lower(): value for name, value in recorded if name.lower() not in NOT_OURS}
    right = {name.lower(): value for name, value in ours if name.lower() not in NOT_OURS}
    assert len(right) == len([name for name, _ in ours if name.lower() not in NOT_OURS]), "a header twice"
    names = {name.lower(): name for name, _ in [*ours, *recorded]}
    for key in sorted(left.keys() | right.keys()):
        if key not in right or key not in left or not mapping.same(left[key], right[key]):
            yield f"header {names[key]}: {left.get(key)} / {right.get(key)}"
    spelled = (
        {name for name, _ in ours if name.lower() in left}
        - {name for name, _ in recorded}
        - {"Server", "Date"}
    )
    if spelled:
        yield f"spelling of {sorted(spelled)}"


def _same_body(recorded: dict[str, Any], answer: Answer, mapping: Mapping) -> bool:
    if "body_sha256" in recorded:
        return (recorded["body_len"], recorded["body_sha256"]) == (
            len(answer.body),
            hashlib.sha256(answer.body).hexdigest(),
        )
    body = base64.b64decode(recorded["body_b64"])
    if body == answer.body:
        return True
    kind = answer.header("content-type") or ""
    if "json" in kind or body[:1] in (b"{", b"["):
        try:
            left, right = json.loads(body), json.loads(answer.body)
        except ValueError:
            return body == answer.body
        return mapping.same(json.dumps(left, sort_keys=True), json.dumps(right, sort_keys=True))
    if "xml" in kind and body.startswith(
        b"<?xml"
    ):  # the order of an object's fields is that of a Python 2 dict
        return mapping.same(*(_sorted_xml(text.decode()) for text in (body, answer.body)))
    return mapping.same(body.decode("latin-1"), answer.body.decode("latin-1"))


def _sorted_xml(text: str) -> str:
    def fields(found: re.Match[str]) -> str:
        parts = re.split(r"(?m)^  \n(?=    <)", found[2])
        return found[1] + "  \n".join([parts[0], *sorted(parts[1:])])

    return re.sub(r"(?s)(<(?:object|container|account)>\n)(.*?)(?=  \n  </)", fields, text)


def _short(recorded: dict[str, Any]) -> str:
    if "body_sha256" in recorded:
        return f"{recorded['body_len']} bytes {recorded['body_sha256'][:8]}"
    return repr(base64.b64decode(recorded["body_b64"])[:300])
