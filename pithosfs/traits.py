"""What is kept of a file in use besides its bytes: times, mode, metadata, and which of it is not sent yet.

No I/O.  Not thread-safe: the file's lock is held around every call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from pithosfs.attributes import Attributes


class Traits:
    """``meta`` is the user metadata, None while it is not known; ``new``: the server has no such file yet."""

    def __init__(self, attributes: Attributes, meta: dict[str, str] | None, *, new: bool) -> None:
        self.attributes = attributes
        self.meta = meta
        self.changed = new  # something is not on the server, nor on its way
        self.changed_ns = time.time_ns() if new else 0  # when anything of the file was changed here; 0: never
        self._meta_changed = False

    def set_attributes(self, mtime_ns: int | None = None, mode: int | None = None) -> None:
        """Change times or mode."""
        kept = self.attributes.with_changes(mtime_ns, mode)
        self.changed_ns = time.time_ns()
        self.changed |= kept != self.attributes
        self.attributes = kept

    def set_meta(self, meta: Mapping[str, str]) -> None:
        """Replace the user metadata."""
        self.meta = dict(meta)
        self.changed_ns = time.time_ns()
        self.changed = self._meta_changed = True

    def modified(self) -> None:
        """The content changed just now."""
        self.changed_ns = time.time_ns()
        self.attributes = self.attributes.with_changes(mtime_ns=self.changed_ns)
        self.changed = True

    def all_changed(self) -> None:
        """Which of it the server has is not known: all of it has to be sent."""
        self.changed = self._meta_changed = True

    # -- on its way -------------------------------------------------------------------------------

    def take(self) -> bool:
        """A commit sends all of it; returns what :meth:`give_back` wants if it fails."""
        meta_changed = self._meta_changed
        self.changed = self._meta_changed = False
        return meta_changed

    def give_back(self, meta_changed: bool) -> None:
        """The commit failed."""
        self.changed = True
        self._meta_changed |= meta_changed

    def sent(self, kept: Attributes) -> None:
        """Times and mode, as ``kept`` has them, went to the server by another way than a commit."""
        self.changed &= self._meta_changed or self.attributes != kept

    def recognised(self, there: Attributes) -> None:
        """A commit had worked without our hearing of it, and the server says ``there``."""
        self.changed = self._meta_changed or self.attributes.content_type != there.content_type

    def adopt(self, attributes: Attributes, meta: dict[str, str] | None) -> None:
        """What the server has is what counts."""
        self.attributes, self.meta = attributes, meta

    def drop(self, attributes: Attributes, meta: dict[str, str] | None) -> None:
        """Give up what is not sent, for what the server has."""
        self.adopt(attributes, meta)
        self.changed = self._meta_changed = False
