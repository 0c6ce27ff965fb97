"""Reading and writing: any offset, any size, any number of handles, across block borders."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import random
from pathlib import Path

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, MIB, noise, opened, pread_all, pwrite_all, refused, write_all
from tests.support.processes import run_together

SIZES = [0, 1, 4095, 4096, 4097, 131_072, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 12_345]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read_after_remount(disk: Disk, size: int) -> None:
    data = noise(size, size)
    (disk.path / "file").write_bytes(data)
    assert (disk.path / "file").read_bytes() == data
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").stat().st_size == size
    assert (disk.path / "file").read_bytes() == data


def test_trailing_zeros_are_kept(disk: Disk) -> None:
    """The store's hashes ignore them; the size does not."""
    contents = {"a": b"abc", "b": b"abc\0\0", "c": b"abc" + bytes(BLOCK - 3), "d": bytes(5), "e": b""}
    for name, data in contents.items():
        (disk.path / name).write_bytes(data)
    disk.remount(fresh_cache=True)
    assert {name: (disk.path / name).read_bytes() for name in contents} == contents


@pytest.mark.parametrize("border", [BLOCK, 2 * BLOCK])
@pytest.mark.parametrize("before, after", [(1, 0), (0, 1), (1, 1), (5000, 5000), (BLOCK, 1)])
def test_write_across_a_block_border(disk: Disk, border: int, before: int, after: int) -> None:
    model = bytearray(noise(2 * BLOCK + 9000))
    (disk.path / "file").write_bytes(model)
    patch = noise(before + after, 7)
    with opened(disk.path / "file") as fd:
        pwrite_all(fd, patch, border - before)
        model[border - before : border + after] = patch
        assert pread_all(fd, len(model) + 1, 0) == model
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == model


def test_random_writes_in_random_order(disk: Disk) -> None:
    randomly = random.Random(4)
    model = bytearray(2 * BLOCK + 777)
    with opened(disk.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, len(model))
        for number in range(300):
            offset = randomly.randrange(len(model))
            patch = noise(randomly.randrange(1, 20_000), number)[: len(model) - offset]
            pwrite_all(fd, patch, offset)
            model[offset : offset + len(patch)] = patch
        assert pread_all(fd, len(model), 0) == model
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == model


def test_edit_of_one_byte_keeps_the_rest(disk: Disk) -> None:
    model = bytearray(noise(3 * BLOCK))
    (disk.path / "file").write_bytes(model)
    disk.remount(fresh_cache=True)
    with opened(disk.path / "file", os.O_WRONLY) as fd:
        os.pwrite(fd, b"!", BLOCK + 17)
    model[BLOCK + 17 : BLOCK + 18] = b"!"
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == model


def test_reads_around_the_end(path: Path) -> None:
    data = noise(BLOCK + 100)
    (path / "file").write_bytes(data)
    with opened(path / "file", os.O_RDONLY) as fd:
        assert os.pread(fd, 1000, BLOCK + 50) == data[-50:]
        assert os.pread(fd, 1000, BLOCK + 100) == b""
        assert os.pread(fd, 1000, 10 * BLOCK) == b""
        assert os.pread(fd, 0, 0) == b""


def test_two_handles_share_one_content(path: Path) -> None:
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as one, opened(path / "file") as two:
        os.pwrite(one, b"aaaaaaaa", 0)
        assert os.pread(two, 100, 0) == b"aaaaaaaa"
        os.pwrite(two, b"BB", 3)
        assert os.pread(one, 100, 0) == b"aaaBBaaa"
        os.ftruncate(one, 4)
        assert os.pread(two, 100, 0) == b"aaaB"
        assert os.fstat(two).st_size == 4


def test_closing_one_handle_keeps_the_other_ones_writes(disk: Disk) -> None:
    file = disk.path / "file"
    with opened(file, os.O_RDWR | os.O_CREAT) as one:
        with opened(file) as two:
            os.pwrite(two, b"second", 10)
            os.pwrite(one, b"first", 0)
        os.pwrite(one, b"later", 20)
    expected = b"first" + bytes(5) + b"second" + bytes(4) + b"later"
    assert file.read_bytes() == expected
    disk.remount(fresh_cache=True)
    assert file.read_bytes() == expected


def test_reader_sees_what_a_writer_has_not_closed(path: Path) -> None:
    with opened(path / "file", os.O_WRONLY | os.O_CREAT) as writer:
        write_all(writer, b"one")
        assert (path / "file").read_bytes() == b"one"
        assert (path / "file").stat().st_size == 3
        write_all(writer, b"two")
        assert (path / "file").read_bytes() == b"onetwo"


def test_append_goes_to_the_end_whatever_the_position(path: Path) -> None:
    (path / "file").write_bytes(b"start")
    with opened(path / "file", os.O_RDWR | os.O_APPEND) as fd:
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"+one")
        with opened(path / "file", os.O_WRONLY | os.O_APPEND) as other:
            os.write(other, b"+two")
        os.write(fd, b"+three")
    assert (path / "file").read_bytes() == b"start+one+two+three"


def test_appending_begins_and_ends_while_a_file_is_open(path: Path) -> None:
    (path / "file").write_bytes(b"start")
    with opened(path / "file", os.O_RDWR | os.O_APPEND) as fd:
        os.write(fd, b"+one")
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)
        os.pwrite(fd, b"S", 0)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"+two")
    assert (path / "file").read_bytes() == b"Start+one+two"


def test_append_across_a_block_border(disk: Disk) -> None:
    data = noise(BLOCK - 3)
    (disk.path / "file").write_bytes(data)
    for _ in range(3):
        with opened(disk.path / "file", os.O_WRONLY | os.O_APPEND) as fd:
            write_all(fd, b"abcd")
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == data + b"abcd" * 3


APPENDER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("ready"); input()
for number in range(200):
    os.write(fd, f"{sys.argv[2]} {number:03} {'x' * (number % 60)}\\n".encode())
os.close(fd)
"""


def test_appends_of_two_processes_are_all_there(disk: Disk) -> None:
    file = disk.path / "log"
    run_together(APPENDER, [[file, "one"], [file, "two"]])
    disk.remount(fresh_cache=True)
    lines = file.read_text().splitlines()
    expected = {f"{who} {number:03} {'x' * (number % 60)}" for who in ("one", "two") for number in range(200)}
    assert len(lines) == 400
    assert set(lines) == expected


EXCLUSIVE = """
import os, sys
print("ready"); input()
won = 0
for number in range(20):
    try:
        os.close(os.open(f"{sys.argv[1]}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        won += 1
    except FileExistsError:
        pass
print(won)
"""


def test_exclusive_create_has_one_winner(path: Path) -> None:
    won = run_together(EXCLUSIVE, [[path]] * 4)
    assert sum(map(int, won)) == 20
    assert len(list(path.iterdir())) == 20


@pytest.mark.parametrize("old", [10, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
@pytest.mark.parametrize("new", [0, 1, BLOCK - 1, BLOCK, BLOCK + 3, 3 * BLOCK])
def test_truncate_cuts_and_grows_with_zeros(disk: Disk, old: int, new: int) -> None:
    data = noise(old)
    (disk.path / "file").write_bytes(data)
    os.truncate(disk.path / "file", new)
    expected = data[:new] + bytes(max(0, new - old))
    assert (disk.path / "file").stat().st_size == new
    assert (disk.path / "file").read_bytes() == expected
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == expected


def test_bytes_cut_off_never_come_back(disk: Disk) -> None:
    file = disk.path / "file"
    file.write_bytes(b"x" * (BLOCK + 1000))
    os.truncate(file, BLOCK + 10)
    disk.remount(fresh_cache=True)
    os.truncate(file, BLOCK + 500)
    disk.remount(fresh_cache=True)
    assert file.read_bytes()[BLOCK:] == b"x" * 10 + bytes(490)
    with opened(file) as fd:
        os.ftruncate(fd, 5)
        os.ftruncate(fd, 20)
        assert os.pread(fd, 100, 0) == b"x" * 5 + bytes(15)


def test_truncate_of_an_open_file_is_seen_by_all_handles(path: Path) -> None:
    (path / "file").write_bytes(noise(10_000))
    with opened(path / "file") as one, opened(path / "file", os.O_RDONLY) as two:
        os.truncate(path / "file", 100)
        assert os.fstat(one).st_size == os.fstat(two).st_size == 100
        assert len(pread_all(two, 20_000, 0)) == 100
        os.pwrite(one, b"end", 200)
        assert os.fstat(two).st_size == 203
        assert os.pread(two, 103, 100) == bytes(100) + b"end"


def test_open_with_truncate_empties_the_file_for_all(disk: Disk) -> None:
    file = disk.path / "file"
    file.write_bytes(noise(BLOCK + 10))
    with opened(file, os.O_RDONLY) as reader:
        with opened(file, os.O_WRONLY | os.O_TRUNC) as writer:
            assert os.fstat(reader).st_size == 0
            os.write(writer, b"new")
        assert os.pread(reader, 10, 0) == b"new"
    disk.remount(fresh_cache=True)
    assert file.read_bytes() == b"new"


def test_open_with_truncate_alone_makes_it_empty(disk: Disk) -> None:
    (disk.path / "file").write_bytes(b"content")
    with opened(disk.path / "file", os.O_WRONLY | os.O_TRUNC):
        pass
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == b""


def test_write_after_truncate_to_nothing(disk: Disk) -> None:
    """Saving in place: cut to nothing, written anew, shorter than before."""
    file = disk.path / "file"
    file.write_bytes(noise(2 * BLOCK))
    with opened(file) as fd:
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"tail", BLOCK)
    expected = bytes(BLOCK) + b"tail"
    disk.remount(fresh_cache=True)
    assert file.read_bytes() == expected


def test_dup_and_fork_share_the_position(path: Path) -> None:
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as fd:
        copy = os.dup(fd)
        os.write(fd, b"one")
        os.write(copy, b"two")
        os.close(copy)
        os.write(fd, b"three")
    assert (path / "file").read_bytes() == b"onetwothree"


def test_vectored_writes_and_reads(path: Path) -> None:
    pieces = [noise(5000, number) for number in range(50)]
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as fd:
        assert os.writev(fd, pieces) == 250_000
        assert os.pwritev(fd, [b"--", b"++"], 10) == 4
        buffers = [bytearray(100_000), bytearray(200_000)]
        assert os.preadv(fd, buffers, 0) == 250_000
    expected = bytearray(b"".join(pieces))
    expected[10:14] = b"--++"
    assert (buffers[0] + buffers[1])[:250_000] == expected


def test_sendfile_out_of_and_into_the_directory(path: Path) -> None:
    data = noise(BLOCK + 5)
    (path / "source").write_bytes(data)
    flags = os.O_WRONLY | os.O_CREAT
    with opened(path / "source", os.O_RDONLY) as source, opened(path / "target", flags) as target:
        done = 0
        while done < len(data):
            done += os.sendfile(target, source, done, len(data) - done)
    assert (path / "target").read_bytes() == data


def test_direct_io_reads_and_writes_or_is_refused(path: Path) -> None:
    (path / "file").write_bytes(noise(MIB))
    try:
        fd = os.open(path / "file", os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        assert error.errno == errno.EINVAL
        return
    try:
        buffer = mmap.mmap(-1, 65_536)
        assert os.preadv(fd, [buffer], 4096) == 65_536
        assert buffer[:] == noise(MIB)[4096 : 4096 + 65_536]
    finally:
        os.close(fd)


def test_file_of_many_blocks(disk: Disk) -> None:
    """40 MiB, each block different, read back from the end to the start."""
    with (disk.path / "file").open("wb") as file:
        for number in range(10):
            file.write(noise(BLOCK, number))
    disk.remount(fresh_cache=True)
    with opened(disk.path / "file", os.O_RDONLY) as fd:
        for number in reversed(range(10)):
            assert pread_all(fd, BLOCK, number * BLOCK) == noise(BLOCK, number)


def test_handles_refuse_what_they_were_not_opened_for(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    with opened(path / "file", os.O_RDONLY) as fd, refused(errno.EBADF):
        os.write(fd, b"x")
    with opened(path / "file", os.O_WRONLY) as fd, refused(errno.EBADF):
        os.read(fd, 1)
    with opened(path / "file", os.O_RDONLY) as fd, refused(errno.EINVAL):
        os.ftruncate(fd, 1)
    assert (path / "file").read_bytes() == b"content"


def test_a_file_of_more_than_two_tebibytes_is_refused(mounted: MountedDisk) -> None:
    with opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"x", 0)
        with refused(errno.EFBIG):
            os.ftruncate(fd, 2 * 1024**4 + 1)
        with refused(errno.EFBIG):
            os.pwrite(fd, b"x", 2 * 1024**4)
        assert os.fstat(fd).st_size == 1


def test_offsets_that_cannot_be(path: Path) -> None:
    with opened(path / "file", os.O_RDWR | os.O_CREAT) as fd:
        with refused(errno.EINVAL):
            os.pread(fd, 1, -1)
        with refused(errno.EINVAL):
            os.ftruncate(fd, -1)
        with refused(errno.EINVAL):
            os.lseek(fd, -1, os.SEEK_SET)
        with refused(errno.EFBIG, errno.EINVAL, errno.ENOSPC):
            os.pwrite(fd, b"x", 2**63 - 2)
        assert os.fstat(fd).st_size == 0
