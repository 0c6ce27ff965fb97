"""Extended attributes of users: any name, any bytes, listed, removed, kept, and refused when too big."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from tests.support.disks import Disk, MountedDisk
from tests.support.files import noise, opened, refused

ODD = {
    "user.plain": b"value",
    "user.empty": b"",
    "user.binary": bytes(range(256)),
    "user.newline": b"a\r\nX-Object-Sharing: read=*\r\n",
    "user.zero": b"\0",
    "user.tilde~percent%41": b"~%41~",
    "user.UPPER.and_lower-Case": b"case and underscores are kept",
    "user.upper.and-lower_case": b"another one",
    "user.ünïcödé.\U0001f600": "ü".encode(),
    "user.a.long.name." + "x" * 20: b"long name",
    "user.space in it": b" leading and trailing ",
}


def attributes(path: Path) -> dict[str, bytes]:
    """The user's own attributes of an entry; those that tell of the store are left out."""
    names = (name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user."))
    return {name: os.getxattr(path, name) for name in names if not name.startswith("user.pithos.")}


def test_odd_names_and_values_are_kept(disk: Disk) -> None:
    (disk.path / "file").write_bytes(b"content")
    for name, value in ODD.items():
        os.setxattr(disk.path / "file", name, value)
    assert attributes(disk.path / "file") == ODD
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "file") == ODD
    assert (disk.path / "file").read_bytes() == b"content"


def test_on_directories(disk: Disk) -> None:
    (disk.path / "d").mkdir()
    os.setxattr(disk.path / "d", "user.comment", b"a directory")
    (disk.path / "d" / "file").touch()
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "d") == {"user.comment": b"a directory"}
    assert attributes(disk.path / "d" / "file") == {}


def test_on_symlinks_are_refused_as_by_the_kernel(path: Path) -> None:
    (path / "link").symlink_to("x")
    with refused(errno.EPERM):
        os.setxattr(path / "link", "user.name", b"x", follow_symlinks=False)


def test_removed_ones_are_gone(disk: Disk) -> None:
    (disk.path / "file").touch()
    os.setxattr(disk.path / "file", "user.one", b"1")
    os.setxattr(disk.path / "file", "user.two", b"2")
    disk.remount(fresh_cache=True)
    os.removexattr(disk.path / "file", "user.one")
    assert attributes(disk.path / "file") == {"user.two": b"2"}
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "file") == {"user.two": b"2"}


def test_missing_ones_say_so(path: Path) -> None:
    (path / "file").touch()
    with refused(errno.ENODATA):
        os.getxattr(path / "file", "user.missing")
    with refused(errno.ENODATA):
        os.removexattr(path / "file", "user.missing")
    with refused(errno.ENOENT):
        os.getxattr(path / "nothing", "user.name")


def test_create_and_replace(path: Path) -> None:
    (path / "file").touch()
    with refused(errno.ENODATA):
        os.setxattr(path / "file", "user.name", b"x", os.XATTR_REPLACE)
    os.setxattr(path / "file", "user.name", b"one", os.XATTR_CREATE)
    with refused(errno.EEXIST):
        os.setxattr(path / "file", "user.name", b"two", os.XATTR_CREATE)
    os.setxattr(path / "file", "user.name", b"two", os.XATTR_REPLACE)
    assert os.getxattr(path / "file", "user.name") == b"two"


def test_survive_writing_renaming_chmod_and_copying(disk: Disk) -> None:
    file = disk.path / "file"
    file.write_bytes(b"content")
    os.setxattr(file, "user.name", b"value")
    with opened(file) as fd:
        os.write(fd, b"CONTENT")
    file.chmod(0o600)
    os.utime(file, ns=(1, 1))
    file = file.rename(disk.path / "renamed")
    assert attributes(file) == {"user.name": b"value"}
    disk.remount(fresh_cache=True)
    assert attributes(file) == {"user.name": b"value"}
    assert file.read_bytes() == b"CONTENT"
    assert file.stat().st_mtime_ns == 1


def test_set_on_an_open_dirty_file(disk: Disk) -> None:
    with opened(disk.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"content")
        os.setxattr(fd, "user.name", b"value")
        assert os.getxattr(fd, "user.name") == b"value"
        assert os.listxattr(fd) != []
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "file") == {"user.name": b"value"}


def test_are_gone_with_the_file(path: Path) -> None:
    (path / "file").touch()
    os.setxattr(path / "file", "user.name", b"value")
    (path / "file").unlink()
    (path / "file").touch()
    assert attributes(path / "file") == {}


def test_many_of_them(disk: Disk) -> None:
    (disk.path / "file").touch()
    wanted = {f"user.number{number}": noise(40, number) for number in range(20)}
    for name, value in wanted.items():
        os.setxattr(disk.path / "file", name, value)
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "file") == wanted


def test_a_value_of_a_kilobyte(disk: Disk) -> None:
    (disk.path / "file").touch()
    os.setxattr(disk.path / "file", "user.big", noise(1024))
    disk.remount(fresh_cache=True)
    assert os.getxattr(disk.path / "file", "user.big") == noise(1024)


def test_too_big_is_refused_and_changes_nothing(disk: Disk) -> None:
    (disk.path / "file").touch()
    os.setxattr(disk.path / "file", "user.name", b"value")
    with refused(errno.ENOSPC, errno.E2BIG):
        os.setxattr(disk.path / "file", "user.big", noise(65_536))
    with refused(errno.E2BIG):
        os.setxattr(disk.path / "file", "user.big", noise(65_537))
    assert attributes(disk.path / "file") == {"user.name": b"value"}
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "file") == {"user.name": b"value"}


def test_the_longest_name_is_kept_or_refused(disk: Disk) -> None:
    (disk.path / "file").touch()
    name = "user." + "n" * 250
    try:
        os.setxattr(disk.path / "file", name, b"value")
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE)
        assert attributes(disk.path / "file") == {}
    else:
        disk.remount(fresh_cache=True)
        assert attributes(disk.path / "file") == {name: b"value"}


def test_name_too_long_is_refused(path: Path) -> None:
    (path / "file").touch()
    with refused(errno.ERANGE):
        os.setxattr(path / "file", "user." + "x" * 251, b"")


def test_when_full_earlier_ones_stay(disk: Disk) -> None:
    (disk.path / "file").touch()
    kept = {}
    with refused(errno.ENOSPC, errno.E2BIG):
        for number in range(2000):
            os.setxattr(disk.path / "file", f"user.number{number}", noise(100, number))
            kept[f"user.number{number}"] = noise(100, number)
    assert len(kept) > 10
    assert attributes(disk.path / "file") == kept
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "file") == kept


def test_buffer_too_small_is_told(path: Path) -> None:
    """getxattr(2) and listxattr(2) with a short buffer."""
    libc = ctypes.CDLL(None, use_errno=True)
    (path / "file").touch()
    os.setxattr(path / "file", "user.name", b"0123456789")
    buffer = ctypes.create_string_buffer(4)
    file = os.fsencode(path / "file")
    assert libc.getxattr(file, b"user.name", buffer, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.listxattr(file, buffer, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.getxattr(file, b"user.name", None, 0) == 10


def test_other_namespaces_are_refused(mounted: MountedDisk) -> None:
    (mounted.path / "file").touch()
    with refused(errno.EOPNOTSUPP, errno.EPERM):
        os.setxattr(mounted.path / "file", "trusted.name", b"value")
    with refused(errno.EOPNOTSUPP, errno.ENODATA):
        os.getxattr(mounted.path / "file", "system.posix_acl_access")


def test_plain_ones_are_metadata_of_other_clients(mounted: MountedDisk) -> None:
    """user.colour here is X-Object-Meta-Colour there."""
    file = mounted.path / "file"
    with opened(file, os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"content")
        os.setxattr(file, "user.colour", b"red")
    assert mounted.store.head(f"{mounted.name}/file")["X-Object-Meta-Colour"] == "red"


def test_metadata_of_other_clients_are_attributes_here(mounted: MountedDisk) -> None:
    mounted.store.put(f"{mounted.name}/file", b"content", X_Object_Meta_Colour="gr%C3%BCn")
    assert attributes(mounted.second() / "file") == {"user.colour": "grün".encode()}


def test_survive_a_rename_at_once(disk: Disk) -> None:
    """rsync -X: attributes on a temporary file, times, then the rename."""
    with opened(disk.path / ".tmp", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"content")
    os.setxattr(disk.path / ".tmp", "user.name", b"\0binary\xff")
    os.utime(disk.path / ".tmp", ns=(7, 7))
    (disk.path / ".tmp").rename(disk.path / "file")
    disk.remount(fresh_cache=True)
    assert attributes(disk.path / "file") == {"user.name": b"\0binary\xff"}
    assert (disk.path / "file").stat().st_mtime_ns == 7
