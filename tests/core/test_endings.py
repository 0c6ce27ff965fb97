"""The end of a mount: nobody waits for ever for work that will not be done."""

from __future__ import annotations

import contextlib

import pytest

from pithosfs.ahead import Ahead
from pithosfs.errors import PithosError
from tests.core.conftest import SMALL
from tests.core.stack import Stack
from tests.core.threads import InThread


def test_a_listing_that_was_not_begun(stack: Stack) -> None:
    for name in ("a/x", "b/x", "c/x", "d/x", "e/x", "f/x"):
        stack.put(name, b"x")
    nodes = [stack.namespace.find(f"/{each}") for each in "abcdef"]
    held = stack.wire.hold_all("GET")
    lookers = [InThread(lambda node=node: stack.namespace.children(node)) for node in nodes]  # type: ignore[misc]
    held.wait()
    stack.namespace.close()
    held.release()
    for each in lookers:
        with contextlib.suppress(PithosError):
            assert each.result()


def test_a_block_that_was_not_begun(stack: Stack) -> None:
    stack.put("file", b"")
    stack.write("/file", bytes(range(1, 201)) * 100)
    stack.cache._memory.clear()
    file = stack.fs.open("/file").file
    content = file.load().content
    addresses = [found[0] for index in range(content.count) if (found := content.block(index))]
    held = stack.wire.hold_all("GET")
    readers = [InThread(lambda each=each: stack.fetcher.block(each)) for each in addresses[::2]]  # type: ignore[misc]
    held.wait()
    stack.fetcher.close()
    held.release()
    failed = 0
    for each in readers:
        try:
            each.result()
        except PithosError:
            failed += 1
    assert failed, "some were still waiting for their turn"


def test_blocks_sent_ahead_that_were_not_begun(stack: Stack) -> None:
    data = bytes(range(1, 201)) * 6
    held = stack.wire.hold_all("PUT")
    ahead = Ahead(stack.uploader, stack.ref("file"), lambda index: (1, data[index:] + data[:index]))
    for index in range(12):
        ahead.offer(index)
    held.wait()
    stack.uploader.close()
    held.release()
    finishing = InThread(ahead.finish)
    finishing.result()


def test_a_commit_after_the_end_is_an_error(stack: Stack) -> None:
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"x" * 3 * SMALL)
    stack.uploader.close()
    with pytest.raises(PithosError):
        stack.fs.handles.flush(handle.number)
