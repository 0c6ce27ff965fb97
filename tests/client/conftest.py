"""Servers that follow a script, and transports to them, closed after each test; embedded ones for modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pithosfs.transport import Transport
from tests.client.scripted import Scripted, Step
from tests.support.server import serving


class Tokens:
    """A token source that counts how often it is read."""

    def __init__(self, *candidates: str) -> None:
        self.candidates = list(candidates)
        self.reads = 0

    def read(self) -> list[str]:
        self.reads += 1
        return list(self.candidates)


@pytest.fixture
def serve() -> Iterator[Callable[..., Scripted]]:
    """Start a server that answers with these steps, one after the other."""
    servers: list[Scripted] = []

    def start(*steps: Step, kind: type[Scripted] = Scripted, **options: Any) -> Scripted:
        servers.append(kind(*steps, **options))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Transport]]:
    """Make a transport with a token; options as of Transport."""
    transports: list[Transport] = []

    def make(source: Tokens | None = None, *, anonymous: bool = False, **options: Any) -> Transport:
        chosen = None if anonymous else source or Tokens("secret-token")
        transports.append(Transport(chosen, **{"timeout": 5.0, **options}))
        return transports[-1]

    yield make
    for each in transports:
        each.close()


@pytest.fixture(scope="module")
def rc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """kamaki's file for an embedded server, one for all tests of a module."""
    with serving(tmp_path_factory.mktemp("store")) as path:
        yield path
