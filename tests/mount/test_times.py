"""Times: to the nanosecond, kept over remounts, moved when they have to move."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.disks import Disk
from tests.support.files import BLOCK, noise, opened
from tests.support.processes import run
from tests.support.syscalls import AT_SYMLINK_NOFOLLOW, UTIME_NOW, UTIME_OMIT, utimensat

STAMPS = [
    1_795_334_389_539_240_123,
    1_000_000_000_000_000_001,
    1,
    0,
    999_999_999,
    4_102_444_800_123_456_789,
]


@pytest.mark.parametrize("stamp", STAMPS)
def test_mtime_is_kept_to_the_nanosecond(disk: Disk, stamp: int) -> None:
    (disk.path / "file").write_bytes(b"content")
    (disk.path / "empty").touch()
    (disk.path / "d").mkdir()
    (disk.path / "link").symlink_to("file")
    names = ["file", "empty", "d", "link"]
    for name in names:
        os.utime(disk.path / name, ns=(stamp, stamp), follow_symlinks=False)
    disk.remount(fresh_cache=True)
    assert {name: (disk.path / name).lstat().st_mtime_ns for name in names} == dict.fromkeys(names, stamp)


def test_time_before_the_epoch(disk: Disk) -> None:
    (disk.path / "file").touch()
    os.utime(disk.path / "file", ns=(-1_500_000_000, -1_500_000_000))
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").stat().st_mtime_ns == -1_500_000_000


def test_time_set_through_an_open_handle_after_writing(disk: Disk) -> None:
    """cp -p, tar and rsync: written, stamped, closed; the close must not stamp again."""
    with opened(disk.path / "file", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"content")
        os.utime(fd, ns=(STAMPS[0], STAMPS[0]))
    assert (disk.path / "file").stat().st_mtime_ns == STAMPS[0]
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").stat().st_mtime_ns == STAMPS[0]
    assert (disk.path / "file").read_bytes() == b"content"


def test_write_after_the_time_was_set_moves_it(disk: Disk) -> None:
    with opened(disk.path / "file", os.O_WRONLY | os.O_CREAT) as fd:
        os.utime(fd, ns=(STAMPS[1], STAMPS[1]))
        os.write(fd, b"content")
    assert (disk.path / "file").stat().st_mtime > time.time() - 60


def test_time_survives_a_rename(disk: Disk) -> None:
    (disk.path / "file").write_bytes(b"content")
    os.utime(disk.path / "file", ns=(STAMPS[0], STAMPS[0]))
    (disk.path / "file").rename(disk.path / "renamed")
    assert (disk.path / "renamed").stat().st_mtime_ns == STAMPS[0]
    disk.remount(fresh_cache=True)
    assert (disk.path / "renamed").stat().st_mtime_ns == STAMPS[0]


def test_times_below_a_renamed_directory_stay(disk: Disk) -> None:
    (disk.path / "d").mkdir()
    (disk.path / "d" / "file").write_bytes(b"content")
    os.utime(disk.path / "d" / "file", ns=(STAMPS[0], STAMPS[0]))
    (disk.path / "d").rename(disk.path / "e")
    disk.remount(fresh_cache=True)
    assert (disk.path / "e" / "file").stat().st_mtime_ns == STAMPS[0]


def test_reading_does_not_move_mtime(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    os.utime(path / "file", ns=(STAMPS[1], STAMPS[1]))
    (path / "file").read_bytes()
    with opened(path / "file") as fd:
        os.read(fd, 5)
    assert (path / "file").stat().st_mtime_ns == STAMPS[1]


def _write(file: Path) -> None:
    with opened(file, os.O_WRONLY) as fd:
        os.pwrite(fd, b"x", 3)


def _append(file: Path) -> None:
    with file.open("ab") as out:
        out.write(b"x")


CHANGES: dict[str, Callable[[Path], object]] = {
    "write": _write,
    "append": _append,
    "truncate": lambda file: os.truncate(file, 3),
    "grow": lambda file: os.truncate(file, BLOCK + 1),
    "O_TRUNC": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_move_mtime_and_ctime(path: Path, change: str) -> None:
    (path / "file").write_bytes(b"content")
    os.utime(path / "file", ns=(STAMPS[1], STAMPS[1]))
    before = (path / "file").stat().st_ctime_ns
    time.sleep(0.02)
    CHANGES[change](path / "file")
    info = (path / "file").stat()
    assert info.st_mtime > time.time() - 60
    assert info.st_ctime_ns > before


@pytest.mark.parametrize("change", ["chmod", "utime", "rename"])
def test_attribute_changes_leave_mtime(path: Path, change: str) -> None:
    file = path / "file"
    file.write_bytes(b"content")
    os.utime(file, ns=(STAMPS[1], STAMPS[1]))
    if change == "chmod":
        file.chmod(0o600)
    elif change == "utime":
        utimensat(file, (5, 0), (0, UTIME_OMIT))
    else:
        file = file.rename(path / "renamed")
    assert file.stat().st_mtime_ns == STAMPS[1]


@pytest.mark.parametrize("change", ["chmod", "utime", "rename"])
def test_attribute_changes_move_ctime(path: Path, change: str) -> None:
    file = path / "file"
    file.write_bytes(b"content")
    before = file.stat().st_ctime_ns
    time.sleep(0.02)
    if change == "chmod":
        file.chmod(0o600)
    elif change == "utime":
        os.utime(file, ns=(1, 1))
    else:
        file = file.rename(path / "renamed")
    assert file.stat().st_ctime_ns > before


def test_touch_without_a_time_means_now(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    for command in (["touch"], ["touch", "-m"], ["touch", "-a", "-m"]):
        os.utime(path / "file", ns=(STAMPS[1], STAMPS[1]))
        run(*command, path / "file")
        assert abs((path / "file").stat().st_mtime - time.time()) < 60


def test_touch_of_a_reference(path: Path) -> None:
    (path / "one").touch()
    (path / "two").touch()
    os.utime(path / "one", ns=(STAMPS[0], STAMPS[0]))
    run("touch", "-r", path / "one", path / "two")
    assert (path / "two").stat().st_mtime_ns == STAMPS[0]


def test_omitted_mtime_stays_and_omitted_atime_too(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    os.utime(path / "file", ns=(STAMPS[1], STAMPS[0]))
    utimensat(path / "file", (0, UTIME_NOW), (0, UTIME_OMIT))
    assert (path / "file").stat().st_mtime_ns == STAMPS[0]
    utimensat(path / "file", (0, UTIME_OMIT), (0, UTIME_NOW))
    assert abs((path / "file").stat().st_mtime - time.time()) < 60


def test_time_of_a_symlink_is_its_own(disk: Disk) -> None:
    (disk.path / "file").touch()
    (disk.path / "link").symlink_to("file")
    os.utime(disk.path / "file", ns=(STAMPS[1], STAMPS[1]))
    utimensat(disk.path / "link", (1, 2), (1, 2), AT_SYMLINK_NOFOLLOW)
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").stat().st_mtime_ns == STAMPS[1]
    assert (disk.path / "link").lstat().st_mtime_ns == 1_000_000_002


def _rename_in(path: Path) -> None:
    (path.parent / "outside").rename(path / "inside")


DIRECTORY_CHANGES: dict[str, Callable[[Path], object]] = {
    "create": lambda path: (path / "new").touch(),
    "unlink": lambda path: (path / "file").unlink(),
    "mkdir": lambda path: (path / "newdir").mkdir(),
    "rmdir": lambda path: (path / "dir").rmdir(),
    "symlink": lambda path: (path / "link").symlink_to("x"),
    "rename": lambda path: (path / "file").rename(path / "renamed"),
    "rename in": _rename_in,
    "rename out": lambda path: (path / "file").rename(path.parent / "out"),
}


@pytest.mark.parametrize("change", DIRECTORY_CHANGES)
def test_changes_in_a_directory_move_its_mtime(path: Path, change: str) -> None:
    """Programs that cache listings (git, make, mail readers) rely on it."""
    (path / "d" / "dir").mkdir(parents=True)
    (path / "d" / "file").touch()
    (path / "outside").touch()
    os.utime(path / "d", ns=(STAMPS[1], STAMPS[1]))
    DIRECTORY_CHANGES[change](path / "d")
    assert (path / "d").stat().st_mtime > time.time() - 60


def test_writing_a_file_leaves_the_mtime_of_its_directory(path: Path) -> None:
    (path / "d").mkdir()
    (path / "d" / "file").write_bytes(b"old")
    os.utime(path / "d", ns=(STAMPS[1], STAMPS[1]))
    with opened(path / "d" / "file") as fd:
        os.write(fd, b"new")
    assert (path / "d").stat().st_mtime_ns == STAMPS[1]


def test_mtime_is_the_same_before_and_after_close(disk: Disk) -> None:
    """make and rsync compare what they saw with what they see later."""
    (disk.path / "file").write_bytes(noise(1000))
    before = (disk.path / "file").stat().st_mtime_ns
    time.sleep(0.05)
    assert (disk.path / "file").stat().st_mtime_ns == before
    disk.remount()
    assert (disk.path / "file").stat().st_mtime_ns == before
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").stat().st_mtime_ns == before
