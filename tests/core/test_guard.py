"""Looking for what others wrote: asked about only where nothing else can tell."""

from __future__ import annotations

import pytest

from pithosfs import guard
from tests.core.conftest import Build
from tests.core.stack import Held, Stack
from tests.core.threads import InThread
from tests.support.waiting import eventually

HISTORY = "version=list"


def looked_after(stack: Stack) -> bool:
    return not stack.files.sending._guard._waiting


def with_an_answer_on_its_way(build: Build) -> tuple[Stack, InThread, Held]:
    """A file is on the server, its answer is not here; one that was written since has its own."""
    stack = build()
    stack.write("/before", b"so that numbers are known")
    eventually(lambda: looked_after(stack))
    stack.wire.reset()
    held = stack.wire.hold_answer("PUT", "slow")
    slow = InThread(lambda: stack.write("/slow", b"slow"))
    held.wait()
    stack.write("/quick", b"quick")
    return stack, slow, held


def test_a_number_that_one_of_our_own_requests_may_have_taken_is_not_asked_about(build: Build) -> None:
    stack, slow, held = with_an_answer_on_its_way(build)
    with pytest.raises(AssertionError):
        eventually(lambda: looked_after(stack), 3 * guard._MOMENT)
    held.release()
    slow.result()
    eventually(lambda: looked_after(stack))
    assert stack.wire.count(within=HISTORY) == 0


def test_it_is_in_the_end(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_PATIENCE", guard._MOMENT)
    stack, slow, held = with_an_answer_on_its_way(build)
    eventually(lambda: stack.wire.count(within=HISTORY))
    held.release()
    slow.result()


def test_or_where_the_mount_ends(build: Build) -> None:
    stack, slow, held = with_an_answer_on_its_way(build)
    stack.files.sending._guard.drain(20)
    assert stack.wire.count(within=HISTORY) == 1
    held.release()
    slow.result()
