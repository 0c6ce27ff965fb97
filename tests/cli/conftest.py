from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pithosfs import mountpoints, registry
from tests.support.waiting import eventually

TINY = Path(__file__).with_name("tiny.py")


class Place:
    """A mount point, and a user who has mounted nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mountpoint = folder / "mnt"
        self.mountpoint.mkdir()
        self.unsent = folder / "unsent"
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("KAMAKI", "PITHOSFS"))},
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "LC_ALL": "C.UTF-8",
        }
        self._started: list[subprocess.Popen[str]] = []

    def mount(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Mount the tiny file system in the background."""
        command = [sys.executable, str(TINY), str(self.mountpoint), "--unsent", str(self.unsent), *options]
        return self._run(command, check)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Mount it as a process of the test's own."""
        command = [sys.executable, str(TINY), str(self.mountpoint), "--unsent", str(self.unsent), *options]
        process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)
        self._started.append(process)
        return process

    def start_mounted(self, *options: str) -> subprocess.Popen[str]:
        process = self.start("--foreground", *options)
        eventually(self.is_announced)
        return process

    def pithosfs(
        self, *arguments: str | Path, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "pithosfs", *map(str, arguments)], check, cwd)

    def json(self, *arguments: str | Path) -> Any:
        # the exit code may tell of mounts that are none of the test's
        return json.loads(self.pithosfs(*arguments, check=False).stdout)

    def _run(
        self, command: list[str], check: bool, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False, cwd=cwd
        )
        assert "Traceback" not in done.stderr
        if check:
            assert done.returncode == 0, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
        return done

    @property
    def is_mounted(self) -> bool:
        return mountpoints.mount_at(self.mountpoint) is not None

    def is_announced(self) -> bool:
        return self.entry is not None

    @property
    def entry(self) -> dict[str, Any] | None:
        """What the mount's process has announced, read from the file itself."""
        for file in (self.folder / "run" / "pithosfs").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                return dict(json.loads(file.read_text()))
        return None

    @property
    def pid(self) -> int:
        assert self.entry is not None
        return int(self.entry["pid"])

    def kill(self) -> None:
        """The process dies, its mount point stays."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: registry.birth(pid) is None)
        eventually(lambda: mountpoints.is_dead(str(self.mountpoint)))  # its last thread has ended, too

    def is_over(self) -> bool:
        """Neither mount point nor entry nor socket is left."""
        return not self.is_mounted and not list((self.folder / "run").glob("pithosfs/*"))

    def destroy(self) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.communicate()
        if self.is_mounted:
            subprocess.run(["fusermount3", "-u", "-z", str(self.mountpoint)], check=False, timeout=20)

    def _processes(self) -> Iterator[int]:
        """All that run in this user's environment, however they were started."""
        mark = f"XDG_RUNTIME_DIR={self.environment['XDG_RUNTIME_DIR']}\0".encode()
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in file.read_bytes():
                    yield int(file.parent.name)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if not Path("/dev/fuse").exists():
        pytest.skip("no /dev/fuse on this machine")
    place = Place(tmp_path)
    yield place
    place.destroy()


class Server:
    """``pithosfs serve``, on a free port unless told otherwise."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self.config = directory / "kamakirc"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pithosfs", "serve", str(directory), "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        assert self.config.exists(), self.said

    @property
    def token(self) -> str:
        return re.search(r"^token *= *(\S+)", self.config.read_text(), re.MULTILINE)[1]  # type: ignore[index]

    @property
    def url(self) -> str:
        return re.search(r"http://[\w.:]+", self.said)[0]  # type: ignore[index]

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "store")
    yield server
    server.stop()
    server.process.communicate()
