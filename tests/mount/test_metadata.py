"""Modes, owners, symbolic links, inode numbers, link counts, and what the store cannot hold."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, noise, opened, refused

MODES = [0o000, 0o400, 0o644, 0o700, 0o755, 0o777, 0o1777, 0o4755, 0o2750]


@pytest.mark.parametrize("mode", MODES, ids=oct)
def test_mode_is_kept(disk: Disk, mode: int) -> None:
    (disk.path / "file").write_bytes(b"content")
    (disk.path / "d").mkdir()
    for name in ("file", "d"):
        (disk.path / name).chmod(mode)
        assert stat.S_IMODE((disk.path / name).stat().st_mode) == mode
    disk.remount(fresh_cache=True)
    for name in ("file", "d"):
        assert stat.S_IMODE((disk.path / name).stat().st_mode) == mode


def test_mode_given_at_creation(disk: Disk) -> None:
    old = os.umask(0o027)
    try:
        os.close(os.open(disk.path / "file", os.O_WRONLY | os.O_CREAT, 0o766))
        os.mkdir(disk.path / "d", 0o777)
    finally:
        os.umask(old)
    disk.remount(fresh_cache=True)
    assert stat.S_IMODE((disk.path / "file").stat().st_mode) == 0o740
    assert stat.S_IMODE((disk.path / "d").stat().st_mode) == 0o750


def test_mode_set_on_an_open_dirty_file(disk: Disk) -> None:
    with opened(disk.path / "file", os.O_WRONLY | os.O_CREAT, 0o600) as fd:
        os.write(fd, b"content")
        os.fchmod(fd, 0o751)
    disk.remount(fresh_cache=True)
    assert stat.S_IMODE((disk.path / "file").stat().st_mode) == 0o751
    assert (disk.path / "file").read_bytes() == b"content"


def test_read_only_file_is_written_through_the_handle_that_made_it(path: Path) -> None:
    """tar, git and install do this."""
    with opened(path / "file", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o400) as fd:
        os.write(fd, b"content")
    assert (path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((path / "file").stat().st_mode) == 0o400


def test_editing_keeps_the_mode(disk: Disk) -> None:
    (disk.path / "file").write_bytes(b"one")
    (disk.path / "file").chmod(0o750)
    disk.remount(fresh_cache=True)
    (disk.path / "file").write_bytes(b"two")
    disk.remount(fresh_cache=True)
    assert stat.S_IMODE((disk.path / "file").stat().st_mode) == 0o750


def test_program_is_executable(disk: Disk) -> None:
    (disk.path / "program").write_text("#!/bin/sh\nexit 42\n")
    (disk.path / "program").chmod(0o755)
    disk.remount(fresh_cache=True)
    assert os.waitstatus_to_exitcode(os.system(str(disk.path / "program"))) == 42


def test_owner_is_the_user_who_mounted(path: Path) -> None:
    (path / "file").touch()
    (path / "d").mkdir()
    (path / "link").symlink_to("x")
    for name in ("file", "d", "link"):
        info = (path / name).lstat()
        assert (info.st_uid, info.st_gid) == (os.getuid(), os.getgid())


def test_chown_to_oneself_succeeds(path: Path) -> None:
    (path / "file").touch()
    os.chown(path / "file", os.getuid(), os.getgid())
    os.chown(path / "file", -1, -1)
    (path / "link").symlink_to("file")
    os.lchown(path / "link", os.getuid(), os.getgid())


def test_symlinks_are_kept(disk: Disk) -> None:
    targets = {
        "relative": "file",
        "absolute": "/etc/passwd",
        "dangling": "no/such/thing",
        "up": "../../x",
        "odd": "ünï \U0001f600 %41#?'\"\\",
        "long": "x/" * 2000,
        "itself": "itself",
    }
    for name, target in targets.items():
        (disk.path / name).symlink_to(target)
    disk.remount(fresh_cache=True)
    assert {name: os.readlink(disk.path / name) for name in os.listdir(disk.path)} == targets
    for name, target in targets.items():
        info = (disk.path / name).lstat()
        assert stat.S_ISLNK(info.st_mode)
        assert info.st_size == len(os.fsencode(target))


def test_symlink_to_bytes_that_are_no_text(disk: Disk) -> None:
    os.symlink(b"caf\xe9/\xff", os.fsencode(disk.path / "link"))
    disk.remount(fresh_cache=True)
    assert os.readlink(os.fsencode(disk.path / "link")) == b"caf\xe9/\xff"


def test_symlinks_are_followed(path: Path) -> None:
    (path / "d").mkdir()
    (path / "link").symlink_to("d")
    (path / "link" / "file").write_bytes(b"content")
    (path / "d" / "up").symlink_to("../d/file")
    assert (path / "link" / "up").read_bytes() == b"content"
    with opened(path / "link" / "up", os.O_WRONLY | os.O_TRUNC) as fd:
        os.write(fd, b"new")
    assert (path / "d" / "file").read_bytes() == b"new"


def test_symlink_is_removed_and_renamed_itself(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    (path / "link").symlink_to("file")
    (path / "link").rename(path / "moved")
    assert os.readlink(path / "moved") == "file"
    (path / "moved").unlink()
    assert (path / "file").read_bytes() == b"content"


def test_symlink_is_replaced_atomically(disk: Disk) -> None:
    """ln -sfn: a new link renamed over the old one."""
    (disk.path / "current").symlink_to("one")
    (disk.path / "tmp").symlink_to("two")
    (disk.path / "tmp").rename(disk.path / "current")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["current"]
    assert os.readlink(disk.path / "current") == "two"


def test_symlink_in_the_store_is_what_other_clients_expect(mounted: MountedDisk) -> None:
    (mounted.path / "link").symlink_to("the/target")
    assert mounted.store.get(f"{mounted.name}/link") == b"the/target"
    assert mounted.store.head(f"{mounted.name}/link")["Content-Type"].startswith("inode/symlink")


def test_inode_numbers_are_stable(disk: Disk) -> None:
    """Over changes and remounts, and with a new cache as soon as the number comes from the store."""
    (disk.path / "d").mkdir()
    (disk.path / "d" / "file").write_bytes(b"content")
    (disk.path / "link").symlink_to("x")
    names = ["d", "d/file", "link"]

    def numbers() -> dict[str, int]:
        return {name: (disk.path / name).lstat().st_ino for name in names}

    before = numbers()
    assert len(set(before.values())) == 3
    with opened(disk.path / "d" / "file") as fd:
        os.write(fd, b"changed")
        assert os.fstat(fd).st_ino == before["d/file"]
    disk.remount()
    assert numbers() == before
    disk.remount(fresh_cache=True)
    from_the_store = numbers()
    disk.remount(fresh_cache=True)
    assert numbers() == from_the_store


def test_inode_number_goes_along_with_a_rename(disk: Disk) -> None:
    (disk.path / "file").write_bytes(b"content")
    before = (disk.path / "file").stat().st_ino
    (disk.path / "file").rename(disk.path / "renamed")
    assert (disk.path / "renamed").stat().st_ino == before
    disk.remount()
    assert (disk.path / "renamed").stat().st_ino == before


def test_inode_number_of_a_new_file_does_not_change_when_it_is_sent(path: Path) -> None:
    """tail -F, rsync and tar take a changed number for another file."""
    with opened(path / "file", os.O_WRONLY | os.O_CREAT) as fd:
        before = os.fstat(fd).st_ino
        os.write(fd, b"content")
        assert os.fstat(fd).st_ino == before
        os.fsync(fd)
        assert os.fstat(fd).st_ino == before
    assert (path / "file").stat().st_ino == before


def test_listing_and_stat_agree_on_inode_numbers(path: Path) -> None:
    for number in range(20):
        (path / f"file{number}").touch()
        (path / f"dir{number}").mkdir()
    with os.scandir(path) as entries:
        for entry in entries:
            assert entry.inode() == entry.stat(follow_symlinks=False).st_ino


def test_types_in_listings(path: Path) -> None:
    (path / "file").touch()
    (path / "dir").mkdir()
    (path / "link").symlink_to("x")
    with os.scandir(path) as entries:
        kinds = {entry.name: (entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in entries}
    assert kinds == {"file": (False, False), "dir": (True, False), "link": (False, True)}


def test_atime_is_sensible(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    os.utime(path / "file", ns=(1_700_000_000_000_000_000, 1_600_000_000_000_000_000))
    assert (path / "file").stat().st_atime in (1_700_000_000, 1_600_000_000)


def test_link_count(path: Path) -> None:
    (path / "file").touch()
    (path / "d").mkdir()
    assert (path / "file").stat().st_nlink == 1
    assert (path / "d").stat().st_nlink >= 1


def test_blocks_say_what_is_stored(disk: Disk) -> None:
    """What du adds up, and the size in which programs like to read."""
    (disk.path / "file").write_bytes(noise(BLOCK))
    disk.remount(fresh_cache=True)
    info = (disk.path / "file").stat()
    assert BLOCK <= info.st_blocks * 512 <= BLOCK + 65_536
    assert info.st_blksize >= 4096
    assert info.st_blksize & (info.st_blksize - 1) == 0


def test_hard_links_are_refused_and_change_nothing(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(b"content")
    with refused(errno.EPERM, errno.EOPNOTSUPP):
        os.link(mounted.path / "file", mounted.path / "link")
    assert os.listdir(mounted.path) == ["file"]
    assert (mounted.path / "file").read_bytes() == b"content"
    assert mounted.store.names(mounted.name + "/") == [f"{mounted.name}/file"]


def test_fifos_sockets_and_devices_are_refused_and_leave_nothing(mounted: MountedDisk) -> None:
    with refused(errno.EPERM, errno.EOPNOTSUPP):
        os.mkfifo(mounted.path / "fifo")
    with refused(errno.EPERM, errno.EOPNOTSUPP):
        os.mknod(mounted.path / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener, refused(errno.EPERM, errno.EOPNOTSUPP):
        listener.bind(str(mounted.path / "socket"))
    assert os.listdir(mounted.path) == []


def test_mknod_of_a_regular_file(path: Path) -> None:
    os.mknod(path / "file", stat.S_IFREG | 0o640)
    assert (path / "file").read_bytes() == b""


def test_temporary_file_without_a_name_works_or_is_refused(path: Path) -> None:
    try:
        fd = os.open(path, os.O_TMPFILE | os.O_RDWR)
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.EISDIR)
    else:
        os.write(fd, b"content")
        assert os.pread(fd, 10, 0) == b"content"
        os.close(fd)
    assert list(path.iterdir()) == []


def test_access_agrees_with_the_mode(path: Path) -> None:
    (path / "file").touch(0o644)
    assert os.access(path / "file", os.R_OK | os.W_OK)
    assert not os.access(path / "file", os.X_OK)
    (path / "file").chmod(0o755)
    assert os.access(path / "file", os.X_OK)
    assert not os.access(path / "missing", os.F_OK)


def test_free_space_is_sensible(path: Path) -> None:
    space = os.statvfs(path)
    assert space.f_frsize > 0
    assert 0 < space.f_bavail <= space.f_bfree <= space.f_blocks
    assert space.f_blocks * space.f_frsize < 2**60
    assert space.f_namemax == 255


def test_free_space_shrinks_by_what_is_written(mounted: MountedDisk) -> None:
    before = os.statvfs(mounted.path)
    if before.f_blocks * before.f_frsize > 2**50:
        pytest.fail("the account has a quota; the mount does not show it")
    (mounted.path / "file").write_bytes(noise(3 * BLOCK))
    mounted.remount()
    after = os.statvfs(mounted.path)
    assert after.f_blocks == before.f_blocks
    used = (before.f_bfree - after.f_bfree) * before.f_frsize
    assert 3 * BLOCK <= used <= 4 * BLOCK
