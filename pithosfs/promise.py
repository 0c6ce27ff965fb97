"""One file's entry in the journal: what was promised to survive a crash.

Not thread-safe: the file's lock is held around every call.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from pithosfs.attempts import Attempts
from pithosfs.blocks import Hashmap
from pithosfs.scratch import Scratch
from pithosfs.staging import Staging


class Promise:
    """The entry of one file, from :meth:`make` on; ``key`` and ``entry`` are of one found after a crash."""

    def __init__(self, staging: Staging, key: str = "", entry: dict[str, Any] | None = None) -> None:
        self.made = entry is not None
        self._staging = staging
        self._made_key = key
        self._entry: dict[str, Any] = {} if entry is None else entry
        self._whole: Scratch | None = None  # what the entry tells of, while the file is written anew
        self.attempts = Attempts((merkle, size) for merkle, size in self._entry.get("attempts", ()))
        self._told = set(self.attempts)  # those the journal has already ...
        self._entered: set[tuple[str, int]] = set()  # ... and those of them the entry has itself
        self._replaces: list[str] = self._entry.get("replaces", [])  # keys of entries this one is in place of
        self._changed_since: float | None = None  # when (monotonic) the file was first changed after make()
        self.count = 0  # how often anything was promised

    @property
    def _key(self) -> str:
        """The entry's name; few files ever need one."""
        if not self._made_key:
            self._made_key = uuid.uuid4().hex
        return self._made_key

    def make(self, entry: dict[str, Any], coming: Hashmap | None = None) -> None:
        """Make ``entry`` durable in place of the one before, its bytes are already.  NoSpace if it cannot.

        ``coming``, if known, is what will be sent next: then nothing has to be written when it is.
        """
        attempts = list(self.attempts)
        if coming is not None and (coming.merkle, coming.size) not in attempts:
            attempts.append((coming.merkle, coming.size))
        entry = entry | {"attempts": attempts, "replaces": self._replaces}
        if not self.made or entry != self._entry:  # a shell closes one file several times
            self._staging.record(self._key, entry)
        self._entry, self.made = entry, True
        self._told = self._entered = set(attempts)
        self._changed_since = None
        self.count += 1
        self._drop_whole()

    def replace(self, other: Promise) -> None:
        """From the next :meth:`make` on ``other`` is void, even if its entry is still there after a crash."""
        self._replaces = [*self._replaces, *other.keys]

    @property
    def keys(self) -> tuple[str, ...]:
        """Of its entry, if there is one, and of those that are void by it."""
        return (self._key, *self._replaces) if self.made else ()

    def outdate(self) -> None:
        """The file has changed, which is not promised to be kept."""
        if self.made and self._changed_since is None:
            self._changed_since = time.monotonic()

    @property
    def outdated(self) -> float:
        """For how many seconds the file has been another one than was promised."""
        return 0.0 if self._changed_since is None else time.monotonic() - self._changed_since

    def forget(self) -> None:
        """The file need not be kept any more; the entry goes before the bytes it tells of."""
        if self.made:
            self._staging.forget(self._key)
            self._drop_whole()
            self.made, self._changed_since, self._replaces = False, None, []

    def begin_anew(self, scratch: Scratch) -> Scratch:
        """An empty scratch for a file of which no byte is needed any more.

        It is ``scratch`` itself, unless that is what was promised: it stays whole until more is promised.
        """
        if self.made and self._whole is None:
            self._whole = scratch
            return self._staging.scratch()
        scratch.truncate(0)
        return scratch

    def _drop_whole(self) -> None:
        if self._whole is not None:
            self._whole.discard()
            self._whole = None

    def attempted(self, content: Hashmap) -> None:
        """Note what is about to be sent, for the next mount too: it must not take it for a foreign change."""
        attempt = self.attempts.begin(content)
        if self.made and attempt not in self._told:
            self._told = self._entered | set(self.attempts)
            self._staging.tried(self._key, list(self.attempts))
