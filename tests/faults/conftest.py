"""A server for all tests of a worker, and a :class:`Scene` with a container of its own for each."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import NO_FUSE
from tests.faults.scene import Scene
from tests.support.server import Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    if NO_FUSE:
        pytest.skip(NO_FUSE)
    with tempfile.TemporaryDirectory(prefix="pithosfs-") as folder:
        server = Server(Path(folder).resolve() / "server")
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def scene(shared_server: Server, tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path, shared_server, f"faults{next(_numbers)}")
    try:
        yield found
    finally:
        found.close()
