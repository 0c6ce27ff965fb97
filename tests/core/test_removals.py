"""Deletions that wait a moment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pithosfs import removals as removals_module
from pithosfs.attributes import Attributes
from pithosfs.errors import Unavailable
from pithosfs.journal import unpack_removal
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node
from pithosfs.removals import Removals
from pithosfs.staging import Staging
from tests.core.threads import InThread
from tests.support.waiting import eventually

NODE = Node(ObjectRef("box", "file"), Attributes())


class Store:
    """Deletes when it is told to."""

    def __init__(self) -> None:
        self.deleted: list[ObjectRef] = []
        self.errors: list[Exception] = []
        self.go = threading.Event()
        self.go.set()
        self.arrived = threading.Event()

    def delete(self, ref: ObjectRef) -> None:
        self.arrived.set()
        assert self.go.wait(20)
        if self.errors:
            raise self.errors.pop(0)
        self.deleted.append(ref)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    found = Staging(tmp_path / "staging")
    yield found
    found.close()


@pytest.fixture
def make(store: Store, staging: Staging, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Removals]:
    def build(moment: float = 0.02) -> Removals:
        monkeypatch.setattr(removals_module, "_MOMENT", moment)
        # What a machine does that pauses for a second is not looked at here: what was tried once is tried
        # again when a test says so, and what worked just now did so just now.
        monkeypatch.setattr(removals_module, "_FIRST_PAUSE", 600.0)
        monkeypatch.setattr(removals_module, "_SOON", 600.0)
        return Removals(staging)

    return build


def add(
    removals: Removals, store: Store, node: Node, ended: Callable[[], object], *, certain: bool = False
) -> None:
    removals.add(node, lambda: store.delete(node.ref), lambda: void(ended()), certain=certain)
    removals.begin(node.ref)


def void(_: object) -> None:
    """For a call whose value nobody wants."""


def journalled(staging: Staging) -> list[str]:
    """Names of the objects that the next mount would delete."""
    texts = [path.read_text() for path in staging.directory.glob("*.json")]
    entries = [json.loads(text) for text in texts if text]  # an empty one was never promised
    return sorted(node.ref.name for entry in entries for node in unpack_removal(entry))


def one_that_failed(store: Store, make: Callable[..., Removals]) -> Removals:
    """With a removal of ``NODE`` that the store has refused once."""
    removals = make()
    store.errors = [Unavailable("down")]
    add(removals, store, NODE, lambda: None)
    eventually(lambda: removals.waiting()[0].error)
    return removals


def test_it_is_deleted_a_moment_later(store: Store, make: Callable[..., Removals]) -> None:
    removals, ended = make(), []
    store.go.clear()
    add(removals, store, NODE, lambda: ended.append(True))
    assert removals.waiting()[0].object == "box/file"
    store.go.set()
    eventually(lambda: removals.waiting() == [])
    assert ended
    assert store.deleted == [NODE.ref]
    removals.stop()


def test_what_takes_over_spares_the_deletion(store: Store, make: Callable[..., Removals]) -> None:
    removals, ended = make(10.0), []
    add(removals, store, NODE, lambda: ended.append(True))
    with removals.taken_over(NODE.ref) as node:
        assert node is NODE
        assert not ended
    assert ended
    with removals.taken_over(NODE.ref) as node:
        assert node is None
    removals.drain()
    assert store.deleted == []
    removals.stop()


def test_what_fails_to_take_over_leaves_the_deletion(store: Store, make: Callable[..., Removals]) -> None:
    removals, ended = make(), []
    add(removals, store, NODE, lambda: ended.append(True))
    with pytest.raises(KeyError), removals.taken_over(NODE.ref):
        raise KeyError
    eventually(lambda: ended)
    assert store.deleted == [NODE.ref]
    removals.stop()


def test_finish_waits_for_one_under_way(store: Store, make: Callable[..., Removals]) -> None:
    removals = make()
    store.go.clear()
    add(removals, store, NODE, lambda: None)
    assert store.arrived.wait(10)
    finishing = InThread(lambda: removals.finish(NODE.ref))
    time.sleep(0.05)
    assert finishing.is_alive()
    store.go.set()
    finishing.result()
    assert store.deleted == [NODE.ref]
    removals.finish(NODE.ref)
    removals.stop()


def test_nobody_goes_on_before_all_is_noted_of_its_end(store: Store, make: Callable[..., Removals]) -> None:
    """A new file of the name, removed in its turn, would lose what is noted of it."""
    removals = make()
    noting, go = threading.Event(), threading.Event()

    def note() -> bool:
        noting.set()
        return go.wait(10)

    add(removals, store, NODE, note)
    assert noting.wait(10)
    finishing = InThread(lambda: removals.finish(NODE.ref))
    time.sleep(0.05)
    assert finishing.is_alive()
    go.set()
    finishing.result()
    removals.stop()


def test_finish_says_why_not_and_it_is_tried_again(
    store: Store, make: Callable[..., Removals], monkeypatch: pytest.MonkeyPatch
) -> None:
    removals, ended = make(10.0), []
    store.errors = [Unavailable("down")]
    add(removals, store, NODE, lambda: ended.append(True))
    with pytest.raises(Unavailable):
        removals.finish(NODE.ref)
    assert removals.waiting()[0].error == "down"
    assert not ended
    removals.drain()
    assert store.deleted == [NODE.ref]
    assert ended
    removals.stop()


def test_a_defect_ends_neither_the_thread_nor_those_who_wait(
    store: Store, make: Callable[..., Removals]
) -> None:
    removals, ended = make(), []
    store.errors = [ZeroDivisionError("a defect")]
    add(removals, store, NODE, lambda: ended.append(True))
    eventually(lambda: removals.waiting()[0].error)
    InThread(lambda: removals.finish(NODE.ref)).result()
    assert store.deleted == [NODE.ref]
    assert ended
    other = Node(ObjectRef("box", "other"), Attributes())
    add(removals, store, other, lambda: None)
    eventually(lambda: other.ref in store.deleted)
    removals.stop()


def test_an_entry_that_cannot_be_removed_ends_neither_the_thread_nor_those_who_wait(
    store: Store, staging: Staging, make: Callable[..., Removals]
) -> None:
    removals = one_that_failed(store, make)
    (entry,) = staging.directory.glob("*.json")
    entry.unlink()
    entry.mkdir()  # as on a disk that takes no changes any more
    removals.drain(10)
    InThread(lambda: removals.finish(NODE.ref)).result()
    other = Node(ObjectRef("box", "other"), Attributes())
    add(removals, store, other, lambda: None)
    eventually(lambda: other.ref in store.deleted)
    assert store.deleted == [NODE.ref, other.ref]
    removals.stop()
    entry.rmdir()


def test_drain_tries_once_more_what_was_under_way_and_fails(
    store: Store, make: Callable[..., Removals]
) -> None:
    """The network is back, though not for the attempt that had begun before."""
    removals = make()
    store.go.clear()
    add(removals, store, NODE, lambda: None)
    assert store.arrived.wait(10)
    store.errors = [Unavailable("down")]
    draining = InThread(removals.drain)
    eventually(lambda: any(each.wanted for each in removals._waiting.values()))
    store.go.set()
    draining.result()
    assert store.deleted == [NODE.ref]
    removals.stop()


def test_those_concerned_are_finished(store: Store, make: Callable[..., Removals]) -> None:
    removals = make(10.0)
    nodes = [Node(ObjectRef("box", name), Attributes()) for name in ("a/1", "a/2", "b/1")]
    for each in nodes:
        add(removals, store, each, lambda: None)
    removals.finish_all(lambda ref: ref.name.startswith("a/"))
    assert store.deleted == [nodes[0].ref, nodes[1].ref]
    removals.stop()


def test_the_journal_has_it_until_it_is_deleted(
    store: Store, staging: Staging, make: Callable[..., Removals]
) -> None:
    removals = one_that_failed(store, make)
    assert journalled(staging) == ["file"]
    removals.drain()
    assert journalled(staging) == []
    removals.stop()


def test_what_may_be_a_replacement_is_not_in_the_journal(
    store: Store, staging: Staging, make: Callable[..., Removals]
) -> None:
    """A process that dies then must leave the old file: the new one may not have its name yet."""
    removals = make(10.0)
    add(removals, store, NODE, lambda: None)
    assert journalled(staging) == []
    with removals.taken_over(NODE.ref):
        assert journalled(staging) == []
    removals.stop()
    assert journalled(staging) == []


def test_what_is_left_at_the_end_is_in_the_journal(
    store: Store, staging: Staging, make: Callable[..., Removals]
) -> None:
    removals = make(10.0)
    add(removals, store, NODE, lambda: None)
    removals.stop()
    assert journalled(staging) == ["file"]


# -- behind the program -----------------------------------------------------------------------------


def others(count: int) -> list[Node]:
    return [Node(ObjectRef("box", f"other{number}"), Attributes()) for number in range(count)]


def that_keeps_up(store: Store, make: Callable[..., Removals]) -> Removals:
    """With a removal that worked just now."""
    removals = make()
    removals.now(lambda: store.delete(NODE.ref))
    assert removals.keeps_up()
    return removals


def test_the_first_removal_is_waited_for(make: Callable[..., Removals]) -> None:
    assert not make().keeps_up()


def test_so_is_one_after_a_while(
    store: Store, make: Callable[..., Removals], monkeypatch: pytest.MonkeyPatch
) -> None:
    removals = that_keeps_up(store, make)
    monkeypatch.setattr(removals_module, "_SOON", 0.01)
    time.sleep(0.02)
    assert not removals.keeps_up()


def test_so_is_one_after_a_removal_that_was_refused(store: Store, make: Callable[..., Removals]) -> None:
    removals = make()
    store.errors = [Unavailable("down")]
    with pytest.raises(Unavailable):
        removals.now(lambda: store.delete(NODE.ref))
    assert not removals.keeps_up()


def test_and_while_one_fails(store: Store, make: Callable[..., Removals]) -> None:
    removals = that_keeps_up(store, make)
    store.errors = [Unavailable("down")]
    add(removals, store, NODE, lambda: None, certain=True)
    eventually(lambda: removals.waiting()[0].error)
    assert not removals.keeps_up()
    removals.drain()
    assert removals.keeps_up()
    removals.stop()


def test_and_where_many_wait(store: Store, make: Callable[..., Removals]) -> None:
    removals = that_keeps_up(store, make)
    store.go.clear()
    for each in others(removals_module._BEHIND):
        assert removals.keeps_up()
        add(removals, store, each, lambda: None, certain=True)
    assert not removals.keeps_up()
    store.go.set()
    removals.drain()
    assert removals.keeps_up()
    removals.stop()


def test_several_are_deleted_at_a_time(make: Callable[..., Removals]) -> None:
    removals = make()
    all_of_them = threading.Barrier(4)
    for each in others(4):
        removals.add(each, lambda: void(all_of_them.wait(10)), lambda: None, certain=True)
    removals.drain(10)
    assert removals.waiting() == []
    removals.stop()


def test_a_certain_one_is_deleted_at_once_and_nobody_waits_to_see_what_becomes_of_it(
    store: Store, make: Callable[..., Removals]
) -> None:
    removals = make(60.0)
    store.go.clear()
    add(removals, store, NODE, lambda: None, certain=True)
    assert store.arrived.wait(10)
    assert removals.outcome(NODE.ref) is False
    store.go.set()
    removals.drain(10)
    assert store.deleted == [NODE.ref]
    removals.stop()


def test_the_journal_is_not_troubled_while_the_store_deletes_what_it_is_asked_to(
    store: Store, staging: Staging, make: Callable[..., Removals]
) -> None:
    removals = that_keeps_up(store, make)
    store.go.clear()
    add(removals, store, NODE, lambda: None, certain=True)
    store.arrived.wait(10)
    assert journalled(staging) == []
    store.errors = [Unavailable("down")]
    store.go.set()
    eventually(lambda: removals.waiting()[0].error)
    assert journalled(staging) == ["file"]
    removals.drain(10)
    assert journalled(staging) == []
    removals.stop()


def test_what_was_never_sent_tells_nothing_of_how_the_store_deletes(
    staging: Staging, make: Callable[..., Removals]
) -> None:
    removals, ended = make(), []
    removals.add(NODE, lambda: None, lambda: ended.append(True), nodes=[])
    removals.begin(NODE.ref)
    eventually(lambda: ended)
    assert not removals.keeps_up()
    assert journalled(staging) == []
    removals.stop()
