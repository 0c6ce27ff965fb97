"""Open directories: what a program that reads one is shown, piece by piece."""

from __future__ import annotations

import itertools

import pytest

from pithosfs.attributes import Kind
from pithosfs.directories import Directories, Listed
from pithosfs.errors import BadHandle
from tests.core.conftest import Build
from tests.core.stack import Stack


@pytest.fixture
def directories(stack: Stack) -> Directories:
    for number in range(5):
        stack.write(f"/d/file{number}", b"x" * number)
    return Directories(stack.fs)


@pytest.fixture(autouse=True)
def made(stack: Stack) -> None:
    stack.fs.mkdir("/d", 0o755)


def read(directories: Directories, number: int, position: int = 0, count: int = 1000) -> list[Listed]:
    return list(itertools.islice(directories.read(number, position), count))


def names(listed: list[Listed]) -> list[str]:
    return [each.name for each in listed]


def test_goes_on_where_it_stopped(directories: Directories) -> None:
    number = directories.open("/d")
    first = read(directories, number, 0, 4)
    assert names(first) == [".", "..", "file0", "file1"]
    assert names(read(directories, number, first[-1].position)) == ["file2", "file3", "file4"]
    assert names(read(directories, number, first[2].position)) == ["file1", "file2", "file3", "file4"]
    assert read(directories, number, 7) == read(directories, number, 1000) == []


def test_tells_all_of_an_entry_but_of_the_dots(directories: Directories) -> None:
    listed = read(directories, directories.open("/d"))
    assert [each.complete for each in listed] == [False, False] + [True] * 5
    assert [each.node.size for each in listed[2:]] == [0, 1, 2, 3, 4]
    assert listed[0].node.kind is Kind.DIRECTORY


def test_tells_how_an_entry_is_now_and_nothing_of_one_that_is_gone(
    directories: Directories, stack: Stack
) -> None:
    """The kernel would believe for a second that it is still there."""
    number = directories.open("/d")
    (last,) = read(directories, number, 0, 3)[2:]
    stack.fs.unlink("/d/file1")
    stack.write("/d/file2", b"longer now")
    stack.write("/d/new", b"")
    listed = read(directories, number, last.position)
    assert names(listed) == ["file1", "file2", "file3", "file4"]
    assert [each.complete for each in listed] == [False, True, True, True]
    assert listed[1].node.size == 10


def test_begins_anew_with_what_is_there_then(directories: Directories, stack: Stack) -> None:
    number = directories.open("/d")
    read(directories, number)
    stack.fs.unlink("/d/file1")
    assert names(read(directories, number)) == [".", "..", "file0", "file2", "file3", "file4"]


def test_asks_the_store_for_nothing_more_than_the_listing(build: Build) -> None:
    """What of it is too old, or a time other programs keep elsewhere, is not told."""
    stack = build(ttl=3600)
    stack.client.put_object(
        stack.container, "d/foreign", b"x", content_type="text/plain", meta={"mtime": "1"}
    )
    stack.write("/d/ours", b"x")
    stack.namespace.forget()
    directories = Directories(stack.fs)
    number = directories.open("/d")
    listed = {each.name: each.complete for each in directories.read(number, 0)}
    assert listed == {".": False, "..": False, "foreign": False, "ours": True}
    stack.namespace.forget()
    stack.wire.reset()
    assert [each.complete for each in directories.read(number, 2)] == [False, False]
    assert stack.wire.count() == 0


def test_a_number_that_is_none(directories: Directories) -> None:
    number = directories.open("/d")
    directories.close(number)
    with pytest.raises(BadHandle):
        read(directories, number)
