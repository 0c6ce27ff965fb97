"""Programs that copy trees: rsync, cp -a, tar, zip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import Disk
from tests.support.files import BLOCK, make_tree, noise, opened, stamp, tree
from tests.support.processes import run


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A tree on the local disk."""
    make_tree(tmp_path / "source")
    yield tmp_path / "source"
    shutil.rmtree(tmp_path / "source")


def rsync(*arguments: str | Path) -> list[str]:
    """Runs rsync; the entries that it changed, one line each."""
    return run("rsync", "--itemize-changes", *arguments).stdout.splitlines()


@pytest.mark.parametrize("how", [[], ["--inplace"], ["--whole-file"], ["--partial", "--append-verify"]])
def test_rsync_copies_all_and_then_nothing(disk: Disk, source: Path, how: list[str]) -> None:
    target = disk.path / "target"
    assert rsync("-a", *how, f"{source}/", target) != []
    assert tree(target) == tree(source)
    assert rsync("-a", *how, f"{source}/", target) == []
    disk.remount(fresh_cache=True)
    assert rsync("-a", *how, f"{source}/", target) == []
    assert tree(target) == tree(source)
    assert rsync("-a", "--checksum", f"{source}/", target) == []


@pytest.mark.parametrize("how", [[], ["--inplace"], ["--no-whole-file"], ["--inplace", "--no-whole-file"]])
def test_rsync_brings_changes_over(disk: Disk, source: Path, how: list[str]) -> None:
    target = disk.path / "target"
    rsync("-a", f"{source}/", target)
    with opened(source / "two blocks and a bit.bin") as fd:
        os.pwrite(fd, b"changed", BLOCK + 100)
    (source / "small.txt").write_bytes(b"larger than it was\n")
    (source / "one block").write_bytes(b"smaller")
    (source / "empty").chmod(0o755)
    (source / "sub" / "new").write_bytes(b"new")
    (source / "link").unlink()
    (source / "link").symlink_to("elsewhere")
    stamp(source, 1_700_000_000_987_654_321)
    rsync("-a", *how, f"{source}/", target)
    disk.remount(fresh_cache=True)
    assert tree(target) == tree(source)
    assert rsync("-a", *how, f"{source}/", target) == []


def test_rsync_deletes(disk: Disk, source: Path) -> None:
    target = disk.path / "target"
    rsync("-a", f"{source}/", target)
    shutil.rmtree(source / "many")
    (source / "small.txt").unlink()
    (source / "empty directory").rmdir()
    (source / "empty directory").write_bytes(b"a file now")
    (source / "zeros").unlink()
    (source / "zeros").mkdir()
    stamp(source, 1_700_000_000_987_654_321)
    rsync("-a", "--delete", f"{source}/", target)
    disk.remount(fresh_cache=True)
    assert tree(target) == tree(source)


def test_rsync_keeps_attributes(disk: Disk, source: Path) -> None:
    os.setxattr(source / "small.txt", "user.comment", b"\0binary\xff")
    os.setxattr(source / "sub", "user.directory", b"yes")
    target = disk.path / "target"
    rsync("-aX", f"{source}/", target)
    disk.remount(fresh_cache=True)
    assert os.getxattr(target / "small.txt", "user.comment") == b"\0binary\xff"
    assert os.getxattr(target / "sub", "user.directory") == b"yes"
    assert rsync("-aX", f"{source}/", target) == []


def test_rsync_out_again(disk: Disk, source: Path, tmp_path: Path) -> None:
    rsync("-a", f"{source}/", disk.path / "target")
    disk.remount(fresh_cache=True)
    rsync("-a", f"{disk.path}/target/", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)


def test_rsync_within_the_directory(disk: Disk, source: Path) -> None:
    rsync("-a", f"{source}/", disk.path / "one")
    rsync("-a", f"{disk.path}/one/", disk.path / "two")
    disk.remount(fresh_cache=True)
    assert tree(disk.path / "two") == tree(source)


def test_rsync_with_backups_and_delayed_updates(disk: Disk, source: Path) -> None:
    target = disk.path / "target"
    rsync("-a", f"{source}/", target)
    (source / "small.txt").write_bytes(b"the second one\n")
    rsync("-a", "--backup", "--delay-updates", f"{source}/", target)
    disk.remount(fresh_cache=True)
    assert (target / "small.txt").read_bytes() == b"the second one\n"
    assert (target / "small.txt~").read_bytes() == b"hello\n"


def test_cp_archive_in_within_and_out(disk: Disk, source: Path, tmp_path: Path) -> None:
    run("cp", "-a", source, disk.path / "one")
    run("cp", "-a", disk.path / "one", disk.path / "two")
    disk.remount(fresh_cache=True)
    assert tree(disk.path / "one") == tree(source)
    assert tree(disk.path / "two") == tree(source)
    run("cp", "-a", disk.path / "two", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)


def test_mv_across_file_systems(disk: Disk, source: Path, tmp_path: Path) -> None:
    before = tree(source)
    shutil.copytree(source, tmp_path / "again", symlinks=True)
    run("mv", tmp_path / "again", disk.path / "in")
    assert not (tmp_path / "again").exists()
    disk.remount(fresh_cache=True)
    assert tree(disk.path / "in") == before
    run("mv", disk.path / "in", tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert os.listdir(disk.path) == []


def test_install_and_dd(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(noise(BLOCK + 1))
    run("install", "-m", "750", "-D", tmp_path / "program", disk.path / "bin" / "program")
    run("dd", f"if={tmp_path}/program", f"of={disk.path}/dd", "bs=1M", "conv=fsync", "status=none")
    run(
        "dd",
        f"if={tmp_path}/program",
        f"of={disk.path}/dd",
        "bs=1000",
        "seek=5",
        "conv=notrunc",
        "status=none",
    )
    disk.remount(fresh_cache=True)
    assert (disk.path / "bin" / "program").stat().st_mode & 0o777 == 0o750
    assert (disk.path / "bin" / "program").read_bytes() == noise(BLOCK + 1)
    assert (disk.path / "dd").read_bytes() == noise(BLOCK + 1)[:5000] + noise(BLOCK + 1)


@pytest.mark.parametrize("packing", ["", "z"])
def test_tar_out_of_and_into_the_directory(disk: Disk, source: Path, tmp_path: Path, packing: str) -> None:
    run("tar", "--format=posix", f"-c{packing}pf", disk.path / "archive", "-C", source, ".")
    disk.remount(fresh_cache=True)
    (disk.path / "unpacked").mkdir()
    run("tar", f"-x{packing}pf", disk.path / "archive", "-C", disk.path / "unpacked")
    disk.remount(fresh_cache=True)
    assert tree(disk.path / "unpacked") == tree(source)
    run("tar", f"-d{packing}f", disk.path / "archive", "-C", disk.path / "unpacked")
    run("tar", "--format=posix", "-cpf", tmp_path / "back.tar", "-C", disk.path / "unpacked", ".")
    (tmp_path / "back").mkdir()
    run("tar", "-xpf", tmp_path / "back.tar", "-C", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)


def test_tar_appends_to_an_archive(disk: Disk, source: Path) -> None:
    run("tar", "-cf", disk.path / "a.tar", "-C", source, "many")
    run("tar", "-rf", disk.path / "a.tar", "-C", source, "small.txt")
    disk.remount(fresh_cache=True)
    assert run("tar", "-tf", disk.path / "a.tar").stdout.splitlines()[-1] == "small.txt"


def test_zip_and_unzip(disk: Disk, source: Path) -> None:
    run("zip", "-qry", disk.path / "a.zip", ".", cwd=source)
    run("zip", "-q", disk.path / "a.zip", "small.txt", cwd=source)
    disk.remount(fresh_cache=True)
    run("unzip", "-tq", disk.path / "a.zip")
    run("unzip", "-q", disk.path / "a.zip", "-d", disk.path / "unpacked")
    disk.remount(fresh_cache=True)
    contents = {name: facts._replace(mtime_ns=0, mode=0) for name, facts in tree(source).items()}
    unpacked = {
        name: facts._replace(mtime_ns=0, mode=0) for name, facts in tree(disk.path / "unpacked").items()
    }
    assert unpacked == contents


def test_diff_and_grep_and_find(disk: Disk, source: Path) -> None:
    run("cp", "-a", source, disk.path / "one")
    disk.remount(fresh_cache=True)
    run("diff", "-r", "--no-dereference", source, disk.path / "one")
    assert run("grep", "-rl", "hello", disk.path / "one").stdout.splitlines() == [
        f"{disk.path}/one/small.txt"
    ]
    found = run("find", disk.path / "one", "-type", "f", "-size", "+1M").stdout.splitlines()
    assert sorted(map(os.path.basename, found)) == ["one block", "two blocks and a bit.bin"]


def test_rm_removes_all(disk: Disk, source: Path) -> None:
    run("cp", "-a", source, disk.path / "one")
    run("rm", "-r", disk.path / "one")
    assert os.listdir(disk.path) == []
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == []
