"""The real kamaki 0.16 (Python 2.7) against the embedded server.

The environment for it is made once, in the user's cache directory.  Without a
Python 2.7 the tests are skipped; the summary says so, and why.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest

from pithosfs import blocks
from tests.server.harness import Process, process

PACKAGE = "kamaki==0.16"
TEN_MIB = 10 * 1024 * 1024


def find_python27() -> str | None:
    """A Python 2.7: $PITHOSFS_PYTHON27, python2.7 on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    wanted = [os.environ.get("PITHOSFS_PYTHON27"), shutil.which("python2.7")]
    for candidate in [*wanted, *map(str, sorted(pyenv.glob("2.7*/bin/python")))]:
        if candidate and _is_python27(candidate):
            return candidate
    return None


def _is_python27(candidate: str) -> bool:
    try:
        done = subprocess.run([candidate, "-V"], capture_output=True, text=True, timeout=20)
    except OSError:
        return False
    return "Python 2.7" in done.stdout + done.stderr


def install_kamaki(python: str) -> Path:
    """kamaki's program, in an environment that is made at the first use."""
    cache = platformdirs.user_cache_path("pithosfs-tests")
    cache.mkdir(parents=True, exist_ok=True)
    home = cache / "kamaki-0.16"
    program = home / "env" / "bin" / "kamaki"
    with (cache / "kamaki.lock").open("w") as lock:  # parallel test workers make it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(home / "tools")],
            [str(home / "tools/bin/pip"), "-q", "install", "virtualenv<20.22"],
            [str(home / "tools/bin/virtualenv"), "-q", "-p", python, str(home / "env")],
            [str(home / "env/bin/pip"), "-q", "install", PACKAGE],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=250)
            if done.returncode != 0:
                pytest.skip(f"kamaki cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        return program


@pytest.fixture(scope="module")
def kamaki_program() -> Path:
    python = find_python27()
    if python is None:
        pytest.skip("no Python 2.7 was found (kamaki 0.16 needs one): nothing was tested with kamaki")
    return install_kamaki(python)


@dataclass
class Kamaki:
    program: Path
    server: Process
    home: Path

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """Run a command and return what it prints."""
        command = [str(self.program), "-c", str(self.server.directory / "kamakirc"), *arguments]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=self.home, timeout=120)
        assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def blocks_sent(self) -> int:
        """How many requests brought blocks to the server so far."""
        lines = (self.server.directory / "access.log").read_text().splitlines()
        return sum(1 for each in map(json.loads, lines) if each["method"] == "POST" and each["in"] > 1024)


@pytest.fixture
def kamaki(
    kamaki_program: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> Iterator[Kamaki]:
    record_property("summary", f"ran with the real {PACKAGE}")
    directory, home = tmp_path / "store", tmp_path / "home"
    home.mkdir()
    directory.mkdir()
    with process(directory, "--access-log", str(directory / "access.log")) as server:
        yield Kamaki(kamaki_program, server, home)


def test_containers(kamaki: Kamaki) -> None:
    kamaki("container", "create", "boxes")
    assert {line.split()[0] for line in kamaki("container", "list").splitlines()} == {
        "boxes",
        "pithos",
        "trash",
    }
    assert "x-container-versioning: auto" in kamaki("container", "info", "boxes").replace("-policy", "")
    kamaki("container", "delete", "boxes", "--yes")
    assert "boxes" not in kamaki("container", "list")
    kamaki("container", "info", "boxes", fails=True)


def test_files(kamaki: Kamaki) -> None:
    big, small = os.urandom(TEN_MIB), b"hello\n"
    (kamaki.home / "big").write_bytes(big)
    (kamaki.home / "small").write_bytes(small)

    kamaki("file", "upload", "small", "/pithos/small")
    before = kamaki.blocks_sent()
    kamaki("file", "upload", "big", "/pithos/big")
    assert kamaki.blocks_sent() == before + 3
    kamaki("file", "upload", "big", "/pithos/again")
    assert kamaki.blocks_sent() == before + 3, "a known file is uploaded without its blocks"

    for name in ("big", "again"):
        kamaki("file", "download", f"/pithos/{name}", f"{name}.back")
        assert (kamaki.home / f"{name}.back").read_bytes() == big
    assert kamaki("file", "cat", "/pithos/small").encode() == small
    api = kamaki.server.api
    assert api.get("/pithos/big") == big
    assert api.request("HEAD", "/pithos/big").headers["X-Object-Hash"] == blocks.hashmap_of(big).merkle


def test_copy_move_delete(kamaki: Kamaki) -> None:
    (kamaki.home / "f").write_bytes(b"content")
    kamaki("file", "upload", "f", "/pithos/f")
    kamaki("file", "copy", "/pithos/f", "/pithos/copied")
    kamaki("file", "move", "/pithos/copied", "/pithos/moved")
    kamaki("file", "mkdir", "/pithos/dir")
    kamaki("file", "copy", "/pithos/f", "/trash/other")
    assert kamaki.server.api.names("/pithos") == ["dir", "f", "moved"]
    assert [line.split()[-1] for line in kamaki("file", "list", "/pithos").splitlines()] == [
        "dir/",
        "f",
        "moved",
    ]
    kamaki("file", "delete", "/pithos/moved", "--yes")
    kamaki("file", "delete", "/pithos/dir", "-r", "--yes")
    assert kamaki.server.api.names("/pithos") == ["f"]
    assert kamaki.server.api.get("/trash/other") == b"content"
    kamaki("file", "delete", "/pithos/f", "--yes")
    kamaki("file", "info", "/pithos/f", fails=True)


def test_publish(kamaki: Kamaki) -> None:
    (kamaki.home / "f").write_bytes(b"for everybody")
    kamaki("file", "upload", "f", "/pithos/f")
    url = kamaki("file", "publish", "/pithos/f").split()[-1]
    pool = kamaki.server.api.pool
    assert pool.request("GET", url).data == b"for everybody"
    kamaki("file", "unpublish", "/pithos/f")
    assert pool.request("GET", url).status == 404


def test_versions(kamaki: Kamaki) -> None:
    for text in (b"first", b"second"):
        (kamaki.home / "f").write_bytes(text)
        kamaki("file", "upload", "f", "/pithos/f", "-f")
    api = kamaki.server.api
    versions = [str(serial) for serial, _ in api.request("GET", "/pithos/f?version=list").json()["versions"]]
    listed = kamaki("file", "info", "/pithos/f", "--object-versions")
    assert len(versions) >= 2
    assert all(version in listed for version in versions)
    kamaki("file", "download", "/pithos/f", "old", "--object-version", versions[0])
    assert (kamaki.home / "old").read_bytes() == b"first"
