"""Open directories: what a program that reads one is shown, piece by piece.

The names are those there are when it begins; they stay, in their order, until
it begins anew, so that each entry that stays is listed once, whatever else
comes or goes.  What is told of an entry beyond its name is of the moment it is
read, and only told where it is known without asking the store.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pithosfs.errors import BadHandle
from pithosfs.filesystem import FileSystem
from pithosfs.nodes import Node


class Listed(NamedTuple):
    """An entry; ``position`` is behind it.  Of what is not ``complete`` kind and inode number are right."""

    name: str
    node: Node
    position: int
    complete: bool


@dataclass(slots=True)
class _Reading:
    path: str
    entries: list[tuple[str, Node]] = field(default_factory=list)


class Directories:
    """The open directories of one mount, a number each; BadHandle for a number that is none."""

    def __init__(self, filesystem: FileSystem) -> None:
        self._fs = filesystem
        self._numbers = itertools.count(1)
        self._open: dict[int, _Reading] = {}

    def open(self, path: str) -> int:
        """A number for the directory at ``path``."""
        number = next(self._numbers)
        self._open[number] = _Reading(path)
        return number

    def path(self, number: int) -> str:
        """Where it is."""
        return self._reading(number).path

    def close(self, number: int) -> None:
        """Nobody reads it any more."""
        self._open.pop(number, None)

    def sync(self, number: int) -> None:
        """Return when the store has what was done to names in it."""
        self._fs.sync_directory(self.path(number))

    def read(self, number: int, position: int) -> Iterator[Listed]:
        """The entries from ``position`` on; 0 begins anew."""
        reading = self._reading(number)
        if position <= 0:
            position, reading.entries = 0, self._entries(reading.path)
        known = self._fs.known(reading.path)
        for at, (name, before) in enumerate(reading.entries[position:], position + 1):
            now = known(name)
            yield Listed(name, before if now is None else now, at, now is not None)

    def _reading(self, number: int) -> _Reading:
        reading = self._open.get(number)
        if reading is None:
            raise BadHandle(f"directory {number} is not open")
        return reading

    def _entries(self, path: str) -> list[tuple[str, Node]]:
        above = self._fs.node(path.rpartition("/")[0] or "/")
        dots = [(".", self._fs.node(path)), ("..", above)]
        return dots + list(self._fs.entries(path).items())
