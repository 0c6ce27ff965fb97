"""Who uses a file: its handles, and operations under way.  No I/O.

Not thread-safe, but for :meth:`Users.looked`: the lock of all files in use is
held around every call that changes something.
"""

from __future__ import annotations

import time

#: Seconds after which a reader is taken to have stopped, and that a replaced version is shown at most.
_READING, _LONGEST_STAY = 3.0, 60.0


class Users:
    """The users of one file; true while there are any."""

    def __init__(self) -> None:
        self.handles = 0
        self._operations = 0  # that will need the file when they go on
        self._looked_at = time.monotonic()  # when it was last opened or read
        self._replaced_at: float | None = None  # when others' version was first seen

    def __bool__(self) -> bool:
        return bool(self.handles or self._operations)

    def begin(self) -> None:
        """An operation needs the file until :meth:`end`."""
        self._operations += 1

    def end(self) -> None:
        """It does no longer."""
        self._operations -= 1

    def opened(self) -> None:
        """An operation has made a handle, which needs it from now on."""
        self._operations -= 1
        self.handles += 1
        self.looked()

    def closed(self) -> bool:
        """One handle less; whether that was the last."""
        self.handles -= 1
        return not self.handles

    def looked(self) -> None:
        """Somebody opened the file, or reads it."""
        self._looked_at = time.monotonic()

    def stay(self) -> bool:
        """Whether the version they have is still the one to show, though others have replaced it.

        It is while somebody reads it: the kernel has one size for a name, and
        would end this version where the next one ends, or go on with zeros.
        """
        now = time.monotonic()
        if self._replaced_at is None:
            self._replaced_at = now
        return bool(self) and now - self._looked_at < _READING and now - self._replaced_at < _LONGEST_STAY
