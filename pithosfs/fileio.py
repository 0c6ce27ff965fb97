"""All of a buffer from or to one place of an open file: a single call may do less."""

from __future__ import annotations

import os


def pread_into(handle: int, view: memoryview, offset: int) -> int:
    """Fill ``view`` with what is at ``offset``; returns how many bytes there were.  Raises OSError."""
    done = 0
    while done < len(view):
        count = os.preadv(handle, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return done


def pwrite_all(handle: int, view: memoryview, offset: int) -> None:
    """Write all of ``view`` at ``offset``.  Raises OSError."""
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count
