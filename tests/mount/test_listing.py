"""Listing directories: all of them, each once, while others come and go, and cheaply."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path

from tests.support.disks import Disk, MountedDisk
from tests.support.files import noise, opened
from tests.support.processes import run
from tests.support.waiting import eventually


def test_new_directory_is_empty(disk: Disk) -> None:
    (disk.path / "d").mkdir()
    assert os.listdir(disk.path / "d") == []
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path / "d") == []


def test_names_are_each_there_once(disk: Disk) -> None:
    names = [f"file {number}" for number in range(500)] + [f"dir {number}" for number in range(50)]
    for name in names:
        if name.startswith("dir"):
            (disk.path / name).mkdir()
        else:
            (disk.path / name).touch()
    assert sorted(os.listdir(disk.path)) == sorted(names)
    disk.remount(fresh_cache=True)
    assert sorted(os.listdir(disk.path)) == sorted(names)


def test_new_entries_are_listed_at_once(path: Path) -> None:
    for number in range(30):
        (path / str(number)).touch()
        assert len(os.listdir(path)) == number + 1
    for number in range(30):
        (path / str(number)).unlink()
        assert len(os.listdir(path)) == 29 - number


def test_ten_thousand_entries(mounted: MountedDisk) -> None:
    """Put there by another client, then listed, looked at and added to here."""
    names = {f"file-{number:05}" for number in range(10_050)}
    mounted.store.put_many([f"{mounted.name}/{name}" for name in sorted(names)])
    mounted.remount(fresh_cache=True)
    assert set(os.listdir(mounted.path)) == names
    with os.scandir(mounted.path) as entries:
        assert all(entry.stat().st_size == 0 for entry in entries)
    (mounted.path / "one more").touch()
    (mounted.path / "file-00007").unlink()
    assert set(os.listdir(mounted.path)) == names - {"file-00007"} | {"one more"}


def test_listing_goes_on_while_entries_are_removed(path: Path) -> None:
    """rm -r: each entry is removed as soon as it was seen; none may be missed."""
    for number in range(1000):
        (path / f"{number:04}").touch()
    seen = []
    with os.scandir(path) as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    assert sorted(seen) == [f"{number:04}" for number in range(1000)]
    assert os.listdir(path) == []


def test_listing_goes_on_while_entries_are_added(path: Path) -> None:
    """Entries that were there from the start are listed, each once, whatever is added."""
    old = [f"old{number:04}" for number in range(1000)]
    for name in old:
        (path / name).touch()
    seen = []
    with os.scandir(path) as entries:
        for index, entry in enumerate(entries):
            seen.append(entry.name)
            if index < 100:
                (path / f"a{index}").touch()
                (path / f"z{index}").touch()
    assert sorted(name for name in seen if name.startswith("old")) == old
    assert len(seen) == len(set(seen))


def test_dots_are_listed_too(path: Path) -> None:
    (path / "d").mkdir()
    (path / ".hidden").touch()
    names = run("ls", "-f", path).stdout.split()
    assert sorted(names) == [".", "..", ".hidden", "d"]


def test_rewound_listing_shows_the_present(path: Path) -> None:
    (path / "one").touch()
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        assert os.listdir(fd) == ["one"]
        (path / "two").touch()
        assert sorted(os.listdir(fd)) == ["one", "two"]  # Python rewinds the descriptor


def test_deep_tree(disk: Disk) -> None:
    deep = disk.path.joinpath(*["d"] * 60)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    disk.remount(fresh_cache=True)
    assert (deep / "file").read_bytes() == b"deep"
    assert len(run("find", disk.path).stdout.splitlines()) == 62


def test_removed_directory_still_open_lists_nothing(path: Path) -> None:
    """libfuse finds no name for it any more, which is ESTALE."""
    (path / "d").mkdir()
    with opened(path / "d", os.O_RDONLY | os.O_DIRECTORY) as fd:
        (path / "d").rmdir()
        try:
            assert os.listdir(fd) == []
        except OSError as error:
            assert error.errno == errno.ESTALE


def test_walk_of_a_large_tree_takes_few_requests(mounted: MountedDisk) -> None:
    names = [f"{mounted.name}/d{a}/e{b}/file{c}" for a in range(10) for b in range(10) for c in range(10)]
    mounted.store.put_many(names)
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        listing = run("ls", "-lR", mounted.path).stdout
    assert listing.count("file") == 1000
    assert len(requests) <= 25, f"{len(requests)} requests for 110 directories of 1,000 files"


def test_attributes_and_absences_of_a_directory_take_one_listing(mounted: MountedDisk) -> None:
    for number in range(50):
        (mounted.path / f"file{number}").write_bytes(noise(10, number))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        for number in range(50):
            assert (mounted.path / f"file{number}").stat().st_size == 10
            for probe in (".hidden", f"missing{number}", ".Trash-1000", ".xdg-volume-info", "autorun.inf"):
                assert not (mounted.path / probe).exists()
    assert len(requests) <= 4, [f"{request.method} {request.path}" for request in requests]


def test_a_listing_tells_the_attributes_too(mounted: MountedDisk) -> None:
    """``ls -l`` asks the mount for the names, and then nothing more of each file."""
    for number in range(100):
        (mounted.path / f"file{number}").write_bytes(b"x" * number)
    other = mounted.second_mount("--log-level", "debug")
    asked: list[str] = []

    def looked_at_within_a_second() -> bool:
        """For so long the kernel believes what it was told: a busy machine may take longer."""
        start, began = other.log.stat().st_size, time.monotonic()
        listing = run("ls", "-l", other.mountpoint / mounted.name).stdout.split("\n")[1:-1]
        took = time.monotonic() - began
        assert sorted(int(line.split()[4]) for line in listing) == list(range(100))
        lines = other.log.read_bytes()[start:].decode().splitlines()
        asked[:] = [line for line in lines if re.search(r"getx?attr '.*/file\d+'", line)]
        return took < 1

    eventually(looked_at_within_a_second, what="a listing within a second")
    assert len(asked) < 20, asked


def test_who_was_removed_while_a_directory_is_read_is_gone(path: Path) -> None:
    for number in range(500):
        (path / f"{number:03}").touch()
    with os.scandir(path) as entries:
        first = next(entries).name
        gone = [f"{number:03}" for number in range(500) if number % 3 == 0 and f"{number:03}" != first]
        for name in gone:
            (path / name).unlink()
        rest = {entry.name for entry in entries}
    assert not [name for name in gone if (path / name).exists()]
    assert rest >= {f"{number:03}" for number in range(500)} - {*gone, first}


def test_second_look_takes_no_request(mounted: MountedDisk) -> None:
    for number in range(20):
        (mounted.path / f"file{number}").write_bytes(b"x")
    run("ls", "-l", mounted.path)
    with mounted.requests() as requests:
        run("ls", "-l", mounted.path)
    assert requests == []


def test_times_and_modes_of_a_listing_need_no_request_each(mounted: MountedDisk) -> None:
    for number in range(30):
        file = mounted.path / f"file{number}"
        file.write_bytes(b"x")
        file.chmod(0o640)
        os.utime(file, ns=(1, number * 1_000_000_007))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests, os.scandir(mounted.path) as entries:
        found = {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_mode & 0o777) for entry in entries}
    assert found == {f"file{number}": (number * 1_000_000_007, 0o640) for number in range(30)}
    assert len(requests) <= 4, [f"{request.method} {request.path}" for request in requests]


def test_objects_that_cannot_be_paths_break_nothing(mounted: MountedDisk) -> None:
    """Every other entry of the directory stays usable."""
    mounted.expect_in_log("name|path")
    here = mounted.second()
    odd = ["a//b", "./x", "../y", "d/../z", "both", "both/inside", "trailing/", "." + "x" * 300]
    for name in [*odd, "fine"]:
        mounted.store.put(f"{mounted.name}/{name}", name.encode())
    eventually((here / "fine").exists, what="the directory")
    assert (here / "fine").read_bytes() == b"fine"
    for name in os.listdir(here):
        (here / name).lstat()
        assert "/" not in name
    (here / "new").write_bytes(b"new")
    assert mounted.store.get(f"{mounted.name}/new") == b"new"
    run("ls", "-lR", here)
