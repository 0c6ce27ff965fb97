"""Long ranges: what one request brings, and until when more may come along."""

from __future__ import annotations

import pytest

from pithosfs import ranges
from pithosfs.names import ObjectRef
from pithosfs.ranges import Address, LongRange, Origin
from tests.core.threads import InThread

BLOCK = 1000
HERE = Origin(ObjectRef("pithos", "film"), 7)


def blocks(first: int, stop: int, origin: Origin = HERE) -> list[Address]:
    return [Address(origin, index, f"{index:064}", BLOCK, BLOCK) for index in range(first, stop)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LINGER", 0.05)


def taken(wanted: LongRange) -> list[int]:
    found = []
    while (address := wanted.next()) is not None:
        found.append(address.index)
    return found


def test_the_request_is_for_the_run_alone_if_no_end_is_given() -> None:
    wanted = LongRange.of(blocks(2, 5))
    assert (wanted.start, wanted.stop) == (2000, 5000)
    assert not wanted.takes(blocks(5, 6))
    assert taken(wanted) == [2, 3, 4]


def test_what_comes_next_comes_along() -> None:
    wanted = LongRange.of(blocks(2, 5), 9000)
    assert (wanted.start, wanted.stop) == (2000, 9000)
    assert wanted.takes(blocks(5, 8))
    assert wanted.takes(blocks(8, 9))
    assert taken(wanted) == [2, 3, 4, 5, 6, 7, 8]


def test_nothing_else_does() -> None:
    wanted = LongRange.of(blocks(2, 5), 9000)
    elsewhere = Origin(HERE.ref, 8)
    for run in (blocks(4, 6), blocks(6, 7), blocks(5, 6, elsewhere)):
        assert not wanted.takes(run)
    assert taken(wanted) == [2, 3, 4]


def test_of_a_longer_run_comes_what_is_asked_for() -> None:
    wanted = LongRange.of(blocks(2, 5), 8000)
    assert wanted.takes(blocks(5, 11)) == 3
    assert not wanted.takes(blocks(8, 11))
    assert taken(wanted) == [2, 3, 4, 5, 6, 7]


def test_it_may_be_asked_for_before_it_is_known_what_it_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    wanted = LongRange(HERE, 2000, 5000)
    waiting = InThread(wanted.next)
    assert not wanted.takes(blocks(3, 5)), "not from where it begins"
    assert wanted.takes(blocks(2, 4)) == 2
    assert waiting.result() == blocks(2, 3)[0]


def test_what_nobody_wants_of_it_for_a_moment_is_given_up() -> None:
    wanted = LongRange(HERE, 2000, 5000)
    assert wanted.next() is None
    assert not wanted.takes(blocks(2, 4))


def test_a_short_block_is_the_last() -> None:
    short = Address(HERE, 5, "x", BLOCK - 1, BLOCK)
    wanted = LongRange.of([*blocks(2, 5), short], 9000)
    assert not wanted.takes(blocks(6, 7))


def test_who_comes_too_late_is_not_taken_along() -> None:
    wanted = LongRange.of(blocks(2, 5), 9000)
    assert taken(wanted) == [2, 3, 4]
    assert not wanted.takes(blocks(5, 6))


def test_who_waits_goes_on_as_soon_as_more_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    wanted = LongRange.of(blocks(2, 3), 9000)
    wanted.next()
    waiting = InThread(wanted.next)
    assert wanted.takes(blocks(3, 4))
    assert waiting.result() == blocks(3, 4)[0]


def test_where_others_wait_it_ends_with_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    wanted = LongRange.of(blocks(2, 5), 9000)
    wanted.last_call()
    assert not wanted.takes(blocks(5, 6))
    assert taken(wanted) == [2, 3, 4]
    other = LongRange.of(blocks(2, 3), 9000)
    other.next()
    waiting = InThread(other.next)
    other.last_call()
    assert waiting.result() is None


def test_an_end_tells_what_is_left_and_wakes_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = LongRange.of(blocks(2, 5), 9000)
    wanted.next()
    assert wanted.end() == blocks(3, 5)
    assert not wanted.takes(blocks(5, 6))
    monkeypatch.setattr(ranges, "LINGER", 60.0)
    other = LongRange.of(blocks(2, 3), 9000)
    other.next()
    waiting = InThread(other.next)
    assert other.end() == []
    assert waiting.result() is None
