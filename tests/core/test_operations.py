"""What the kernel asks for, without a kernel: flags, and several calls at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pithosfs import binding, operations
from pithosfs.operations import Operations, Owner
from tests.core.stack import Stack
from tests.core.threads import InThread


@pytest.fixture
def calls(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Operations:
    """The operations of a tree; nobody gives up waiting, as no call is libfuse's."""
    monkeypatch.setattr(binding, "interrupted", lambda: False)
    return Operations(stack.fs, Owner(0, 0), started=lambda: None)


def with_flags(flags: int) -> SimpleNamespace:
    return SimpleNamespace(flags=flags, fh=0, keep_cache=0, direct_io=0, noflush=0)


def test_a_file_others_make_between_lookup_and_creation_is_cut(stack: Stack, calls: Operations) -> None:
    """The kernel takes it for new, and does not ask for that by itself."""
    stack.put("file", b"a long content of others")
    info = with_flags(os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    calls.create("/file", 0o644, info)
    calls.write(info.fh, 0, memoryview(b"short"))
    calls.flush(info.fh)
    calls.release(info.fh)
    assert stack.get("file") == b"short"


@pytest.mark.parametrize("there", [True, False], ids=["there", "new"])
def test_a_file_that_is_created_to_append_to_is_appended_to(
    stack: Stack, calls: Operations, there: bool
) -> None:
    if there:
        stack.put("file", b"old")
    first = with_flags(os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    second = with_flags(os.O_WRONLY | os.O_APPEND)
    calls.create("/file", 0o644, first)
    calls.open("/file", second)
    calls.write(second.fh, 0, memoryview(b"one"), second.flags)
    calls.write(first.fh, 0, memoryview(b"two"), first.flags)
    for info in (first, second):
        calls.flush(info.fh)
        calls.release(info.fh)
    assert stack.get("file") == (b"oldonetwo" if there else b"onetwo")


def test_two_calls_at_once_when_no_more_sizes_can_be_remembered(
    stack: Stack, calls: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_looks, second_looks, first_is_done = (threading.Event() for _ in range(3))

    class Slow(dict[int, int]):
        def __iter__(self) -> Iterator[int]:
            found = super().__iter__()
            if first_looks.is_set():
                second_looks.set()
                first_is_done.wait(0.3)
            else:
                first_looks.set()
                second_looks.wait(0.3)
            return found

    for name in ("one", "two", "three"):
        stack.put(name, b"content")
    calls.getattr("/one")
    monkeypatch.setattr(operations, "_SIZES", 1)
    calls._sizes._sizes = Slow(calls._sizes._sizes)
    first = InThread(lambda: calls.getattr("/two"))
    assert first_looks.wait(10)
    second = InThread(lambda: calls.getattr("/three"))
    first.result()
    first_is_done.set()
    second.result()
    assert len(calls._sizes._sizes) == 1
