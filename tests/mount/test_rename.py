"""rename(2) in all its forms."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, make_tree, noise, refused, tree
from tests.support.processes import run_together
from tests.support.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, rename


def test_file_to_a_new_name(disk: Disk) -> None:
    (disk.path / "a").write_bytes(noise(BLOCK + 1))
    (disk.path / "a").rename(disk.path / "b")
    assert os.listdir(disk.path) == ["b"]
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["b"]
    assert (disk.path / "b").read_bytes() == noise(BLOCK + 1)


def test_file_over_a_file(disk: Disk) -> None:
    (disk.path / "a").write_bytes(b"a")
    (disk.path / "b").write_bytes(noise(BLOCK))
    (disk.path / "a").rename(disk.path / "b")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["b"]
    assert (disk.path / "b").read_bytes() == b"a"


def test_file_into_another_directory(disk: Disk) -> None:
    (disk.path / "d" / "e").mkdir(parents=True)
    (disk.path / "a").write_bytes(b"a")
    (disk.path / "a").rename(disk.path / "d" / "e" / "b")
    assert os.listdir(disk.path) == ["d"]
    disk.remount(fresh_cache=True)
    assert (disk.path / "d" / "e" / "b").read_bytes() == b"a"


def test_file_to_its_own_name_changes_nothing(path: Path) -> None:
    (path / "a").write_bytes(b"a")
    (path / "a").rename(path / "a")
    assert (path / "a").read_bytes() == b"a"


def test_file_leaves_siblings_with_longer_names(disk: Disk) -> None:
    """A move of everything that begins with the name would take them along."""
    (disk.path / "a").write_bytes(b"a")
    (disk.path / "ab").write_bytes(b"ab")
    (disk.path / "a.d").mkdir()
    (disk.path / "a.d" / "x").write_bytes(b"x")
    (disk.path / "a").rename(disk.path / "z")
    disk.remount(fresh_cache=True)
    assert sorted(os.listdir(disk.path)) == ["a.d", "ab", "z"]
    assert (disk.path / "a.d" / "x").read_bytes() == b"x"


def test_directory_with_all_below(disk: Disk) -> None:
    make_tree(disk.path / "d")
    before = tree(disk.path / "d")
    (disk.path / "d").rename(disk.path / "e")
    assert os.listdir(disk.path) == ["e"]
    assert tree(disk.path / "e") == before
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["e"]
    assert tree(disk.path / "e") == before


def test_directory_leaves_siblings_with_longer_names(disk: Disk) -> None:
    for name in ("d", "dd", "d.x"):
        (disk.path / name).mkdir()
        (disk.path / name / "file").write_bytes(name.encode())
    (disk.path / "d").rename(disk.path / "moved")
    disk.remount(fresh_cache=True)
    assert {p.name: (p / "file").read_bytes() for p in disk.path.iterdir()} == {
        "moved": b"d",
        "dd": b"dd",
        "d.x": b"d.x",
    }


def test_directory_into_another(disk: Disk) -> None:
    make_tree(disk.path / "d")
    (disk.path / "e").mkdir()
    before = tree(disk.path / "d")
    (disk.path / "d").rename(disk.path / "e" / "d")
    disk.remount(fresh_cache=True)
    assert tree(disk.path / "e" / "d") == before
    assert not (disk.path / "d").exists()


def test_directory_over_an_empty_one(disk: Disk) -> None:
    (disk.path / "d").mkdir()
    (disk.path / "d" / "file").write_bytes(b"content")
    (disk.path / "e").mkdir()
    (disk.path / "d").rename(disk.path / "e")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["e"]
    assert (disk.path / "e" / "file").read_bytes() == b"content"


def test_directory_over_a_full_one_is_refused(disk: Disk) -> None:
    for name in ("d", "e"):
        (disk.path / name).mkdir()
        (disk.path / name / "file").write_bytes(name.encode())
    with refused(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(disk.path / "d", disk.path / "e")
    disk.remount(fresh_cache=True)
    assert (disk.path / "d" / "file").read_bytes() == b"d"
    assert (disk.path / "e" / "file").read_bytes() == b"e"


def test_file_over_a_directory_is_refused(path: Path) -> None:
    (path / "a").touch()
    (path / "d").mkdir()
    with refused(errno.EISDIR):
        os.rename(path / "a", path / "d")
    assert sorted(os.listdir(path)) == ["a", "d"]


def test_directory_over_a_file_is_refused(path: Path) -> None:
    (path / "a").touch()
    (path / "d").mkdir()
    with refused(errno.ENOTDIR):
        os.rename(path / "d", path / "a")
    assert sorted(os.listdir(path)) == ["a", "d"]


@pytest.mark.parametrize("target", ["d/x", "d/e/x", "d/e"])
def test_directory_below_itself_is_refused(disk: Disk, target: str) -> None:
    (disk.path / "d" / "e").mkdir(parents=True)
    (disk.path / "d" / "file").write_bytes(b"content")
    with refused(errno.EINVAL):
        os.rename(disk.path / "d", disk.path / target)
    disk.remount(fresh_cache=True)
    assert sorted(os.listdir(disk.path / "d")) == ["e", "file"]
    assert os.listdir(disk.path / "d" / "e") == []


def test_directory_over_its_parent_is_refused(path: Path) -> None:
    (path / "d" / "e").mkdir(parents=True)
    with refused(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(path / "d" / "e", path / "d")
    assert (path / "d" / "e").is_dir()


def test_of_what_is_not_there(path: Path) -> None:
    (path / "a").touch()
    with refused(errno.ENOENT):
        os.rename(path / "nothing", path / "b")
    with refused(errno.ENOENT):
        os.rename(path / "a", path / "no" / "b")
    with refused(errno.ENOENT):
        os.rename(path / "nothing", path / "a")
    with refused(errno.ENOTDIR):
        os.rename(path / "a", path / "a" / "b")
    assert os.listdir(path) == ["a"]


def test_noreplace_does_not_replace(path: Path) -> None:
    (path / "a").write_bytes(b"a")
    (path / "b").write_bytes(b"b")
    with refused(errno.EEXIST):
        rename(path / "a", path / "b", RENAME_NOREPLACE)
    assert (path / "b").read_bytes() == b"b"
    rename(path / "a", path / "c", RENAME_NOREPLACE)
    assert sorted(os.listdir(path)) == ["b", "c"]


@pytest.mark.parametrize("flag", [RENAME_EXCHANGE, RENAME_WHITEOUT], ids=["exchange", "whiteout"])
def test_exchange_and_whiteout_are_refused_and_change_nothing(mounted: MountedDisk, flag: int) -> None:
    (mounted.path / "a").write_bytes(b"a")
    (mounted.path / "b").write_bytes(b"b")
    with refused(errno.EINVAL):
        rename(mounted.path / "a", mounted.path / "b", flag)
    assert (mounted.path / "a").read_bytes() == b"a"
    assert (mounted.path / "b").read_bytes() == b"b"


def test_old_name_is_free_at_once(disk: Disk) -> None:
    (disk.path / "a").write_bytes(b"first")
    (disk.path / "a").rename(disk.path / "b")
    assert not (disk.path / "a").exists()
    (disk.path / "a").write_bytes(b"second")
    (disk.path / "d").mkdir()
    (disk.path / "d").rename(disk.path / "e")
    (disk.path / "d").write_bytes(b"a file now")
    disk.remount(fresh_cache=True)
    assert {p.name: p.read_bytes() for p in disk.path.iterdir() if p.is_file()} == {
        "a": b"second",
        "b": b"first",
        "d": b"a file now",
    }


def test_chain_of_renames(disk: Disk) -> None:
    """logrotate: 9 to 10, 8 to 9, …"""
    for number in range(10):
        (disk.path / f"log.{number}").write_bytes(b"%d" % number)
    for number in reversed(range(10)):
        (disk.path / f"log.{number}").rename(disk.path / f"log.{number + 1}")
    disk.remount(fresh_cache=True)
    assert {p.name: p.read_bytes() for p in disk.path.iterdir()} == {
        f"log.{number + 1}": b"%d" % number for number in range(10)
    }


def test_and_back(disk: Disk) -> None:
    (disk.path / "d").mkdir()
    (disk.path / "d" / "file").write_bytes(b"content")
    (disk.path / "d").rename(disk.path / "e")
    (disk.path / "e" / "file").rename(disk.path / "e" / "renamed")
    (disk.path / "e").rename(disk.path / "d")
    (disk.path / "d" / "renamed").rename(disk.path / "d" / "file")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["d"]
    assert (disk.path / "d" / "file").read_bytes() == b"content"


RACER = """
import os, sys
print("ready"); input()
won = 0
for number in range(20):
    try:
        os.rename(f"{sys.argv[1]}/{number}", f"{sys.argv[1]}/{sys.argv[2]}-{number}")
        won += 1
    except FileNotFoundError:
        pass
print(won)
"""


def test_race_for_a_name_has_one_winner(path: Path) -> None:
    for number in range(20):
        (path / str(number)).write_bytes(b"%d" % number)
    won = run_together(RACER, [[path, str(who)] for who in range(3)])
    assert sum(map(int, won)) == 20
    assert sorted(int(p.read_bytes()) for p in path.iterdir()) == list(range(20))
