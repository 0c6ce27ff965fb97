"""A server behind a network to order, and mounts that reach it through that network only."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

from pithosfs import control
from tests.support.mounts import PITHOSFS, Mount
from tests.support.netproxy import NetProxy
from tests.support.server import Server, Store, environment
from tests.support.waiting import eventually

#: Seconds an operation may take in these tests (``--timeout``); what waits longer hangs.
TIMEOUT = 2.0
#: Seconds on top of that for two busy processors.
SLACK = 4.0
#: What a program may be told of a server that is not there or answers that it cannot: the latter is asked
#: again for as long as there is time, and on a busy machine that may end while an answer is waited for.
TROUBLE = (errno.EIO, errno.ETIMEDOUT)
#: Seconds until the mounts are killed under a test that hangs in one of them.
PATIENCE = 240.0


class Scene:
    """One test's world: mounts of ``container`` see the server through ``proxy``, ``store`` sees it directly.

    After ``patience`` seconds (None: never) the mounts are killed.
    """

    def __init__(
        self, folder: Path, server: Server, container: str, patience: float | None = PATIENCE
    ) -> None:
        self.folder = folder
        self.server = server
        self.container = container
        self.token = setting(server, "token")
        port = setting(server, "url").split("/")[2]
        self.proxy = NetProxy(port)
        self._homes: dict[str, dict[str, str]] = {}
        self._mounts: list[Mount] = []
        self.store: Store = server.store(container)
        self._watchdog = threading.Timer(patience or 0, self._abort)
        self._watchdog.daemon = True
        if patience is not None:
            self._watchdog.start()

    def close(self) -> None:
        """End everything, whatever state it is in."""
        self._watchdog.cancel()
        self.proxy.up()  # what waits for an answer gets one
        for mount in self._mounts:
            if mount.alive:
                mount.abort()
            mount.destroy()
        self.proxy.close()

    def _abort(self) -> None:
        for mount in self._mounts:
            mount.abort()

    # -- mounts -------------------------------------------------------------------------------

    def home(self, name: str = "one") -> dict[str, str]:
        """The environment of a user on a machine of its own, who knows the server by the proxy's address."""
        if name not in self._homes:
            found = environment(self.server, self.folder / f"home-{name}")
            config = self.folder / f"home-{name}" / "kamakirc"
            config.touch(mode=0o600)
            config.write_text(self._config())
            self._homes[name] = found | {"KAMAKI_CONFIG": str(config)}
        return self._homes[name]

    def _config(self) -> str:
        text = self.server.config.read_text()
        url = setting(self.server, "url")
        return text.replace(url, self.proxy.url + "/" + url.split("/", 3)[3])

    def mount(
        self, *options: str, name: str = "one", timeout: float = TIMEOUT, program: Sequence[str] = PITHOSFS
    ) -> Mount:
        """A new mount as if on a machine called ``name``, whose home it has."""
        found = Mount(
            self.container,
            self.folder / f"mnt-{name}",
            self.home(name),
            ("--create", "--timeout", f"{timeout:g}", "--dir-cache-time", "0.5", *options),
            program,
        )
        self._mounts.append(found)
        self.start(found, name)
        return found

    def shared(self) -> Mount:
        """One mount for several tests; a new one when it has died of a test."""
        alive = [each for each in self._mounts if each.alive]
        for each in self._mounts:
            if each not in alive:
                each.destroy()
        return alive[0] if alive else self.mount()

    def start(self, mount: Mount, name: str = "one") -> None:
        """Start a mount (again) and wait until it answers."""
        mount.start()
        eventually(self._announced(mount, name).exists, what="the mount's announcement")

    def resume(self, mount: Mount) -> None:
        """Start a mount again, on a network that works, and wait until it has sent what was left."""
        self.proxy.faults()
        self.start(mount)
        self.settle(mount)

    def _announced(self, mount: Mount, name: str) -> Path:
        return Path(self.home(name)["XDG_RUNTIME_DIR"]) / "pithosfs" / f"{mount.process.pid}.json"

    def run(self, *arguments: str | Path, name: str = "one") -> subprocess.CompletedProcess[str]:
        """``pithosfs`` with these arguments, as the user on that machine."""
        return subprocess.run(
            [sys.executable, "-m", "pithosfs", *map(str, arguments)],
            env=self.home(name),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def status(self, mount: Mount, name: str = "one") -> dict[str, Any]:
        """What ``pithosfs status`` says of a mount."""
        done = self.run("status", mount.mountpoint, "--json", name=name)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def pending(self, mount: Mount, name: str = "one") -> list[str]:
        """Names of the objects that ``pithosfs status`` says are not sent."""
        start = f"{self.container}/"
        return sorted(each["object"].removeprefix(start) for each in self.status(mount, name)["pending"])

    def settle(self, mount: Mount, name: str = "one", seconds: float = 60.0) -> None:
        """Wait until nothing is pending any more."""
        eventually(lambda: not self.ask(mount, "pending", name), seconds, "the end of sending")

    def ask(self, mount: Mount, call: str, name: str = "one", **options: Any) -> Any:
        """Ask the mount itself: a command each time takes long."""
        return control.ask(self._announced(mount, name).with_suffix(".sock"), call, timeout=10, **options)

    # -- the store --------------------------------------------------------------------------------

    def versions(self, object_name: str) -> list[bytes]:
        """The contents of all versions of an object, oldest first."""
        answer = self.store._ask("GET", object_name, "?version=list&format=json").json()
        return [
            self.store._ask("GET", object_name, f"?version={number}").data for number, _ in answer["versions"]
        ]


def setting(server: Server, key: str) -> str:
    """A setting of the server's own user."""
    parser = RawConfigParser(strict=False)
    parser.read(server.config)
    return parser.get('cloud "local"', key)


def kill(mount: Mount) -> None:
    """The process is gone as in a crash, and so is its mount point."""
    mount.process.send_signal(signal.SIGKILL)
    mount.process.wait()
    mount.destroy()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """The body must end in time, by itself or by an error."""
    began = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - began
        assert took < seconds, f"took {took:.1f} s instead of at most {seconds:g} s"


def errno_of_write(path: Path, data: bytes) -> int:
    """Write a file and close it; 0, or the errno of whatever failed first."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    code = 0
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        code = error.errno or -1
    try:
        os.close(fd)
    except OSError as error:
        code = code or error.errno or -1
    return code


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what pithosfs reads from it."""
    return {key: value for key, value in environ.items() if not key.startswith(("PITHOSFS_", "KAMAKI_"))}
