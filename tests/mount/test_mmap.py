"""Memory maps: read, private, shared and written; with and without an open descriptor."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from tests.support.disks import Disk
from tests.support.files import BLOCK, noise, opened, pwrite_all


def test_map_for_reading(disk: Disk) -> None:
    data = noise(BLOCK + 5000)
    (disk.path / "file").write_bytes(data)
    disk.remount(fresh_cache=True)
    with opened(disk.path / "file", os.O_RDONLY) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        assert view[BLOCK - 10 : BLOCK + 10] == data[BLOCK - 10 : BLOCK + 10]
        assert view[:] == data


def test_shared_write_reaches_the_file(disk: Disk) -> None:
    model = bytearray(noise(2 * BLOCK))
    (disk.path / "file").write_bytes(model)
    with opened(disk.path / "file") as fd, mmap.mmap(fd, 0) as view:
        view[BLOCK - 3 : BLOCK + 3] = b"mapped"
        view.flush()
        assert os.pread(fd, 6, BLOCK - 3) == b"mapped"
    model[BLOCK - 3 : BLOCK + 3] = b"mapped"
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == model


def test_shared_write_of_a_file_open_for_appending_stays_in_its_place(disk: Disk) -> None:
    model = bytearray(noise(10_000))
    (disk.path / "file").write_bytes(model)
    with opened(disk.path / "file", os.O_RDWR | os.O_APPEND) as fd, mmap.mmap(fd, 0) as view:
        view[100:106] = b"mapped"
        view.flush()
        os.write(fd, b"appended")
        view[200:206] = b"mapped"
    model[100:106] = model[200:206] = b"mapped"
    model += b"appended"
    assert (disk.path / "file").read_bytes() == model
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == model


def test_shared_write_is_seen_by_reads_at_once(path: Path) -> None:
    (path / "file").write_bytes(bytes(20_000))
    with opened(path / "file") as fd, mmap.mmap(fd, 0) as view, opened(path / "file", os.O_RDONLY) as other:
        view[100:105] = b"hello"
        assert os.pread(other, 5, 100) == b"hello"
        os.pwrite(fd, b"world", 100)
        assert view[100:105] == b"world"


def test_map_outlives_its_descriptor(disk: Disk) -> None:
    """What is written to a map after close() must not be lost."""
    fd = os.open(disk.path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 20_000)
    view = mmap.mmap(fd, 20_000)
    os.close(fd)
    view[100:105] = b"later"
    view.close()
    expected = bytes(100) + b"later" + bytes(19_895)
    assert (disk.path / "file").read_bytes() == expected
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == expected


def test_private_map_changes_nothing(disk: Disk) -> None:
    (disk.path / "file").write_bytes(b"original" * 1000)
    with opened(disk.path / "file") as fd, mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE) as view:
        view[:8] = b"CHANGED!"
        assert view[:16] == b"CHANGED!original"
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == b"original" * 1000


def test_bytes_after_the_end_of_a_map_are_not_written(disk: Disk) -> None:
    """The last page reaches beyond the end of the file; the file must not grow."""
    with opened(disk.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"x" * 100)
        with mmap.mmap(fd, 100) as view:
            view[:] = b"y" * 100
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == b"y" * 100


def test_map_sees_a_file_grow(path: Path) -> None:
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"a" * 4096)
        os.ftruncate(fd, 8192)
        with mmap.mmap(fd, 8192) as view:
            pwrite_all(fd, b"b" * 4096, 4096)
            assert view[4090:4102] == b"a" * 6 + b"b" * 6


def test_map_of_an_unlinked_file(path: Path) -> None:
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, BLOCK)
        with mmap.mmap(fd, 0) as view:
            (path / "file").unlink()
            view[1000:1004] = b"gone"
            view.flush()
            assert os.pread(fd, 4, 1000) == b"gone"
    assert list(path.iterdir()) == []
