"""The heads of requests and answers in HTTP/1.1, as almost all of them are.  No I/O but of a reader given.

A small file costs one or two requests, and the parsers that take everything a
mail may have in its head cost more than all else there is to do for them.
What is read here has one line a field, each name once, a length, and leaves
the connection open; any other answer is left to the HTTP library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol

#: What the HTTP library accepts, too: bytes of a line, lines of a head.
_LONGEST, _MOST = 65536, 100
_STATUS = re.compile(r"HTTP/1\.1 ([2-5]\d\d)(?: [^\r\n]*)?\r\n")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD = re.compile(rf"({_NAME.pattern}):[ \t]*([^\r\n\0]*?)[ \t]*\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_BAD_VALUE = re.compile(r"[\r\n\0]")
_BAD_TARGET = re.compile(r"[^!-~]")
#: Fields that say that more is to be known of an answer than its length.
_NOT_PLAIN = ("transfer-encoding", "content-encoding", "upgrade")
_STAYS = ("", "keep-alive")
_WITHOUT_BODY = (204, 304)
#: Methods whose requests say that they have no body.
_EXPECT_A_BODY = frozenset({"PUT", "POST", "PATCH", "MOVE", "COPY"})


class Lines(Protocol):
    """What a head is read from."""

    def readline(self, size: int, /) -> bytes: ...  # noqa: D102


class Headers(dict[str, str]):
    """Fields by name in lower case; asked for in any case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """As in a mapping."""
        return super().get(name.lower(), default)


class Head(NamedTuple):
    """A plain answer: its body has ``length`` bytes, and the connection can be used again."""

    status: int
    headers: Headers
    length: int


def request(method: str, target: str, host: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """A request's head; ``length`` is its body's in bytes, None without one.

    Raises ValueError for what would end a line, or cannot be in one.
    """
    if _BAD_TARGET.search(target):
        raise ValueError("a request's target has a character that has to be quoted")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    if length is not None or method in _EXPECT_A_BODY:
        lines.append(f"Content-Length: {length or 0}")
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
            raise ValueError(f"the header {name!r} has a character that cannot be in one")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read(reader: Lines, method: str) -> tuple[bytes, Head | None]:
    """Read the head of the answer to a request; all that was read of it, and what it says if it is plain.

    A head that is not plain may not have been read to its end.
    """
    raw = [reader.readline(_LONGEST)]
    if _STATUS.fullmatch(raw[0].decode("latin-1")):
        while len(raw) <= _MOST and raw[-1].endswith(b"\r\n"):
            line = reader.readline(_LONGEST)
            if line == b"\r\n":
                return b"".join([*raw, line]), _parse(raw, method)
            raw.append(line)
    return b"".join(raw), None


def _parse(raw: list[bytes], method: str) -> Head | None:
    first, *lines = [line.decode("latin-1") for line in raw]
    status = int(first[9:12])
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        name = field[1].lower() if field else ""
        if field is None or name in fields:
            return None
        fields[name] = field[2]
    if any(each in fields for each in _NOT_PLAIN) or fields.get("connection", "").lower() not in _STAYS:
        return None
    length = fields.get("content-length", "")
    if method == "HEAD" or status in _WITHOUT_BODY:
        length = "0"
    return Head(status, Headers(fields), int(length)) if _LENGTH.fullmatch(length) else None
