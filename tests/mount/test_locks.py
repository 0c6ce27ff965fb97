"""flock and fcntl locks between processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.files import opened
from tests.support.processes import python, run_together

HOLDER = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[2] == "flock":
    fcntl.flock(fd, fcntl.LOCK_EX)
else:
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, 50)
print("locked"); input()
"""


def holding(file: Path, kind: str) -> subprocess.Popen[str]:
    child = python(HOLDER, file, kind)
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    return child


def test_flock_keeps_others_out_until_its_holder_ends(path: Path) -> None:
    (path / "file").touch()
    child = holding(path / "file", "flock")
    with opened(path / "file") as fd:
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        child.communicate("end\n")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_flock_of_a_killed_process_is_freed(path: Path) -> None:
    (path / "file").touch()
    child = holding(path / "file", "flock")
    child.kill()
    child.communicate()
    with opened(path / "file") as fd:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_shared_flocks_live_together(path: Path) -> None:
    (path / "file").touch()
    with opened(path / "file") as one, opened(path / "file") as two:
        fcntl.flock(one, fcntl.LOCK_SH)
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_fcntl_locks_are_of_ranges(path: Path) -> None:
    (path / "file").write_bytes(bytes(1000))
    child = holding(path / "file", "fcntl")
    with opened(path / "file") as fd:
        for start, length in ((50, 1), (149, 10), (0, 0), (100, 5)):
            with pytest.raises(BlockingIOError):
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 50, 0)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 150)
        child.communicate("end\n")
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 0)


WAITER = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
print("ready"); input()
for number in range(25):
    {lock}
    count = int(os.pread(fd, 20, 0) or b"0")
    os.pwrite(fd, b"%d" % (count + 1), 0)
    {unlock}
os.close(fd)
"""
KINDS = {
    "flock": ("fcntl.flock(fd, fcntl.LOCK_EX)", "fcntl.flock(fd, fcntl.LOCK_UN)"),
    "fcntl": ("fcntl.lockf(fd, fcntl.LOCK_EX)", "fcntl.lockf(fd, fcntl.LOCK_UN)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_counter_under_a_lock_loses_nothing(path: Path, kind: str) -> None:
    (path / "counter").write_bytes(b"0")
    lock, unlock = KINDS[kind]
    run_together(WAITER.format(lock=lock, unlock=unlock), [[path / "counter"]] * 3)
    assert (path / "counter").read_bytes() == b"75"


def test_lock_file_made_exclusively(path: Path) -> None:
    """The oldest of all locks."""
    with opened(path / "lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL), pytest.raises(FileExistsError):
        os.open(path / "lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    (path / "lock").unlink()
    with opened(path / "lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL):
        pass
