"""Blocks in memory and on their way."""

from __future__ import annotations

import itertools
import os
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from pithosfs import cache as cache_module
from pithosfs import disk as disk_module
from pithosfs.blocks import block_hash
from pithosfs.cache import BlockCache
from pithosfs.disk import DiskCache
from tests.support.waiting import eventually

MIB = 1 << 20


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """However full the disk of this machine is."""
    monkeypatch.setattr(disk_module, "FREE_FLOOR", 0.0)


def test_memory_is_bounded_in_bytes() -> None:
    cache = BlockCache(4000, None)
    for number in range(50):
        cache.put(f"k{number}", bytes(300))
    assert cache.memory_used <= 4000
    assert cache.peek("k49") is not None
    assert cache.peek("k0") is None
    cache.put("huge", bytes(5000))
    assert cache.peek("huge") is None
    assert cache.memory_used <= 4000


def test_tiny_blocks_take_what_they_are_said_to() -> None:
    """By themselves a million blocks of one byte would be a megabyte; they take hundreds."""
    tracemalloc.start()
    try:
        cache = BlockCache(4 * MIB, None)
        for number in range(10_000):
            cache.put(f"{number:064}", memoryview(bytearray(1)))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.7 * taken < cache.memory_used <= 4 * MIB


def test_blocks_in_use_elsewhere_leave_less_to_the_cache() -> None:
    """Unsent data and transfers take their memory from the same blocks: all together are bounded."""
    cache = BlockCache(8 * MIB, None, MIB)
    for number in range(8):
        cache.put(f"k{number}", cache.new_buffer(MIB))
    held = []
    while cache.memory_used and len(held) < 100:
        held.append(cache.new_buffer(MIB))
    assert len(held) > 8, "the cache gives way only where much is in use"
    places = {id(each.obj) for each in held}
    del held
    cache.put("new", cache.new_buffer(MIB))
    assert cache.memory_used == MIB
    assert id(cache.peek("new").obj) in places, "what is no longer in use is used again"


def test_a_block_is_fetched_by_one_and_given_to_all() -> None:
    cache = BlockCache(1000, None)
    future, mine = cache.claim("k")
    assert mine
    assert cache.claim("k") == (future, False)
    assert cache.arriving("k") is future
    cache.arrived("k", b"data")
    assert future.result(0) == b"data"
    assert cache.arriving("k") is None
    cache.arrived("k", b"again")  # nobody waits: nothing happens


def test_a_failure_is_told_to_all_and_forgotten() -> None:
    cache = BlockCache(1000, None)
    future, _ = cache.claim("k")
    cache.failed("k", KeyError("x"))
    with pytest.raises(KeyError):
        future.result(0)
    assert cache.claim("k")[1]


def test_the_disk_is_behind_the_memory(tmp_path: Path) -> None:
    data = b"some data"
    name = block_hash(data)
    cache = BlockCache(1000, DiskCache(tmp_path, 10_000))
    cache.start()
    cache.put(name, data)
    cache.put("piece", b"not for the disk", on_disk=False)
    cache.close()
    again = BlockCache(1000, DiskCache(tmp_path, 10_000))
    assert again.peek(name) is None
    assert again.get(name) == data
    assert again.peek(name) == data
    assert again.get("piece") is None
    assert (again.counts.memory, again.counts.disk, again.counts.missed) == (0, 1, 1)


def test_one_bad_block_does_not_end_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskCache(tmp_path, 10_000)
    put = disk.put
    done = threading.Event()

    def failing(block: str, data: bytes) -> None:
        if block == "bad":
            raise RuntimeError("as nobody expected")
        put(block, data)
        done.set()

    monkeypatch.setattr(disk, "put", failing)
    cache = BlockCache(1000, disk)
    cache.start()
    cache.put("bad", b"x")
    cache.put(block_hash(b"good"), b"good")
    assert done.wait(10)
    cache.close()
    assert cache._write_bytes == 0
    assert "the block cache failed" in caplog.text


def test_small_blocks_are_written_when_no_more_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_PAUSE", 600.0)
    monkeypatch.setattr(cache_module, "_LONGEST", 600.0)
    disk = DiskCache(tmp_path, 10_000_000)
    cache = BlockCache(1_000_000, disk)
    cache.start()
    large = os.urandom(cache_module._SMALL)
    for number in range(5):
        cache.put(block_hash(bytes([number])), bytes([number]))
        time.sleep(0.1)
        assert not disk.count, "a program is at it"
    cache.put(block_hash(large), large)
    eventually(lambda: disk.count == 1)
    assert block_hash(large) in disk, "what is large does not wait for that"
    monkeypatch.setattr(cache_module, "_PAUSE", 0.1)
    cache.put(block_hash(b"x"), b"x")  # and then no more
    eventually(lambda: disk.count == 7)
    cache.close()


def test_they_do_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_LONGEST", 0.3)
    disk = DiskCache(tmp_path, 10_000)
    cache = BlockCache(10_000, disk)
    cache.start()
    monkeypatch.setattr(cache_module, "_PAUSE", 600.0)
    numbers = itertools.count()

    def written_while_more_come() -> int:
        number = next(numbers).to_bytes(4)
        cache.put(block_hash(number), number)
        return disk.count

    eventually(written_while_more_come)
    cache.close()


def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 10_000)
    cache = BlockCache(10_000, disk)
    cache.start()
    cache.put(block_hash(b"x"), b"x")
    cache.close()
    assert disk.count == 1


def test_the_end_does_not_wait_until_all_that_is_too_much_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = DiskCache(tmp_path, 1 << 20)
    for number in range(20):
        before.put(block_hash(b"%d" % number), b"%d" % number)
    smaller = DiskCache(tmp_path, 1)
    remove, removing, go_on = smaller._remove, threading.Event(), threading.Event()

    def remove_late(path: Path) -> None:
        removing.set()
        assert go_on.wait(20)
        remove(path)

    monkeypatch.setattr(smaller, "_remove", remove_late)
    cache = BlockCache(10_000, smaller)
    cache.start()
    assert removing.wait(20)
    ending = threading.Thread(target=cache.close)
    ending.start()
    eventually(lambda: not cache._writes.empty())
    go_on.set()
    ending.join(20)
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == 19
    DiskCache(tmp_path, 1).scan()
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
