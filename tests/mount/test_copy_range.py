"""copy_file_range and what cp makes of it: right everywhere, and inside a mount without moving data."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, MIB, noise, opened, pread_all, pwrite_all, refused, sha256
from tests.support.processes import run

NEW = os.O_RDWR | os.O_CREAT


def copy_all(source: int, target: int, length: int, start: int, to: int) -> int:
    """copy_file_range until nothing more comes; returns how much came."""
    done = 0
    while done < length:
        step = os.copy_file_range(source, target, length - done, start + done, to + done)
        if not step:
            break
        done += step
    return done


RANGES = [
    (0, 0, 3 * BLOCK + 1000),
    (0, BLOCK, 2 * BLOCK),
    (BLOCK, 0, BLOCK),
    (BLOCK, 3 * BLOCK, 2 * BLOCK + 1000),
    (1, 0, BLOCK),
    (100, BLOCK + 100, 2 * BLOCK),
    (BLOCK - 1, 2 * BLOCK + 7, BLOCK + 2),
    (5, 5, 10),
    (2 * BLOCK, 0, 100 * BLOCK),
    (0, 6 * BLOCK, 10),
]


@pytest.mark.parametrize("start, to, length", RANGES)
def test_any_range_between_two_files(disk: Disk, start: int, to: int, length: int) -> None:
    source, model = noise(3 * BLOCK + 1000, 1), bytearray(noise(4 * BLOCK + 5, 2))
    (disk.path / "source").write_bytes(source)
    (disk.path / "target").write_bytes(model)
    piece = source[start : start + length]
    with opened(disk.path / "source", os.O_RDONLY) as fd, opened(disk.path / "target") as out:
        assert copy_all(fd, out, length, start, to) == len(piece)
    model.extend(bytes(max(0, to - len(model))))
    model[to : to + len(piece)] = piece
    disk.remount(fresh_cache=True)
    assert (disk.path / "target").read_bytes() == model
    assert (disk.path / "source").read_bytes() == source


def test_from_a_file_that_is_not_sent_yet(disk: Disk) -> None:
    data = noise(2 * BLOCK + 10)
    with opened(disk.path / "source", NEW) as source, opened(disk.path / "target", NEW) as target:
        pwrite_all(source, data, 0)
        assert copy_all(source, target, len(data), 0, 0) == len(data)
        pwrite_all(source, b"changed later", 0)
        assert pread_all(target, len(data), 0) == data
    disk.remount(fresh_cache=True)
    assert (disk.path / "target").read_bytes() == data
    assert (disk.path / "source").read_bytes() == b"changed later" + data[13:]


def test_within_one_file(disk: Disk) -> None:
    model = bytearray(noise(3 * BLOCK))
    (disk.path / "file").write_bytes(model)
    with opened(disk.path / "file") as fd:
        assert copy_all(fd, fd, BLOCK, 0, 2 * BLOCK) == BLOCK
        assert copy_all(fd, fd, 1000, 5000, 5 * BLOCK) == 1000
    model[2 * BLOCK :] = model[:BLOCK]
    model += bytes(2 * BLOCK) + model[5000:6000]
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == model


def test_overlapping_ranges_of_one_file_are_refused(path: Path) -> None:
    (path / "file").write_bytes(noise(10_000))
    with opened(path / "file") as fd, refused(errno.EINVAL):
        os.copy_file_range(fd, fd, 1000, 0, 500)
    assert (path / "file").read_bytes() == noise(10_000)


def test_beyond_the_end_copies_nothing(path: Path) -> None:
    (path / "source").write_bytes(b"short")
    with opened(path / "source", os.O_RDONLY) as source, opened(path / "target", NEW) as target:
        assert os.copy_file_range(source, target, 100, 5, 0) == 0
        assert os.copy_file_range(source, target, 100, 3, 0) == 2
        assert os.pread(target, 10, 0) == b"rt"


def test_needs_the_right_handles(path: Path) -> None:
    (path / "source").write_bytes(b"content")
    (path / "target").write_bytes(b"content")
    with opened(path / "source", os.O_RDONLY) as source:
        with opened(path / "target", os.O_RDONLY) as target, refused(errno.EBADF):
            os.copy_file_range(source, target, 3, 0, 0)
        with opened(path / "target", os.O_WRONLY | os.O_APPEND) as target, refused(errno.EBADF):
            os.copy_file_range(source, target, 3, 0, 0)


@pytest.mark.parametrize("how", ["--reflink=auto", "--reflink=never"])
def test_cp_makes_an_equal_file(disk: Disk, how: str) -> None:
    (disk.path / "source").write_bytes(noise(2 * BLOCK + 333))
    run("cp", how, disk.path / "source", disk.path / "copy")
    disk.remount(fresh_cache=True)
    assert sha256(disk.path / "copy") == sha256(disk.path / "source")


def test_cp_over_a_longer_file(disk: Disk) -> None:
    (disk.path / "source").write_bytes(noise(BLOCK + 1))
    (disk.path / "copy").write_bytes(noise(3 * BLOCK, 9))
    run("cp", disk.path / "source", disk.path / "copy")
    disk.remount(fresh_cache=True)
    assert (disk.path / "copy").read_bytes() == noise(BLOCK + 1)


def test_cp_inside_the_mount_moves_no_data(mounted: MountedDisk) -> None:
    data = noise(6 * BLOCK + 100)
    (mounted.path / "source").write_bytes(data)
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        run("cp", mounted.path / "source", mounted.path / "copy")
    assert sum(request.bytes_in + request.bytes_out for request in requests) < MIB
    hashes = [mounted.store.hashmap(mounted.object(mounted.path / name)) for name in ("source", "copy")]
    assert hashes[0]["hashes"] == hashes[1]["hashes"]
    assert (mounted.path / "copy").read_bytes() == data


def test_the_server_does_not_read_what_it_is_told_to_copy(mounted_with_md5s: MountedDisk) -> None:
    """It would, to make an MD5 of what is put by its hashmap; cp, and writing the same again, make copies."""
    mounted = mounted_with_md5s
    data = noise(8 * BLOCK + 100)
    (mounted.path / "source").write_bytes(data)
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        run("cp", mounted.path / "source", mounted.path / "copy")
        (mounted.path / "again").write_bytes(data)
    written = [request for request in requests if request.method == "PUT" and request.status == 201]
    assert [request.query for request in written] == ["", ""]
    assert sum(request.bytes_in + request.bytes_out for request in requests) < MIB
    heads = [mounted.store.head(mounted.object(mounted.path / each)) for each in ("source", "copy", "again")]
    assert {head["ETag"] for head in heads} == {hashlib.md5(data).hexdigest()}
    assert {head["X-Object-Hash"] for head in heads} == {heads[0]["X-Object-Hash"]}
    assert len({head["X-Object-UUID"] for head in heads}) == 3
    (mounted.path / "copy").write_bytes(b"written over without a conflict")
    assert sorted(os.listdir(mounted.path)) == ["again", "copy", "source"]
    assert (mounted.path / "again").read_bytes() == data


def test_a_spliced_range_moves_only_its_edges(mounted: MountedDisk) -> None:
    (mounted.path / "source").write_bytes(noise(8 * BLOCK))
    mounted.remount(fresh_cache=True)
    with (
        mounted.requests() as requests,
        opened(mounted.path / "source", os.O_RDONLY) as source,
        opened(mounted.path / "copy", NEW) as copy,
    ):
        assert copy_all(source, copy, 7 * BLOCK, 0, 0) == 7 * BLOCK
    assert sum(request.bytes_in + request.bytes_out for request in requests) < MIB
