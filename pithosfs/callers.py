"""What the kernel tells of the processes that use a mount."""

from __future__ import annotations

from pathlib import Path

#: Processes with more descriptors than this are not looked through.
_MANY = 256


def has_open(pid: int, ino: int) -> bool:
    """Whether process ``pid`` has a file of inode number ``ino`` open; False if that cannot be told.

    The descriptor that a close is under way for does not count any more.
    Nothing is asked of any file system, so this is safe inside an operation.
    """
    wanted = f"ino:\t{ino}"
    try:
        found = list(Path(f"/proc/{pid}/fdinfo").iterdir())
        return len(found) <= _MANY and any(wanted in each.read_text().split("\n") for each in found)
    except OSError:  # gone meanwhile, or not ours to look at
        return False
