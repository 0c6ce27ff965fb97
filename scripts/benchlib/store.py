"""The store as the benchmark itself sees it: plain requests, with or without the proxy between."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import urllib3

from pithosfs import blocks

from .processes import Failed

PARALLEL = 8
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A server and who one is there: ``endpoint`` ends in /v1."""

    endpoint: str
    identity: str
    account: str
    token: str

    def behind(self, url: str) -> Place:
        """The same server through a proxy at ``url``."""

        def through(address: str) -> str:
            return url + (urllib3.util.parse_url(address).path or "")

        return Place(through(self.endpoint), through(self.identity), self.account, self.token)


@dataclass(frozen=True, slots=True)
class Content:
    """What an object or a file must contain."""

    size: int
    merkle: str
    sha256: str

    @classmethod
    def of(cls, data: bytes | Path) -> Content:
        """The content of a file, or of bytes."""
        whole, hashes, size = hashlib.sha256(), [], 0
        for block in in_blocks(data):
            whole.update(block)
            hashes.append(blocks.block_hash(block))
            size += len(block)
        return cls(size, blocks.merkle(hashes), whole.hexdigest())


def in_blocks(data: bytes | Path) -> Iterable[blocks.Buffer]:
    """``data`` in pieces of one block; bytes as views."""
    if isinstance(data, bytes):
        view = memoryview(data)
        for at in range(0, len(view), blocks.BLOCK_SIZE):
            yield view[at : at + blocks.BLOCK_SIZE]
        return
    with data.open("rb") as file:
        while block := file.read(blocks.BLOCK_SIZE):
            yield block


class Store:
    """Requests to one container of a server.  Errors are :class:`Failed`."""

    def __init__(self, place: Place, container: str) -> None:
        self.place, self.container = place, container
        self._pool = urllib3.PoolManager(maxsize=PARALLEL * 2, retries=urllib3.Retry(2, redirect=0, status=0))
        self._base = f"{place.endpoint}/{place.account}/{quote(container)}"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def send(
        self,
        method: str,
        name: str = "",
        query: str = "",
        *,
        body: Any = None,
        ok: tuple[int, ...] = (200, 201, 202, 204, 206),
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """One request; header names are given with underscores."""
        sent = {"X-Auth-Token": self.place.token}
        sent |= {key.replace("_", "-"): value for key, value in (headers or {}).items()}
        if body is not None:
            sent.setdefault("Content-Type", "application/octet-stream")
        url = self._base + ("/" + quote(name) if name else "") + ("?" + query if query else "")
        try:
            answer = self._pool.request(
                method, url, body=body, headers=sent, preload_content=not stream, timeout=600
            )
        except urllib3.exceptions.HTTPError as error:
            raise Failed(f"{method} {name or self.container}: {error}") from None
        if answer.status not in ok:
            raise Failed(f"{method} {name or self.container}: {answer.status} {answer.data[:100]!r}")
        return answer

    # -- the container --------------------------------------------------------------

    def create(self) -> None:
        """Make the container, empty; what is replaced or removed in it can still be verified."""
        self.send("PUT", headers={"Content_Length": "0", "X_Container_Policy_Versioning": "auto"})

    def drop(self) -> None:
        """Delete it with all it holds."""
        self.send("DELETE", query="delimiter=/", ok=(204, 404))
        self.send("DELETE", ok=(204, 404))

    def listing(self, prefix: str = "", **more: str) -> dict[str, dict[str, Any]]:
        """The objects whose names begin with ``prefix``, by name."""
        found: dict[str, dict[str, Any]] = {}
        marker = ""
        while True:
            words = "".join(f"&{key}={quote(value, safe='')}" for key, value in more.items())
            query = f"format=json&limit=10000&marker={quote(marker, safe='')}{words}"
            answer = self.send("GET", query=query + (f"&prefix={quote(prefix, safe='')}" if prefix else ""))
            page = json.loads(answer.data) if answer.data else []
            found |= {entry["name"]: entry for entry in page if entry.get("name", "").startswith(prefix)}
            if len(page) < 10000:
                return found
            marker = page[-1].get("name") or page[-1]["subdir"] + "\U0010ffff"

    # -- objects -----------------------------------------------------------------------

    def put(self, name: str, data: bytes, **headers: str) -> None:
        """Write an object in one request."""
        self.send("PUT", name, body=data, headers=headers)

    def upload(self, name: str, path: Path, **headers: str) -> None:
        """Write a large object: hashmap, the missing blocks eight at a time, hashmap."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            hashes = list(pool.map(blocks.block_hash, in_blocks(path)))
        missing = set(self.put_hashmap(name, path.stat().st_size, hashes, **headers))
        if not missing:
            return

        def post(number: int) -> None:
            with path.open("rb", buffering=0) as file:
                file.seek(number * blocks.BLOCK_SIZE)
                self.post_block(file.read(blocks.BLOCK_SIZE))

        self.each(post, [number for number, each in enumerate(hashes) if each in missing])
        if self.put_hashmap(name, path.stat().st_size, hashes, **headers):
            raise Failed(f"{name}: the server still lacks blocks")

    def put_hashmap(self, name: str, size: int, hashes: list[str], **headers: str) -> list[str]:
        """Ask for an object of these blocks; the hashes the server lacks (none: done)."""
        body = json.dumps({"bytes": size, "hashes": hashes}).encode()
        answer = self.send("PUT", name, "hashmap&format=json", body=body, ok=(201, 409), headers=headers)
        return json.loads(answer.data) if answer.status == 409 else []

    def post_block(self, data: bytes) -> str:
        """Store one block; its hash."""
        answer = self.send("POST", query="update&format=json", body=data)
        return str(json.loads(answer.data)[0])

    def hashmap(self, name: str) -> list[str]:
        """The hashes of an object's blocks."""
        return list(json.loads(self.send("GET", name, "hashmap&format=json").data)["hashes"])

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """An object's bytes, or a range of them."""
        if length is None:
            return self.send("GET", name).data
        return self.send("GET", name, headers={"Range": f"bytes={start}-{start + length - 1}"}).data

    def stream(
        self, name: str, take: Callable[[memoryview], object] = len, version: int | None = None
    ) -> int:
        """Read a whole object, or a version, as one stream, each piece handed to ``take``; its length."""
        answer = self.send("GET", name, "" if version is None else f"version={version}", stream=True)
        buffer, total = memoryview(bytearray(1 << 20)), 0
        while got := answer.readinto(buffer):
            take(buffer[:got])
            total += got
        answer.release_conn()
        return total

    def sha256(self, name: str, version: int | None = None) -> str:
        """The hash of what the server really gives for an object, or for a version of it."""
        whole = hashlib.sha256()
        self.stream(name, whole.update, version)
        return whole.hexdigest()

    def each(self, call: Callable[[T], object], things: Iterable[T]) -> None:
        """Do ``call`` with all of them, eight at a time."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(call, things))

    # -- is it there? --------------------------------------------------------------------

    def differences(self, expected: Mapping[str, Content | None]) -> list[str]:
        """Where the listing is not as expected (None: must be absent); one line each."""
        found = self._listing_of(expected)
        wrong = []
        for name, content in expected.items():
            entry = found.get(name)
            if content is None:
                wrong += [f"{name} is still there"] if entry else []
            elif entry is None:
                wrong.append(f"{name} is missing")
            elif (entry["bytes"], entry["x_object_hash"]) != (content.size, content.merkle):
                wrong.append(f"{name} has other content ({entry['bytes']} bytes for {content.size})")
        return wrong

    def wait_for(self, expected: Mapping[str, Content | None], patience: float) -> float:
        """Until all is as expected; when (monotonic) it was first seen so.  Failed after ``patience`` s."""
        end = time.monotonic() + patience
        while True:
            asked = time.monotonic()
            wrong = self.differences(expected)
            if not wrong:
                return asked
            if asked > end:
                raise Failed(f"not on the server after {patience:.0f} s: {wrong[0]} ({len(wrong)} in all)")
            time.sleep(max(0.1, 8 * (time.monotonic() - asked)))  # do not burden what is measured

    def versions(self, expected: Mapping[str, Content | None]) -> dict[str, int]:
        """What is there now of what is expected, by name: the version to :meth:`verify`, now or later."""
        names = [name for name, content in expected.items() if content]
        if not names:
            return {}
        found = self._listing_of(names)
        for name in names:
            if name not in found:
                raise Failed(f"{name} was on the server and is not any more")
        return {name: int(found[name]["x_object_version"]) for name in names}

    def verify(self, expected: Mapping[str, Content | None], versions: Mapping[str, int]) -> None:
        """Read these versions from the server and compare with what is expected, by hash.

        A version is the same for ever, whatever became of its name.
        """

        def check(name: str) -> None:
            content = expected[name]
            if content and self.sha256(name, versions[name]) != content.sha256:
                raise Failed(f"{name}: the server gives other bytes than were written")

        self.each(check, versions)

    def _listing_of(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """A listing with all of ``names`` in it that are there."""
        first, last = min(names), max(names)
        shared = sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
        )
        return self.listing(first[:shared])
