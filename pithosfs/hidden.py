"""Removed files that are still open, by the names libfuse gave them.

libfuse asks to rename an open file that is removed, to ``.fuse_hidden…``.  No
such object is ever made; the name leads to the file here, and nobody sees it.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from pithosfs.openfile import OpenFile

#: Seconds a file is still found by such a name when nobody has it open: by who looked it up just before.
_LINGER = 5.0


class Hidden:
    """Which file such a name leads to; of a path only the last component counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, OpenFile] = {}
        self._lingering: deque[tuple[float, str]] = deque()  # since when (monotonic), name

    def put(self, path: str, file: OpenFile) -> None:
        """``path`` leads to ``file``."""
        with self._lock:
            self._sweep()
            self._files[_name(path)] = file

    def find(self, path: str) -> OpenFile | None:
        """The file ``path`` leads to; None for an ordinary path."""
        return self._files.get(_name(path)) if self._files else None

    def forget(self, path: str) -> bool:
        """libfuse is done with the file; who looked its old name up may still come.

        False for an ordinary path.
        """
        name = _name(path)
        with self._lock:
            self._sweep()
            if name not in self._files:
                return False
            self._lingering.append((time.monotonic(), name))
            return True

    def left(self, file: OpenFile) -> None:
        """The last handle of a file is gone, maybe of a hidden one.

        Of one whose directory was removed, too, libfuse does not say that it is done with it: it finds no
        path for it any more.
        """
        if not self._files:
            return
        with self._lock:
            self._sweep()
            now = time.monotonic()
            self._lingering.extend((now, name) for name, each in self._files.items() if each is file)

    def _sweep(self) -> None:
        """Drop those whose time is over; one that was opened again lingers again when that is closed."""
        before = time.monotonic() - _LINGER
        while self._lingering and self._lingering[0][0] < before:
            name = self._lingering.popleft()[1]
            file = self._files.get(name)
            if file is not None and not file.users.handles:
                del self._files[name]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
