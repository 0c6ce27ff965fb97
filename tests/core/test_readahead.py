"""What is fetched for whom."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pithosfs.readahead import Plan, Readahead, Unit
from tests.core.threads import InThread

BLOCK = 4 * 1024 * 1024
STEP = 128 * 1024
HUGE = 100 * BLOCK
SLOW = 2e6  # bytes a second
FAST = 1e9


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads on here does so soon, also on a machine that pauses for a moment."""
    monkeypatch.setattr("pithosfs.readahead._SOON", 600.0)


def read(ahead: Readahead, offset: int, size: int = STEP, total: int = HUGE, rate: float = SLOW) -> Plan:
    return ahead.plan(offset, size, total, 0.02, rate, 16)


def test_a_small_file_is_one_block() -> None:
    assert read(Readahead(BLOCK), 0, total=BLOCK) == Plan(Unit.BLOCK)


def test_who_only_looks_at_the_beginning_gets_a_piece() -> None:
    ahead = Readahead(BLOCK)
    assert read(ahead, 0, 4096) == Plan(Unit.PIECE, random=True)
    assert read(ahead, 4096, 4096) == Plan(Unit.PIECE, random=True)


def test_a_sequential_reader_never_waits_for_a_block_that_was_not_asked_for() -> None:
    ahead = Readahead(BLOCK)
    asked: set[int] = set()
    windows: list[int] = []
    for offset in range(0, 60 * BLOCK, STEP):
        plan = read(ahead, offset)
        first, stop = plan.ahead
        assert not asked & set(range(first, stop)) or first <= offset // BLOCK, "nothing is asked for twice"
        asked |= set(range(first, stop))
        if stop > first:
            windows.append(stop - first)
        if offset > 4 * BLOCK:
            assert offset // BLOCK in asked
            assert plan.unit is Unit.BLOCK
    assert max(windows) >= 8, "few, long requests"
    assert max(asked) - 60 <= 17, "never further than the window"


def test_no_more_is_asked_for_than_was_read_already_and_a_little() -> None:
    for rate in (0, SLOW, FAST):
        ahead = Readahead(BLOCK)
        for offset in range(0, 40 * BLOCK, STEP):
            stop = read(ahead, offset, rate=rate).ahead[1]
            assert stop <= 3 + 3 * offset // BLOCK


def test_the_window_ends_with_the_file() -> None:
    ahead = Readahead(BLOCK)
    asked: set[int] = set()
    for offset in range(0, 5 * BLOCK, STEP):
        asked |= set(range(*read(ahead, offset, total=5 * BLOCK - 7).ahead))
    assert max(asked) == 4


def test_a_reader_that_jumps_starts_small_again() -> None:
    ahead = Readahead(BLOCK)
    for offset in range(0, 8 * BLOCK, STEP):
        read(ahead, offset)
    plan = read(ahead, 50 * BLOCK, 4096)
    assert plan == Plan(Unit.PIECE, random=True)


def test_two_interleaved_readers_each_keep_their_window() -> None:
    ahead = Readahead(BLOCK)
    plans: dict[int, list[Plan]] = {0: [], 50: []}
    for offset in range(0, 8 * BLOCK, STEP):
        for start, found in plans.items():
            found.append(read(ahead, start * BLOCK + offset))
    for found in plans.values():
        assert all(plan.unit is Unit.BLOCK for plan in found[8:])
        assert any(plan.ahead[1] - plan.ahead[0] >= 4 for plan in found)


def test_the_kernels_parallel_reads_come_out_of_order() -> None:
    ahead = Readahead(BLOCK)
    offsets = [each * STEP for each in range(64)]
    for one, two in zip(offsets[::2], offsets[1::2], strict=True):
        read(ahead, two)
        last = read(ahead, one)
    assert last.unit is Unit.BLOCK


def test_two_reads_of_one_handle_at_the_same_moment() -> None:
    """Each finds the stream it goes on with, before the other has noted that it did."""
    both = threading.Barrier(2)

    class Slow(list):  # type: ignore[type-arg]
        def remove(self, each: object) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.2)
            super().remove(each)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.2)

    ahead = Readahead(BLOCK)
    read(ahead, 0)
    ahead._streams = Slow(ahead._streams)
    reads = [InThread(lambda offset=each: read(ahead, offset)) for each in (STEP, 2 * STEP)]
    for each in reads:
        each.result()


@pytest.mark.parametrize(("rate", "unit"), [(SLOW, Unit.PIECE), (FAST, Unit.BLOCK)])
def test_a_jump_takes_what_costs_no_more_than_a_request(rate: float, unit: Unit) -> None:
    ahead = Readahead(BLOCK)
    for jump in (30, 10, 70):
        assert read(ahead, jump * BLOCK + 5000, 4096, rate=rate).unit is unit


def test_random_reads_that_cost_as_much_as_all_take_all_once() -> None:
    ahead = Readahead(BLOCK)
    total = 10 * BLOCK
    rate = total / 2.0
    assert read(ahead, 7 * BLOCK, 4096, total, rate).ahead == (0, 0)
    ahead.waited(3.0)
    assert read(ahead, 2 * BLOCK, 4096, total, rate).ahead == (0, 10)
    assert read(ahead, 5 * BLOCK, 4096, total, rate).ahead == (0, 0)


def test_memory_is_not_taken_by_a_file_that_is_too_large() -> None:
    ahead = Readahead(BLOCK)
    ahead.waited(1000.0)
    assert read(ahead, 7 * BLOCK, 4096, HUGE, SLOW).ahead == (0, 0)


def asks(ahead: Readahead, megabytes: int, rate: float) -> list[Plan]:
    """What is asked for by who reads so much from the beginning, without the plans that ask for nothing."""
    plans = [read(ahead, offset, rate=rate) for offset in range(0, megabytes * 1024 * 1024, STEP)]
    return [plan for plan in plans if plan.ahead != (0, 0)]


def test_a_fast_reader_who_goes_on_may_have_all_in_one_request() -> None:
    first, *others = asks(Readahead(BLOCK), 100, FAST)
    assert first.ahead[1] < first.reach < 10, "who reads the beginning of a file may stop there"
    assert others
    assert {plan.reach for plan in others} == {100}


def test_where_no_rate_is_known_a_request_reaches_a_little_further_than_what_is_wanted() -> None:
    plans = asks(Readahead(BLOCK), 100, 0)
    assert all(plan.ahead[1] <= plan.reach or plan.ahead[1] - plan.ahead[0] > 8 for plan in plans)
    assert max(plan.reach - plan.ahead[0] for plan in plans) <= 8


def test_on_a_line_on_which_several_requests_are_better_each_is_for_a_part() -> None:
    assert not any(plan.reach for plan in asks(Readahead(BLOCK), 100, SLOW))


def test_a_slow_reader_gets_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pithosfs.readahead._SOON", 0.4)
    monkeypatch.setattr("pithosfs.readahead.time.monotonic", lambda: now[0])
    ahead = Readahead(BLOCK)
    plans = []
    for offset in range(0, 100 * 1024 * 1024, STEP):
        plans.append(read(ahead, offset, rate=FAST))
        now[0] += 0.05
    assert [plan.reach for plan in plans if plan.reach] == [8], "but for the beginning"


@pytest.mark.parametrize("rate", [0, SLOW, FAST])
@pytest.mark.parametrize("offset", [0, 5 * BLOCK + 7, 96 * BLOCK])
@pytest.mark.parametrize("size", [4096, STEP, 2 * STEP, 1024 * 1024])
def test_what_a_first_read_begins_on_is_what_is_asked_for_then(offset: int, size: int, rate: float) -> None:
    """In one request: it comes along with what was begun on before it was known what it is."""
    ahead = Readahead(BLOCK)
    start, stop = ahead.opening(offset, size, HUGE, rate)
    plan = read(ahead, offset, size, rate=rate)
    if start == stop:
        assert plan.ahead == (0, 0)
    else:
        assert (start, stop) == (plan.ahead[0] * BLOCK, max(plan.ahead[1], plan.reach) * BLOCK)


def test_nothing_is_begun_on_for_a_small_file_or_a_small_read() -> None:
    ahead = Readahead(BLOCK)
    assert ahead.opening(0, BLOCK, BLOCK, FAST) == (0, 0)
    assert ahead.opening(0, STEP, HUGE, FAST) == (0, 0)
    assert ahead.opening(0, 2 * STEP, BLOCK + 1, FAST) == (0, BLOCK + 1)
