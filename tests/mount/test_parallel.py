"""Many at once: writers, readers, makers and removers, in threads and processes."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.disks import Disk
from tests.support.files import BLOCK, noise, opened, pread_all, pwrite_all
from tests.support.processes import run_together


def test_writers_of_different_files(disk: Disk) -> None:
    def write(number: int) -> None:
        for round_ in range(3):
            (disk.path / f"file{number}").write_bytes(noise(200_000 + number, number * 10 + round_))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    disk.remount(fresh_cache=True)
    for number in range(16):
        assert (disk.path / f"file{number}").read_bytes() == noise(200_000 + number, number * 10 + 2)


def test_readers_of_one_file(disk: Disk) -> None:
    data = noise(4 * BLOCK + 17)
    (disk.path / "file").write_bytes(data)
    disk.remount(fresh_cache=True)

    def read(seed: int) -> bool:
        with opened(disk.path / "file", os.O_RDONLY) as fd:
            steps = [(seed * 7919 + number * 104_729 * 13) % len(data) for number in range(40)]
            return all(pread_all(fd, 50_000, at) == data[at : at + 50_000] for at in steps)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(16)))


def test_writers_of_one_file_in_places_of_their_own(disk: Disk) -> None:
    """Eight handles, pieces that share pages and blocks; no piece may be lost."""
    piece, count = 10_007, 800
    (disk.path / "file").touch()

    def write(worker: int) -> None:
        with opened(disk.path / "file", os.O_WRONLY) as fd:
            for number in range(worker, count, 8):
                pwrite_all(fd, noise(piece, number), number * piece)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    disk.remount(fresh_cache=True)
    content = (disk.path / "file").read_bytes()
    assert len(content) == piece * count
    wrong = [n for n in range(count) if content[n * piece : (n + 1) * piece] != noise(piece, n)]
    assert wrong == []


LOGGER = """
import os, sys
print("ready"); input()
for number in range(40):
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{sys.argv[2]} {number}\\n".encode())
    os.close(fd)
"""


def test_lines_appended_through_a_handle_each(disk: Disk) -> None:
    """Shell scripts log like this: the file is opened and closed all the time, by all of them."""
    run_together(LOGGER, [[disk.path / "log", who] for who in "abc"])
    disk.remount(fresh_cache=True)
    lines = (disk.path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{who} {number}" for who in "abc" for number in range(40))
    assert os.listdir(disk.path) == ["log"]


def test_who_opens_after_a_close_sees_what_was_closed(path: Path) -> None:
    """Readers open all the time while one writer counts up, a handle for each number."""
    file = path / "counter"
    file.write_bytes(b"%06d" % 0)
    closed, done = [0], threading.Event()

    def read() -> int:
        rounds = 0
        while not done.is_set():
            at_least = closed[0]
            seen = int(file.read_bytes())
            assert seen >= at_least, f"read {seen} after {at_least} was closed"
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for number in range(1, 150):
                with opened(file, os.O_WRONLY) as fd:
                    os.pwrite(fd, b"%06d" % number, 0)
                closed[0] = number
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)
    assert os.listdir(path) == ["counter"]


STAMPER = """
import os, sys
print("ready"); input()
for number in range(1, 60):
    for path in sys.argv[1:]:
        with open(path, "ab") as file:
            file.write(b"x")
        os.utime(path, ns=(number, number))
"""


def test_times_set_while_others_open_and_close(disk: Disk) -> None:
    """The last word on each file is a time; it must not be lost in the comings and goings."""
    files = [disk.path / f"file{number}" for number in range(4)]
    for file in files:
        file.touch()
    run_together(STAMPER, [files[:2], files[2:]])
    assert [file.stat().st_mtime_ns for file in files] == [59] * 4
    disk.remount(fresh_cache=True)
    assert [file.stat().st_mtime_ns for file in files] == [59] * 4
    assert [file.stat().st_size for file in files] == [59] * 4


def test_reader_never_sees_a_torn_replacement(path: Path) -> None:
    """A file replaced by rename is always one of the two contents, whole."""
    contents = [b"a" * 100_000, b"b" * 50_000]
    (path / "file").write_bytes(contents[0])
    done = threading.Event()

    def read() -> int:
        seen = 0
        while not done.is_set():
            assert (path / "file").read_bytes() in contents
            seen += 1
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for number in range(30):
                (path / "tmp").write_bytes(contents[number % 2])
                (path / "tmp").rename(path / "file")
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)


MAKER = """
import os, sys
root, who = sys.argv[1], sys.argv[2]
print("ready"); input()
for number in range(40):
    folder = f"{root}/shared{number % 4}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{who}-{number}", "w") as file:
        file.write(who * 100)
    if number % 3 == 0:
        os.rename(f"{folder}/{who}-{number}", f"{folder}/{who}-{number}-renamed")
    if number % 5 == 0 and number % 3:
        os.unlink(f"{folder}/{who}-{number}")
"""


def test_makers_renamers_and_removers_share_directories(disk: Disk) -> None:
    run_together(MAKER, [[disk.path, who] for who in "abcd"])
    expected = {
        f"shared{number % 4}/{who}-{number}{'-renamed' if number % 3 == 0 else ''}"
        for who in "abcd"
        for number in range(40)
        if number % 3 == 0 or number % 5
    }
    for fresh in (False, True):
        found = {str(path.relative_to(disk.path)) for path in disk.path.rglob("*") if path.is_file()}
        assert found == expected
        disk.remount(fresh_cache=fresh)
    for name in expected:
        assert (disk.path / name).read_text() == name.split("/")[1][0] * 100


def test_trees_are_made_and_removed_side_by_side(path: Path) -> None:
    def cycle(number: int) -> None:
        for _ in range(3):
            folder = path / f"t{number}"
            (folder / "a" / "b").mkdir(parents=True)
            for file in range(5):
                (folder / "a" / "b" / str(file)).write_bytes(b"x" * file)
            (folder / "a").rename(folder / "c")
            for file in range(5):
                (folder / "c" / "b" / str(file)).unlink()
            (folder / "c" / "b").rmdir()
            (folder / "c").rmdir()
            folder.rmdir()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(cycle, range(6)))
    assert os.listdir(path) == []


def test_many_open_files(disk: Disk) -> None:
    handles = [os.open(disk.path / f"file{n}", os.O_RDWR | os.O_CREAT) for n in range(200)]
    for number, handle in enumerate(handles):
        os.write(handle, noise(5000, number))
    for number, handle in enumerate(handles):
        assert os.pread(handle, 6000, 0) == noise(5000, number)
        os.close(handle)
    disk.remount(fresh_cache=True)
    assert all((disk.path / f"file{n}").read_bytes() == noise(5000, n) for n in range(200))
