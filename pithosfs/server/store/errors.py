"""Why the store refuses; the messages are those a real Pithos server sends."""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):
    """Base of all refusals."""


class Unavailable(Refused):
    """The disk does not take what is to be stored; the message says why."""


class NotAllowed(Refused):
    """The user may not do this (or may not know whether it is there)."""


class NotFound(Refused):
    """No such container, object or version."""


class Invalid(Refused):
    """A value the store cannot take."""


class NotEmpty(Refused):
    """The container still has objects."""


class MissingBlocks(Refused):
    """A hashmap names blocks the store has not: ``hashes``, each once, in order."""

    def __init__(self, hashes: Sequence[str]) -> None:
        super().__init__(f"{len(hashes)} blocks are missing")
        self.hashes = list(hashes)


class ContainerFull(Refused):
    """The container's quota would be exceeded."""

    def __init__(self, limit: int, usage: int) -> None:
        super().__init__(f"Quota error: Container quota exceeded: limit: {limit}, usage: {usage}")


class AccountFull(Refused):
    """The account's quota would be exceeded."""

    def __init__(self, available: int, requested: int) -> None:
        super().__init__(
            "Limit for resource 'Storage space' exceeded for your account. "
            f"Available: {available}, Requested: {requested}"
        )
