"""Where HTTP/1.1 messages begin and end in a stream of bytes, found cheaply.

A :class:`Framer` is fed what was read from a socket and gives the same bytes
back, cut at the borders that matter.  It looks at heads and chunk lines only;
a body with a Content-Length costs one comparison per read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

MAX_HEAD = 1 << 20


class Part(Enum):
    """What a piece of the stream is."""

    HEAD = "head"  # a whole head, blank line included
    BODY = "body"  # bytes of the content
    FRAME = "frame"  # chunk sizes, trailers: neither head nor content
    END = "end"  # no bytes: the message is over


class Piece(NamedTuple):
    """Some bytes of the stream and what they are."""

    part: Part
    data: bytes
    head: Head | None = None  # of a HEAD piece


END = Piece(Part.END, b"")
Cut = tuple[tuple[Piece, ...], bytes]


@dataclass(frozen=True, slots=True)
class Head:
    """A parsed head: the three words of its first line, and its headers by lower-case name."""

    words: tuple[str, str, str]
    headers: dict[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        """The head in ``raw``; ValueError if its first line is no HTTP."""
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        words = [*first.split(" ", 2), "", ""]
        if not (words[0].startswith("HTTP/") or words[2].startswith("HTTP/")):
            raise ValueError(f"not HTTP: {first[:60]!r}")
        pairs = (line.partition(":") for line in lines)
        return cls((words[0], words[1], words[2]), {name.lower(): value.strip() for name, _, value in pairs})

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.words[1])


class BodyLength(NamedTuple):
    """How a body ends: after ``length`` bytes, after its last chunk, or (both unset) with the connection."""

    length: int | None = None
    chunked: bool = False


def request_body(head: Head) -> BodyLength:
    """How the body of a request ends."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return BodyLength(chunked=True)
    return BodyLength(int(head.headers.get("content-length", "0")))


def answer_body(head: Head, method: str) -> BodyLength:
    """How the body of an answer to a request with ``method`` ends."""
    if method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return BodyLength(0)
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return BodyLength(chunked=True)
    length = head.headers.get("content-length")
    return BodyLength(None if length is None else int(length))


class Framer:
    """Cuts one direction of a connection into pieces.

    ``body_of`` is asked at each head how the body that follows ends.
    """

    def __init__(self, body_of: Callable[[Head], BodyLength]) -> None:
        self._body_of = body_of
        self._held = b""
        self._left: int | None = 0  # of the body or chunk; None: until the connection ends
        self._step = self._read_head

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces complete so far; a head or chunk line cut short is held back.

        Lazy: a piece is cut only after the caller took the one before.  ValueError: not HTTP.
        """
        if self._held:
            self._held, data = b"", self._held + data
        while data:
            pieces, rest = self._step(data)
            if not pieces:
                self._held = data
                if len(data) > MAX_HEAD:
                    raise ValueError("a head or chunk line without end")
                return
            yield from pieces
            data = rest

    # Each step gives the pieces at the front of `data`, none if it needs more, and the rest.

    def _read_head(self, data: bytes) -> Cut:
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            return (), data
        head = Head.parse(data[:end])
        body = self._body_of(head)
        piece, rest = Piece(Part.HEAD, data[:end], head), data[end:]
        if body.chunked:
            self._step = self._read_chunk_line
        elif body.length == 0:
            return (piece, END), rest
        else:
            self._left, self._step = body.length, self._read_body
        return (piece,), rest

    def _read_body(self, data: bytes) -> Cut:
        if self._left is None:
            return (Piece(Part.BODY, data),), b""
        if len(data) < self._left:
            self._left -= len(data)
            return (Piece(Part.BODY, data),), b""
        self._step = self._read_head
        return (Piece(Part.BODY, data[: self._left]), END), data[self._left :]

    def _read_chunk_line(self, data: bytes) -> Cut:
        end = data.find(b"\n") + 1
        if not end:
            return (), data
        self._left = int(data[:end].partition(b";")[0], 16)
        self._step = self._read_chunk if self._left else self._read_trailer
        return (Piece(Part.FRAME, data[:end]),), data[end:]

    def _read_chunk(self, data: bytes) -> Cut:
        left = self._left or 0
        self._left = left - min(left, len(data))
        if not self._left:
            self._step = self._read_chunk_end
        return (Piece(Part.BODY, data[:left]),), data[left:]

    def _read_chunk_end(self, data: bytes) -> Cut:
        end = data.find(b"\n") + 1
        if not end:
            return (), data
        self._step = self._read_chunk_line
        return (Piece(Part.FRAME, data[:end]),), data[end:]

    def _read_trailer(self, data: bytes) -> Cut:
        end = data.find(b"\n") + 1
        if not end:
            return (), data
        line = Piece(Part.FRAME, data[:end])
        if line.data.strip():
            return (line,), data[end:]
        self._step = self._read_head
        return (line, END), data[end:]
