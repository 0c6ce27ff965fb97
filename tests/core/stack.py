"""Everything below a mount, on a container of its own on the embedded server."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pithosfs.accounting import AccountedClient
from pithosfs.api import PAGE
from pithosfs.blocks import hashmap_of
from pithosfs.cache import BlockCache
from pithosfs.config import load
from pithosfs.conflicts import conflict_ref
from pithosfs.errors import NoSpace, Unavailable
from pithosfs.fetch import Fetcher
from pithosfs.files import Files
from pithosfs.filesystem import FileSystem
from pithosfs.guard import Guard
from pithosfs.identity import resolve
from pithosfs.ledger import Ledger
from pithosfs.metastore import MetaStore
from pithosfs.names import ObjectRef
from pithosfs.namespace import KEPT, Namespace
from pithosfs.removals import delete
from pithosfs.scratch import Memory, Room
from pithosfs.services import Services
from pithosfs.staging import Staging
from pithosfs.transport import Request, Response, StreamedBody, Transport
from pithosfs.upload import Uploader

_numbers = itertools.count(1)

Tap = Callable[[Request], None]


class Wire(Transport):
    """A transport whose requests can be counted, held up, refused, or their answers lost."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.requests: list[tuple[str, str]] = []
        self.before: Tap = lambda request: None
        self.after: Tap = lambda request: None

    def send(self, request: Request) -> Response:
        self._begin(request)
        answer = super().send(request)
        self.after(request)
        return answer

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[StreamedBody]:
        self._begin(request)
        with super().stream(request) as body:
            yield body

    def _begin(self, request: Request) -> None:
        self.requests.append((request.method, request.url))
        self.before(request)

    def count(self, method: str = "", within: str = "") -> int:
        """How many requests there were since the last :meth:`reset`."""
        return sum(1 for each, url in self.requests if method in ("", each) and within in url)

    def reset(self) -> None:
        self.requests.clear()
        self.before = self.after = lambda request: None

    def refuse(self, method: str = "", within: str = "", *, maybe_done: bool = False) -> None:
        """From here on such requests do not arrive; or nobody can tell whether they did."""

        def tap(request: Request) -> None:
            if method in ("", request.method) and within in request.url:
                raise Unavailable("the network is down", maybe_done=maybe_done)

        self.before = tap

    def lose_answer(self, method: str, within: str = "") -> None:
        """The answer to the next such request is lost; the server has carried it out."""
        lost = []

        def tap(request: Request) -> None:
            if not lost and method == request.method and within in request.url:
                lost.append(request)
                raise Unavailable("the answer is lost", maybe_done=True)

        self.after = tap

    def hold(self, method: str, within: str = "") -> Held:
        """The next such request waits until it is let go."""
        return self._hold(method, within, once=True)

    def hold_all(self, method: str) -> Held:
        """All such requests wait until they are let go."""
        return self._hold(method, "", once=False)

    def hold_answer(self, method: str, within: str) -> Held:
        """The next such request is carried out, and its answer waits until it is let go."""
        held = self._hold(method, within, once=True)
        self.before, self.after = self.after, self.before
        return held

    def _hold(self, method: str, within: str, *, once: bool) -> Held:
        held = Held()

        def tap(request: Request) -> None:
            if not (once and held.arrived.is_set()) and method == request.method and within in request.url:
                held.arrived.set()
                assert held.go.wait(20)

        self.before = tap
        return held


class Held:
    """A request on its way: ``arrived`` when it is about to be sent, sent at ``go``."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.go = threading.Event()

    def wait(self) -> None:
        assert self.arrived.wait(20), "no such request was made"

    def release(self) -> None:
        self.go.set()


class Stack:
    """One mount without FUSE: two of them on one container are two machines."""

    def __init__(
        self,
        config: Path,
        directory: Path,
        *,
        container: str | None = None,
        block_size: int,
        ttl: float = 30.0,
        write_back: float | None = None,
        memory: int = 64 * 1024 * 1024,
        timeout: float = 20.0,
        page: int = PAGE,
        kept: int = KEPT,
        outbox: bool = True,
    ) -> None:
        connection = load(config=config, environ={})
        site = resolve(connection, timeout=timeout)
        self.wire = Wire(connection.token, token=site.token, timeout=timeout, pool=16)
        self.client = AccountedClient(self.wire, site.endpoint, site.account, Ledger())
        self.container = container or f"c{next(_numbers)}-{directory.name}"[:200]
        self.block_size = block_size
        self.client.create_container(self.container)
        self.top = ObjectRef(self.container, "")
        self.store = MetaStore(directory / "meta.sqlite3")
        self.cache = BlockCache(memory, None)
        self.fetcher = Fetcher(self.client_of, self.cache, threads=4, timeout=timeout)
        self.uploader = Uploader(self.client_of, self.client, self.cache, threads=4, block_size=block_size)
        # So little that scratches of a few blocks move to files.
        room = Memory(
            Room(64 * 1024 * 1024), Room(2 * block_size), block_size=block_size, small_limit=block_size
        )
        self.staging = Staging(directory / "staging", room)
        self.services = Services(
            self.fetcher, self.uploader, self.staging, self.store, block_size, window_limit=8
        )
        self.namespace = Namespace(self.client_of, self.top, ttl=ttl, timeout=timeout, page=page, kept=kept)
        self.files = Files(
            self.services,
            self.namespace,
            lambda ref: delete(self.client, ref),
            self._guard_for,
            write_back=write_back,
        )
        self.fs = FileSystem(self.services, self.namespace, self.files, self.client_of)
        self.wire.reset()
        if outbox:
            self.files.start()

    def client_of(self, ref: ObjectRef) -> AccountedClient:
        return self.client

    def _guard_for(self, found: Callable[[ObjectRef, ObjectRef], None]) -> Guard:
        return Guard(
            self.client_of,
            self.client.ledger,
            conflict_name=conflict_ref,
            found=found,
            quiet=self.namespace.quiet,
            ours=(self.services.late, self.services.removed),
        )

    def fill_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From here on the local disk has no room for an entry of the journal."""

        def full(*_: object) -> None:
            raise NoSpace("no room")

        monkeypatch.setattr(self.staging, "record", full)

    def end_moments(self) -> None:
        """The moment of everything that was hidden is over: it is deleted, if nobody has claimed it."""
        removals = self.files.removals
        with removals._lock:
            for each in removals._waiting.values():
                if each.due != math.inf:
                    each.due = 0.0
            removals._changed.notify_all()

    def ref(self, name: str) -> ObjectRef:
        return ObjectRef(self.container, name)

    def close(self) -> None:
        self.files.stop()
        for part in (self.fs, self.namespace, self.fetcher, self.uploader, self.cache):
            part.close()
        self.staging.close()
        self.store.close()
        self.wire.close()

    # -- by hand ------------------------------------------------------------------------------

    def put(self, name: str, data: bytes = b"", content_type: str = "text/plain") -> int:
        """What another program writes."""
        merkle = hashmap_of(data, self.block_size).merkle
        written = self.client.put_object(
            self.container, name, data, content_type=content_type, expected=merkle
        )
        return written.version

    def get(self, name: str) -> bytes:
        """What the server has."""
        info = self.client.head(self.container, name)
        if not info.entry.size:
            return b""
        data = bytearray(info.entry.size)
        with self.client.open_range(self.container, name, 0, info.entry.size) as body:
            got = 0
            while got < len(data):
                step = body.readinto(memoryview(data)[got:])
                assert step, "the answer is too short"
                got += step
        return bytes(data)

    def names(self) -> list[str]:
        """All objects the server has."""
        return [entry.name for page in self.client.list_all(self.container) for entry in page.entries]

    def write(self, path: str, data: bytes, *, at: int = 0) -> None:
        """What a program does: open or create, write, close."""
        handle = self.fs.create(path, 0o644)
        try:
            self.fs.handles.write(handle.number, at, data)
            self.fs.handles.flush(handle.number)
        finally:
            self.fs.handles.release(handle.number)

    def read(self, path: str) -> bytes:
        handle = self.fs.open(path)
        try:
            return self.read_handle(handle.number)
        finally:
            self.fs.handles.release(handle.number)

    def read_handle(self, number: int) -> bytes:
        view = memoryview(bytearray(self.fs.handles.node(number).size))
        got = self.fs.handles.read_into(number, 0, view)
        return bytes(view[:got])

    def ls(self, path: str = "/") -> list[str]:
        return sorted(self.fs.entries(path))
