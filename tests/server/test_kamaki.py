"""The real kamaki 0.16 (Python 2.7) against the embedded server.

Without a Python 2.7 the tests are skipped; the summary says so, and why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pithosfs import blocks
from tests.server.harness import Process, process
from tests.support import kamaki as real

TEN_MIB = 10 * 1024 * 1024


@dataclass
class Kamaki(real.Kamaki):
    """The command line, and the server it talks to."""

    server: Process

    def blocks_sent(self) -> int:
        """How many requests brought blocks to the server so far."""
        lines = (self.server.directory / "access.log").read_text().splitlines()
        return sum(1 for each in map(json.loads, lines) if each["method"] == "POST" and each["in"] > 1024)


@pytest.fixture
def kamaki(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Kamaki]:
    program = real.kamaki_program()
    record_property("summary", f"ran with the real {real.PACKAGE}")
    directory, home = tmp_path / "store", tmp_path / "home"
    home.mkdir()
    directory.mkdir()
    with process(directory, "--access-log", str(directory / "access.log")) as server:
        yield Kamaki(program, directory / "kamakirc", home, server)


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
