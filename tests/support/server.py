"""The embedded server as a process of its own, and its store as another client sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from tests.support import processes
from tests.support.waiting import eventually


@contextlib.contextmanager
def serving(
    directory: Path, *options: str, program: Sequence[str] = ("-m", "pithosfs.server")
) -> Iterator[Path]:
    """Serve ``directory`` on a free port; gives kamaki's configuration file for it."""
    command = [sys.executable, *program, str(directory), "--port", "0", "--no-fsync", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "the server did not start"
        yield directory / "kamakirc"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@dataclass(frozen=True)
class Request:
    """One line of the server's access log."""

    method: str
    path: str
    query: str
    status: int
    bytes_in: int
    bytes_out: int


class Server:
    """``python -m pithosfs.server`` on a directory; a restart keeps directory and port."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.config = directory / "kamakirc"
        self._options = options
        self._port = 0
        self._output = directory.with_name(directory.name + ".out")
        self._access_log = directory.with_name(directory.name + ".access")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        said = self._output.stat().st_size if self._output.exists() else 0
        command = [sys.executable, "-m", "pithosfs.server", str(self.directory)]
        command += ["--port", str(self._port), "--access-log", str(self._access_log), *self._options]
        process = processes.start(command, output=self._output)
        self._process = process

        def answers() -> bool:
            assert process.poll() is None, f"the server ended:\n{self._output.read_text()}"
            return b"\n" in self._output.read_bytes()[said:] and self.config.exists()

        eventually(answers, what="the server's first line")
        self._port = urllib3.util.parse_url(self._setting("url")).port or 0

    def stop(self) -> None:
        if self._process:
            processes.stop(self._process)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def log_size(self) -> int:
        """Where the access log ends now."""
        return self._access_log.stat().st_size

    def requests(self, start: int = 0) -> list[Request]:
        """What was asked of the server since the access log was ``start`` bytes long."""
        lines = self._access_log.read_bytes()[start:].splitlines()
        return [self._request(json.loads(line)) for line in lines]

    @staticmethod
    def _request(line: dict[str, Any]) -> Request:
        return Request(line["method"], line["path"], line["query"], line["status"], line["in"], line["out"])

    def _setting(self, key: str) -> str:
        parser = RawConfigParser(strict=False)
        parser.read(self.config)
        return parser.get('cloud "local"', key)

    def store(self, container: str = "pithos") -> Store:
        """A client of one container, with the token of the server's own user."""
        token = self._setting("token")
        pool = urllib3.PoolManager(headers={"X-Auth-Token": token}, retries=False)
        body = json.dumps({"auth": {"token": {"id": token}}})
        answer = pool.request(
            "POST", self._setting("url") + "/tokens", body=body, headers={"Content-Type": "application/json"}
        ).json()["access"]
        catalogue = {service["type"]: service["endpoints"][0] for service in answer["serviceCatalog"]}
        endpoint = catalogue["object-store"]["publicURL"].rstrip("/")
        return Store(pool, f"{endpoint}/{answer['user']['id']}/{container}", token)


class Store:
    """A container through plain HTTP: what is really there, and changes by "another machine".

    It shares no code with the client under test.
    """

    def __init__(self, pool: urllib3.PoolManager, url: str, token: str) -> None:
        self._pool = pool
        self.url = url
        self.token = token
        self._headers = {"X-Auth-Token": token}

    def _ask(
        self, method: str, name: str, query: str = "", body: bytes | None = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        fields = {key.replace("_", "-"): value for key, value in headers.items()}
        answer = self._pool.request(
            method,
            f"{self.url}/{quote(name)}{query}" if name else f"{self.url}{query}",
            body=body,
            headers={**self._headers, **fields},
        )
        assert answer.status < 300 or answer.status == 404, (
            f"{method} {name}: {answer.status} {answer.data!r}"
        )
        return answer

    def get(self, name: str) -> bytes:
        answer = self._ask("GET", name)
        assert answer.status == 200, f"{name} is not in the store"
        return answer.data

    def put(
        self, name: str, data: bytes, content_type: str = "application/octet-stream", **headers: str
    ) -> None:
        """Write an object; ``X_Object_Meta_Key="value"`` is a header."""
        self._ask("PUT", name, body=data, Content_Type=content_type, **headers)

    def put_many(self, names: Sequence[str]) -> None:
        """An empty object of each name."""
        for name in names:
            self.put(name, b"")

    def delete(self, name: str) -> None:
        assert self._ask("DELETE", name).status == 204

    def exists(self, name: str) -> bool:
        return self._ask("HEAD", name).status == 200

    def head(self, name: str) -> urllib3.HTTPHeaderDict:
        answer = self._ask("HEAD", name)
        assert answer.status == 200, f"{name} is not in the store"
        return answer.headers

    def hashmap(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask("GET", name, "?hashmap&format=json").json()
        return answer

    def versions(self, name: str) -> list[int]:
        """The numbers of an object's versions, oldest first; none if there never was one."""
        answer = self._ask("GET", name, "?version=list&format=json")
        return [number for number, _ in answer.json()["versions"]] if answer.status == 200 else []

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects that begin with ``prefix``, in the store's order."""
        return [entry["name"] for entry in self.listing(prefix)]

    def listing(self, prefix: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        marker = ""
        while True:
            query = f"?format=json&prefix={quote(prefix, safe='')}&marker={quote(marker, safe='')}"
            answer = self._ask("GET", "", query)
            page: list[dict[str, Any]] = answer.json() if answer.status == 200 else []
            if not page:
                return [entry for entry in found if entry["name"].startswith(prefix)]
            found += page
            marker = page[-1]["name"]


def environment(server: Server, home: Path) -> dict[str, str]:
    """The environment of a user whose only configuration is the server's."""
    home.mkdir(exist_ok=True)
    runtime = home / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("PITHOSFS_", "KAMAKI_"))},
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_DATA_HOME": str(home / "data"),
        "KAMAKI_CONFIG": str(server.config),
    }
