"""A new file whose content an object has already is made by a copy on the server, where that saves time.

It does where ETags are MD5s: the server would read all of what is put by its hashmap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pithosfs.api import Client, Info
from pithosfs.blocks import Hashmap
from pithosfs.errors import Stale, Unavailable
from pithosfs.names import ObjectRef
from pithosfs.twins import Twins
from pithosfs.upload import Terms
from tests.core.conftest import SMALL, Build
from tests.core.stack import Stack
from tests.support.files import noise
from tests.support.waiting import eventually

DATA = noise(20 * SMALL + 100)


@pytest.fixture
def stack(build: Build) -> Stack:
    """On a server whose ETags are MD5s."""
    return build(md5=True)


def copies(stack: Stack) -> int:
    """Requests that were copies of one object."""
    return sum(1 for method, url in stack.wire.requests if method == "PUT" and "?" not in url)


def puts(stack: Stack) -> int:
    """Requests with a hashmap."""
    return stack.wire.count("PUT", "?hashmap")


def facts(client: Client, container: str, name: str) -> Info:
    """All the headers of an object, but for those that differ with each PUT."""
    info = client.head(container, name)
    return replace(info, entry=replace(info.entry, name="", uuid="", version=0, modified_ns=0))


def copy_inside(stack: Stack, old: str, new: str) -> None:
    """What cp does."""
    source, target = stack.fs.open(old), stack.fs.create(new, 0o644)
    done = 0
    while step := stack.fs.handles.copy(source.number, done, target.number, done, len(DATA)):
        done += step
    try:
        stack.fs.handles.flush(target.number)
    finally:
        for each in (source, target):
            stack.fs.handles.release(each.number)


def put_as_the_same(stack: Stack, name: str, like: str) -> None:
    """A hashmap of DATA with the type and metadata of another object."""
    info, content = stack.client.hashmap(stack.container, like)
    stack.client.put_hashmap(
        stack.container, name, content, content_type=info.entry.content_type, meta=info.meta
    )


@pytest.mark.parametrize("how", ["written", "copied", "copied on another machine"])
def test_it_is_what_a_hashmap_makes(build: Build, stack: Stack, how: str) -> None:
    stack.write("/one", DATA)
    used = build(md5=True, container=stack.container) if how == "copied on another machine" else stack
    used.ls()
    used.wire.reset()
    if how == "written":
        used.write("/two", DATA)
    else:
        copy_inside(used, "/one", "/two")
    assert copies(used) == 1
    assert puts(used) == 0
    assert used.wire.count("HEAD") == 1
    assert len(used.wire.requests) == 2 + used.wire.count("GET", "/one")
    put_as_the_same(stack, "three", like="two")
    assert facts(stack.client, stack.container, "two") == facts(stack.client, stack.container, "three")
    assert stack.get("two") == DATA
    assert len(stack.client.versions(stack.container, "two")) == 1
    ids = {stack.client.head(stack.container, name).entry.uuid for name in ("one", "two", "three")}
    assert len(ids) == 3


def test_a_copy_is_written_on_without_a_conflict(stack: Stack) -> None:
    stack.write("/one", DATA)
    stack.write("/two", DATA)
    assert copies(stack) == 1
    stack.put("one", b"replaced by others")
    stack.write("/two", b"changed", at=5)
    assert stack.names() == ["one", "two"]
    assert stack.get("two") == DATA[:5] + b"changed" + DATA[12:]


def test_it_is_neither_shared_nor_public(stack: Stack) -> None:
    stack.write("/one", DATA)
    stack.client.update(stack.container, "one", sharing="read=*", public=True)
    stack.write("/two", DATA)
    assert copies(stack) == 1
    entry = stack.client.head(stack.container, "two").entry
    assert (entry.sharing, entry.public, entry.allowed_to) == (None, None, None)


def test_metadata_is_not_inherited(stack: Stack) -> None:
    stack.write("/one", DATA)
    stack.fs.set_xattr("/one", "user.colour", b"blue", create=False, exists=False)
    assert not stack.files.outbox.drain(10)
    stack.wire.reset()
    stack.write("/two", DATA)
    assert (copies(stack), puts(stack)) == (0, 1)
    assert stack.client.head(stack.container, "two").meta.keys() == {"mtime"}


def test_what_no_listing_tells_is_not_inherited(build: Build, stack: Stack) -> None:
    """A header that only another client would set; the copy is put anew, over itself."""
    stack.write("/one", DATA)
    info = stack.client.head(stack.container, "one")
    stack.wire.send(displayed(stack, info))
    other = build(md5=True, container=stack.container)
    copy_inside(other, "/one", "/two")
    assert (copies(other), puts(other)) == (1, 1)
    put_as_the_same(stack, "three", like="two")
    assert facts(stack.client, stack.container, "two") == facts(stack.client, stack.container, "three")
    assert stack.client.head(stack.container, "one").disposition == "inline"
    assert stack.client.head(stack.container, "two").disposition is None
    copy_inside(other, "/two", "/four")  # a file like any other


def displayed(stack: Stack, info: Info) -> Any:
    """The request that gives an object a Content-Disposition."""
    return stack.client._request(
        "POST", stack.container, info.entry.name, flags=["update"], headers={"Content-Disposition": "inline"}
    )


def test_a_source_that_vanished(stack: Stack) -> None:
    stack.client.update_container(stack.container, versioning="none")
    stack.write("/one", DATA)
    stack.put("one", b"replaced by others")
    stack.wire.reset()
    stack.write("/two", DATA)
    assert (copies(stack), puts(stack)) == (1, 1)
    assert stack.get("two") == DATA
    stack.put("two", b"replaced, too")
    stack.wire.reset()
    stack.write("/three", DATA)
    assert copies(stack) == 1  # "two" was the one to copy by then
    assert stack.get("three") == DATA


@pytest.mark.parametrize("then", ["nothing", "written on", "renamed", "removed"])
@pytest.mark.parametrize("method", ["PUT", "HEAD"])
@pytest.mark.parametrize("lost", [True, False], ids=["answer lost", "not sent"])
def test_whatever_fails_nothing_is_lost_or_left_behind(
    stack: Stack, method: str, lost: bool, then: str
) -> None:
    stack.write("/one", DATA)
    if lost:
        stack.wire.lose_answer(method, "/two")
    else:
        stack.wire.refuse(method, "/two")
    with pytest.raises(Unavailable):
        stack.write("/two", DATA)
    stack.wire.reset()
    expected = {"one": DATA, "two": DATA}
    if then == "written on":
        stack.write("/two", b"changed", at=5)
        expected["two"] = DATA[:5] + b"changed" + DATA[12:]
    elif then == "renamed":
        stack.fs.rename("/two", "/three", overwrite=True)
        expected["three"] = expected.pop("two")
    elif then == "removed":
        stack.fs.unlink("/two")
        del expected["two"]
    assert not stack.files.outbox.drain(10)
    eventually(lambda: stack.names() == sorted(expected), 10, "what there should be")
    assert {name: stack.get(name) for name in stack.names()} == expected
    assert not stack.files.conflicts.seen


def test_a_name_that_others_have_taken(stack: Stack) -> None:
    stack.write("/one", DATA)
    handle = stack.fs.create("/two", 0o644)
    stack.fs.handles.write(handle.number, 0, DATA)
    stack.put("two", b"theirs")
    with pytest.raises(Stale, match="conflict"):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("two") == b"theirs"
    (kept,) = (name for name in stack.names() if "conflict" in name)
    assert stack.get(kept) == DATA


def test_an_object_that_is_there_keeps_its_identity(stack: Stack) -> None:
    """A copy over it would make it another one, and end its sharing."""
    stack.write("/one", DATA)
    stack.write("/two", DATA[:-1])
    before = stack.client.head(stack.container, "two").entry
    stack.wire.reset()
    stack.write("/two", DATA[-1:], at=len(DATA) - 1)
    assert copies(stack) == 0
    after = stack.client.head(stack.container, "two").entry
    assert after.uuid == before.uuid
    assert stack.get("two") == DATA


def test_another_container(build: Build, stack: Stack) -> None:
    stack.write("/one", DATA)
    other = build(md5=True)
    info, content = stack.client.hashmap(stack.container, "one")
    terms = Terms(info.entry.content_type, info.meta, only_new=True)
    stack.wire.reset()
    stack.uploader.put_hashmap(ObjectRef(other.container, "two"), content, terms)
    assert (copies(stack), puts(stack)) == (1, 0)
    assert other.get("two") == DATA


def test_with_other_etags_a_hashmap_is_as_fast(build: Build) -> None:
    stack = build()
    stack.write("/one", DATA)
    stack.wire.reset()
    stack.write("/two", DATA)
    assert (copies(stack), puts(stack), stack.wire.count("HEAD")) == (0, 1, 0)


def test_which_are_known() -> None:
    twins, md5 = Twins(), "0" * 32
    large, small = Hashmap(8 * SMALL, ("aa" * 32,) * 8, SMALL), Hashmap(SMALL * 2, ("bb" * 32,) * 2, SMALL)
    mine, theirs = ObjectRef("c", "mine"), ObjectRef("c", "theirs", "their account")
    for content, ref, version, etag in (
        (large, theirs, 5, md5),
        (large, mine, 0, md5),
        (large, mine, 5, large.merkle),
        (small, mine, 5, md5),
    ):
        twins.add(content, ref, version, etag, {})
        assert twins.of(content, mine, {}) is None
    twins.add(large, mine, 5, md5, {"mtime": "1"})
    assert twins.of(large, mine, {}) is None
    assert twins.of(large, theirs, {"mtime": "2"}) is None
    assert twins.of(large, mine, {"mtime": "2"}) is None
    mine = ObjectRef("c", "mine, too")
    shorter = Hashmap(large.size - 1, large.hashes, SMALL)
    assert shorter.merkle == large.merkle
    assert twins.of(shorter, mine, {"mtime": "2"}) is None
    found = twins.of(large, mine, {"mtime": "2", "colour": "blue"})
    assert found is not None
    assert (found.ref, found.version, found.etag) == (ObjectRef("c", "mine"), 5, md5)
    twins.forget(large)
    assert twins.of(large, mine, {"mtime": "2"}) is None
