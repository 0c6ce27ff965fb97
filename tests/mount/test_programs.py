"""Programs that work in a directory: git, SQLite, compilers, and what fio verifies."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.support.disks import Disk
from tests.support.files import BLOCK, noise
from tests.support.processes import run, run_together

GIT = {
    "GIT_AUTHOR_NAME": "A U Thor",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "A U Thor",
    "GIT_COMMITTER_EMAIL": "author@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def git(folder: Path, *arguments: str) -> str:
    return run("git", "-c", "init.defaultBranch=main", *arguments, cwd=folder, environment=GIT).stdout


def repository(folder: Path) -> Path:
    """A repository with two hundred files, three commits and a branch."""
    folder.mkdir()
    git(folder, "init", "-q")
    for number in range(200):
        file = folder / f"d{number % 7}" / f"file{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(noise(number * 11, number))
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    (folder / "link").symlink_to("program")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    (folder / "d1" / "file1").write_bytes(b"changed\n")
    git(folder, "commit", "-qam", "two")
    git(folder, "branch", "other")
    return folder


def test_git_from_init_to_fsck(disk: Disk) -> None:
    work = repository(disk.path / "work")
    disk.remount(fresh_cache=True)
    assert git(work, "status", "--porcelain") == ""
    (work / "d2" / "file2").unlink()
    (work / "d3").rename(work / "renamed")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "three")
    git(work, "checkout", "-q", "other")
    git(work, "merge", "-q", "main")
    git(work, "stash", "list")
    git(work, "gc", "-q", "--prune=now")
    git(work, "fsck", "--full", "--strict")
    disk.remount(fresh_cache=True)
    assert git(work, "status", "--porcelain") == ""
    git(work, "fsck", "--full", "--strict")
    assert len(git(work, "log", "--oneline").splitlines()) == 3
    assert os.readlink(work / "link") == "program"


def test_git_index_stays_fresh_over_a_remount(disk: Disk) -> None:
    """The index holds inode numbers, times and sizes: if they moved, each status would read each file."""
    work = repository(disk.path / "work")
    git(work, "update-index", "--refresh")
    before = (work / ".git" / "index").read_bytes()
    disk.remount()
    git(work, "diff-files", "--quiet")
    assert (work / ".git" / "index").read_bytes() == before


def test_git_clone_in_out_and_push(disk: Disk, tmp_path: Path) -> None:
    origin = repository(tmp_path / "origin")
    git(disk.path, "clone", "-q", f"file://{origin}", "clone")
    git(disk.path, "clone", "-q", "--bare", "clone", "bare.git")
    clone = disk.path / "clone"
    (clone / "new").write_bytes(b"new\n")
    git(clone, "add", "new")
    git(clone, "commit", "-qm", "new")
    git(clone, "push", "-q", str(disk.path / "bare.git"), "main")
    disk.remount(fresh_cache=True)
    assert git(clone, "status", "--porcelain") == ""
    git(tmp_path, "clone", "-q", str(disk.path / "bare.git"), "back")
    assert (tmp_path / "back" / "new").read_bytes() == b"new\n"
    git(disk.path / "bare.git", "fsck", "--full")


JOURNALS = ["delete", "truncate", "persist", "memory", "off"]


def fill(database: sqlite3.Connection, rows: int, start: int = 0) -> None:
    with database:
        database.executemany(
            "insert into t values (?, ?)", [(start + n, noise(500, start + n)) for n in range(rows)]
        )


@pytest.mark.parametrize("journal", JOURNALS)
def test_sqlite_with_each_rollback_journal(disk: Disk, journal: str) -> None:
    file = disk.path / "data.db"
    database = sqlite3.connect(file)
    assert database.execute(f"pragma journal_mode={journal}").fetchone() == (journal,)
    database.execute("create table t (n integer primary key, data blob)")
    for number in range(10):
        fill(database, 100, number * 100)
    if journal != "off":  # without a journal nothing can be taken back
        database.execute("delete from t")
        database.rollback()
    database.execute("update t set data = ? where n = 7", (b"changed",))
    database.commit()
    database.execute("vacuum")
    database.close()
    disk.remount(fresh_cache=True)
    database = sqlite3.connect(file)
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    assert database.execute("select count(*) from t").fetchone() == (1000,)
    assert database.execute("select data from t where n = 7").fetchone() == (b"changed",)
    assert database.execute("select data from t where n = 999").fetchone() == (noise(500, 999),)
    database.close()


def test_sqlite_with_a_write_ahead_log(disk: Disk) -> None:
    file = disk.path / "data.db"
    database = sqlite3.connect(file)
    assert database.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    database.execute("create table t (n integer primary key, data blob)")
    reader = sqlite3.connect(file)
    for number in range(10):
        fill(database, 100, number * 100)
        assert reader.execute("select count(*) from t").fetchone() == (100 * (number + 1),)
    assert database.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    reader.close()
    database.close()
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["data.db"]
    database = sqlite3.connect(file)
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    assert database.execute("select count(*) from t").fetchone() == (1000,)
    database.close()


SQLITE_WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=50)
print("ready"); input()
for number in range(15):
    with database:
        database.execute("insert into t (who) values (?)", (sys.argv[2],))
database.close()
"""


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite_from_several_processes(disk: Disk, journal: str) -> None:
    file = disk.path / "data.db"
    with sqlite3.connect(file) as database:
        # here, for a change of the mode does not wait for others as the rest does
        assert database.execute(f"pragma journal_mode={journal}").fetchone() == (journal,)
        database.execute("create table t (n integer primary key, who text)")
    database.close()
    run_together(SQLITE_WRITER, [[file, str(who)] for who in range(3)])
    disk.remount(fresh_cache=True)
    database = sqlite3.connect(file)
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    assert database.execute("select count(*), count(distinct who) from t").fetchone() == (45, 3)
    database.close()


def test_sqlite_command_line(disk: Disk) -> None:
    run("sqlite3", disk.path / "a.db", "create table t(x); insert into t values (1),(2); vacuum;")
    disk.remount(fresh_cache=True)
    assert run("sqlite3", disk.path / "a.db", "select sum(x) from t").stdout == "3\n"


def test_python_compiles_a_package(disk: Disk) -> None:
    package = disk.path / "package"
    run("cp", "-r", Path(os.__file__).parent / "json", package)
    run("rm", "-rf", package / "__pycache__")
    run(sys.executable, "-m", "compileall", "-q", package)
    compiled = sorted(path.name for path in (package / "__pycache__").iterdir())
    assert len(compiled) == len(list(package.glob("*.py")))
    disk.remount(fresh_cache=True)
    before = {path: path.stat().st_mtime_ns for path in (package / "__pycache__").iterdir()}
    run(sys.executable, "-m", "compileall", "-q", package)
    assert {path: path.stat().st_mtime_ns for path in (package / "__pycache__").iterdir()} == before
    run(sys.executable, "-c", "import package; print(package.dumps(1))", cwd=disk.path)


MAKEFILE = """
OBJECTS = main.o one.o two.o
program: $(OBJECTS) libthree.a
\t$(CC) -o $@ $^
libthree.a: three.o
\t$(AR) rcs $@ $^
%.o: %.c common.h
\t$(CC) -c -o $@ $<
clean:
\trm -f *.o *.a program
"""


def test_make_of_a_small_project(disk: Disk) -> None:
    folder = disk.path / "project"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "common.h").write_text("int one(void); int two(void); int three(void);\n")
    for number, name in enumerate(("one", "two", "three"), 1):
        (folder / f"{name}.c").write_text(f'#include "common.h"\nint {name}(void) {{ return {number}; }}\n')
    (folder / "main.c").write_text(
        '#include "common.h"\nint main(void) { return one() + two() + three() - 6; }\n'
    )
    run("make", "-j2", cwd=folder)
    run(folder / "program")
    assert "up to date" in run("make", cwd=folder).stdout
    disk.remount(fresh_cache=True)
    assert "up to date" in run("make", cwd=folder).stdout
    run(folder / "program")
    run("touch", "two.c", cwd=folder)
    rebuilt = run("make", cwd=folder).stdout
    assert "two.o" in rebuilt
    assert "-o one.o" not in rebuilt
    run("make", "clean", cwd=folder)
    assert not list(folder.glob("*.o"))


FIO = {
    "sequential": ["--rw=write", "--bs=128k", "--ioengine=psync"],
    "sequential, small": ["--rw=write", "--bs=4k", "--ioengine=sync", "--size=2m"],
    "random": ["--rw=randwrite", "--bsrange=4k-64k", "--ioengine=psync"],
    "random read and write": ["--rw=randrw", "--bs=8k", "--ioengine=psync"],
    "map": ["--rw=randwrite", "--bs=4k", "--ioengine=mmap"],
    "asynchronous": ["--rw=randwrite", "--bs=16k", "--ioengine=libaio", "--iodepth=8"],
    "with fsync": ["--rw=randwrite", "--bs=64k", "--ioengine=psync", "--fsync=32"],
    "two jobs": ["--rw=randwrite", "--bs=16k", "--ioengine=psync", "--numjobs=2"],
}


@pytest.mark.parametrize("kind", FIO)
def test_fio_verifies_what_it_wrote(disk: Disk, kind: str) -> None:
    common = ["--name=job", f"--directory={disk.path}", "--verify=crc32c", "--verify_fatal=1", "--randseed=7"]
    options = [f"--size={BLOCK + 524_288}", "--fallocate=none", "--allow_file_create=1", *FIO[kind]]
    run("fio", *common, *options, "--do_verify=1", cwd=disk.path)
    disk.remount(fresh_cache=True)
    run("fio", *common, *options, "--verify_only=1", cwd=disk.path)
