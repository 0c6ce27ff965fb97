"""Several blocks in one POST: how many, and what damage on the way does to them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pithosfs import blocks
from pithosfs.api import Client
from pithosfs.batches import LONGEST, Batches, Block
from pithosfs.cache import BlockCache
from pithosfs.config import load
from pithosfs.errors import Unavailable
from pithosfs.identity import resolve
from pithosfs.names import ObjectRef
from pithosfs.transport import Request
from pithosfs.upload import Uploader
from tests.core.conftest import SMALL
from tests.core.stack import Stack, Wire
from tests.support.faults import Fault
from tests.support.netproxy import NetProxy
from tests.support.waiting import eventually

REF = ObjectRef("batches", "file")
THREADS = 4


class Way:
    """An uploader, and the proxy between it and the server."""

    def __init__(self, config: Path) -> None:
        connection = load(config=config, environ={})
        site = resolve(connection, timeout=20)
        host = re.sub("^https?://([^/]+).*", r"\1", site.endpoint)
        self.proxy = NetProxy(host)
        self.proxy.__enter__()
        self.wire = Wire(connection.token, token=site.token, timeout=20.0, pool=16)
        endpoint = site.endpoint.replace(host, self.proxy.url.removeprefix("http://"))
        self.client = Client(self.wire, endpoint, site.account)
        self.client.create_container(REF.container)
        self.uploader = self.another()
        self.wire.reset()

    def another(self) -> Uploader:
        cache = BlockCache(1 << 20, None)
        return Uploader(lambda _: self.client, self.client, cache, threads=THREADS, block_size=SMALL)

    @property
    def posts(self) -> int:
        """Requests that set out with blocks, repetitions included."""
        return sum(each["kind"] == "block POST" for each in self.proxy.requests())

    def check(self, sent: list[Block]) -> None:
        """The server has them all, and each counts once."""
        assert (
            self.client.missing_blocks(
                REF.container, REF.name, [each.hash for each in sent], block_size=SMALL
            )
            == []
        )
        assert all(each.hash in self.uploader.known for each in sent)
        assert self.uploader.counts.sent == len(sent)
        progress = self.uploader.under_way.of(REF)
        assert progress is not None
        assert progress.sent == self.uploader.counts.sent_bytes == sum(len(each.data) for each in sent)

    def close(self) -> None:
        self.uploader.close()
        self.wire.close()
        self.proxy.__exit__(None, None, None)


@pytest.fixture
def way(small_server: Path) -> Iterator[Way]:
    found = Way(small_server)
    try:
        yield found
    finally:
        found.close()


def block(data: bytes) -> Block:
    return Block(blocks.block_hash(data), data)


def some(count: int) -> list[Block]:
    """Whole blocks nobody has, the last byte of each something."""
    return [block(os.urandom(SMALL - 1) + b"!") for _ in range(count)]


def fast(stack: Stack) -> Stack:
    """The same on a line that is known to be fast, however busy this machine is."""
    stack.uploader.batches.took(1 << 20, 0.001)
    return stack


# -- how many -----------------------------------------------------------------------------------


def test_a_request_is_as_long_as_the_line_can_bear() -> None:
    size = blocks.BLOCK_SIZE
    batches = Batches(8, 1 << 30)
    assert batches.full == batches.share(64) == 1, "nothing is known of the line yet"
    batches.took(100, 0.02)
    assert batches.full == 1, "a request without bytes tells nothing"
    batches.took(size, 0.05)
    assert batches.full * size == LONGEST
    for _ in range(20):
        batches.took(size, 1.3)
    assert batches.full == 1, "what takes seconds and breaks has to be sent again"
    for _ in range(20):
        batches.took(size, 0.6)
    assert batches.full == 2
    batches.refused()
    assert batches.full == 1


def test_memory_bounds_what_is_under_way() -> None:
    for memory, most in ((16 << 20, 1), (64 << 20, 2), (1 << 30, 4)):
        batches = Batches(8, memory)
        batches.took(blocks.BLOCK_SIZE, 0.01)
        assert batches.full == most


def test_what_waits_goes_when_little_is_under_way_or_it_fills_a_request() -> None:
    batches = Batches(8, 1 << 30)
    assert batches.enough(1, under_way=7), "on an unknown line, as on a slow one, everything goes at once"
    batches.took(blocks.BLOCK_SIZE, 0.05)
    assert batches.enough(1, under_way=0)
    assert batches.enough(1, under_way=1)
    assert not batches.enough(3, under_way=2)
    assert batches.enough(4, under_way=2)
    assert batches.share(3, under_way=1) == 3
    assert batches.share(3) == 2, "two requests rather than one, if there is none"
    assert batches.share(64) == 4


def test_only_the_last_block_of_a_request_is_shorter(way: Way) -> None:
    whole, nearly = some(3), [block(b"x" * (SMALL - 10) + bytes(10))]
    half, short, zero = (
        block(b"x" * 100 + bytes(SMALL - 100)),
        block(b"short"),
        Block(blocks.ZERO_HASH, b"\0"),
    )
    mixed = [half, whole[0], short, whole[1], nearly[0], zero, whole[2]]
    requests = list(way.uploader.batches.requests(mixed))
    assert requests == [[whole[0], whole[1], nearly[0], whole[2], half], [short], [zero]]
    way.uploader.send_blocks(REF, mixed)
    assert way.posts == 3
    way.check(mixed)


def test_many_waiting_blocks_need_few_requests(stack: Stack) -> None:
    data = os.urandom(64 * SMALL)
    held = fast(stack).wire.hold_all("POST")
    handle = stack.fs.create("/file", 0o644)
    for at in range(0, len(data), SMALL):
        stack.fs.handles.write(handle.number, at, data[at : at + SMALL])
    held.wait()
    held.release()
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.wire.count("POST") <= 8
    assert (stack.uploader.counts.sent, stack.uploader.counts.sent_bytes) == (64, len(data))
    assert stack.get("file") == data


def test_a_commit_sends_what_is_missing_in_few_requests(stack: Stack) -> None:
    uploader = fast(stack).uploader
    data = os.urandom(64 * SMALL)
    uploader.known.add(blocks.hashmap_of(data, SMALL).hashes)  # wrongly: so nothing is sent ahead
    stack.write("/file", data)
    assert stack.wire.count("POST") <= 8
    assert uploader.counts.sent == 64
    assert stack.get("file") == data


def test_a_lone_block_is_not_held_back(stack: Stack) -> None:
    handle = fast(stack).fs.create("/file", 0o644)
    data = os.urandom(8 * SMALL)
    for index in range(8):
        at = index * SMALL
        stack.fs.handles.write(handle.number, at, data[at : at + SMALL])
        if index >= 2:  # the first wait for what the server says of them
            eventually(lambda sent=index + 1: stack.uploader.counts.sent == sent)
    assert stack.wire.count("POST") >= 6
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("file") == data


def test_a_block_that_waits_goes_when_another_has_arrived(stack: Stack) -> None:
    handle = fast(stack).fs.create("/file", 0o644)
    data = os.urandom(9 * SMALL)
    for at in range(0, 3 * SMALL, SMALL):
        stack.fs.handles.write(handle.number, at, data[at : at + SMALL])
    eventually(lambda: stack.uploader.counts.sent == 3)
    stack.wire.reset()
    held = stack.wire.hold_all("POST")
    for at in range(3 * SMALL, len(data), SMALL):
        stack.fs.handles.write(handle.number, at, data[at : at + SMALL])
        eventually(lambda least=at // SMALL - 2: stack.wire.count("POST") >= min(2, least))
    assert stack.wire.count("POST") == 2, "two under way, four blocks that wait"
    held.release()
    eventually(lambda: stack.uploader.counts.sent == 9)
    assert stack.wire.count("POST") <= 4
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("file") == data


def test_equal_blocks_travel_once(stack: Stack) -> None:
    one, other = os.urandom(SMALL), os.urandom(SMALL)
    data = one + other + one + one + other + one
    stack.write("/file", data)
    assert stack.uploader.counts.sent == 2
    assert stack.get("file") == data


# -- what happens on the way ------------------------------------------------------------------


def test_only_the_damaged_block_is_sent_again(way: Way) -> None:
    sent = some(5)
    plan = way.proxy.faults(Fault("corrupt_request", kind="block POST", after=2 * SMALL + 10))
    way.uploader.send_blocks(REF, sent)
    assert plan.hits
    assert way.posts == 2
    assert way.wire.stats.snapshot().bytes_up < 6 * SMALL + 500
    way.check(sent)
    way.uploader.send_blocks(REF, more := some(3))
    assert way.posts == 3, "what was damaged by chance goes together as before"
    way.check(sent + more)


@pytest.mark.parametrize("action", ["cut_request", "drop_sent", "lose_answer", "drop_before"])
def test_a_request_that_breaks_is_sent_again(way: Way, action: str) -> None:
    sent = some(5)
    plan = way.proxy.faults(Fault(action, kind="block POST", after=2 * SMALL + 10))
    way.uploader.send_blocks(REF, sent)
    assert plan.hits
    assert way.posts == 2
    way.check(sent)
    way.uploader.send_blocks(REF, more := some(3))
    assert way.posts == 3
    way.check(sent + more)


@pytest.mark.parametrize("status", [400, 413])
def test_a_server_that_refuses_long_requests_gets_short_ones_from_then_on(way: Way, status: int) -> None:
    sent = some(5)
    plan = way.proxy.faults(Fault("answer", kind="block POST", status=status))
    way.uploader.send_blocks(REF, sent)
    assert plan.hits
    assert way.posts == 6
    way.check(sent)
    assert way.uploader.batches.full == 1


def test_a_server_that_hangs_up_on_long_requests_gets_short_ones_from_then_on(way: Way) -> None:
    def hang_up(request: Request) -> None:
        if isinstance(request.body, tuple) and len(request.body) > 1:
            raise Unavailable("the server closed the connection without an answer")

    way.wire.before = hang_up
    way.uploader.send_blocks(REF, sent := some(5))
    assert way.posts == 5
    way.check(sent)
    assert way.uploader.batches.full == 1


def test_a_network_that_is_down_for_all_says_nothing_about_long_requests(way: Way) -> None:
    way.uploader.send_blocks(REF, some(2))
    way.uploader = way.another()
    way.uploader.batches.took(SMALL, 0.001)
    way.wire.refuse("POST")
    sent = some(5)
    with pytest.raises(Unavailable):
        way.uploader.send_blocks(REF, sent)
    assert way.uploader.counts.sent == 0
    way.wire.reset()
    way.uploader.send_blocks(REF, sent)
    assert way.wire.count("POST") == 1
    way.check(sent)


@pytest.mark.parametrize("answered", [0, 1, 2, 4, 6])
def test_a_server_that_does_not_cut_as_expected_gets_one_block_at_a_time(
    way: Way, monkeypatch: pytest.MonkeyPatch, answered: int
) -> None:
    """It takes only some of the blocks, or says more than there were."""
    post = way.client.post_blocks

    def cut_otherwise(container: str, parts: Any) -> list[str]:
        hashes = post(container, parts[:answered])
        return hashes + ["ab" * 32] * max(0, answered - len(parts))

    monkeypatch.setattr(way.client, "post_blocks", cut_otherwise)
    sent = some(5)
    way.uploader.send_blocks(REF, sent)
    assert way.posts == bool(answered) + max(0, 5 - answered)
    way.check(sent)
    assert way.uploader.batches.full == 1


def test_a_block_that_arrives_damaged_each_time_is_an_error(way: Way) -> None:
    damage = Fault("corrupt_request", kind="block POST", after=10, times=0)
    way.proxy.faults(damage)
    with pytest.raises(Exception, match="another hash"):
        way.uploader.send_blocks(REF, some(3))
    assert way.uploader.counts.sent == 2
