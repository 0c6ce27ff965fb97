"""What the parts of the store hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pithosfs import blocks
from pithosfs.server.store.errors import Invalid
from pithosfs.server.store.sharing import Permissions, Shared
from pithosfs.server.store.versions import Container, Version

MAX_NAME = 1024
"""Characters of an object's name."""

Guard = Callable[[Version | None], None]
"""Called with the live version before it is replaced; raises what shall stop that."""


class Target(NamedTuple):
    """The name of an object."""

    account: str
    container: str
    name: str


@dataclass(frozen=True, slots=True)
class Content:
    """What is to become of an object: size, hashes, MD5 if known."""

    size: int
    hashes: Sequence[str]
    md5: str = ""

    @property
    def merkle(self) -> str:
        """The one hash over all blocks."""
        return blocks.merkle(self.hashes)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is set together with an object; None leaves it as it is."""

    type: str | None = None
    meta: Mapping[str, str] | None = None
    permissions: Permissions | None = None
    public: bool | None = None


@dataclass(frozen=True, slots=True)
class ObjectState:
    """A version and what holds for its name: sharing, public token, what the user may do."""

    version: Version
    place: Container
    shared: Shared | None
    public: str | None
    allowed: str | None
    #: when the object was changed last, be it by its deletion
    modified: int


class Moved(NamedTuple):
    """What a copy or move did: new serials, growth of the target, bytes taken away at the source."""

    serials: list[int]
    growth: int
    removed: int
    marked: bool


def no_guard(_: Version | None) -> None:
    """Let everything pass."""


def check_name(name: str) -> None:
    """Raises Invalid if no object can be called so."""
    if len(name) > MAX_NAME:
        raise Invalid("Object name too large.")
