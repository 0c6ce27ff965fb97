"""What close() and fsync() promise: the store has it when they return."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.support.disks import MountedDisk
from tests.support.files import BLOCK, noise, opened, pwrite_all
from tests.support.processes import python, run


def test_close_returns_when_the_store_has_it(mounted: MountedDisk) -> None:
    for number in range(5):
        data = noise(number * 1000, number)
        (mounted.path / "file").write_bytes(data)
        assert mounted.store.get(f"{mounted.name}/file") == data


def test_fsync_returns_when_the_store_has_it(mounted: MountedDisk) -> None:
    for sync in (os.fsync, os.fdatasync):
        with opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as fd:
            for number in range(3):
                pwrite_all(fd, noise(BLOCK // 2, number), number * BLOCK)
                sync(fd)
                stored = mounted.store.get(f"{mounted.name}/file")
                assert stored[number * BLOCK :] == noise(BLOCK // 2, number)
        (mounted.path / "file").unlink()


def test_empty_file_is_in_the_store_after_close(mounted: MountedDisk) -> None:
    (mounted.path / "file").touch()
    assert mounted.store.get(f"{mounted.name}/file") == b""


def test_directory_and_rename_are_in_the_store_at_once(mounted: MountedDisk) -> None:
    (mounted.path / "d").mkdir()
    assert mounted.store.head(f"{mounted.name}/d")["Content-Type"].startswith("application/directory")
    (mounted.path / "d" / "one").write_bytes(b"1")
    (mounted.path / "d" / "one").rename(mounted.path / "two")
    assert mounted.store.get(f"{mounted.name}/two") == b"1"
    assert not mounted.store.exists(f"{mounted.name}/d/one")


def sync_directory(path: Path) -> None:
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


def test_one_removal_is_in_the_store_at_once(mounted: MountedDisk) -> None:
    (mounted.path / "one").write_bytes(b"1")
    time.sleep(1.1)  # else it may be one of several, done one after the other
    (mounted.path / "one").unlink()
    assert not mounted.store.exists(f"{mounted.name}/one")


def test_many_removals_are_in_the_store_when_their_directory_is_synced_or_removed(
    mounted: MountedDisk,
) -> None:
    top = mounted.path / "d"
    top.mkdir()
    for number in range(40):
        (top / f"{number}").touch()
    for number in range(30):
        (top / f"{number}").unlink()
    sync_directory(top)
    assert len(mounted.store.names(f"{mounted.name}/d/")) == 10
    shutil.rmtree(top)
    assert mounted.store.names(f"{mounted.name}/d") == []


def test_directory_fsync_succeeds(mounted: MountedDisk) -> None:
    with opened(mounted.path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)
        os.fdatasync(fd)


def test_sync_of_the_file_system_succeeds(mounted: MountedDisk) -> None:
    with opened(mounted.path / "file", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"content")
        os.sync()
    assert mounted.store.get(f"{mounted.name}/file") == b"content"


def test_each_close_of_a_dirty_handle_sends(mounted: MountedDisk) -> None:
    with opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as one:
        with opened(mounted.path / "file") as two:
            os.pwrite(two, b"two", 0)
        assert mounted.store.get(f"{mounted.name}/file") == b"two"
        os.pwrite(one, b"one", 3)
    assert mounted.store.get(f"{mounted.name}/file") == b"twoone"


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("there", [False, True])
def test_a_shells_redirection_is_one_version(mounted: MountedDisk, shell: str, there: bool) -> None:
    """Shells duplicate the descriptor and close the first one before anything is written."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    path, name = mounted.path / "file", f"{mounted.name}/file"
    if there:
        mounted.store.put(name, b"old content")
        mounted.remount()
    before = len(mounted.store.versions(name))
    run(shell, "-c", 'echo new > "$1"', shell, path)
    assert mounted.store.get(name) == b"new\n"
    assert len(mounted.store.versions(name)) == before + 1
    run(shell, "-c", ': > "$1"', shell, path)
    assert mounted.store.get(name) == b""


def test_each_close_of_a_duplicate_sends_what_is_there(mounted: MountedDisk) -> None:
    with opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as one:
        two = os.dup(one)
        os.write(two, b"content")
        os.close(two)
        assert mounted.store.get(f"{mounted.name}/file") == b"content"


def test_unmount_sends_what_is_still_open_in_a_killed_program(mounted: MountedDisk) -> None:
    """A killed program's files are closed by the kernel; what it wrote is not thrown away."""
    code = "import os,sys; f=open(sys.argv[1],'wb',0); f.write(b'x'*100000); print('ready'); input()"
    child = python(code, mounted.path / "file")
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.communicate()
    mounted.remount(fresh_cache=True)
    assert (mounted.path / "file").read_bytes() == b"x" * 100_000


def test_reading_sends_nothing(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(noise(BLOCK + 1))
    before = mounted.store.head(f"{mounted.name}/file")["X-Object-Version"]
    (mounted.path / "file").read_bytes()
    with opened(mounted.path / "file") as fd:
        os.fsync(fd)
    assert mounted.store.head(f"{mounted.name}/file")["X-Object-Version"] == before
