"""Embedded servers, and what is built upon them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core import embedded
from tests.core.stack import Stack
from tests.support.server import serving

SMALL = 1024
FULL = 4 * 1024 * 1024


@pytest.fixture(scope="session")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with blocks of 1 KiB; gives its kamakirc."""
    with serving(tmp_path_factory.mktemp("small"), program=embedded.program(SMALL)) as config:
        yield config


@pytest.fixture(scope="session")
def md5_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with blocks of 1 KiB whose ETags are MD5s; gives its kamakirc."""
    with serving(tmp_path_factory.mktemp("md5"), "--md5-etags", program=embedded.program(SMALL)) as config:
        yield config


@pytest.fixture(scope="session")
def full_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with blocks of 4 MiB; gives its kamakirc."""
    with serving(tmp_path_factory.mktemp("full"), program=embedded.program(FULL)) as config:
        yield config


Build = Callable[..., Stack]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is hidden is deleted before :meth:`Stack.end_moments`.

    A busy machine takes longer than a moment between the two calls libfuse makes for one rename.
    """
    monkeypatch.setattr("pithosfs.removals._MOMENT", 600.0)


@pytest.fixture
def build(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Build]:
    """Make a stack; ``full`` for blocks of 4 MiB, ``md5`` for MD5s as ETags, other options as of Stack."""
    stacks: list[Stack] = []
    # Of many removals one after the other only the first is waited for, however long this machine pauses.
    monkeypatch.setattr("pithosfs.removals._SOON", 600.0)

    def make(
        *, full: bool = False, md5: bool = False, directory: Path | None = None, **options: Any
    ) -> Stack:
        server = "full_server" if full else "md5_server" if md5 else "small_server"
        config = request.getfixturevalue(server)
        where = directory or tmp_path_factory.mktemp("machine")
        stacks.append(Stack(config, where, block_size=FULL if full else SMALL, **options))
        return stacks[-1]

    yield make
    for each in reversed(stacks):
        each.close()


@pytest.fixture
def stack(build: Build) -> Stack:
    """A stack with blocks of 1 KiB."""
    return build()
