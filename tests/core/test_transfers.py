"""Blocks up and down on real servers: what travels, how often, and what damage does."""

from __future__ import annotations

import os
from functools import partial

import pytest

from pithosfs import ranges
from pithosfs.blocks import ZERO_HASH, Hashmap, block_hash, hashmap_of
from pithosfs.errors import ProtocolError, Unavailable
from pithosfs.fetch import PIECE
from pithosfs.ranges import Address, Origin
from pithosfs.transport import StreamedBody
from tests.core.conftest import FULL, SMALL, Build
from tests.core.stack import Stack
from tests.core.threads import InThread
from tests.support.waiting import eventually


def addresses(stack: Stack, name: str, data: bytes) -> list[Address]:
    version = stack.put(name, data)
    found = hashmap_of(data, stack.block_size)
    origin = Origin(stack.ref(name), version)
    return [
        Address(origin, index, block, min(SMALL, len(data) - index * SMALL), SMALL)
        for index, block in enumerate(found.hashes)
    ]


def test_neighbours_come_in_one_request(stack: Stack) -> None:
    data = os.urandom(8 * SMALL)
    found = addresses(stack, "file", data)
    stack.wire.reset()
    stack.fetcher.prefetch(found)
    got = b"".join(bytes(stack.fetcher.block(each)) for each in found)
    assert got == data
    assert stack.wire.count("GET") == 1


def read_all(stack: Stack, found: list[Address]) -> bytes:
    return b"".join(bytes(stack.fetcher.block(each)) for each in found)


def test_who_reads_on_gets_all_from_one_request(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    data = os.urandom(12 * SMALL)
    found = addresses(stack, "file", data)
    stack.wire.reset()
    stack.fetcher.prefetch(found[:4], len(data))
    first = read_all(stack, found[:4])
    for start in (4, 8):
        stack.fetcher.prefetch(found[start : start + 4], len(data))
    assert first + read_all(stack, found[4:]) == data
    assert stack.wire.count("GET") == 1


def test_who_stops_and_goes_on_later_asks_again(stack: Stack) -> None:
    data = os.urandom(12 * SMALL)
    found = addresses(stack, "file", data)
    stack.wire.reset()
    stack.fetcher.prefetch(found[:4], len(data))
    assert read_all(stack, found[:4]) == data[: 4 * SMALL]
    eventually(lambda: not stack.fetcher._long)  # nothing more of the answer is waited for
    stack.fetcher.prefetch(found[4:], len(data))
    assert read_all(stack, found[4:]) == data[4 * SMALL :]
    assert stack.wire.count("GET") == 2


def test_many_readers_all_get_their_turn(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """None keeps a request to itself while others wait for one."""
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    data = [os.urandom(12 * SMALL) for _ in range(20)]
    found = [addresses(stack, f"file{number}", each) for number, each in enumerate(data)]
    for some in (slice(4), slice(4, 8), slice(8, 12)):
        for one in found:
            stack.fetcher.prefetch(one[some], 12 * SMALL)
        for one, content in zip(found, data, strict=True):
            got = InThread(lambda one=one, some=some: read_all(stack, one[some])).result()
            assert got == content[(some.start or 0) * SMALL : some.stop * SMALL]


def test_nobody_waits_for_what_comes_when_the_mount_is_being_ended(build: Build) -> None:
    stack = build(full=True)
    data = os.urandom(FULL // 2)
    address = Address(Origin(stack.ref("file"), stack.put("file", data)), 0, block_hash(data), len(data))
    stack.fetcher._check_pool.shutdown()
    with pytest.raises(Unavailable):
        InThread(lambda: stack.fetcher.block(address)).result()
    assert not stack.fetcher._long


def test_a_long_request_that_breaks_is_made_good(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(12 * SMALL)
    found = addresses(stack, "file", data)
    broken = []

    def readinto(body: StreamedBody, view: memoryview) -> int:
        if not broken and body.length == len(data) - 4 * SMALL:
            broken.append(body)
            raise ProtocolError("the answer broke off")
        return receive(body, view)

    receive = StreamedBody.readinto
    monkeypatch.setattr(StreamedBody, "readinto", readinto)
    stack.fetcher.prefetch(found[4:8], len(data))
    stack.fetcher.prefetch(found[8:], len(data))
    assert read_all(stack, found) == data
    assert broken


def test_a_read_from_the_start_does_not_wait_until_it_is_known_what_the_file_is(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    stack = build(full=True)
    data = os.urandom(5 * FULL + 1)
    stack.put("film", data)
    handle = stack.fs.open("/film")
    stack.wire.reset()
    held = stack.wire.hold("GET", "hashmap")
    got, step = memoryview(bytearray(len(data))), 1024 * 1024

    def read(at: int) -> int:
        return stack.fs.handles.read_into(handle.number, at, got[at : at + step])

    first = InThread(lambda: read(0))
    held.wait()
    eventually(lambda: stack.wire.count("GET") == 2)
    held.release()
    first.result()
    for at in range(step, len(data), step):
        read(at)
    assert got == data
    assert stack.wire.count("GET") == 2, "the hashmap, and all the bytes"
    stack.fs.handles.release(handle.number)


def test_what_was_begun_on_and_is_not_wanted_is_given_up(stack: Stack) -> None:
    data = os.urandom(12 * SMALL)
    found = addresses(stack, "file", data)
    read_all(stack, found[:2])
    stack.wire.reset()
    stack.fetcher.begin(found[0].origin, 0, len(data))
    eventually(lambda: stack.wire.count("GET") == 1 and not stack.fetcher._long)
    assert read_all(stack, found) == data


def test_what_was_begun_on_and_fails_is_asked_for_again(stack: Stack) -> None:
    data = os.urandom(12 * SMALL)
    found = addresses(stack, "file", data)
    stack.fetcher.begin(Origin(found[0].origin.ref, 10**9), 0, len(data))
    eventually(lambda: not stack.fetcher._long)
    assert read_all(stack, found) == data


def test_many_who_want_a_block_make_one_request(stack: Stack) -> None:
    (address,) = addresses(stack, "file", os.urandom(SMALL))
    held = stack.wire.hold("GET")
    readers = [InThread(lambda: bytes(stack.fetcher.block(address))) for _ in range(8)]
    held.wait()
    held.release()
    assert len({each.result() for each in readers}) == 1
    assert stack.wire.count("GET") == 1


def test_zeros_and_what_is_cached_cost_nothing(stack: Stack) -> None:
    data = bytes(2 * SMALL) + b"x" * SMALL
    found = addresses(stack, "file", data)
    assert bytes(stack.fetcher.block(found[2])) == b"x" * SMALL
    stack.wire.reset()
    assert found[0].hash == ZERO_HASH
    assert bytes(stack.fetcher.block(found[0])) == b""
    stack.fetcher.prefetch(found)
    assert bytes(stack.fetcher.block(found[2])) == b"x" * SMALL
    assert stack.wire.requests == []


def test_a_failed_fetch_is_an_error_and_can_be_repeated(stack: Stack) -> None:
    (address,) = addresses(stack, "file", b"x" * 100)
    stack.wire.refuse("GET")
    with pytest.raises(Unavailable):
        stack.fetcher.block(address)
    stack.wire.reset()
    assert bytes(stack.fetcher.block(address)) == b"x" * 100


def test_a_block_that_is_not_what_its_hash_says_is_served_only_if_two_reads_agree(stack: Stack) -> None:
    """An object that others cut short inside a block; it must not be found under the hash later."""
    whole = os.urandom(SMALL)
    stack.put("whole", whole)
    cut = Hashmap(100, (block_hash(whole),), SMALL)
    version = stack.client.put_hashmap(stack.container, "cut", cut, content_type="text/plain").version
    address = Address(Origin(stack.ref("cut"), version), 0, cut.hashes[0], 100, SMALL)
    assert bytes(stack.fetcher.block(address)) == whole[:100]
    assert stack.cache.peek(cut.hashes[0]) is None
    stack.wire.reset()
    assert bytes(stack.fetcher.block(address)) == whole[:100]
    assert stack.wire.requests == [], "kept under its version"


def test_a_piece_of_a_large_block_is_all_that_travels(build: Build) -> None:
    stack = build(full=True)
    data = os.urandom(300_000) + bytes(FULL - 600_000) + os.urandom(300_000)
    stack.put("file", data)
    address = Address(
        Origin(stack.ref("file"), stack.client.head(stack.container, "file").entry.version),
        0,
        block_hash(data),
        FULL,
    )
    before = stack.wire.stats.snapshot().bytes_down
    start = FULL - 200_000
    assert bytes(stack.fetcher.piece(address, start, start + 1000)) == data[start : start + 1000]
    travelled = stack.wire.stats.snapshot().bytes_down - before
    assert travelled <= 2 * 2 * PIECE, "read twice, for no hash covers a piece"
    assert bytes(stack.fetcher.piece(address, 0, FULL)) == data
    assert bytes(stack.fetcher.piece(address, start + 10, start + 20)) == data[start + 10 : start + 20]


# -- up ---------------------------------------------------------------------------------------------


def test_only_what_the_server_lacks_travels(stack: Stack) -> None:
    data = os.urandom(8 * SMALL)
    stack.write("/first", data)
    sent = stack.uploader.counts.sent
    stack.wire.reset()
    stack.write("/second", data)
    assert stack.uploader.counts.sent == sent
    assert stack.wire.count("POST") == 0
    assert stack.get("second") == data


def test_another_machine_asks_before_it_sends(build: Build) -> None:
    first = build()
    data = os.urandom(8 * SMALL)
    first.write("/first", data)
    second = build(container=first.container)
    second.write("/second", data)
    assert second.uploader.counts.sent == 0
    assert second.wire.count("POST") == 0
    assert second.get("second") == data


def test_blocks_travel_while_the_program_still_writes(stack: Stack) -> None:
    handle = stack.fs.create("/file", 0o644)
    data = os.urandom(10 * SMALL)
    for at in range(0, len(data), 100):
        stack.fs.handles.write(handle.number, at, data[at : at + 100])
    eventually(lambda: stack.wire.count("POST") >= 1)
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.uploader.counts.sent == 10, "none twice"
    assert stack.wire.count("POST") <= 10
    assert stack.wire.count("PUT") == 2, "asked once, then put: all were sent ahead"
    assert stack.get("file") == data


def test_an_edit_in_place_sends_one_block_and_fetches_one(stack: Stack) -> None:
    data = bytearray(os.urandom(20 * SMALL))
    stack.write("/file", bytes(data))
    stack.cache._memory.clear()
    sent = stack.uploader.counts.sent
    handle = stack.fs.open("/file", write=True)
    stack.wire.reset()
    stack.fs.handles.write(handle.number, 10 * SMALL + 5, b"edit")
    data[10 * SMALL + 5 : 10 * SMALL + 9] = b"edit"
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert [method for method, _ in stack.wire.requests] == ["GET", "POST", "PUT"]
    assert stack.uploader.counts.sent == sent + 1
    assert stack.get("file") == bytes(data)


def test_a_block_the_server_has_lost_is_sent_again(stack: Stack) -> None:
    """The mount believes the server has it; the server says it has not."""
    data = os.urandom(3 * SMALL)
    stack.uploader.known.add(hashmap_of(data, SMALL).hashes)
    stack.write("/file", data)
    assert stack.get("file") == data
    small = os.urandom(100)
    stack.uploader.known.add([block_hash(small)])
    stack.write("/small", small)
    assert stack.get("small") == small


def test_blocks_of_zeros_on_a_server_that_never_saw_one(build: Build) -> None:
    stack = build()
    handle = stack.fs.create("/zeros", 0o644)
    stack.fs.handles.truncate(handle.number, 5 * SMALL + 1)
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("zeros") == bytes(5 * SMALL + 1)


def test_an_empty_file(stack: Stack) -> None:
    stack.write("/empty", b"")
    assert stack.get("empty") == b""
    assert stack.read("/empty") == b""
    handle = stack.fs.open("/empty", write=True, truncate=True)
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("empty") == b""


def test_blocks_of_real_size(build: Build) -> None:
    """Sparse, over several blocks of 4 MiB: almost nothing travels."""
    stack = build(full=True)
    handle = stack.fs.create("/sparse", 0o644)
    for index in range(6):
        stack.fs.handles.write(handle.number, index * FULL + FULL - 2, b"ends")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    expected = bytearray(5 * FULL + FULL + 2)
    for index in range(6):
        expected[index * FULL + FULL - 2 : index * FULL + FULL + 2] = b"ends"
    stack.cache._memory.clear()
    assert stack.read("/sparse") == bytes(expected)
    assert stack.client.head(stack.container, "sparse").entry.hash == hashmap_of(expected).merkle


def test_large_files_that_are_only_begun_do_not_keep_each_other_waiting(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range that was begun keeps a thread while its reader pauses: not one that others need."""
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    stack = build(full=True)
    names = [f"file{number}" for number in range(10)]
    for name in names:
        stack.put(name, os.urandom(6 << 20) + bytes(30 << 20))
    stack.ls()

    def first_bytes(name: str) -> None:
        handle = stack.fs.open(f"/{name}")
        stack.fs.handles.read_into(handle.number, 0, memoryview(bytearray(1 << 20)))

    for each in [InThread(partial(first_bytes, name)) for name in names]:
        each.result()
