"""Servers for tests: in this process (with a clock of the test's), or as a process of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from pithosfs.server.app import App, Settings
from pithosfs.server.listener import Listener
from pithosfs.server.store import Store, system_clock
from pithosfs.server.store.accounts import User

ALICE = User("11111111-1111-1111-1111-111111111111", "alice@example.org", "tok-alice")
BOB = User("22222222-2222-2222-2222-222222222222", "bob@example.org", "tok-bob")
ENDPOINT = "/pithos/object-store/v1"
OCTETS = "application/octet-stream"


@dataclass
class Api:
    """Requests to a server, in the name of ``user``."""

    address: str
    user: User = ALICE
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, maxsize=20))

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        account: str | None = None,
        **headers: str,
    ) -> urllib3.BaseHTTPResponse:
        url = f"http://{self.address}{ENDPOINT}/{account or self.user.uuid}{path}"
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.pool.request(
            method, url, body=body, headers={"X-Auth-Token": self.user.token, **fields}, timeout=30
        )

    def put(self, path: str, body: bytes = b"", content_type: str = OCTETS, **headers: str) -> int:
        """PUT and return the serial number of the new version."""
        answer = self.request("PUT", path, body, Content_Type=content_type, **headers)
        assert answer.status == 201, answer.data
        return int(answer.headers["X-Object-Version"])

    def get(self, path: str, **headers: str) -> bytes:
        answer = self.request("GET", path, **headers)
        assert answer.status in (200, 206), answer.data
        return answer.data

    def names(self, path: str) -> list[str]:
        """The lines of a text listing."""
        answer = self.request("GET", path)
        assert answer.status in (200, 204), answer.data
        return answer.data.decode().splitlines()

    def as_user(self, user: User) -> Api:
        return Api(self.address, user, self.pool)


@dataclass
class Server:
    """A server in this process with the users alice and bob, who have no containers yet."""

    store: Store
    listener: Listener

    @property
    def address(self) -> str:
        return self.listener.address

    @property
    def api(self) -> Api:
        return Api(self.address)


@contextlib.contextmanager
def running(
    directory: Path,
    settings: Settings | None = None,
    clock: Callable[[], int] = system_clock,
    **options: bool,
) -> Iterator[Server]:
    store = Store(directory, clock=clock, **options)
    if not store.accounts.users():
        for user in (ALICE, BOB):
            store.accounts.add_user(user)
    listener = Listener("127.0.0.1", 0, App(store, settings or Settings()), None)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Server(store, listener)
    finally:
        listener.stop()
        store.close()


@dataclass
class Process:
    """``python -m pithosfs.server`` on a directory."""

    directory: Path
    popen: subprocess.Popen[str]
    line: str

    @property
    def address(self) -> str:
        found = re.search(r"http://(\S+)", self.line)
        assert found, self.line
        return found[1]

    @property
    def user(self) -> User:
        config = (self.directory / "kamakirc").read_text()
        token = re.search(r"(?m)^token = (\S+)$", config)
        assert token
        pool = urllib3.PoolManager()
        answer = pool.request(
            "POST", f"http://{self.address}/identity/v2.0/tokens", json={"auth": {"token": {"id": token[1]}}}
        )
        found = answer.json()["access"]["user"]
        return User(found["id"], found["name"], token[1])

    @property
    def api(self) -> Api:
        return Api(self.address, self.user)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(20)


def command(directory: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "pithosfs.server", str(directory), *options]


@contextlib.contextmanager
def process(directory: Path, *options: str) -> Iterator[Process]:
    popen = subprocess.Popen(
        command(directory, "--port", "0", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert popen.stdout
        yield Process(directory, popen, popen.stdout.readline())
    finally:
        popen.kill()
        popen.communicate()
