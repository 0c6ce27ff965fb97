"""Writing large blocks to local disk without a copy in the page cache.

What is kept on disk is in memory already (the block cache, the kernel's cache
of the mount), and a second copy in the page cache costs several times the CPU
of hashing it.  So whole pages of page-aligned memory go to the disk directly,
where the file system can do that; all else goes the ordinary way.
"""

from __future__ import annotations

import fcntl
import os

from pithosfs.fileio import pwrite_all

_PAGE = 4096
#: Below that, the page cache is cheaper than waiting for the disk.
_WORTH_IT = 1024 * 1024
_DIRECT: int = getattr(os, "O_DIRECT", 0)


def write_at(handle: int, view: memoryview, offset: int) -> None:
    """Write all of ``view`` at ``offset`` of a file open for writing.  Raises OSError."""
    whole = len(view) - len(view) % _PAGE
    if _DIRECT and whole >= _WORTH_IT and not offset % _PAGE:
        done = _write_directly(handle, view[:whole], offset)
        view, offset = view[done:], offset + done
    pwrite_all(handle, view, offset)


def _write_directly(handle: int, view: memoryview, offset: int) -> int:
    """Write what can be written directly; returns how many bytes that were."""
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    done = 0
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags | _DIRECT)
        while done < len(view):
            done += os.pwrite(handle, view[done:], offset + done)
    except OSError:
        pass  # not on this file system, or from this memory; anything else the ordinary way will tell
    finally:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags)
    return done
