"""Names that change while something of them is still on its way, or fails."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pithosfs.connections import Answer, Connection, Failure
from pithosfs.errors import Interrupted, NotFound, Stale, Unavailable
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile
from pithosfs.transport import Request, _Status
from tests.core.conftest import Build
from tests.core.stack import Held, Stack
from tests.core.test_files import conflicts, dies, next_mount
from tests.core.threads import InThread
from tests.support.waiting import eventually

TEMPORARY = "/.file.a8Xk2P"


def writes_without_an_answer(stack: Stack, path: str, data: bytes) -> None:
    """The server has the file, and nobody is told."""
    stack.wire.lose_answer("PUT", path)
    with pytest.raises(Unavailable):
        stack.write(path, data)


def test_what_is_moved_into_an_emptied_directory_is_not_deleted(stack: Stack) -> None:
    """Removals below the *target* of a directory's rename are still on their way."""
    stack.fs.mkdir("/target", 0o755)
    stack.write("/target/first", b"old")
    stack.write("/target/file", b"old")
    stack.fs.mkdir("/source", 0o755)
    stack.write("/source/file", b"new")
    stack.ls("/source"), stack.ls("/target")
    stack.fs.unlink("/target/first")  # waited for
    held = stack.wire.hold("DELETE", "target/file")
    stack.fs.unlink("/target/file")  # behind the program
    held.wait()
    stack.fs.rename("/source", "/target")
    held.release()
    eventually(lambda: not stack.files.removals)
    assert stack.names() == ["target", "target/file"]
    assert stack.get("target/file") == b"new"


def test_a_rename_tells_that_what_was_held_could_not_be_sent(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Close left it to the rename; the moment was over, and the first try failed, behind the program."""
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 0.1)
    stack.ls()
    stack.wire.refuse("PUT")
    stack.write(TEMPORARY, b"content")  # close says all is well
    eventually(lambda: stack.files.outbox.waiting()[0].state == "failed")
    with pytest.raises(Unavailable):
        stack.fs.rename(TEMPORARY, "/file")


def test_fsync_of_the_directory_tells_that_what_was_held_could_not_be_sent(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 0.1)
    stack.ls()
    stack.wire.refuse("PUT")
    stack.write(TEMPORARY, b"content")
    eventually(lambda: stack.files.outbox.waiting()[0].state == "failed")
    with pytest.raises(Unavailable):
        stack.fs.sync_directory("/")


@pytest.mark.parametrize("which", ["/", "/dir"])
def test_with_write_back_fsync_of_a_directory_waits_for_what_was_made(build: Build, which: str) -> None:
    stack = build(write_back=60.0)
    stack.fs.mkdir("/dir", 0o755)
    stack.fs.sync_directory(which)
    assert stack.names() == ["dir"]


def test_a_directory_somebody_else_made_too_keeps_their_attributes(build: Build) -> None:
    stack = build(write_back=60.0)
    stack.ls()
    other = build(container=stack.container)
    other.fs.mkdir("/dir", 0o700)
    other.fs.set_xattr("/dir", "user.colour", b"red", create=False, exists=False)
    assert not other.files.outbox.drain(10)
    stack.fs.mkdir("/dir", 0o755)
    assert not stack.files.outbox.drain(10)
    other.namespace.forget()
    assert other.client.head(other.container, "dir").meta


def test_a_link_that_could_not_be_sent_is_not_made(stack: Stack) -> None:
    stack.ls()
    stack.wire.refuse("PUT")
    with pytest.raises(Unavailable):
        stack.fs.symlink("target", "/link")
    stack.wire.reset()
    assert stack.ls() == []
    assert not stack.files.outbox.drain(10)
    assert stack.names() == []


def test_with_write_back_a_link_that_could_not_be_kept_is_not_made(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = build(write_back=60.0)
    stack.ls()

    stack.fill_disk(monkeypatch)
    stack.wire.refuse("PUT")
    with pytest.raises(Unavailable):
        stack.fs.symlink("target", "/link")
    assert stack.ls() == []
    assert stack.names() == []


def test_a_conflict_met_by_the_outbox_is_told_by_the_rename(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment of a held file ends while it is renamed."""
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 600.0)
    stack.put("file", b"before")
    stack.ls()
    stack.put("file", b"theirs")
    stack.write(TEMPORARY, b"ours")
    real = stack.fs._paths.left

    def slow(directory: Node) -> None:  # as it is where it makes a marker
        real(directory)
        stack.files.outbox.drain(0.6)

    monkeypatch.setattr(stack.fs._paths, "left", slow)
    with pytest.raises(Stale):
        stack.fs.rename(TEMPORARY, "/file")


def test_a_tree_that_takes_the_place_of_an_emptied_one_is_whole(stack: Stack) -> None:
    """The same with nothing held up but each request 30 ms away: rm OLD/*; mv -T NEW OLD."""
    names = [f"file{number:02}" for number in range(40)]
    stack.fs.mkdir("/old", 0o755)
    stack.fs.mkdir("/new", 0o755)
    for each in names:
        stack.write(f"/old/{each}", b"old")
        stack.write(f"/new/{each}", b"new")
    stack.ls("/old"), stack.ls("/new")
    stack.wire.before = lambda _: time.sleep(0.03)
    for each in names:
        stack.fs.unlink(f"/old/{each}")
    stack.fs.rename("/new", "/old")
    eventually(lambda: not stack.files.removals)
    assert stack.names() == ["old", *[f"old/{each}" for each in names]]


def test_an_empty_file_stays_empty_when_its_commit_fails_after_a_lost_answer(build: Build) -> None:
    """What an earlier file of its name had there must not become its content."""
    stack = build(outbox=False)
    stack.ls()
    writes_without_an_answer(stack, "/file", b"old")
    stack.wire.refuse("HEAD")  # so the one that may be there is not deleted yet
    stack.fs.unlink("/file")
    eventually(lambda: stack.files.removals.waiting()[0].error)

    def over_what_is_there(request: Request) -> None:
        if request.method == "PUT" and any(each.lower() == "if-match" for each in request.headers):
            raise Unavailable("down", maybe_done=False)

    stack.wire.reset()
    stack.wire.before = over_what_is_there
    with pytest.raises(Unavailable):
        stack.write("/file", b"")
    stack.wire.reset()
    stack.fs.rename("/file", "/other")
    assert stack.read("/other") == b""
    assert stack.get("other") == b""


def test_a_removal_deletes_what_was_sent_over_the_file_without_an_answer(build: Build) -> None:
    stack = build(outbox=False)
    stack.write("/first", b"")
    stack.write("/file", b"one")
    writes_without_an_answer(stack, "/file", b"two")
    stack.wire.reset()
    stack.wire.refuse("DELETE", "/file")
    stack.fs.hide("/file", "/.fuse_hidden0000000000000001")  # as libfuse does if it is open
    stack.files.removals.drain(10)
    stack.wire.reset()
    stack.files.removals.drain(10)
    eventually(lambda: not stack.files.removals)
    assert stack.names() == ["first"]


def test_a_rename_that_fails_leaves_nothing_of_what_may_have_been_there(build: Build) -> None:
    stack = build(outbox=False)
    stack.write("/other", b"other")
    writes_without_an_answer(stack, "/file", b"old")
    stack.wire.refuse()
    stack.fs.unlink("/file")
    stack.files.removals.drain(10)
    with pytest.raises(Unavailable):
        stack.fs.rename("/other", "/file")
    stack.wire.reset()
    stack.files.removals.drain(10)
    eventually(lambda: not stack.files.removals)
    assert stack.names() == ["other"]


def test_what_came_with_a_renamed_directory_and_was_removed_is_no_conflict(stack: Stack) -> None:
    stack.fs.mkdir("/old", 0o755)
    stack.write("/old/file", b"old")
    stack.fs.rename("/old", "/new")
    stack.fs.unlink("/new/file")
    stack.write("/new/file", b"new")
    stack.files.sending._guard.drain(10)
    assert not conflicts(stack)
    assert stack.names() == ["new", "new/file"]


def test_nor_is_the_directory_itself(stack: Stack) -> None:
    stack.fs.mkdir("/old", 0o755)
    stack.fs.rename("/old", "/new")
    stack.fs.rmdir("/new")
    stack.write("/new", b"new")
    stack.files.sending._guard.drain(10)
    assert not conflicts(stack)
    assert stack.names() == ["new"]


def with_a_directory_made_again(build: Build) -> Stack:
    """A file in it is not sent yet; somebody else removed it, empty as it was there."""
    stack = build(write_back=60.0)
    stack.fs.mkdir("/dir", 0o755)
    assert not stack.files.outbox.drain(10)
    stack.write("/dir/file", b"one")
    other = build(container=stack.container)
    other.fs.rmdir("/dir")
    stack.namespace.forget()
    if "dir" not in stack.ls():
        stack.fs.mkdir("/dir", 0o755)
    return stack


def test_a_directory_made_again_has_what_is_not_sent_in_it(build: Build) -> None:
    stack = with_a_directory_made_again(build)
    assert stack.ls("/dir") == ["file"]


def test_a_file_in_a_directory_made_again_is_no_conflict_with_itself(build: Build) -> None:
    stack = with_a_directory_made_again(build)
    stack.write("/dir/file", b"two")
    assert not stack.files.outbox.drain(10)
    assert not conflicts(stack)
    assert stack.get("dir/file") == b"two"


def test_a_removal_in_the_journal_deletes_what_was_sent_without_an_answer(build: Build) -> None:
    first = build(outbox=False, write_back=60.0)
    first.write("/file", b"one")
    first.files.sending.send(first.ref("file"))
    first.write("/file", b"two")
    first.wire.lose_answer("PUT", "/file")
    with pytest.raises(Unavailable):
        first.files.sending.send(first.ref("file"))
    first.wire.reset()
    first.wire.refuse("DELETE")
    first.fs.hide("/file", "/.fuse_hidden0000000000000001")
    first.files.removals.drain(10)
    dies(first)
    second = next_mount(build, first)
    second.files.removals.drain(10)
    assert second.names() == []


def test_a_directory_that_is_not_sent_keeps_its_mode_over_a_rename(build: Build) -> None:
    stack = build(write_back=60.0)
    stack.ls()
    stack.fs.mkdir("/old", 0o755)
    stack.fs.set_attributes("/old", mtime_ns=5 * 10**9, mode=0o700)
    ino = stack.fs.node("/old").ino
    stack.fs.rename("/old", "/new")
    shown = stack.fs.node("/new")
    assert shown.attributes.mode == 0o700
    assert shown.ino == ino


def test_nor_does_a_later_change_bring_its_old_mode_back(build: Build) -> None:
    stack = build(write_back=60.0)
    stack.ls()
    stack.fs.mkdir("/old", 0o755)
    stack.fs.set_attributes("/old", mode=0o700)
    stack.fs.rename("/old", "/new")
    assert "mode=0700" in stack.client.head(stack.container, "new").entry.content_type
    stack.fs.set_attributes("/new", mtime_ns=5 * 10**9)
    assert not stack.files.outbox.drain(10)
    assert "mode=0700" in stack.client.head(stack.container, "new").entry.content_type


def test_an_entry_whose_name_could_not_be_made_durable_is_gone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def broken(handle: int) -> None:
        if handle == stack.staging._names:
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr("pithosfs.staging.os.fsync", broken)
    stack.write(TEMPORARY, b"content")
    assert stack.get(TEMPORARY[1:]) == b"content"  # by its close
    assert not list(stack.staging.directory.glob("*.json"))


@pytest.mark.parametrize("made", ["file", "directory"])
def test_times_and_mode_of_what_is_not_sent_survive_the_end_of_the_mount(build: Build, made: str) -> None:
    """As SIGTERM or umount --force end it while the server is away: chmod and utimes came after the close."""
    first = build(outbox=False, write_back=60.0)
    if made == "file":
        first.write("/name", b"content")
    else:
        first.fs.mkdir("/name", 0o755)
    first.fs.set_attributes("/name", mtime_ns=5 * 10**9, mode=0o600)
    first.files.stop()
    dies(first)
    second = next_mount(build, first)
    shown = second.client.head(second.container, "name").entry.content_type
    assert "mode=0600" in shown
    assert "mtime=5.0" in shown


def test_the_mode_of_a_file_that_could_not_be_sent_survives_the_end_of_the_mount(build: Build) -> None:
    """The same without write-back."""
    first = build(outbox=False)
    first.wire.refuse("PUT")
    with pytest.raises(Unavailable):
        first.write("/name", b"content")
    first.fs.set_attributes("/name", mtime_ns=5 * 10**9, mode=0o600)
    first.files.stop()
    dies(first)
    second = next_mount(build, first)
    assert "mode=0600" in second.client.head(second.container, "name").entry.content_type


def test_what_others_write_after_a_removal_that_waits_stays(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlink has returned, then somebody else makes a file of the name, then the deletion has its turn."""
    monkeypatch.setattr("pithosfs.removals._FRESH", 1.0)
    names = [f"file{number:02}" for number in range(30)]
    for name in names:
        stack.write(f"/{name}", b"old")
    stack.ls()
    stack.fs.unlink("/file00")
    held = stack.wire.hold_all("DELETE")
    for name in names[1:]:
        stack.fs.unlink(f"/{name}")
    held.wait()
    under_way = 8  # of which the server hears sooner or later
    waiting = names[1 + under_way :]
    for name in waiting:
        stack.put(name, b"theirs")
    time.sleep(1.1)
    held.release()
    eventually(lambda: not stack.files.removals)
    assert stack.names() == waiting


def test_a_listing_of_the_tree_undoes_nothing_in_a_directory_that_was_forgotten(build: Build) -> None:
    """It is on its way; a file is removed meanwhile; then the directory has to make room for others."""
    stack = build()
    for name in ("dir/gone", "dir/here"):
        stack.put(name, b"x")
    stack.ls(), stack.ls("/dir")
    namespace = stack.namespace
    ref = stack.ref("dir")
    listing = namespace._listings[ref]
    late = type(listing)(dict(listing.children), time.monotonic())  # asked for here
    stack.fs.unlink("/dir/gone")
    eventually(lambda: not stack.files.removals)
    with namespace._lock:
        namespace._kept = 0
        namespace._make_room(stack.top)
    assert ref not in namespace._listings
    namespace._store(ref, late)  # answered here
    assert list(namespace.listed(ref)) == ["here"]


@pytest.mark.parametrize("removed", [True, False], ids=["removed", "there"])
def test_a_directory_moved_to_the_place_of_an_empty_one_is_not_shown_empty(
    stack: Stack, removed: bool
) -> None:
    """mkdir new; rmdir new; mv dir new (or mv -T dir new at once): new is still listed as the empty one."""
    stack.put("dir", b"", "application/directory")
    stack.put("dir/file", b"content")
    stack.fs.node("/dir")
    stack.fs.mkdir("/new", 0o755)
    if removed:
        stack.fs.rmdir("/new")
    stack.fs.rename("/dir", "/new")
    assert stack.ls("/new") == ["file"]


@pytest.mark.usefixtures("unhurried")
def test_what_takes_the_place_of_an_open_file_is_shown_until_it_is_sent(build: Build) -> None:
    """Neither was sent, so listings have no such name; the removal of the open one ends with the rename."""
    stack = build(write_back=60.0, ttl=0.0)
    stack.ls()
    stack.write("/file", b"one")
    stack.write("/other", b"two")
    reader = stack.fs.open("/file")
    stack.fs.hide("/file", "/.fuse_hidden0000000000000001")  # as libfuse asks for a rename onto it
    stack.fs.rename("/other", "/file")
    assert stack.ls() == ["file"]
    assert stack.read("/file") == b"two"
    stack.fs.handles.release(reader.number)


def test_what_a_rename_that_was_given_up_moved_to_a_removed_name_is_not_deleted(stack: Stack) -> None:
    """rm file*; mv other file29, and Ctrl-C: it arrives, and before the deletion had its turn."""
    names = [f"file{number:02}" for number in range(30)]
    for name in names:
        stack.write(f"/{name}", b"old")
    stack.write("/other", b"other")
    stack.ls()
    stack.fs.unlink("/file00")
    held = stack.wire.hold_all("DELETE")
    for name in names[1:]:
        stack.fs.unlink(f"/{name}")
    held.wait()

    def given_up(request: Request) -> None:
        if request.method == "MOVE":
            raise Interrupted("interrupted")

    stack.wire.after = given_up
    with pytest.raises(Interrupted):
        stack.fs.rename("/other", "/file29")
    held.release()
    eventually(lambda: not stack.files.removals)
    assert stack.names() == ["file29"]
    assert stack.get("file29") == b"other"


@pytest.mark.parametrize("known", [True, False], ids=["listed", "not-listed"])
def test_a_listing_of_the_tree_does_not_undo_the_rename_of_a_directory(stack: Stack, known: bool) -> None:
    """mv -T dir new: "new" was an empty directory when a program began to walk through the tree."""
    stack.put("dir", b"", "application/directory")
    stack.put("dir/file", b"content")
    stack.fs.mkdir("/new", 0o755)
    stack.ls("/dir" if known else "/")
    namespace = stack.namespace
    late = type(namespace._listings[stack.top])({}, time.monotonic())  # asked for here
    stack.fs.rename("/dir", "/new")
    namespace._store(stack.ref("new"), late)  # answered here
    assert stack.ls("/new") == ["file"]


def test_a_listing_of_the_tree_brings_nothing_back_to_a_directory_made_anew(stack: Stack) -> None:
    """rm -r dir; mkdir dir, while a program walks through the tree."""
    stack.put("dir", b"", "application/directory")
    stack.put("dir/file", b"content")
    stack.ls(), stack.ls("/dir")
    namespace = stack.namespace
    listing = namespace._listings[stack.ref("dir")]
    late = type(listing)(dict(listing.children), time.monotonic())  # asked for here
    stack.fs.unlink("/dir/file")
    stack.fs.rmdir("/dir")
    stack.fs.mkdir("/dir", 0o755)
    namespace._store(stack.ref("dir"), late)  # answered here
    assert stack.ls("/dir") == []


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_what_a_rename_that_failed_was_to_replace_survives_a_crash(build: Build, is_open: bool) -> None:
    """Both are in the journal, and the network is down: what is moved has to be sent first."""
    first = build(write_back=60.0, outbox=False)
    first.put("other", b"old")
    first.ls()
    first.write("/file", b"content")
    first.write("/other", b"new")
    first.wire.refuse()
    if is_open:
        first.fs.open("/file")
        first.fs.hide("/file", "/.fuse_hidden0000000000000001")
    with pytest.raises(Unavailable):
        first.fs.rename("/other", "/file")
    dies(first)
    second = next_mount(build, first)
    assert second.get("file") == b"content"
    assert second.get("other") == b"new"


def with_a_file_sent_without_an_answer(build: Build) -> Stack:
    """It was empty; what was written to it then is there, but nobody was told."""
    stack = build(outbox=False)
    stack.write("/file", b"")
    writes_without_an_answer(stack, "/file", b"content")
    stack.wire.reset()
    assert stack.get("file") == b"content"
    return stack


def test_a_file_that_is_emptied_after_a_lost_answer_is_empty(build: Build) -> None:
    stack = with_a_file_sent_without_an_answer(build)
    writer = stack.fs.open("/file", write=True, truncate=True)
    stack.fs.handles.flush(writer.number)
    stack.fs.handles.release(writer.number)
    assert stack.read("/file") == b""
    assert stack.get("file") == b""


def test_a_file_that_is_emptied_after_a_lost_answer_is_empty_by_its_next_name(build: Build) -> None:
    stack = with_a_file_sent_without_an_answer(build)
    writer = stack.fs.open("/file", write=True, truncate=True)
    stack.fs.rename("/file", "/other")
    stack.fs.handles.flush(writer.number)
    stack.fs.handles.release(writer.number)
    assert stack.read("/other") == b""
    assert stack.get("other") == b""


def with_a_writer_of_what_others_replaced(build: Build, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Others wrote an open file, and somebody opened theirs; then the first handle was written to."""
    monkeypatch.setattr("pithosfs.users._READING", 0.0)
    stack = build(ttl=0.0)
    stack.put("file", b"before")
    writer = stack.fs.open("/file", write=True)
    stack.put("file", b"theirs, longer")
    reader = stack.fs.open("/file")
    assert stack.read_handle(reader.number) == b"theirs, longer"
    stack.fs.handles.write(writer.number, 0, b"ours")
    return stack


def test_what_is_written_to_a_version_that_was_replaced_is_sent_at_the_end_of_the_mount(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = with_a_writer_of_what_others_replaced(build, monkeypatch)
    stack.files.sending.adopt_open()
    assert not stack.files.outbox.drain(10)
    (copy,) = conflicts(stack)
    assert stack.get(copy) == b"oursre"
    assert stack.get("file") == b"theirs, longer"


def test_or_kept_if_it_cannot_be_sent(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    first = with_a_writer_of_what_others_replaced(build, monkeypatch)
    first.wire.refuse()
    first.files.stop()
    dies(first)
    second = build(directory=first.staging.root.parent, container=first.container)
    second.files.recover()
    assert not second.files.outbox.drain(10)
    (copy,) = conflicts(second)
    assert second.get(copy) == b"oursre"


def test_that_is_what_is_exported(build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stack = with_a_writer_of_what_others_replaced(build, monkeypatch)
    path, _ = stack.files.export(f"{stack.container}/file", tmp_path) or (tmp_path, None)
    assert path.read_bytes() == b"oursre"


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize(
    ("moved", "to", "now"), [("dir", "moved", "moved/file"), ("dir/file", "dir/new", "dir/new")]
)
def test_what_is_written_to_a_version_that_was_replaced_goes_along_with_its_name(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, moved: str, to: str, now: str, is_read: bool
) -> None:
    """Others wrote an open file, and somebody opened theirs; then its directory, or the file, was renamed."""
    monkeypatch.setattr("pithosfs.users._READING", 0.0)
    stack.put("dir", b"", "application/directory")
    stack.put("dir/file", b"before")
    writer = stack.fs.open("/dir/file", write=True)
    stack.put("dir/file", b"theirs, longer")
    stack.namespace.forget()
    reader = stack.fs.open("/dir/file")
    if not is_read:
        stack.fs.handles.release(reader.number)
    stack.fs.handles.write(writer.number, 0, b"ours")
    stack.fs.rename(f"/{moved}", f"/{to}")
    stack.fs.handles.write(writer.number, 6, b" and on")
    with pytest.raises(Stale):
        stack.fs.handles.flush(writer.number)
    stack.fs.handles.release(writer.number)
    assert stack.get(now) == stack.read(f"/{now}") == b"theirs, longer"
    (copy,) = conflicts(stack)
    assert copy.startswith(f"{now} (conflict ")
    assert stack.get(copy) == stack.read(f"/{copy}") == b"oursre and on"
    assert sorted(stack.names()) == sorted([now.partition("/")[0], now, copy])
    if is_read:
        assert stack.read_handle(reader.number) == b"theirs, longer"


def test_what_took_a_removed_name_just_before_a_crash_is_not_deleted(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal has the removal, and what was renamed onto the name: one looks, the other is sent."""
    first = build(write_back=60.0, outbox=False)
    first.put("file", b"old")
    first.ls()
    first.write("/other", b"new")
    first.wire.refuse("DELETE")
    first.fs.open("/file")
    first.fs.hide("/file", "/.fuse_hidden0000000000000001")
    eventually(lambda: first.files.removals.waiting()[0].error)

    def die(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(first.files.removals, "_end", die)
    with pytest.raises(RuntimeError):
        first.fs.rename("/other", "/file")
    dies(first)
    second = build(directory=first.staging.root.parent, container=first.container, outbox=False)
    held = second.wire.hold("DELETE", "/file")
    second.files.recover()
    eventually(lambda: held.arrived.is_set() or not second.files.removals)
    second.files.start()
    assert not second.files.outbox.drain(10)
    held.release()
    eventually(lambda: not second.files.removals)
    assert second.get("file") == b"new"
    assert not list(second.staging.directory.glob("*.json"))


def test_a_mode_set_at_the_end_of_a_commit_is_sent_though_somebody_reads_the_file(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment in which all was on the server and that in which nothing is to be sent any more."""
    stack.write("/file", b"x")
    stack.fs.open("/file")
    forget = stack.files.outbox.forget

    def just_before(file: OpenFile) -> None:
        monkeypatch.setattr(stack.files.outbox, "forget", forget)
        stack.fs.set_attributes("/file", mode=0o600)
        forget(file)

    monkeypatch.setattr(stack.files.outbox, "forget", just_before)
    stack.write("/file", b"y")
    assert stack.files.outbox.waiting()
    assert not stack.files.outbox.drain(10)
    assert "mode=0600" in stack.client.head(stack.container, "file").entry.content_type


def listed_slowly(stack: Stack, directory: str) -> tuple[Held, InThread]:
    """A program reads a directory; the answer was given, and is on its way."""
    node = stack.fs.node(directory)
    held = stack.wire.hold_answer("GET", "")
    reading = InThread(lambda: sorted(stack.namespace.children(node, reading=True)))
    held.wait()
    return held, reading


@pytest.mark.parametrize("which", ["/dir", "/dir/sub"])
def test_a_directory_that_is_moved_away_while_it_is_listed_is_not_shown_empty(
    stack: Stack, which: str
) -> None:
    """What its old name has then is nothing: a copy of it, or a backup, would lack all its files."""
    stack.put("dir", b"", "application/directory")
    stack.put("dir/sub", b"", "application/directory")
    stack.put("dir/sub/file", b"content")
    stack.ls(), stack.ls("/dir")
    stack.namespace._listings.pop(stack.ref(which[1:]), None)
    held, reading = listed_slowly(stack, which)
    stack.fs.rename("/dir", "/new")
    held.release()
    with pytest.raises(NotFound):
        reading.result()
    assert stack.ls("/new/sub") == ["file"]


def test_a_directory_that_is_replaced_while_it_is_listed_is_shown_as_it_is_now(build: Build) -> None:
    """The other one was listed before, so something is known of it, but it is old; and again and again."""
    stack = build(ttl=0.0)
    stack.put("new", b"", "application/directory")
    stack.put("dir", b"", "application/directory")
    stack.ls(), stack.ls("/dir"), stack.ls("/new")
    held, reading = listed_slowly(stack, "/new")
    for name in ("one", "two"):
        stack.put(f"new/{name}", b"theirs")
        stack.namespace.moved(stack.ref("dir"), stack.ref("new"))
        answered, held = held, stack.wire.hold_answer("GET", "")
        answered.release()
        held.wait()
    held.release()
    assert reading.result() == ["one", "two"]


def test_a_directory_made_anew_while_it_is_listed_is_empty(stack: Stack) -> None:
    """mv dir new; mkdir dir."""
    stack.put("dir", b"", "application/directory")
    stack.put("dir/file", b"content")
    stack.ls()
    stack.namespace._listings.pop(stack.ref("dir"), None)
    held, reading = listed_slowly(stack, "/dir")
    stack.fs.rename("/dir", "/new")
    stack.fs.mkdir("/dir", 0o755)
    held.release()
    assert reading.result() == []


def test_a_directory_that_is_moved_away_when_its_last_file_was_removed_is_not_made(build: Build) -> None:
    """Nobody had made it, so it is looked whether it must be now."""
    stack = build(ttl=0.0)
    stack.put("dir/file", b"content")
    stack.ls("/dir")
    stack.wire.reset()

    def meanwhile(request: Request) -> None:
        if request.method == "GET" and stack.wire.count("DELETE"):
            stack.namespace.moved(stack.ref("dir"), stack.ref("new"))

    stack.wire.before = meanwhile
    stack.fs.unlink("/dir/file")
    assert stack.wire.count("PUT") == 0


def fails_to_delete(
    monkeypatch: pytest.MonkeyPatch, how: str, then: Callable[[], object] = lambda: None
) -> None:
    """Once; and it is repeated so much later that others may have written there."""
    monkeypatch.setattr("pithosfs.removals._FRESH", 0.0)
    real, failed = Connection.exchange, threading.Event()

    def exchange(self: Connection, method: str, *others: Any) -> Answer:
        if method != "DELETE" or failed.is_set():
            return real(self, method, *others)
        failed.set()
        if how == "the answer is lost":
            real(self, method, *others)
        then()
        if how == "refused":
            raise _Status(Unavailable("busy", 503), pause=0.1, sent=True, final=False)
        raise Failure(Unavailable(how), sent=how != "no connection")

    monkeypatch.setattr(Connection, "exchange", exchange)


@pytest.mark.parametrize("how", ["the answer is lost", "refused", "no connection"])
@pytest.mark.parametrize("what", ["file", "open", "directory"])
def test_what_others_make_before_a_removal_is_repeated_stays(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, what: str, how: str
) -> None:
    """The same name is made on another machine, then it would be repeated."""
    stack.put("name", b"", "application/directory" if what == "directory" else "text/plain")
    stack.ls()
    fails_to_delete(monkeypatch, how, lambda: stack.put("name", b"theirs"))
    if what == "file":
        stack.fs.unlink("/name")
    elif what == "directory":
        stack.fs.rmdir("/name")
    else:
        stack.fs.open("/name")
        stack.fs.hide("/name", "/.fuse_hidden0000000000000001")
        eventually(lambda: stack.wire.count("DELETE"))
        stack.files.removals.drain(10)
        eventually(lambda: not stack.files.removals)
    assert stack.get("name") == b"theirs"
    eventually(lambda: stack.ls() == ["name"])


@pytest.mark.parametrize("how", ["the request is lost", "refused", "no connection"])
def test_what_is_there_still_when_a_removal_is_repeated_is_removed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stack.write("/file", b"content")
    fails_to_delete(monkeypatch, how)
    stack.fs.unlink("/file")
    assert stack.names() == []
