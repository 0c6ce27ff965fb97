"""Open and changed meanwhile: removed, renamed, replaced while somebody has it open."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, noise, opened, pread_all, pwrite_all
from tests.support.waiting import eventually


def test_removed_file_is_still_read(path: Path) -> None:
    data = noise(BLOCK + 100)
    (path / "file").write_bytes(data)
    with opened(path / "file", os.O_RDONLY) as fd:
        (path / "file").unlink()
        assert list(path.iterdir()) == []
        assert pread_all(fd, len(data), 0) == data
        assert os.fstat(fd).st_size == len(data)


def test_removed_file_is_still_read_when_nothing_is_cached(disk: Disk) -> None:
    data = noise(3 * BLOCK)
    (disk.path / "file").write_bytes(data)
    disk.remount(fresh_cache=True)
    with opened(disk.path / "file", os.O_RDONLY) as fd:
        (disk.path / "file").unlink()
        assert pread_all(fd, len(data), 0) == data


def test_removed_file_is_still_written_and_never_comes_back(disk: Disk) -> None:
    with opened(disk.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        pwrite_all(fd, noise(BLOCK), 0)
        (disk.path / "file").unlink()
        pwrite_all(fd, b"more", 2 * BLOCK)
        os.ftruncate(fd, 2 * BLOCK + 2)
        assert pread_all(fd, 3 * BLOCK, 0) == noise(BLOCK) + bytes(BLOCK) + b"mo"
        os.fsync(fd)
    assert os.listdir(disk.path) == []
    disk.remount()
    assert os.listdir(disk.path) == []


def test_name_of_a_removed_open_file_is_free(path: Path) -> None:
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as old:
        os.write(old, b"old")
        (path / "file").unlink()
        (path / "file").write_bytes(b"new")
        os.pwrite(old, b"OLD", 0)
        assert os.pread(old, 10, 0) == b"OLD"
        assert (path / "file").read_bytes() == b"new"
    assert (path / "file").read_bytes() == b"new"


def test_handle_of_a_removed_file_does_everything(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    with opened(path / "file") as fd:
        (path / "file").unlink()
        os.fchmod(fd, 0o600)
        os.utime(fd, ns=(1, 123_456_789))
        info = os.fstat(fd)
        assert (info.st_mode & 0o777, info.st_mtime_ns, info.st_size) == (0o600, 123_456_789, 7)
        assert info.st_nlink == 0
        os.fdatasync(fd)


def test_file_removed_with_its_directory_is_read_and_written(path: Path) -> None:
    """What the kernel asks for by inode is ESTALE then: libfuse finds no name for it any more."""
    (path / "d").mkdir()
    with opened(path / "d" / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"content")
        shutil.rmtree(path / "d")
        os.pwrite(fd, b"CON", 0)
        os.ftruncate(fd, 4)
        os.fsync(fd)
        assert os.pread(fd, 10, 0) == b"CONt"
        try:
            assert os.fstat(fd).st_size == 4
            os.fchmod(fd, 0o600)
        except OSError as error:
            assert error.errno == errno.ESTALE
    assert os.listdir(path) == []


def test_nothing_hidden_is_left_in_the_directory_or_in_the_store(mounted: MountedDisk) -> None:
    """The store may hear of it a moment later, but never of a name that nobody gave."""

    def stored() -> list[str]:
        return mounted.store.names(mounted.name + "/")

    with opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"x")
        os.fsync(fd)
        (mounted.path / "file").unlink()
        assert os.listdir(mounted.path) == []
        os.write(fd, b"y")
        os.fsync(fd)
        assert stored() in ([], [f"{mounted.name}/file"])
        eventually(lambda: stored() == [], what="the removal in the store")
    assert stored() == []


def test_removed_right_after_close_leaves_nothing_hidden(disk: Disk) -> None:
    """The kernel tells of a close a little later than the program goes on."""
    for number in range(200):
        with opened(disk.path / "file", os.O_RDWR | os.O_CREAT) as fd:
            os.write(fd, b"%d" % number)
        (disk.path / "file").unlink()
    assert os.listdir(disk.path) == []
    for number in range(200):
        (disk.path / "file").write_bytes(b"%d" % number)
        (disk.path / "other").write_bytes(b"other %d" % number)
        (disk.path / "other").rename(disk.path / "file")
    assert os.listdir(disk.path) == ["file"]
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["file"]
    assert (disk.path / "file").read_bytes() == b"other 199"


def test_attributes_set_right_after_close_are_kept(disk: Disk) -> None:
    for number in range(100):
        (disk.path / str(number)).write_bytes(b"x")
        os.utime(disk.path / str(number), ns=(number, number))
    times = {path.name: path.stat().st_mtime_ns for path in disk.path.iterdir()}
    assert times == {str(number): number for number in range(100)}
    disk.remount(fresh_cache=True)
    times = {path.name: path.stat().st_mtime_ns for path in disk.path.iterdir()}
    assert times == {str(number): number for number in range(100)}


def test_directory_can_go_while_a_removed_file_is_open(path: Path) -> None:
    (path / "d").mkdir()
    with opened(path / "d" / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"content")
        shutil.rmtree(path / "d")
        assert os.pread(fd, 10, 0) == b"content"
    assert list(path.iterdir()) == []


def test_renamed_dirty_file_arrives_under_the_new_name(disk: Disk) -> None:
    with opened(disk.path / "old", os.O_RDWR | os.O_CREAT) as fd:
        pwrite_all(fd, noise(BLOCK), 0)
        (disk.path / "old").rename(disk.path / "new")
        pwrite_all(fd, b"after", BLOCK)
    assert os.listdir(disk.path) == ["new"]
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["new"]
    assert (disk.path / "new").read_bytes() == noise(BLOCK) + b"after"


def test_renamed_open_file_that_was_in_the_store(disk: Disk) -> None:
    (disk.path / "old").write_bytes(noise(BLOCK))
    disk.remount(fresh_cache=True)
    with opened(disk.path / "old") as fd:
        os.pwrite(fd, b"before", 0)
        (disk.path / "old").rename(disk.path / "new")
        os.pwrite(fd, b"after", 100)
    expected = bytearray(noise(BLOCK))
    expected[:6], expected[100:105] = b"before", b"after"
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["new"]
    assert (disk.path / "new").read_bytes() == expected


def test_renamed_twice_while_open(disk: Disk) -> None:
    with opened(disk.path / "one", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"1")
        (disk.path / "one").rename(disk.path / "two")
        os.fsync(fd)
        os.write(fd, b"2")
        (disk.path / "two").rename(disk.path / "three")
        os.write(fd, b"3")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["three"]
    assert (disk.path / "three").read_bytes() == b"123"


def test_open_file_replaced_by_a_rename_keeps_its_content(disk: Disk) -> None:
    old = noise(2 * BLOCK, 1)
    (disk.path / "file").write_bytes(old)
    disk.remount(fresh_cache=True)
    with opened(disk.path / "file", os.O_RDONLY) as fd:
        (disk.path / "new").write_bytes(b"the new one")
        (disk.path / "new").rename(disk.path / "file")
        assert pread_all(fd, len(old), 0) == old
        assert (disk.path / "file").read_bytes() == b"the new one"


def test_open_dirty_file_replaced_by_a_rename_does_not_win_at_close(disk: Disk) -> None:
    (disk.path / "file").write_bytes(b"first")
    with opened(disk.path / "file") as fd:
        os.pwrite(fd, b"dirty", 0)
        (disk.path / "new").write_bytes(b"the new one")
        (disk.path / "new").rename(disk.path / "file")
        os.pwrite(fd, b"more", 5)
        assert os.pread(fd, 20, 0) == b"dirtymore"
    assert (disk.path / "file").read_bytes() == b"the new one"
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["file"]
    assert (disk.path / "file").read_bytes() == b"the new one"


def test_dirty_file_renamed_over_another_before_close(disk: Disk) -> None:
    (disk.path / "doc").write_bytes(b"old text")
    with opened(disk.path / "tmp", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"new ")
        (disk.path / "tmp").rename(disk.path / "doc")
        os.write(fd, b"text")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["doc"]
    assert (disk.path / "doc").read_bytes() == b"new text"


def test_new_file_renamed_over_another_has_none_of_its_content(disk: Disk) -> None:
    """Made, renamed, written: the bytes it does not write are zeros, not those of the one it replaced."""
    (disk.path / "doc").write_bytes(b"\xff" * (BLOCK + 10))
    with opened(disk.path / "tmp", os.O_RDWR | os.O_CREAT) as fd:
        (disk.path / "tmp").rename(disk.path / "doc")
        assert os.fstat(fd).st_size == 0
        os.pwrite(fd, b"end", BLOCK + 5)
        assert pread_all(fd, 100, BLOCK - 5) == bytes(10) + b"end"
    disk.remount(fresh_cache=True)
    assert (disk.path / "doc").read_bytes() == bytes(BLOCK + 5) + b"end"


def test_empty_file_renamed_over_another_is_empty(disk: Disk) -> None:
    (disk.path / "doc").write_bytes(b"old text")
    with opened(disk.path / "tmp", os.O_WRONLY | os.O_CREAT):
        (disk.path / "tmp").rename(disk.path / "doc")
    assert (disk.path / "doc").read_bytes() == b""
    disk.remount(fresh_cache=True)
    assert (disk.path / "doc").read_bytes() == b""


def test_directory_with_open_dirty_files_is_renamed(disk: Disk) -> None:
    (disk.path / "d" / "deep").mkdir(parents=True)
    new, known = disk.path / "d" / "deep" / "new", disk.path / "d" / "known"
    known.write_bytes(b"known content")
    with opened(new, os.O_RDWR | os.O_CREAT) as one, opened(known) as two:
        os.write(one, b"new ")
        os.pwrite(two, b"KNOWN", 0)
        (disk.path / "d").rename(disk.path / "e")
        os.write(one, b"file")
        os.pwrite(two, b"C", 6)
        assert os.pread(two, 20, 0) == b"KNOWN Content"
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["e"]
    assert (disk.path / "e" / "deep" / "new").read_bytes() == b"new file"
    assert (disk.path / "e" / "known").read_bytes() == b"KNOWN Content"


def test_rename_away_and_create_anew_while_open(disk: Disk) -> None:
    """What a log rotation does."""
    with opened(disk.path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND) as old:
        os.write(old, b"one\n")
        (disk.path / "log").rename(disk.path / "log.1")
        os.write(old, b"two\n")
        with opened(disk.path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND) as new:
            os.write(new, b"three\n")
            os.write(old, b"late\n")
    disk.remount(fresh_cache=True)
    assert (disk.path / "log.1").read_bytes() == b"one\ntwo\nlate\n"
    assert (disk.path / "log").read_bytes() == b"three\n"


def test_unlink_of_a_renamed_open_file(disk: Disk) -> None:
    with opened(disk.path / "one", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"1")
        (disk.path / "one").rename(disk.path / "two")
        (disk.path / "two").unlink()
        os.write(fd, b"2")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == []


@pytest.mark.parametrize("keep_open", [False, True])
def test_removed_while_being_listed(path: Path, keep_open: bool) -> None:
    for number in range(50):
        (path / str(number)).touch()
    with os.scandir(path) as entries:
        next(entries)
        held = os.open(path / "7", os.O_RDONLY) if keep_open else -1
        for number in range(50):
            (path / str(number)).unlink()
        for entry in entries:
            assert entry.name.isdigit()
    if keep_open:
        os.close(held)
    path.rmdir()
    path.mkdir()
