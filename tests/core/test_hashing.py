"""Hashing that gives way to whoever waits for the mount."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from pithosfs import blocks, hashing
from pithosfs.blocks import Buffer
from pithosfs.errors import Unavailable
from pithosfs.hashing import Hasher
from tests.core.threads import InThread

LARGE = os.urandom(hashing.WORTH_A_THREAD) + bytes(100)


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    found = Hasher(1)
    yield found
    found.close()


@pytest.mark.parametrize("data", [b"", b"abc\0\0", LARGE, bytes(2 * len(LARGE))])
def test_it_is_the_hash_of_the_block(hasher: Hasher, data: bytes) -> None:
    assert hasher.hash(data) == blocks.block_hash(data)


def test_few_blocks_are_hashed_at_a_time(hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most = [0], [0]

    def slow(_: Buffer) -> str:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.02)
        now[0] -= 1
        return "hash"

    monkeypatch.setattr(blocks, "block_hash", slow)
    callers = [InThread(lambda: hasher.hash(LARGE)) for _ in range(6)]
    assert {each.result() for each in callers} == {"hash"}
    assert most == [1]


def test_it_gives_way_to_other_threads(hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def look(_: Buffer) -> str:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return "hash"

    monkeypatch.setattr(blocks, "block_hash", look)
    hasher.hash(LARGE)
    hasher.hash(b"small")
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert found == [max(mine, hashing._NICENESS), mine]


def test_after_the_end_nobody_waits_for_a_hash(hasher: Hasher) -> None:
    hasher.close()
    with pytest.raises(Unavailable):
        hasher.hash(LARGE)
