"""The past on a real mount: complete, consistent, read-only."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from pathlib import Path

import pytest

from tests.history.conftest import Pithosfs, next_second
from tests.support.disks import MountedDisk
from tests.support.files import noise, refused


def tree(top: Path) -> dict[str, bytes | None]:
    """Every path below ``top`` with its content, None for a directory."""
    return {
        str(path.relative_to(top)): None if path.is_dir() else path.read_bytes()
        for path in sorted(top.rglob("*"))
    }


def some_tree(mounted: MountedDisk) -> dict[str, bytes | None]:
    top = mounted.path
    (top / "a" / "b").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "one").write_bytes(b"first")
    (top / "a" / "two").write_bytes(noise(70_000, seed=2))
    (top / "a" / "b" / "large").write_bytes(noise(9 << 20, seed=3))
    os.utime(top / "one", ns=(1, 1_600_000_000_123456789))
    mounted.settle()
    return tree(top)


def past(mounted: MountedDisk, when: str) -> Path:
    return mounted.mount.mountpoint / ".pithos" / "at" / when / mounted.name


def test_a_moment_shows_what_was_deleted_changed_and_added_since(mounted: MountedDisk) -> None:
    before = some_tree(mounted)
    when = next_second()
    shutil.rmtree(mounted.path / "a")
    (mounted.path / "one").write_bytes(b"second")
    (mounted.path / "new").write_bytes(b"new")
    then = past(mounted, when)
    assert tree(then) == before
    assert (then / "one").stat().st_mtime_ns == 1_600_000_000_123456789
    (mounted.path / "one").unlink()
    assert tree(then) == before


def test_a_mount_at_a_moment_is_that_tree_and_read_only(mounted: MountedDisk) -> None:
    before = some_tree(mounted)
    when = next_second()
    (mounted.path / "one").write_bytes(b"second")
    then = mounted.second("--at", when)
    assert tree(then) == before
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    assert [each[0] for each in mounts if each[1] == str(then.parent)] == [
        f"pithos:pithos@{when.replace(' ', 'T')}"
    ]
    for path in list(mounted.path.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert tree(then) == before
    with refused(errno.EROFS):
        (then / "x").touch()
    with refused(errno.EROFS):
        (then / "one").unlink()


def test_the_hidden_directory_is_hidden_and_refuses_every_change(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(b"content")
    when = next_second()
    top = mounted.mount.mountpoint
    assert ".pithos" not in os.listdir(top)
    assert sorted(os.listdir(top / ".pithos")) == ["at", "versions"]
    then = past(mounted, when)
    changes = [
        lambda: (then / "new").touch(),
        lambda: (then / "d").mkdir(),
        lambda: (then / "file").unlink(),
        lambda: (then / "file").write_bytes(b"x"),
        lambda: (then / "file").rename(then / "other"),
        lambda: (mounted.path / "file").rename(then / "other"),
        lambda: (then / "file").rename(mounted.path / "taken out"),
        lambda: os.truncate(then / "file", 0),
        lambda: os.utime(then / "file"),
        lambda: (then / "file").chmod(0o600),
        lambda: (then / "link").symlink_to("file"),
        lambda: os.setxattr(then / "file", "user.x", b"x"),
        lambda: then.rmdir(),
        lambda: (top / ".pithos").rmdir(),
        lambda: (top / ".pithos" / "mine").mkdir(),
    ]
    for change in changes:
        with refused(errno.EROFS):
            change()
    assert tree(then) == {"file": b"content"}
    assert (mounted.path / "file").read_bytes() == b"content"


def test_times_at_which_something_changed_are_listed_newest_first(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(b"1")
    first = next_second()
    (mounted.path / "file").write_bytes(b"2")
    next_second()
    (mounted.path / "file").unlink()
    next_second()
    next_second()
    with mounted.requests() as seen:
        listed = os.listdir(mounted.mount.mountpoint / ".pithos" / "at")
    assert 0 < len(seen) <= 10  # however large the container and however long its history:
    assert all("limit=1000" in each.query for each in seen)
    assert listed == sorted(listed, reverse=True)
    assert first.replace(" ", "T") in listed
    contents = set()
    for each in listed:
        then = past(mounted, each) / "file"
        contents.add(then.read_bytes() if then.exists() else None)
    assert {b"1", b"2", None} <= contents


@pytest.mark.parametrize(
    "name", ["2100-01-01", "soon", "2 parsecs ago", "1990-01-01", "1969-12-31", "60 years ago", "@0"]
)
def test_a_time_that_is_none_is_no_directory(mounted: MountedDisk, name: str) -> None:
    assert not (mounted.mount.mountpoint / ".pithos" / "at" / name).exists()


def test_a_relative_time_stays_the_same_moment_while_one_walks(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(b"1")
    next_second()
    next_second()
    then = past(mounted, "1 second ago")
    assert tree(then) == {"file": b"1"}
    (mounted.path / "file").write_bytes(b"2")
    next_second()
    next_second()
    assert tree(then) == {"file": b"1"}


def test_copying_out_of_the_past_moves_no_data(mounted: MountedDisk) -> None:
    content = noise(12 << 20, seed=7)
    (mounted.path / "file").write_bytes(content)
    when = next_second()
    (mounted.path / "file").unlink()
    then = past(mounted, when) / "file"
    assert then.stat().st_ino != 0
    with mounted.requests() as seen:
        shutil.copy2(then, mounted.path / "back")
    assert (mounted.path / "back").read_bytes() == content
    assert sum(each.bytes_in for each in seen) < 1 << 20
    assert sum(each.bytes_out for each in seen) < 1 << 20


def test_a_hundred_edits_are_a_hundred_versions(mounted: MountedDisk) -> None:
    path = mounted.path / "notes"
    for number in range(100):
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"%03d\n" % number, 4 * number)
        os.close(fd)
    versions = mounted.mount.mountpoint / ".pithos" / "versions" / mounted.name / "notes"
    names = sorted(os.listdir(versions))
    assert len(names) == 100
    assert [(versions / name).stat().st_size for name in names] == [4 * (n + 1) for n in range(100)]
    assert (versions / names[41]).read_bytes() == b"".join(b"%03d\n" % n for n in range(42))
    path.unlink()
    assert (versions / names[99]).read_bytes() == b"".join(b"%03d\n" % n for n in range(100))


def test_versions_of_a_file_that_is_gone_with_its_directory(mounted: MountedDisk) -> None:
    (mounted.path / "d").mkdir()
    (mounted.path / "d" / "file").write_bytes(b"1")
    when = next_second()
    (mounted.path / "d" / "file").write_bytes(b"2")
    shutil.rmtree(mounted.path / "d")
    versions = mounted.mount.mountpoint / ".pithos" / "versions" / mounted.name / "d" / "file"
    assert [(versions / name).read_bytes() for name in sorted(os.listdir(versions))] == [b"1", b"2"]
    assert (versions / when).read_bytes() == b"1"
    assert not (versions / "1990-01-01").exists()
    assert not (versions.parent / "never").exists()


def test_the_past_is_no_second_name_of_the_present(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(b"content")
    when = next_second()
    assert not os.path.samefile(past(mounted, when) / "file", mounted.path / "file")
    assert filecmp.cmp(past(mounted, when) / "file", mounted.path / "file", shallow=False)


def test_what_others_put_below_its_name_is_not_listed_either(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    pithosfs("upload", tmp_path / "file", "pithos/.pithos/file")
    top = mounted.mount.mountpoint
    pithosfs("refresh", top)
    assert ".pithos" not in os.listdir(top)
    assert sorted(os.listdir(top / ".pithos")) == ["at", "versions"]
    pithosfs("download", "pithos/.pithos/file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"
