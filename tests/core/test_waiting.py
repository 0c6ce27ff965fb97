"""Waiting: results, errors, time, and callers who leave."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pithosfs.errors import Interrupted, TimedOut, Unavailable
from pithosfs.waiting import Turn, if_cancelled, patience, wait, wait_in
from tests.core.threads import InThread


def test_a_result_and_an_error_come_through() -> None:
    good: Future[int] = Future()
    good.set_result(7)
    assert wait(good) == 7
    assert wait(good, 0.0) == 7
    bad: Future[int] = Future()
    bad.set_exception(KeyError("x"))
    with pytest.raises(KeyError):
        wait(bad, 1.0)


def test_work_that_timed_out_itself_is_no_loop() -> None:
    late: Future[int] = Future()
    late.set_exception(TimeoutError("by itself"))
    with patience(lambda: False), pytest.raises(TimeoutError, match="by itself"):
        wait(late, 1.0)


def test_time_runs_out() -> None:
    never: Future[int] = Future()
    with pytest.raises(TimedOut):
        wait(never, 0.05)
    with patience(lambda: False), pytest.raises(TimedOut):
        wait(never, 0.1)


def test_a_caller_who_left_is_not_kept() -> None:
    never: Future[int] = Future()
    gone = threading.Event()
    threading.Timer(0.1, gone.set).start()
    began = time.monotonic()
    with patience(gone.is_set), pytest.raises(Interrupted):
        wait(never, 30.0)
    assert time.monotonic() - began < 5


def test_patience_ends_with_its_context_and_is_each_threads_own() -> None:
    done: Future[int] = Future()
    with patience(lambda: True):
        with patience(lambda: False):
            pass
        other: Future[int] = Future()
        threading.Timer(0.2, lambda: other.set_result(1)).start()
        thread_result: list[int] = []
        thread = threading.Thread(target=lambda: thread_result.append(wait(other, 10)))
        thread.start()
        thread.join()
        assert thread_result == [1]
        with pytest.raises(Interrupted):
            wait(done, 30.0)
    threading.Timer(0.1, lambda: done.set_result(2)).start()
    assert wait(done, 10.0) == 2


def test_a_result_that_comes_as_the_time_runs_out_is_a_result() -> None:
    """It was an error before: between giving up and looking, the work had ended."""

    class Late(Future[str]):
        looks = 0

        def done(self) -> bool:
            Late.looks += 1
            if Late.looks == 2 and not super().done():
                self.set_result("late")
            return super().done()

    with patience(lambda: True):
        assert wait(Late(), 30.0) == "late"


def test_cancelled_work_tells_who_waits_for_it() -> None:
    pool = ThreadPoolExecutor(1)
    go = threading.Event()
    pool.submit(go.wait, 10)
    queued = pool.submit(lambda: 1)
    cleaned = []
    if_cancelled(queued, lambda: cleaned.append(True))
    pool.shutdown(wait=False, cancel_futures=True)
    go.set()
    assert cleaned == [True]
    with pytest.raises(Unavailable):
        wait(queued, 1.0)


def test_who_waits_for_a_turn_may_leave() -> None:
    turn, gone = Turn(), threading.Event()
    with turn, turn:  # the same thread has it already
        waiting = InThread(lambda: take(turn, gone.is_set))
        gone.set()
        with pytest.raises(Interrupted):
            waiting.result()
        staying = InThread(lambda: take(turn, lambda: False))
    assert staying.result() == "mine"
    assert InThread(lambda: take(turn, None)).result() == "mine"


def take(turn: Turn, gone: Callable[[], bool] | None) -> str:
    with contextlib.nullcontext() if gone is None else patience(gone), turn:
        return "mine"


def test_who_waits_in_a_condition_may_leave() -> None:
    condition, gone = threading.Condition(), threading.Event()

    def waits() -> None:
        with patience(gone.is_set), condition:
            while True:
                wait_in(condition)

    waiting = InThread(waits)
    gone.set()
    with pytest.raises(Interrupted):
        waiting.result()
