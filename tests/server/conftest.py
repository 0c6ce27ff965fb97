"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.harness import Api, Server, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "store") as found:
        yield found


@pytest.fixture
def api(server: Server) -> Api:
    api = server.api
    assert api.request("PUT", "/box").status == 201
    return api
