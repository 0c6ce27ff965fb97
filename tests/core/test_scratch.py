"""A scratch against a bytearray; what it lends; the memory of blocks; writing past the page cache."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pithosfs.buffers import Buffers
from pithosfs.directio import write_at
from pithosfs.errors import NoSpace
from pithosfs.scratch import Memory, Room, Scratch
from tests.support.waiting import eventually

BLOCK = 16
MIB = 1024 * 1024

writes = st.tuples(st.just("write"), st.integers(0, 80), st.integers(1, 50))
#: Goes on behind the last write, as most programs do.
appends = st.tuples(st.just("append"), st.just(0), st.integers(1, 40))
cuts = st.tuples(st.just("truncate"), st.integers(0, 100), st.just(0))
lends = st.tuples(st.just("lend"), st.integers(0, 6), st.just(0))
persists = st.tuples(st.just("persist"), st.just(0), st.just(0))
discards = st.tuples(st.just("discard"), st.just(0), st.just(0))
#: What is done behind the caller's back is done now.
rests = st.tuples(st.just("rest"), st.just(0), st.just(0))


class Late(Executor):
    """Works when somebody waits for it, or is told to, and not before."""

    def __init__(self) -> None:
        self.left: list[_Later] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        self.left.append(_Later(partial(work, *args, **options)))
        return self.left[-1]

    def do_the_rest(self) -> None:
        for each in self.left:
            each.result()


class _Later(Future[Any]):
    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.set_result(self._work())
        return super().result(timeout)


@settings(max_examples=400, deadline=None)
@given(
    steps=st.lists(st.one_of(writes, appends, appends, cuts, lends, persists, discards, rests), max_size=30),
    room=st.integers(0, 4),
    late=st.booleans(),
)
@example(steps=[("append", 0, 40), ("truncate", 10, 0), ("rest", 0, 0)], room=2, late=True)
def test_a_scratch_is_a_bytearray_that_lends_blocks(
    steps: list[tuple[str, int, int]], room: int, late: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    threads = Late() if late else ThreadPoolExecutor(1)
    memory = Memory(Room(100), Room(room * BLOCK), block_size=BLOCK, small_limit=20, threads=threads)
    scratch = Scratch(tmp_path_factory.mktemp("scratch"), memory)
    model, end, fill = bytearray(), 0, 0
    lent: list[tuple[memoryview, bytes]] = []
    for what, where, length in steps:
        fill = fill % 250 + 1
        if what in ("write", "append"):
            at = where if what == "write" else end
            model.extend(bytes(max(0, at + length - len(model))))
            model[at : at + length] = bytes([fill]) * length
            scratch.write(at, bytes([fill]) * length)
            end = at + length
        elif what == "truncate":
            del model[where:]
            scratch.truncate(where)
        elif what == "persist":
            scratch.persist()
        elif what == "rest":
            if isinstance(threads, Late):
                threads.do_the_rest()
        elif what == "discard":
            model, end = bytearray(), 0
            scratch.discard()
        elif (view := scratch.lend(where)) is not None:
            expected = bytes(model[where * BLOCK : (where + 1) * BLOCK])
            lent.append((view, expected))
        found = memoryview(bytearray(b"?" * 120))
        scratch.read_into(0, found)
        assert bytes(found) == bytes(model[:120]).ljust(120, b"\0")
    for view, expected in lent:
        assert bytes(view) == expected, "a block changed after it was lent"
    scratch.discard()
    threads.shutdown()
    assert memory.small.take(100), "memory was lost"
    assert memory.large.take(room * BLOCK)
    assert not list(scratch._path.parent.iterdir())


def test_a_block_that_is_lent_is_not_copied_and_touches_no_disk(tmp_path: Path) -> None:
    buffers = Buffers(MIB, 4)
    memory = Memory(Room(MIB), Room(4 * MIB), lambda _: buffers.new(), MIB)
    scratch = Scratch(tmp_path, memory)
    for at in range(0, 2 * MIB, 128 * 1024):
        scratch.write(at, bytes([at >> 17]) * (128 * 1024))
    first, second = scratch.lend(0), scratch.lend(0)
    assert first is not None
    assert second is not None
    assert first.obj is second.obj
    assert bytes(first) == b"".join(bytes([each]) * (128 * 1024) for each in range(8))
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_at_random_goes_to_the_file(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, Memory(Room(MIB), Room(8 * MIB), block_size=MIB))
    scratch.write(3 * MIB, b"x" * 4096)
    scratch.write(MIB, b"y" * 4096)
    assert scratch.lend(3) is None
    assert [each.stat().st_size for each in tmp_path.iterdir()] == [3 * MIB + 4096]


@pytest.mark.parametrize("size", [0, 20])
@pytest.mark.parametrize("offset", [20, 500])
def test_what_was_written_before_the_disk_was_full_stays(tmp_path: Path, size: int, offset: int) -> None:
    memory = Memory(Room(100), Room(BLOCK), block_size=BLOCK, small_limit=20)
    folder = tmp_path / "full"  # not there: nothing can be made in it
    scratch = Scratch(folder, memory)
    scratch.write(0, b"written first, whole"[:size])
    for _ in range(2):
        with pytest.raises(NoSpace):
            scratch.write(offset, b"x" * 100)
        found = memoryview(bytearray(size))
        scratch.read_into(0, found)
        assert bytes(found) == b"written first, whole"[:size]
    folder.mkdir()
    scratch.write(offset, b"x" * 100)
    found = memoryview(bytearray(offset + 100))
    scratch.read_into(0, found)
    assert bytes(found) == b"written first, whole"[:size].ljust(offset, b"\0") + b"x" * 100
    scratch.discard()
    assert memory.small.take(100), "memory was lost"
    assert memory.large.take(BLOCK)


def test_blocks_that_fit_into_memory_need_no_disk(tmp_path: Path) -> None:
    """The last of them begins to save the first ahead, which may fail as long as there is room."""
    memory = Memory(Room(0), Room(2 * BLOCK), block_size=BLOCK)
    scratch = Scratch(tmp_path / "full", memory)
    data = bytes(range(2 * BLOCK))
    scratch.write(0, data)
    with pytest.raises(NoSpace):
        scratch.write(2 * BLOCK, b"too much")
    found = memoryview(bytearray(2 * BLOCK))
    scratch.read_into(0, found)
    assert bytes(found) == data
    scratch.discard()
    assert memory.large.take(2 * BLOCK), "memory was lost"


def test_the_memory_of_a_block_is_used_again_when_nobody_looks_at_it() -> None:
    buffers = Buffers(MIB, 8)
    first = buffers.new()
    part = first[10:20]
    where = first.obj
    first.release()
    others = [buffers.new() for _ in range(4)]
    assert all(each.obj is not where for each in others), "somebody still looks at a part of it"
    part.release()
    again = [buffers.new() for _ in range(8)]
    assert sum(each.obj is where for each in again) == 1


def test_what_has_to_make_room_is_saved_while_the_program_goes_on(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: begun.set() or go.wait(20))
        begun.wait(20)
        scratch = Scratch(tmp_path, Memory(Room(MIB), Room(3 * MIB), block_size=MIB, threads=threads))
        data = os.urandom(6 * MIB)
        try:
            scratch.write(0, data[: 3 * MIB])
            (path,) = tmp_path.iterdir()
            assert path.stat().st_size == 0, "the disk is slow, and nobody waited for it"
        finally:
            go.set()
        eventually(lambda: path.stat().st_size == MIB, 10, "the first block")
        scratch.write(3 * MIB, data[3 * MIB :])
        found = memoryview(bytearray(6 * MIB))
        scratch.read_into(0, found)
        assert found == data
        scratch.persist()
        assert path.read_bytes() == data


def test_a_block_that_could_not_be_saved_is_kept_and_the_writer_told(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, Memory(Room(MIB), Room(2 * MIB), block_size=MIB))
    data = os.urandom(4 * MIB)
    scratch.write(0, data[:MIB])
    scratch.persist()
    (path,) = tmp_path.iterdir()
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(scratch._file())
    try:
        scratch.write(MIB, data[MIB : 2 * MIB])
        path.unlink()
        path.symlink_to("/dev/full")
        os.dup2(full, scratch._file())
        with pytest.raises(NoSpace):
            for at in range(2 * MIB, 4 * MIB, MIB):
                scratch.write(at, data[at : at + MIB])
        os.dup2(kept, scratch._file())
        found = memoryview(bytearray(2 * MIB))
        scratch.read_into(0, found)
        assert found == data[: 2 * MIB]
    finally:
        os.close(full)
        os.close(kept)


@pytest.mark.parametrize("size", [MIB, 20 * MIB])
def test_what_is_forgotten_leaves_neither_file_nor_descriptor(tmp_path: Path, size: int) -> None:
    scratch = Scratch(tmp_path, Memory(Room(MIB), Room(0)))
    for round in range(3):
        scratch.write(0, bytes([round + 1]) * size)
        (path,) = tmp_path.iterdir()
        assert is_open(path)
        scratch.discard()
        assert not list(tmp_path.iterdir())
        eventually(lambda path=path: not is_open(path), 10, "the end of its descriptor")
        again = memoryview(bytearray(b"?" * 10))
        scratch.read_into(0, again)
        assert bytes(again) == bytes(10)


def is_open(path: Path) -> bool:
    """Whether this process has the file open, also if it has no name any more."""
    found = []
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{each}"))
    return any(each.startswith(str(path)) for each in found)


def test_one_free_buffer_among_many_in_use_is_found() -> None:
    buffers = Buffers(MIB, 40)
    used = [buffers.new() for _ in range(40)]
    where = used[17].obj
    del used[17]
    assert buffers.new().obj is where


@pytest.mark.parametrize("offset", [0, 4096, 4 * MIB, 100])
@pytest.mark.parametrize("length", [1, 4096, MIB, MIB + 4096, 3 * MIB + 17])
@pytest.mark.parametrize("skew", [0, 1])
def test_direct_writes_arrive_whole(tmp_path: Path, offset: int, length: int, skew: int) -> None:
    data = Buffers(4 * MIB, 0).new()
    data[:] = os.urandom(4 * MIB)
    piece = data[skew : skew + length]
    path = tmp_path / "file"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        write_at(handle, piece, offset)
        assert os.pread(handle, length + 1, offset) == bytes(piece)
        assert os.fstat(handle).st_size == offset + length
        os.pwrite(handle, b"not a page", 5)  # the file is an ordinary one afterwards
        assert os.pread(handle, 10, 5) == b"not a page"
    finally:
        os.close(handle)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    handle = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left"):
            write_at(handle, memoryview(bytes(10)), 0)
    finally:
        os.close(handle)
