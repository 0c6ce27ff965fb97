"""An object beside others whose names go on from its own: a file and a directory that want one path."""

from __future__ import annotations

import contextlib

import pytest

from pithosfs.errors import NotFound, NotSupported
from pithosfs.transport import Request
from tests.core.stack import Stack


@pytest.fixture
def beside(stack: Stack) -> Stack:
    """A directory that nobody made, and the file of its name."""
    stack.put("a", b"content")
    stack.put("a/x", b"x")
    assert stack.ls() == ["a", "a‛"]
    return stack


def test_the_file_stays_when_the_directory_is_emptied_and_removed(beside: Stack) -> None:
    beside.fs.unlink("/a/x")
    beside.fs.rmdir("/a")
    assert beside.names() == ["a"]
    assert beside.get("a") == b"content"
    beside.namespace.forget()
    assert beside.read("/a") == b"content"


def test_a_mode_or_time_of_the_directory_does_not_take_the_place_of_the_file(beside: Stack) -> None:
    beside.fs.set_attributes("/a", mode=0o700)
    beside.fs.set_attributes("/a", mtime_ns=5)
    assert beside.get("a") == b"content"


def test_a_directory_that_cannot_be_moved_without_the_file_is_not_moved(beside: Stack) -> None:
    with pytest.raises(NotSupported):
        beside.fs.rename("/a", "/b")
    assert beside.names() == ["a", "a/x"]
    assert beside.get("a") == b"content"


def test_nor_is_the_file_replaced_in_the_place_of_the_directory(beside: Stack) -> None:
    beside.fs.mkdir("/new", 0o755)
    beside.fs.unlink("/a/x")
    with pytest.raises(NotSupported):
        beside.fs.rename("/new", "/a")
    assert beside.get("a") == b"content"


def test_the_directory_is_one_while_the_file_is_written(beside: Stack) -> None:
    handle = beside.fs.open("/a‛", write=True)
    beside.fs.handles.write(handle.number, 0, b"C")
    assert beside.fs.node("/a").is_directory
    assert beside.fs.entries("/")["a"].is_directory
    assert not beside.fs.node("/a‛").is_directory
    beside.fs.unlink("/a/x")
    beside.fs.rmdir("/a")
    beside.fs.handles.flush(handle.number)
    beside.fs.handles.release(handle.number)
    assert beside.get("a") == b"Content"


def test_the_directory_stays_when_the_file_was_removed_just_before_it_is_emptied(
    beside: Stack, unhurried: None
) -> None:
    handle = beside.fs.open("/a‛")
    beside.fs.hide("/a‛", "/.fuse_hidden1")
    beside.fs.unlink("/a/x")
    beside.fs.handles.release(handle.number)
    beside.end_moments()
    beside.files.removals.drain(10)
    assert beside.names() == ["a"]
    assert beside.get("a") == b""
    beside.namespace.forget()
    assert beside.ls() == ["a"]
    assert beside.fs.node("/a").is_directory


@pytest.mark.parametrize("content_type", ["text/plain", "application/directory; mode=0700"])
def test_what_others_made_of_a_directory_that_nobody_made_stays(stack: Stack, content_type: str) -> None:
    """Since it was listed; then the last file in it is removed."""
    stack.put("d/x", b"x")
    assert stack.ls("/d") == ["x"]
    stack.put("d", b"", content_type)
    before = stack.client.head(stack.container, "d").entry
    stack.fs.unlink("/d/x")
    with contextlib.suppress(NotFound):
        stack.fs.node("/d")
    assert stack.client.head(stack.container, "d").entry == before


def test_what_others_made_of_it_and_removed_at_once_is_no_error(stack: Stack) -> None:
    stack.put("d/x", b"x")
    assert stack.ls("/d") == ["x"]
    stack.put("d", b"", "application/directory")

    def remove_before_it_is_looked_at(request: Request) -> None:
        if request.method == "HEAD":
            stack.wire.reset()
            stack.client.delete(stack.container, "d")

    stack.wire.before = remove_before_it_is_looked_at
    stack.fs.unlink("/d/x")
    assert stack.names() == ["d"]
