"""What becomes of files that several use: commits that fail, conflicts, names that change."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import pytest

from pithosfs.api import Info
from pithosfs.attributes import read_xattrs
from pithosfs.errors import Forbidden, Interrupted, NotFound, PithosError, Stale, Unavailable
from pithosfs.handles import Handle
from pithosfs.openfile import OpenFile
from pithosfs.ranges import Origin
from pithosfs.waiting import patience
from tests.core.conftest import SMALL, Build
from tests.core.stack import Stack
from tests.core.threads import InThread
from tests.support.waiting import eventually


def conflicts(stack: Stack) -> list[str]:
    return [each for each in stack.names() if "(conflict" in each]


def test_what_is_closed_at_the_end_of_a_commit_stays_in_the_journal(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With write-back, somebody writes and closes in the moment in which the content before is settled."""
    stack = build(write_back=60.0)
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"first")
    stack.fs.handles.flush(handle.number)
    forget = stack.files.outbox.forget

    def while_it_is_forgotten(file: OpenFile) -> None:
        monkeypatch.setattr(stack.files.outbox, "forget", forget)
        stack.fs.handles.write(handle.number, 0, b"second")
        stack.fs.handles.flush(handle.number)
        forget(file)

    monkeypatch.setattr(stack.files.outbox, "forget", while_it_is_forgotten)
    stack.fs.handles.fsync(handle.number)
    assert stack.get("file") == b"first"
    assert len(list(stack.staging.directory.glob("*.json"))) == 1
    stack.fs.handles.release(handle.number)
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"second"
    assert not list(stack.staging.directory.glob("*.json"))


def test_a_reader_who_leaves_at_the_end_of_a_commit_leaves_its_content_in_the_tree(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With write-back: the last handle goes when all is sent, just before the tree is told."""
    stack = build(write_back=60.0)
    stack.put("file", b"old")
    stack.write("/file", b"newer")
    reader = stack.fs.open("/file")
    in_use = stack.files._in_use
    show_sent = in_use.show_sent

    def after_the_reader_left(file: OpenFile) -> None:
        stack.fs.handles.release(reader.number)
        show_sent(file)

    monkeypatch.setattr(in_use, "show_sent", after_the_reader_left)
    assert not stack.files.outbox.drain(10)
    monkeypatch.undo()
    assert not stack.files.all()
    assert stack.fs.node("/file").size == 5
    assert stack.read("/file") == b"newer"
    stack.write("/file", b"newest")
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["file"]  # nobody else changed it
    assert stack.get("file") == b"newest"


@pytest.mark.parametrize("there", [True, False], ids=["changed", "new"])
def test_a_file_never_looks_as_it_was_while_its_commit_ends(
    build: Build, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    stack = build(write_back=60.0)
    if there:
        stack.put("file", b"old")
    stack.write("/file", b"newer")
    in_use, sizes = stack.files._in_use, []
    show_sent = in_use.show_sent

    def while_somebody_looks(file: OpenFile) -> None:
        sizes.append(stack.fs.node("/file").size)
        show_sent(file)

    monkeypatch.setattr(in_use, "show_sent", while_somebody_looks)
    assert not stack.files.outbox.drain(10)
    assert sizes == [5]


def test_a_file_moved_away_and_back_is_not_taken_for_what_was_sent_before(stack: Stack) -> None:
    stack.write("/file", b"content")
    stack.write("/other", b"other")
    stack.fs.rename("/file", "/away")
    stack.fs.rename("/other", "/file")
    assert stack.fs.node("/file").size == 5
    assert stack.read("/file") == b"other"
    stack.fs.mkdir("/dir", 0o755)
    stack.write("/dir/file", b"below")
    stack.fs.rename("/dir", "/dir2")
    stack.fs.mkdir("/dir3", 0o755)
    stack.write("/dir3/file", b"another below")
    stack.fs.rename("/dir3", "/dir")
    assert stack.fs.node("/dir/file").size == 13
    assert stack.read("/dir/file") == b"another below"


@pytest.mark.parametrize("change", ["write", "rename"])
def test_what_is_sent_between_a_lookup_and_its_use_is_what_is_used(
    build: Build, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    stack = build(write_back=60.0)
    stack.put("file", b"old")
    stack.write("/file", b"sent meanwhile")
    stack.write("/other", b"other")
    step = {"write": "use", "rename": "find"}[change]
    use_it = getattr(stack.files, step)

    def after_it_was_sent(*args: object) -> object:
        file = stack.files._in_use.find(stack.ref("file"))
        if file is not None and file.dirty:
            stack.files.sending._send(file)
        return use_it(*args)

    monkeypatch.setattr(stack.files, step, after_it_was_sent)
    if change == "rename":
        stack.fs.rename("/other", "/file")
        monkeypatch.undo()
    else:
        handle = stack.fs.open("/file", write=True)
        monkeypatch.undo()
        assert stack.read_handle(handle.number) == b"sent meanwhile"
        stack.fs.handles.write(handle.number, 0, b"other")
        stack.fs.handles.truncate(handle.number, 5)
        stack.fs.handles.flush(handle.number)
        stack.fs.handles.release(handle.number)
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"other"
    assert not conflicts(stack)


# -- the answer of our own commit did not arrive --------------------------------------------------


@pytest.mark.parametrize("size", [10, 2 * SMALL])
def test_a_commit_whose_answer_was_lost_is_no_conflict_with_itself(stack: Stack, size: int) -> None:
    data = b"n" * size
    handle = stack.fs.create("/new", 0o644)
    stack.fs.handles.write(handle.number, 0, data)
    stack.wire.lose_answer("PUT", "/new")
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["new"]
    assert stack.get("new") == data
    assert not stack.files.conflicts.seen


@pytest.mark.parametrize("tries", [1, 100])
def test_a_version_whose_answer_was_lost_is_ours_however_often_the_next_is_tried(
    stack: Stack, tries: int
) -> None:
    handle = stack.fs.create("/new", 0o644)
    stack.fs.handles.write(handle.number, 0, b"first")
    stack.wire.lose_answer("PUT", "/new")
    with pytest.raises(Unavailable):
        stack.fs.handles.fsync(handle.number)
    stack.fs.handles.write(handle.number, 0, b"second")
    stack.wire.reset()
    stack.wire.refuse()
    for _ in range(tries):
        with pytest.raises(Unavailable):
            stack.fs.handles.fsync(handle.number)
        stack.fs.handles.write(handle.number, 6, b"%d" % _)
    stack.wire.reset()
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["new"]
    assert not stack.files.conflicts.seen


def test_a_lost_answer_followed_by_more_writes_keeps_all(stack: Stack) -> None:
    stack.put("file", b"a" * 100)
    handle = stack.fs.open("/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"b")
    stack.wire.lose_answer("PUT", "/file")
    with pytest.raises(Unavailable):
        stack.fs.handles.fsync(handle.number)
    stack.fs.handles.write(handle.number, 50, b"c")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["file"]
    assert stack.get("file") == b"b" + b"a" * 49 + b"c" + b"a" * 49


def test_a_caller_who_leaves_during_a_commit_makes_no_conflict(stack: Stack) -> None:
    handle = stack.fs.create("/new", 0o644)
    stack.fs.handles.write(handle.number, 0, b"data")
    held = stack.wire.hold("PUT", "/new")

    def flush() -> None:
        with patience(held.arrived.is_set):
            stack.fs.handles.flush(handle.number)

    flushing = InThread(flush)
    held.wait()
    with pytest.raises(Interrupted):
        flushing.result()
    held.release()
    stack.fs.handles.release(handle.number)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["new"]
    assert stack.get("new") == b"data"


def test_a_recovered_file_that_was_sent_after_all_is_no_conflict(build: Build) -> None:
    """The answer was lost, then the machine died: the next mount finds its own version."""
    first = build(outbox=False)
    first.put("file", b"old")
    handle = first.fs.open("/file", write=True)
    first.fs.handles.write(handle.number, 0, b"new")
    first.wire.lose_answer("PUT", "/file")
    with pytest.raises(Unavailable):
        first.fs.handles.flush(handle.number)
    dies(first)
    second = build(directory=first.staging.root.parent, container=first.container)
    assert second.files.recover() == 1
    assert not second.files.outbox.drain(10)
    assert second.names() == ["file"]
    assert second.get("file") == b"new"


def dies(stack: Stack) -> None:
    """The process is gone, its lock with it; what it had on disk stays."""
    stack.files.outbox.stop()
    assert stack.staging._held is not None
    os.close(stack.staging._held)
    stack.staging._held = None


def breaks_off_in_a_rename(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of /tmp onto /file: before the journal forgets what that was."""

    def die(file: OpenFile | None) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(stack.files.departures, "forget", die)
    with pytest.raises(RuntimeError):
        stack.fs.rename("/tmp", "/file")


def next_mount(build: Build, before: Stack) -> Stack:
    """The mount after ``before`` died, when it has sent all it found."""
    stack = build(directory=before.staging.root.parent, container=before.container, write_back=60.0)
    stack.files.recover()
    assert not stack.files.outbox.drain(10)
    assert not conflicts(stack)
    return stack


def test_a_mount_that_dies_in_a_rename_leaves_one_version(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files were only in the journal, and so they were found there."""
    first = build(outbox=False, write_back=60.0)
    first.write("/file", b"before")
    first.write("/tmp", b"after")

    breaks_off_in_a_rename(first, monkeypatch)
    assert len(list(first.staging.directory.glob("*.json"))) == 2
    dies(first)
    second = next_mount(build, first)
    assert second.names() == ["file"]
    assert second.get("file") == b"after"
    assert not list(second.staging.root.rglob("*.json"))


@pytest.mark.parametrize("open_still", [True, False])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_mount_that_dies_just_after_an_open_file_was_removed_leaves_the_last_version(
    build: Build, monkeypatch: pytest.MonkeyPatch, how: str, open_still: bool
) -> None:
    """The server has an older one; the last is in the journal until it is sure to be unwanted."""
    first = build(outbox=False, write_back=60.0)
    first.put("file", b"older")
    first.write("/file", b"later")
    monkeypatch.setattr("pithosfs.removals._MOMENT", 600.0)
    handle = first.fs.open("/file")
    assert first.fs.hide("/file", "/.fuse_hidden0000000100000001")
    if not open_still:
        first.fs.handles.release(handle.number)
    if how == "replaced":
        first.write("/tmp", b"newer")
        breaks_off_in_a_rename(first, monkeypatch)
    assert handle.file.gone
    dies(first)
    second = next_mount(build, first)
    assert second.names() == ["file"]
    assert second.get("file") == (b"later" if how == "removed" else b"newer")


def test_a_mount_that_dies_when_a_removal_is_in_the_journal_removes(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(outbox=False, write_back=60.0)
    first.put("file", b"older")
    first.write("/file", b"later")
    first.fs.open("/file")
    monkeypatch.setattr(first.files.departures, "forget", lambda file: None)  # it died before that
    first.wire.refuse("DELETE")
    assert first.fs.hide("/file", "/.fuse_hidden0000000100000001")
    eventually(lambda: first.files.removals.waiting()[0].error)
    dies(first)
    second = next_mount(build, first)
    second.files.removals.drain()
    assert second.names() == []


def test_what_a_file_was_before_never_takes_the_place_of_another(build: Build) -> None:
    """The temporary file was there already; its new content is promised, not sent."""
    stack = build(outbox=False, write_back=60.0)
    stack.put("file", b"the file")
    stack.put("tmp", b"what the temporary file was")
    stack.write("/tmp", b"what it was to be..........")
    stack.wire.refuse("PUT", "/tmp")
    with pytest.raises(Unavailable):
        stack.fs.rename("/tmp", "/file")
    assert stack.get("file") == b"the file"
    stack.wire.reset()
    stack.fs.rename("/tmp", "/file")
    assert stack.get("file") == b"what it was to be.........."
    assert stack.names() == ["file"]


def test_a_file_that_is_cut_while_it_is_sent_is_not_promised_empty(build: Build) -> None:
    first = build(outbox=False, write_back=60.0)
    first.write("/file", b"acknowledged")
    file = first.files.find(first.ref("file"))
    assert file is not None
    held = first.wire.hold("PUT", "/file")
    sending = InThread(lambda: first.files.sending._send(file))
    held.wait()
    handle = first.fs.open("/file", write=True, truncate=True)
    held.release()
    sending.result()
    assert first.fs.handles.node(handle.number).size == 0
    dies(first)
    assert next_mount(build, first).get("file") == b"acknowledged"


def test_a_file_a_program_is_writing_anew_is_not_sent_half_way(build: Build) -> None:
    stack = build(write_back=0.3, outbox=False)
    stack.write("/file", b"acknowledged")
    handle = stack.fs.open("/file", write=True, truncate=True)
    stack.files.start()  # not before: on a busy machine its time might have come
    time.sleep(1.0)
    assert not stack.names()
    stack.fs.handles.write(handle.number, 0, b"written anew")
    stack.fs.handles.flush(handle.number)
    eventually(stack.names)
    assert stack.get("file") == b"written anew"
    assert len(stack.client.versions(stack.container, "file")) == 1
    stack.fs.handles.release(handle.number)


# -- others changed it, too -----------------------------------------------------------------------


def test_a_foreign_change_is_kept_beside_ours(stack: Stack) -> None:
    stack.put("file.txt", b"old")
    handle = stack.fs.open("/file.txt", write=True)
    stack.fs.handles.write(handle.number, 0, b"ours")
    stack.put("file.txt", b"theirs")
    with pytest.raises(Stale, match="conflict"):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    (copy,) = conflicts(stack)
    assert copy.endswith(".txt")
    assert stack.get("file.txt") == b"theirs"
    assert stack.get(copy) == b"ours"
    assert stack.read("/file.txt") == b"theirs"
    assert stack.read("/" + copy) == b"ours"


def test_writes_after_a_conflict_go_to_the_copy(stack: Stack) -> None:
    """A writer who does not look at errors must not write into the others' version."""
    stack.put("file", b"old old old")
    handle = stack.fs.open("/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"our")
    stack.put("file", b"their content")
    with pytest.raises(Stale):
        stack.fs.handles.fsync(handle.number)
    stack.fs.handles.write(handle.number, 4, b"our")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    (copy,) = conflicts(stack)
    assert stack.get("file") == b"their content"
    assert stack.get(copy) == b"our our old"


def test_a_write_while_the_conflict_copy_is_made_is_not_lost(stack: Stack) -> None:
    stack.put("file", b"old old old")
    handle = stack.fs.open("/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"our")
    stack.put("file", b"their content")
    held = stack.wire.hold("PUT", "conflict")
    syncing = InThread(lambda: stack.fs.handles.fsync(handle.number))
    held.wait()
    stack.fs.handles.write(handle.number, 8, b"our")
    held.release()
    with pytest.raises(Stale):
        syncing.result()
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    (copy,) = conflicts(stack)
    assert stack.get(copy) == b"our old our"
    assert stack.get("file") == b"their content"


def test_a_conflict_copy_of_a_long_name_can_be_opened(stack: Stack) -> None:
    name = "n" * 250 + ".txt"
    stack.put(name, b"old")
    handle = stack.fs.open("/" + name, write=True)
    stack.fs.handles.write(handle.number, 0, b"our")
    stack.put(name, b"theirs")
    with pytest.raises(Stale):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    (copy,) = conflicts(stack)
    assert len(copy.encode()) <= 255
    assert stack.read("/" + copy) == b"our"


def test_a_conflict_copy_that_cannot_be_made_is_tried_again(stack: Stack) -> None:
    stack.put("file", b"old")
    handle = stack.fs.open("/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"our")
    stack.put("file", b"theirs")
    stack.wire.refuse("PUT", "conflict")
    with pytest.raises(PithosError):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.files.outbox.waiting()
    assert list(stack.staging.directory.glob("*.json"))
    stack.wire.reset()
    assert not stack.files.outbox.drain(10)
    (copy,) = conflicts(stack)
    assert stack.get(copy) == b"our"
    assert stack.get("file") == b"theirs"


def test_a_deletion_by_others_loses_no_change(stack: Stack) -> None:
    stack.put("file", b"old old")
    handle = stack.fs.open("/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"our")
    stack.client.delete(stack.container, "file")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("file") == b"our old"


def test_a_change_of_mode_does_not_bring_back_what_others_deleted(stack: Stack) -> None:
    stack.put("file", b"old")
    assert stack.ls() == ["file"]
    stack.client.delete(stack.container, "file")
    stack.fs.set_attributes("/file", mode=0o600)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == []
    with pytest.raises(NotFound):
        stack.fs.node("/file")


def test_a_change_of_mode_gives_way_to_foreign_content(stack: Stack) -> None:
    stack.put("file", b"old")
    assert stack.ls() == ["file"]
    stack.put("file", b"theirs")
    stack.fs.set_attributes("/file", mode=0o600)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["file"]
    assert stack.get("file") == b"theirs"


@pytest.mark.parametrize("what", ["mode", "attribute"])
def test_what_is_set_while_a_commit_begins_is_not_lost(stack: Stack, what: str) -> None:
    """It asks for the metadata first, which may take its time."""
    stack.put("file", b"old")
    handle = stack.fs.open("/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"new")
    held = stack.wire.hold("HEAD")
    closing = InThread(lambda: stack.fs.handles.flush(handle.number))
    held.wait()
    if what == "mode":
        stack.fs.set_attributes("/file", mode=0o640)
    else:
        stack.fs.set_xattr("/file", "user.a", b"1", create=False, exists=False)
    held.release()
    closing.result()
    stack.fs.handles.release(handle.number)
    assert not stack.files.outbox.drain(10)
    there = stack.client.head(stack.container, "file")
    assert stack.get("file") == b"new"
    if what == "mode":
        assert "mode=0640" in there.entry.content_type
    else:
        assert read_xattrs(there.meta) == {"user.a": b"1"}
        assert stack.fs.xattrs("/file") == {"user.a": b"1"}


@pytest.mark.parametrize("others", ["replace", "delete", "describe"])
def test_a_change_of_a_version_that_is_gone_is_sent(stack: Stack, others: str) -> None:
    """The container keeps no versions: what the file was before cannot be asked for any more."""
    stack.client.update_container(stack.container, versioning="none")
    stack.put("file", b"old")
    handle = stack.fs.open("/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"new")
    if others == "replace":
        stack.put("file", b"theirs")
    elif others == "delete":
        stack.client.delete(stack.container, "file")
    else:
        stack.client.put_object(stack.container, "file", b"old", content_type="text/plain", meta={"A": "b"})
    try:
        stack.fs.handles.flush(handle.number)
    except Stale:
        assert others == "replace"
    stack.fs.handles.release(handle.number)
    assert not stack.files.outbox.waiting()
    assert sorted(map(stack.get, stack.names())) == ([b"new", b"theirs"] if others == "replace" else [b"new"])
    assert stack.get("file") == (b"theirs" if others == "replace" else b"new")
    if others == "describe":
        assert "b" in stack.client.head(stack.container, "file").meta.values()


def test_a_mode_set_while_a_file_that_nobody_has_open_is_sent(stack: Stack) -> None:
    stack.put("file", b"old")
    held = stack.wire.hold("PUT")
    cutting = InThread(lambda: stack.fs.truncate("/file", 2))
    held.wait()
    stack.fs.set_attributes("/file", mode=0o640)
    held.release()
    cutting.result()
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"ol"
    assert "mode=0640" in stack.client.head(stack.container, "file").entry.content_type
    assert not stack.files.all()


# -- opening and closing at the same time ------------------------------------------------------------


def test_a_file_opened_while_another_handle_closes_is_the_same_file(stack: Stack) -> None:
    """Between being looked up and being counted, a file must not be forgotten."""
    stack.put("file", b"old")
    closing = stack.fs.open("/file", write=True)
    node = stack.namespace.find("/file")
    file = stack.files.use(node, stack.top, "file")  # the first half of another open
    stack.fs.handles.release(closing.number)
    stack.files.opened(file)
    assert stack.files.find(stack.ref("file")) is file
    file.write(0, b"new")
    assert stack.fs.node("/file").mtime_ns == file.view().mtime_ns
    stack.files.sending.sync(file)
    stack.files.closed(file)
    assert stack.get("file") == b"new"
    assert stack.files.all() == []


def test_a_listing_older_than_our_commit_does_not_make_a_second_file(stack: Stack) -> None:
    stack.put("file", b"old")
    handle = stack.fs.open("/file", write=True)
    before = stack.namespace.find("/file")
    stack.fs.handles.write(handle.number, 0, b"new")
    stack.fs.handles.flush(handle.number)
    file = stack.files.use(before, stack.top, "file")
    stack.files.opened(file)
    assert file is handle.file
    stack.files.closed(file)
    stack.fs.handles.release(handle.number)


def test_a_file_that_is_made_durable_is_the_only_one_that_has_to_wait(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = build(write_back=60.0)
    stack.put("other", b"content")
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"much")
    on_disk, go = threading.Event(), threading.Event()
    record = stack.staging.record

    def slowly(key: str, entry: dict[str, Any]) -> None:
        on_disk.set()
        assert go.wait(10)
        record(key, entry)

    monkeypatch.setattr(stack.staging, "record", slowly)
    closing = InThread(lambda: stack.fs.handles.flush(handle.number))
    assert on_disk.wait(10)
    opening = InThread(lambda: stack.fs.open("/file"))
    opening.join(0.3)
    assert opening.is_alive()
    try:
        assert InThread(lambda: stack.read("/other")).result() == b"content"
    finally:
        go.set()
    closing.result()
    opening.result()


def test_an_open_asks_for_no_listing_once_it_has_the_file(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that gets old just then, and cannot be had anew, is no reason to fail and keep the file."""
    stack.put("file", b"content")
    use = stack.files.use

    def use_and_grow_old(*args: Any) -> OpenFile:
        file = use(*args)
        stack.namespace.forget()
        stack.wire.before = refuse
        return file

    def refuse(_: object) -> None:
        raise Forbidden("not for you", 403)

    monkeypatch.setattr(stack.files, "use", use_and_grow_old)
    handle = stack.fs.open("/file")
    stack.fs.handles.release(handle.number)
    assert not stack.files.all()


def test_a_name_being_moved_is_opened_as_the_same_file(stack: Stack) -> None:
    stack.put("old", b"content")
    assert stack.ls() == ["old"]
    held = stack.wire.hold("MOVE")
    moving = InThread(lambda: stack.fs.rename("/old", "/new"))
    held.wait()
    handle = stack.fs.open("/old", write=True)
    stack.fs.handles.write(handle.number, 0, b"CON")
    held.release()
    moving.result()
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["new"]
    assert stack.get("new") == b"CONtent"


# -- files nobody keeps open ---------------------------------------------------------------------------


def test_nothing_is_left_of_a_closed_file(stack: Stack) -> None:
    stack.write("/file", b"x" * 3000)
    assert stack.files.all() == []
    assert stack.files._in_use._places == {}
    assert stack.namespace._pinned == {}
    assert not list(stack.staging.directory.glob("*.data"))


def test_a_failed_commit_is_kept_and_sent_later(stack: Stack) -> None:
    stack.wire.refuse("PUT")
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"x" * 3000)
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.read("/file") == b"x" * 3000
    assert list(stack.staging.directory.glob("*.json"))
    stack.wire.reset()
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"x" * 3000
    assert not list(stack.staging.directory.glob("*.json"))
    assert not list(stack.staging.directory.glob("*.data"))
    eventually(lambda: stack.files.all() == [])


def test_a_journal_entry_never_names_data_that_is_gone(stack: Stack) -> None:
    """The entry goes first, then its bytes: a crash in between must not look like damage."""
    stack.wire.refuse("PUT")
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"x")
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    file = stack.files.find(stack.ref("file"))
    assert file is not None
    stack.wire.reset()
    gone = []
    scratch = file.load()._scratch
    discard = scratch.discard

    def watched() -> None:
        gone.append(list(stack.staging.directory.glob("*.json")))
        discard()

    scratch.discard = watched  # type: ignore[method-assign]
    assert not stack.files.outbox.drain(10)
    assert gone and not any(gone)


def test_a_file_changed_while_it_was_sent_is_journalled_anew(stack: Stack) -> None:
    """The old entry is based on a version that is no longer there."""
    stack.wire.refuse("PUT")
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"x" * 100)
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    held = stack.wire.hold("PUT")
    flushing = InThread(lambda: stack.files.sending.sync(handle.file))
    held.wait()
    stack.fs.handles.write(handle.number, 50, b"y")
    held.release()
    flushing.result()
    assert handle.file.dirty
    entries = stack.staging.directory.glob("*.json")
    versions = [json.loads(each.read_text())["node"] for each in entries]
    assert all(each and each["version"] == handle.file.node.version for each in versions)
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("file") == b"x" * 50 + b"y" + b"x" * 49


def test_the_journal_is_not_written_again_where_nothing_changed(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell closes one file several times."""
    stack = build(write_back=30.0)
    handle = stack.fs.create("/file", 0o644)
    written: list[str] = []
    record = stack.staging.record
    monkeypatch.setattr(stack.staging, "record", lambda key, entry: (written.append(key), record(key, entry)))
    for at, times in enumerate((1, 3, 2)):
        stack.fs.handles.write(handle.number, at, b"x")
        for _ in range(times):
            stack.fs.handles.flush(handle.number)
        assert len(written) == at + 1
    stack.fs.handles.release(handle.number)


def test_an_exception_nobody_expected_costs_no_data(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"data")
    put = stack.uploader.put_body
    monkeypatch.setattr(stack.uploader, "put_body", lambda *_: {}["a bug"])
    with pytest.raises(KeyError):
        stack.fs.handles.flush(handle.number)
    assert len(stack.files.outbox.waiting()) == 1
    assert list(stack.staging.directory.glob("*.json"))
    monkeypatch.setattr(stack.uploader, "put_body", put)
    stack.fs.handles.release(handle.number)
    stack.files.outbox.drain(10)
    assert stack.get("file") == b"data"


def test_a_change_of_mode_gives_way_to_what_others_made_of_a_directory(stack: Stack) -> None:
    """It was made here, and not listed since."""
    stack.fs.mkdir("/dir", 0o755)
    stack.client.delete(stack.container, "dir")
    stack.put("dir", b"theirs")
    stack.fs.set_attributes("/dir", mode=0o700)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["dir"]
    assert stack.get("dir") == b"theirs"


def test_nor_does_it_bring_back_a_directory_they_removed(stack: Stack) -> None:
    stack.fs.mkdir("/dir", 0o755)
    stack.client.delete(stack.container, "dir")
    stack.fs.set_attributes("/dir", mode=0o700)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == []


def test_who_writes_after_a_change_of_mode_gave_way_to_a_deletion_makes_the_file_anew(stack: Stack) -> None:
    stack.put("file", b"old old")
    handle = stack.fs.open("/file", write=True)
    stack.client.delete(stack.container, "file")
    stack.fs.set_attributes("/file", mode=0o600)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == []
    stack.fs.handles.write(handle.number, 0, b"our")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == stack.ls() == ["file"]
    assert stack.get("file") == stack.read("/file") == b"our old"


def writer_whose_mode_gave_way(stack: Stack) -> Handle:
    """A program has a file open that others replaced, so that its new mode was not sent."""
    stack.put("file", b"before")
    writer = stack.fs.open("/file", write=True)
    stack.put("file", b"theirs, longer")
    stack.fs.set_attributes("/file", mode=0o600)
    assert not stack.files.outbox.drain(10)
    return writer


def test_what_is_written_after_a_change_of_mode_gave_way_is_sent_at_the_end_of_the_mount(
    stack: Stack,
) -> None:
    """By a program that never closes the file: others have replaced the version it opened."""
    writer = writer_whose_mode_gave_way(stack)
    stack.fs.handles.write(writer.number, 0, b"ours")
    stack.files.sending.adopt_open()
    assert not stack.files.outbox.drain(10)
    (copy,) = conflicts(stack)
    assert stack.get(copy) == b"oursre"
    assert stack.get("file") == b"theirs, longer"


def test_it_goes_along_with_the_name(stack: Stack) -> None:
    writer = writer_whose_mode_gave_way(stack)
    assert stack.fs.open("/file").private
    stack.fs.handles.write(writer.number, 0, b"ours")
    stack.fs.rename("/file", "/new")
    with pytest.raises(Stale):
        stack.fs.handles.flush(writer.number)
    stack.fs.handles.release(writer.number)
    (copy,) = conflicts(stack)
    assert copy.startswith("new (conflict ")
    assert stack.get("new") == b"theirs, longer"


def test_a_directory_made_of_the_name_of_an_open_file_that_others_deleted_is_one(stack: Stack) -> None:
    stack.put("name", b"old old")
    handle = stack.fs.open("/name", write=True)
    stack.client.delete(stack.container, "name")
    stack.namespace.forget()
    assert stack.ls() == []
    stack.fs.mkdir("/name", 0o755)
    assert stack.fs.node("/name").is_directory
    stack.fs.handles.write(handle.number, 0, b"our")
    assert stack.fs.node("/name").is_directory
    assert stack.fs.entries("/")["name"].is_directory
    with pytest.raises(Stale):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    (copy,) = conflicts(stack)
    assert stack.get(copy) == b"our old"
    assert stack.fs.node("/name").is_directory


def test_who_opens_a_file_while_its_mode_gives_way_to_a_deletion_makes_it_anew(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.put("file", b"old old")
    assert stack.ls() == ["file"]
    stack.client.delete(stack.container, "file")
    stack.fs.set_attributes("/file", mode=0o600)
    ask, used = stack.fetcher.info, []

    def ask_while_it_is_opened(origin: Origin) -> Info:
        try:
            return ask(origin)
        finally:
            if not origin.version:
                used.append(stack.files.use(stack.namespace.find("/file"), stack.top, "file"))

    monkeypatch.setattr(stack.fetcher, "info", ask_while_it_is_opened)
    assert not stack.files.outbox.drain(10)
    monkeypatch.undo()
    (file,) = used
    handle = stack.fs.handles.add(file, read=True, write=True)
    stack.fs.handles.write(handle.number, 0, b"our")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["file"]
    assert stack.get("file") == b"our old"
    assert not stack.files.all()


@pytest.fixture
def two_versions(build: Build, monkeypatch: pytest.MonkeyPatch) -> tuple[Stack, Handle, Handle]:
    """A file open twice, with write-back: to read what others have replaced, and to write to that."""
    monkeypatch.setattr("pithosfs.users._READING", 0.0)
    stack = build(write_back=60.0)
    stack.put("file", b"before")
    reader = stack.fs.open("/file")
    stack.put("file", b"theirs, longer")
    stack.namespace.forget()
    return stack, reader, stack.fs.open("/file", write=True)


def test_a_mode_of_a_replaced_version_that_gives_way_takes_no_name_from_the_next_one(
    two_versions: tuple[Stack, Handle, Handle],
) -> None:
    stack, reader, writer = two_versions
    stack.client.delete(stack.container, "file")
    stack.fs.handles.set_attributes(reader.number, mode=0o600)
    stack.fs.handles.release(reader.number)
    assert not stack.files.outbox.drain(10)
    stack.fs.handles.write(writer.number, 0, b"ours")
    stack.fs.handles.flush(writer.number)
    stack.fs.handles.release(writer.number)
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["file"]
    assert stack.get("file") == b"oursrs, longer"


@pytest.mark.parametrize("when", ["before", "after"])
def test_nor_does_it_hide_what_is_not_sent_of_that(
    two_versions: tuple[Stack, Handle, Handle], when: str
) -> None:
    """``when`` others delete it."""
    stack, reader, writer = two_versions
    stack.fs.handles.write(writer.number, 0, b"ours")
    stack.fs.handles.flush(writer.number)
    if when == "before":
        stack.client.delete(stack.container, "file")
    stack.fs.handles.set_attributes(reader.number, mode=0o600)
    stack.files.sending.sync(reader.file)
    assert stack.ls() == ["file"]
    if when == "after":
        stack.client.delete(stack.container, "file")
    stack.namespace.forget()
    assert stack.ls() == ["file"]
    assert stack.read("/file") == b"oursrs, longer"


@pytest.mark.parametrize("used", [True, False])
def test_what_others_do_is_seen_after_a_mode_was_sent_just_before_it_was_to_wait(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    stack.put("file", b"content")
    in_use = stack.files._in_use
    pin = in_use.pin

    def pin_when_it_was_sent(file: OpenFile) -> None:
        monkeypatch.undo()
        stack.files.sending.sync(file)
        pin(file)

    monkeypatch.setattr(in_use, "pin", pin_when_it_was_sent)
    reader = stack.fs.open("/file") if used else None
    stack.fs.set_attributes("/file", mode=0o600)
    assert not stack.files.outbox.drain(10)
    if reader is not None:
        stack.fs.handles.release(reader.number)
    assert stack.client.head(stack.container, "file").entry.content_type == "text/plain; mode=0600"
    stack.put("file", b"theirs, longer")
    stack.namespace.forget()
    assert stack.fs.node("/file").size == 14


def closes_and_leaves(stack: Stack) -> Handle:
    """A program changes four blocks, flushes, and is interrupted while they are on their way."""
    stack.uploader.batches.refused()  # one block a request, several requests at a time
    stack.put("file", os.urandom(10 * SMALL))
    handle = stack.fs.open("/file", write=True)
    for index in range(4):
        stack.fs.handles.write(handle.number, index * SMALL + 5, b"changed %d" % index)
    held = stack.wire.hold_all("POST")

    def flush() -> None:
        with patience(held.arrived.is_set):
            stack.fs.handles.flush(handle.number)

    flushing = InThread(flush)
    held.wait()
    try:
        with pytest.raises(Interrupted):
            flushing.result()
    finally:
        held.release()
    return handle


def test_a_caller_who_leaves_does_not_wait_for_the_blocks_that_are_on_their_way(stack: Stack) -> None:
    handle = closes_and_leaves(stack)
    stack.fs.handles.release(handle.number)
    assert not stack.files.outbox.drain(10)
    assert stack.get("file")[5:14] == b"changed 0"


@pytest.mark.parametrize("size", [500, 3 * SMALL])
def test_a_mode_survives_the_end_of_a_mount_without_a_network(build: Build, size: int) -> None:
    """Of a file of several blocks, too, of which this mount has never asked which ones they are."""
    data = os.urandom(size)
    first = build()
    first.put("file", data)
    first.ls()
    first.wire.refuse()
    first.fs.set_attributes("/file", mode=0o600)
    first.files.stop()
    dies(first)
    second = next_mount(build, first)
    assert second.fs.node("/file").attributes.mode == 0o600
    assert second.read("/file") == data
    assert not second.files.outbox.drain(10)
    assert "mode=0600" in second.client.head(second.container, "file").entry.content_type
    assert second.get("file") == data


def test_what_is_on_its_way_when_a_caller_leaves_is_not_shown_as_an_upload(build: Build) -> None:
    stack = build(outbox=False)  # nobody tries again
    handle = closes_and_leaves(stack)
    eventually(lambda: stack.uploader.counts.sent > 0)
    assert stack.uploader.under_way.of(stack.ref("file")) is None
    stack.fs.handles.release(handle.number)
