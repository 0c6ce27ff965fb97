"""What another machine does to the container while it is mounted here."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from tests.support.disks import MountedDisk
from tests.support.files import BLOCK, noise, opened, pread_all, pwrite_all, refused
from tests.support.waiting import eventually


def conflicts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if "(conflict " in path.name]


def test_object_put_through_the_api_appears(mounted: MountedDisk) -> None:
    here = mounted.second()
    mounted.store.put(f"{mounted.name}/file", b"from elsewhere")
    eventually((here / "file").exists, what="the new file")
    assert (here / "file").read_bytes() == b"from elsewhere"


def test_file_written_here_is_an_object_with_the_right_hashes(mounted: MountedDisk) -> None:
    data = noise(2 * BLOCK + 5)
    (mounted.path / "file").write_bytes(data)
    assert mounted.store.get(f"{mounted.name}/file") == data
    assert mounted.store.hashmap(f"{mounted.name}/file")["bytes"] == len(data)


def test_replaced_elsewhere_is_seen_soon(mounted: MountedDisk) -> None:
    here = mounted.second()
    (mounted.path / "file").write_bytes(b"old")
    eventually((here / "file").exists, what="the file")
    assert (here / "file").read_bytes() == b"old"
    (mounted.path / "file").write_bytes(b"new and longer")
    eventually(lambda: (here / "file").read_bytes() == b"new and longer", what="the new content")
    assert (here / "file").stat().st_size == 14


def test_same_length_replacement_is_not_hidden_by_the_page_cache(mounted: MountedDisk) -> None:
    here = mounted.second()
    (mounted.path / "file").write_bytes(b"a" * 10_000)
    eventually((here / "file").exists, what="the file")
    assert (here / "file").read_bytes() == b"a" * 10_000
    (mounted.path / "file").write_bytes(b"b" * 10_000)
    eventually(lambda: (here / "file").read_bytes() == b"b" * 10_000, what="the new content")


def test_removed_elsewhere_is_gone_soon(mounted: MountedDisk) -> None:
    here = mounted.second()
    (mounted.path / "file").write_bytes(b"x")
    (mounted.path / "d").mkdir()
    eventually((here / "d").is_dir, what="the directory")
    (mounted.path / "file").unlink()
    (mounted.path / "d").rmdir()
    eventually(lambda: os.listdir(here) == [], what="the removal")
    # What the last listing but one told of the file, the kernel believes for a second.
    eventually(lambda: not (here / "file").exists(), what="its end for who looks by name")


def test_open_file_reads_one_version_to_the_end(mounted: MountedDisk) -> None:
    here = mounted.second()
    old, new = noise(3 * BLOCK, 1), noise(3 * BLOCK, 2)
    mounted.store.put(f"{mounted.name}/file", old)
    eventually((here / "file").exists, what="the file")
    with opened(here / "file", os.O_RDONLY) as fd:
        assert pread_all(fd, 10, 0) == old[:10]
        mounted.store.put(f"{mounted.name}/file", new)
        assert pread_all(fd, len(old), 0) == old
    eventually(lambda: (here / "file").read_bytes() == new, what="the new version")


def test_open_file_is_read_after_its_deletion_elsewhere(mounted: MountedDisk) -> None:
    here = mounted.second()
    data = noise(3 * BLOCK)
    mounted.store.put(f"{mounted.name}/file", data)
    eventually((here / "file").exists, what="the file")
    with opened(here / "file", os.O_RDONLY) as fd:
        mounted.store.delete(f"{mounted.name}/file")
        assert pread_all(fd, len(data), 0) == data
    eventually(lambda: not (here / "file").exists(), what="the deletion")


def test_both_contents_are_kept_when_two_machines_write(mounted: MountedDisk) -> None:
    mounted.expect_in_log("conflict")
    name = f"{mounted.name}/report.txt"
    (mounted.path / "report.txt").write_bytes(b"base")
    fd = os.open(mounted.path / "report.txt", os.O_RDWR)
    os.pwrite(fd, b"mine", 0)
    mounted.store.put(name, b"theirs")
    with pytest.raises(OSError):  # it is not saved under its name
        os.close(fd)
    assert mounted.store.get(name) == b"theirs"
    (copy,) = [each for each in mounted.store.names(f"{mounted.name}/") if "(conflict " in each]
    assert copy.startswith(f"{mounted.name}/report (conflict ")
    assert copy.endswith(").txt")
    assert mounted.store.get(copy) == b"mine"
    eventually(lambda: (mounted.path / "report.txt").read_bytes() == b"theirs", what="their content")
    assert [path.read_bytes() for path in conflicts(mounted.path)] == [b"mine"]


def test_both_contents_are_kept_when_two_machines_create(mounted: MountedDisk) -> None:
    mounted.expect_in_log("conflict")
    fd = os.open(mounted.path / "new.txt", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"mine")
    mounted.store.put(f"{mounted.name}/new.txt", b"theirs")
    with pytest.raises(OSError):
        os.close(fd)
    contents = {mounted.store.get(name) for name in mounted.store.names(f"{mounted.name}/")}
    assert contents == {b"mine", b"theirs"}


def test_file_deleted_elsewhere_while_dirty_here_is_not_lost(mounted: MountedDisk) -> None:
    """Ours is the only content left: it must exist afterwards, under its own or a conflict name."""
    mounted.expect_in_log("conflict|deleted")
    (mounted.path / "file").write_bytes(noise(BLOCK))
    fd = os.open(mounted.path / "file", os.O_RDWR)
    pwrite_all(fd, b"edited", 0)
    mounted.store.delete(f"{mounted.name}/file")
    with contextlib.suppress(OSError):
        os.close(fd)
    (name,) = mounted.store.names(f"{mounted.name}/")
    assert mounted.store.get(name) == b"edited" + noise(BLOCK)[6:]


def test_two_machines_write_different_files_of_one_directory(mounted: MountedDisk) -> None:
    here = mounted.second()
    eventually(here.is_dir, what="the directory")
    for number in range(10):
        (mounted.path / f"a{number}").write_bytes(b"a" * number)
        (here / f"b{number}").write_bytes(b"b" * number)
    names = sorted(f"{letter}{number}" for letter in "ab" for number in range(10))
    eventually(lambda: sorted(os.listdir(here)) == names, what="the files of both")
    eventually(lambda: sorted(os.listdir(mounted.path)) == names, what="the files of both")
    assert not conflicts(here)


def test_file_of_an_object_store_client_in_no_directory(mounted: MountedDisk) -> None:
    """Directories need no marker object."""
    here = mounted.second()
    mounted.store.put(f"{mounted.name}/no/marker/file", b"deep")
    eventually((here / "no").is_dir, what="the directory")
    assert (here / "no" / "marker" / "file").read_bytes() == b"deep"
    (here / "no").rename(here / "renamed")
    assert (here / "renamed" / "marker" / "file").read_bytes() == b"deep"
    assert mounted.store.get(f"{mounted.name}/renamed/marker/file") == b"deep"
    assert not mounted.store.exists(f"{mounted.name}/no/marker/file")


def test_directory_markers_of_other_clients(mounted: MountedDisk) -> None:
    here = mounted.second()
    for kind in ("application/directory", "application/folder", "application/directory; charset=utf-8"):
        mounted.store.put(f"{mounted.name}/{kind[12:15]}{len(kind)}", b"", content_type=kind)
    eventually(lambda: len(os.listdir(here)) == 3, what="the directories")
    assert all(path.is_dir() for path in here.iterdir())
    for path in list(here.iterdir()):
        path.rmdir()
    assert mounted.store.names(f"{mounted.name}/") == []


def test_all_attributes_are_seen_on_another_machine(mounted: MountedDisk) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"content")
    file.chmod(0o640)
    os.setxattr(file, "user.comment", b"\0\xff")
    os.utime(file, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    (mounted.path / "link").symlink_to("file")
    with opened(file) as fd:
        os.fsync(fd)  # else the attributes go out a moment later
    here = mounted.second()
    info, there = (here / "file").stat(), file.stat()
    assert (info.st_mode, info.st_mtime_ns) == (there.st_mode, there.st_mtime_ns)
    assert os.getxattr(here / "file", "user.comment") == b"\0\xff"
    assert os.readlink(here / "link") == "file"


def test_attributes_alone_reach_another_machine_soon(mounted: MountedDisk) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"content")
    here = mounted.second()
    assert (here / "file").read_bytes() == b"content"
    file.chmod(0o600)
    os.utime(file, ns=(5, 5))
    os.setxattr(file, "user.comment", b"hello")
    eventually(lambda: (here / "file").stat().st_mtime_ns == 5, what="the new time")
    assert (here / "file").stat().st_mode & 0o777 == 0o600
    # In the same version, unless this process was held up between the three calls.
    eventually(lambda: os.listxattr(here / "file") == ["user.comment"], what="the comment")
    assert os.getxattr(here / "file", "user.comment") == b"hello"


def test_two_versions_are_read_side_by_side(mounted: MountedDisk) -> None:
    """By who opened the file before others replaced it, and by who opens it after that, again and again."""
    here = mounted.second()
    old, new = noise(100_000, 1), noise(100_001, 2)
    mounted.store.put(f"{mounted.name}/file", old)
    eventually((here / "file").exists, what="the file")
    with opened(here / "file", os.O_RDONLY) as fd:
        assert pread_all(fd, 10, 0) == old[:10]
        mounted.store.put(f"{mounted.name}/file", new)
        # Not by reading: a version that is read stays the one that is shown.
        eventually(lambda: (here / "file").stat().st_size == len(new), what="the new version")
        with opened(here / "file", os.O_RDONLY) as second:
            assert pread_all(second, 10, 0) == new[:10]
            for _ in range(2):
                assert pread_all(fd, len(old), 0) == old
                assert (here / "file").read_bytes() == new
            assert pread_all(second, len(new), 0) == new
    assert (here / "file").read_bytes() == new


def test_who_met_a_conflict_reads_on_what_it_wrote(mounted: MountedDisk) -> None:
    """Its file has another name by now, but the kernel takes it for the one that others wrote."""
    mounted.expect_in_log("conflict")
    base, theirs = noise(100_000, 1), noise(100_000, 2)
    file = mounted.path / "file"
    file.write_bytes(base)
    ours = b"ours" + base[4:]
    with opened(file, os.O_RDWR) as fd:
        pwrite_all(fd, b"ours", 0)
        mounted.store.put(f"{mounted.name}/file", theirs)
        with refused(errno.ESTALE):
            os.fsync(fd)
        assert pread_all(fd, len(ours), 0) == ours
        eventually(lambda: file.read_bytes() == theirs, what="their content")
        assert pread_all(fd, len(ours), 0) == ours
        assert file.read_bytes() == theirs
    assert file.read_bytes() == theirs
    assert [path.read_bytes() for path in conflicts(mounted.path)] == [ours]
