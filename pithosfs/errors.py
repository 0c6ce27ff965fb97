"""Every error pithosfs raises, in the store's words.

Layers below ``operations`` raise only these; ``operations`` alone knows which
errno each of them is.  Messages are one line, made for a person, and never
contain a token.
"""

from __future__ import annotations

from collections.abc import Sequence


class PithosError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(PithosError):
    """Settings are missing or contradict each other; the message says what to do."""


# -- what the store answered ---------------------------------------------------


class StoreError(PithosError):
    """The store answered with an error, or did not answer.

    ``status`` is the HTTP status, 0 where there was no answer.
    ``maybe_done`` says that the request, or an earlier sending of the same
    request, may have been carried out: it was sent and its answer lost.
    """

    def __init__(self, message: str, status: int = 0, *, maybe_done: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.maybe_done = maybe_done


class BadRequest(StoreError):
    """400 or another answer that says the request itself is wrong."""


class Unauthorized(StoreError):
    """401: the token is missing, wrong or expired."""


class Forbidden(StoreError):
    """403: not ours, or not there (the store does not tell which)."""


class NotFound(StoreError):
    """404: no such container, object or version."""


class Conflict(StoreError):
    """409 for another reason than missing blocks (a container that is not empty)."""


class MissingBlocks(Conflict):
    """409 to a hashmap: ``hashes`` names the blocks the store lacks, in order."""

    def __init__(self, message: str, hashes: Sequence[str]) -> None:
        super().__init__(message, 409)
        self.hashes = tuple(hashes)


class Stale(StoreError):
    """412: the object is not the version the condition named."""


class VersionGone(StoreError):
    """404 for a version somebody reads: its container keeps none, or it was purged."""


class QuotaExceeded(StoreError):
    """413: the account's or the container's quota is full."""


class BadRange(StoreError):
    """416: the range is not inside the object."""


class NameTooLong(StoreError):
    """The name does not fit into a request, or the store refuses its length."""


class Unavailable(StoreError):
    """The store cannot be reached, or answers 5xx, also after retries."""


class TimedOut(Unavailable):
    """No answer within the time allowed."""


class TooLate(Unavailable):
    """The request failed, and was not repeated: that would have come later than its sender can answer for."""


class ProtocolError(StoreError):
    """An answer that is no Pithos answer (wrong length, wrong range, not JSON), or one we cannot use."""


class CorruptBlock(ProtocolError):
    """Bytes whose hash is not the one asked for, also after fetching them again."""


#: The store has understood and will not: waiting alone changes nothing.
REFUSALS = (BadRequest, Forbidden, QuotaExceeded, NameTooLong)


# -- what a filesystem refuses --------------------------------------------------


class FileSystemError(PithosError):
    """An operation a filesystem must refuse, whatever the store would say."""


class NotADirectory(FileSystemError):
    """A component of the path, or the target itself, is no directory."""


class IsADirectory(FileSystemError):
    """The operation wants a file and got a directory."""


class NotEmpty(FileSystemError):
    """The directory still has entries."""


class Exists(FileSystemError):
    """The name is taken."""


class ReadOnly(FileSystemError):
    """The mount, or this part of it, cannot be written."""


class InvalidArgument(FileSystemError):
    """An argument that can never work (a move below itself, a negative size)."""


class BadHandle(FileSystemError):
    """The handle is closed, or not open for this."""


class NoSpace(FileSystemError):
    """No local space is left for data that is not sent yet."""


class TooLarge(FileSystemError):
    """The file would grow beyond what one object may hold."""


class NotSupported(FileSystemError):
    """The store has no such thing (hard links, devices)."""


class NoAttribute(FileSystemError):
    """No such extended attribute."""


class AttributeTooBig(FileSystemError):
    """An extended attribute does not fit into what the store keeps."""


class NoLink(FileSystemError):
    """The path is no symbolic link."""


class Interrupted(FileSystemError):
    """The caller gave up waiting."""
