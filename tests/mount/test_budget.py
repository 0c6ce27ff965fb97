"""Memory and cache stay within what the user allowed, however large the files are."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.disks import MountedDisk
from tests.support.files import BLOCK, MIB, noise, opened, pread_all, pwrite_all

SMALL = ("--memory", "48M", "--cache-size", "64M")
#: What Python, its libraries and requests under way take on top of the budget.
CONSTANT = 120 * MIB
BLOCKS = 64
TAIL = noise(BLOCK - 65_536)


def block(number: int) -> bytes:
    """Blocks that all differ, cheaper than fresh noise for each."""
    return number.to_bytes(8, "big") + noise(65_528, number) + TAIL


def write_large(file: Path) -> None:
    with opened(file, os.O_WRONLY | os.O_CREAT) as fd:
        for number in range(BLOCKS):
            pwrite_all(fd, block(number), number * BLOCK)


def test_file_larger_than_memory_and_cache(mounted: MountedDisk) -> None:
    mount = mounted.second_mount(*SMALL)
    file = mount.mountpoint / mounted.name / "large"
    write_large(file)
    assert mount.peak_memory() < 48 * MIB + CONSTANT
    with opened(file, os.O_RDONLY) as fd:
        for number in range(BLOCKS):
            assert pread_all(fd, BLOCK, number * BLOCK) == block(number)
    assert mount.peak_memory() < 48 * MIB + CONSTANT
    assert mount.cached() < 64 * MIB + 4 * BLOCK


def test_many_dirty_files_at_once(mounted: MountedDisk) -> None:
    """Forty files of three blocks, all open, none sent: 480 MiB of which memory holds little."""
    mount = mounted.second_mount(*SMALL)
    folder = mount.mountpoint / mounted.name
    handles = [os.open(folder / f"file{n}", os.O_RDWR | os.O_CREAT) for n in range(40)]
    for number, handle in enumerate(handles):
        for part in range(3):
            pwrite_all(handle, block(number * 3 + part), part * BLOCK)
    for number, handle in enumerate(handles):
        assert pread_all(handle, 100, 2 * BLOCK) == block(number * 3 + 2)[:100]
        os.close(handle)
    assert mount.peak_memory() < 48 * MIB + CONSTANT
    assert mounted.store.head(f"{mounted.name}/file39")["Content-Length"] == str(3 * BLOCK)
