"""Removed files that are still open, by the names libfuse gave them.

libfuse asks to rename an open file that is removed, to ``.fuse_hidden…``.  No
such object is ever made; the name leads to the file here, and nobody sees it.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from pithosfs.openfile import OpenFile

#: Seconds a file is still found by such a name when libfuse is done with it: by who looked it up just before.
_LINGER = 5.0


class Hidden:
    """Which file such a name leads to; of a path only the last component counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, OpenFile] = {}
        self._forgotten: deque[tuple[float, str]] = deque()  # since when (monotonic), name

    def put(self, path: str, file: OpenFile) -> None:
        """``path`` leads to ``file``."""
        with self._lock:
            self._files[_name(path)] = file

    def find(self, path: str) -> OpenFile | None:
        """The file ``path`` leads to; None for an ordinary path."""
        return self._files.get(_name(path)) if self._files else None

    def forget(self, path: str) -> bool:
        """The last handle of the file is gone; who looked its old name up may still come.

        False for an ordinary path.
        """
        name, now = _name(path), time.monotonic()
        with self._lock:
            while self._forgotten and self._forgotten[0][0] < now - _LINGER:
                self._files.pop(self._forgotten.popleft()[1], None)
            if name not in self._files:
                return False
            self._forgotten.append((now, name))
            return True


def _name(path: str) -> str:
    return path.rpartition("/")[2]
