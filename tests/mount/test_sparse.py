"""Holes: files with nothing in them cost nothing, and are described truthfully."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, MIB, noise, opened, pread_all, pwrite_all, refused
from tests.support.processes import run
from tests.support.syscalls import (
    FALLOC_FL_COLLAPSE_RANGE,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    fallocate,
)

GIB = 1024 * MIB


def test_write_beyond_the_end_leaves_zeros(disk: Disk) -> None:
    with opened(disk.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"start", 0)
        os.pwrite(fd, b"end", 3 * BLOCK + 100)
        assert pread_all(fd, 200, 0) == b"start" + bytes(195)
        assert pread_all(fd, 200, 3 * BLOCK) == bytes(100) + b"end"
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == b"start" + bytes(3 * BLOCK + 95) + b"end"


def test_a_file_of_many_gigabytes_of_nothing(disk: Disk) -> None:
    file = disk.path / "file"
    with opened(file, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 50 * GIB)
        os.pwrite(fd, b"middle", 25 * GIB)
    disk.remount(fresh_cache=True)
    assert file.stat().st_size == 50 * GIB
    with opened(file, os.O_RDONLY) as fd:
        assert pread_all(fd, 10, 25 * GIB - 2) == b"\0\0middle\0\0"
        assert pread_all(fd, 10, 50 * GIB - 10) == bytes(10)


def test_holes_cost_no_transfer(mounted: MountedDisk) -> None:
    with mounted.requests() as requests, opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, GIB)
        os.pwrite(fd, b"middle", GIB // 2)
    assert sum(request.bytes_in for request in requests) < BLOCK + MIB
    mounted.remount(fresh_cache=True)
    with opened(mounted.path / "file", os.O_RDONLY) as fd:
        assert pread_all(fd, 10 * MIB, 0) == bytes(10 * MIB)
    assert received(mounted) < MIB


def received(mounted: MountedDisk) -> int:
    """Bytes of bodies that the mount has received."""
    command = [sys.executable, "-m", "pithosfs", "status", "--json", str(mounted.mount.mountpoint)]
    done = subprocess.run(command, env=mounted.mount.environment, capture_output=True, check=True)
    return int(json.loads(done.stdout)["bytes_down"])


def data_ranges(fd: int) -> list[tuple[int, int]]:
    """What SEEK_DATA and SEEK_HOLE say is there."""
    found, position, size = [], 0, os.fstat(fd).st_size
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            break
        position = os.lseek(fd, start, os.SEEK_HOLE)
        assert position > start
        found.append((start, position))
    return found


@pytest.mark.parametrize("reopened", [False, True], ids=["dirty", "reopened"])
def test_seek_data_and_hole_miss_no_data(disk: Disk, reopened: bool) -> None:
    file = disk.path / "file"
    written = [(0, 5000), (3 * BLOCK + 10, 100), (6 * BLOCK - 5, 10), (9 * BLOCK, BLOCK)]
    fd = os.open(file, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 12 * BLOCK)
    for start, length in written:
        pwrite_all(fd, noise(length, start), start)
    if reopened:
        os.close(fd)
        disk.remount(fresh_cache=True)
        fd = os.open(file, os.O_RDONLY)
    ranges = data_ranges(fd)
    os.close(fd)
    for start, length in written:
        assert any(a <= start and start + length <= b for a, b in ranges), f"no data at {start}: {ranges}"


def test_seek_finds_the_holes_of_whole_blocks(disk: Disk) -> None:
    with opened(disk.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        pwrite_all(fd, noise(BLOCK), 0)
        pwrite_all(fd, noise(BLOCK), 8 * BLOCK)
    disk.remount(fresh_cache=True)
    with opened(disk.path / "file", os.O_RDONLY) as fd:
        assert data_ranges(fd) == [(0, BLOCK), (8 * BLOCK, 9 * BLOCK)]


def test_seek_data_and_hole_around_the_end(path: Path) -> None:
    (path / "file").write_bytes(noise(10_000))
    with opened(path / "file", os.O_RDONLY) as fd:
        assert os.lseek(fd, 0, os.SEEK_DATA) == 0
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 10_000
        assert os.lseek(fd, 9_999, os.SEEK_DATA) == 9_999
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            with refused(errno.ENXIO):
                os.lseek(fd, 10_000, whence)


def test_cp_of_a_file_with_holes(disk: Disk) -> None:
    source = disk.path / "source"
    with opened(source, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 2 * GIB)
        os.pwrite(fd, b"data", GIB)
    run("cp", "--sparse=always", source, disk.path / "copy")
    assert (disk.path / "copy").stat().st_size == 2 * GIB
    with opened(disk.path / "copy", os.O_RDONLY) as fd:
        assert pread_all(fd, 6, GIB - 1) == b"\0data\0"


def test_du_does_not_count_holes(disk: Disk, tmp_path: Path) -> None:
    """So tools that look at it know there are holes to keep."""
    path = disk.path / "image"
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 10 * BLOCK)
        os.pwrite(fd, noise(BLOCK), 4 * BLOCK)
    with opened(disk.path / "nothing", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 1000)
    assert BLOCK <= path.stat().st_blocks * 512 <= BLOCK + 65_536
    disk.remount()
    assert BLOCK <= path.stat().st_blocks * 512 <= BLOCK + 65_536
    assert (disk.path / "nothing").stat().st_blocks == 0
    run("cp", "--sparse=auto", path, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_blocks * 512 <= BLOCK + 65_536
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_posix_fallocate_makes_room(path: Path) -> None:
    """glibc writes by itself where the file system cannot; either way the size and the content are right."""
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"content")
        os.posix_fallocate(fd, 0, 100_000)
        assert os.fstat(fd).st_size == 100_000
        assert os.pread(fd, 20, 0) == b"content" + bytes(13)
        os.posix_fallocate(fd, 0, 10)
        assert os.fstat(fd).st_size == 100_000


def test_fallocate_keeps_the_size_or_is_refused(path: Path) -> None:
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"content")
        try:
            fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MIB)
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP
        assert os.fstat(fd).st_size == 7
        assert os.pread(fd, 20, 0) == b"content"


@pytest.mark.parametrize(
    "mode", [FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE], ids=["punch", "zero"]
)
def test_fallocate_makes_zeros_or_is_refused(disk: Disk, mode: int) -> None:
    model = bytearray(noise(2 * BLOCK))
    file = disk.path / "file"
    file.write_bytes(model)
    with opened(file) as fd:
        try:
            fallocate(fd, mode, BLOCK - 5000, 10_000)
            model[BLOCK - 5000 : BLOCK + 5000] = bytes(10_000)
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP
        assert pread_all(fd, len(model) + 1, 0) == model
    disk.remount(fresh_cache=True)
    assert file.read_bytes() == model


def test_fallocate_collapses_or_is_refused(path: Path) -> None:
    data = noise(3 * 65_536)
    (path / "file").write_bytes(data)
    with opened(path / "file") as fd:
        try:
            fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 65_536, 65_536)
            data = data[:65_536] + data[2 * 65_536 :]
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP
        assert pread_all(fd, len(data) + 1, 0) == data
