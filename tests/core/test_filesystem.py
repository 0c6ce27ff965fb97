"""What programs do to names: rename, unlink, hide, rmdir; what is shared, open or not sent yet."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from pithosfs.blocks import Hashmap
from pithosfs.errors import (
    Exists,
    InvalidArgument,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    NotEmpty,
    NotFound,
    ReadOnly,
    Unavailable,
)
from pithosfs.nodes import inode_number
from tests.core.conftest import SMALL, Build
from tests.core.stack import Stack
from tests.core.threads import InThread
from tests.support.waiting import eventually

# -- rename -----------------------------------------------------------------------------------------


def test_renaming_a_file_is_one_request(stack: Stack) -> None:
    stack.write("/old", b"x" * 3000)
    ino = inode_number(stack.fs.node("/old"))
    stack.wire.reset()
    stack.fs.rename("/old", "/new")
    assert [method for method, _ in stack.wire.requests] == ["MOVE"]
    assert stack.ls() == ["new"]
    assert stack.names() == ["new"]
    assert stack.read("/new") == b"x" * 3000
    assert inode_number(stack.fs.node("/new")) == ino


def test_a_rename_carries_a_change_of_times_and_mode(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 600.0)
    stack.write("/old", b"content")
    stack.wire.reset()
    stack.fs.set_attributes("/old", mtime_ns=1_600_000_000_123_456_789, mode=0o640)
    stack.fs.rename("/old", "/new")
    assert not stack.files.outbox.drain(10)
    assert [method for method, _ in stack.wire.requests] == ["MOVE"]
    entry = stack.client.head(stack.container, "new").entry
    assert "mtime=1600000000.123456789" in entry.content_type
    assert "mode=0640" in entry.content_type
    assert stack.fs.node("/new").mtime_ns == 1_600_000_000_123_456_789


def test_attributes_set_before_a_rename_are_not_lost(stack: Stack) -> None:
    stack.write("/old", b"content")
    stack.fs.set_xattr("/old", "user.colour", b"blue", create=False, exists=False)
    stack.fs.set_attributes("/old", mode=0o600)
    stack.fs.rename("/old", "/new")
    assert not stack.files.outbox.drain(10)
    assert stack.client.head(stack.container, "new").meta["colour"] == "blue"
    assert stack.fs.xattrs("/new") == {"user.colour": b"blue"}


def test_renaming_over_a_file_replaces_it(stack: Stack) -> None:
    stack.write("/old", b"new content")
    stack.write("/target", b"x" * 5000)
    reader = stack.fs.open("/target")
    stack.fs.rename("/old", "/target")
    assert stack.names() == ["target"]
    assert stack.read("/target") == b"new content"
    assert stack.read_handle(reader.number) == b"x" * 5000
    stack.fs.handles.release(reader.number)
    with pytest.raises(Exists):
        stack.write("/other", b"")
        stack.fs.rename("/other", "/target", overwrite=False)


def test_a_rename_that_fails_loses_nothing(stack: Stack) -> None:
    stack.write("/old", b"old")
    stack.write("/target", b"target")
    handle = stack.fs.open("/target", write=True)
    stack.fs.handles.write(handle.number, 0, b"TAR")
    stack.wire.refuse("MOVE")
    with pytest.raises(Unavailable):
        stack.fs.rename("/old", "/target")
    stack.wire.reset()
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.read("/target") == b"TARget"
    assert stack.get("target") == b"TARget"
    assert stack.read("/old") == b"old"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_move_whose_answer_was_lost_has_happened(stack: Stack, kind: str) -> None:
    if kind == "file":
        stack.write("/old", b"content")
    else:
        stack.fs.mkdir("/old", 0o755)
        stack.write("/old/inside", b"content")
    stack.wire.lose_answer("MOVE")
    stack.fs.rename("/old", "/new")
    assert stack.ls() == ["new"]
    assert "old" not in stack.names()
    assert stack.read("/new" if kind == "file" else "/new/inside") == b"content"


def test_a_move_that_did_not_arrive_has_not_happened(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pithosfs.api.client._ARRIVAL_PAUSES", (0.1, 0.1))
    stack.write("/old", b"content")

    def tap(request: object) -> None:
        if getattr(request, "method", "") == "MOVE":
            raise Unavailable("the connection broke", maybe_done=True)

    stack.wire.before = tap
    with pytest.raises(Unavailable):
        stack.fs.rename("/old", "/new")
    assert stack.read("/old") == b"content"
    with pytest.raises(NotFound):
        stack.fs.node("/new")


def test_an_open_dirty_file_follows_its_new_name(stack: Stack) -> None:
    stack.write("/old", b"x" * 2000)
    handle = stack.fs.open("/old", write=True)
    stack.fs.handles.write(handle.number, 100, b"y")
    stack.fs.rename("/old", "/new")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["new"]
    assert stack.get("new") == b"x" * 100 + b"y" + b"x" * 1899


def test_a_file_that_was_never_sent_can_be_renamed_over_another(stack: Stack) -> None:
    stack.write("/target", b"target")
    handle = stack.fs.create("/new", 0o644)
    stack.fs.handles.write(handle.number, 0, b"new")
    stack.fs.rename("/new", "/target")
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["target"]
    assert stack.get("target") == b"new"


def test_a_directory_is_moved_in_one_request(stack: Stack) -> None:
    stack.fs.mkdir("/a", 0o755)
    stack.fs.mkdir("/a/b", 0o755)
    stack.write("/a/b/file", b"content")
    handle = stack.fs.open("/a/b/file", write=True)
    stack.fs.handles.write(handle.number, 0, b"C")
    stack.wire.reset()
    stack.fs.rename("/a", "/z")
    assert [method for method, _ in stack.wire.requests] == ["MOVE"]
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["z", "z/b", "z/b/file"]
    assert stack.get("z/b/file") == b"Content"
    assert stack.ls("/z") == ["b"]


def test_a_directory_whose_mode_was_just_changed_keeps_its_place(stack: Stack) -> None:
    """It is a file in use itself then, in the directory above it."""
    stack.fs.mkdir("/d", 0o755)
    stack.write("/d/file", b"")
    stack.fs.set_attributes("/d", mode=0o700)
    stack.fs.rename("/d", "/e")
    assert not stack.files.outbox.drain(10)
    assert stack.ls("/") == ["e"]
    assert stack.ls("/e") == ["file"]
    assert stack.names() == ["e", "e/file"]
    assert stack.fs.node("/e").attributes.mode == 0o700
    assert "mode=0700" in stack.client.head(stack.container, "e").entry.content_type


def test_a_directory_nobody_made_can_be_moved_and_removed(stack: Stack) -> None:
    stack.put("d/file", b"content")
    assert stack.ls() == ["d"]
    stack.fs.rename("/d", "/e")
    assert stack.names() == ["e", "e/file"]
    stack.fs.unlink("/e/file")
    stack.fs.rmdir("/e")
    assert stack.names() == []


def test_a_directory_cannot_be_moved_below_itself_or_over_what_is_not_empty(stack: Stack) -> None:
    stack.fs.mkdir("/a", 0o755)
    stack.write("/file", b"")
    stack.fs.mkdir("/full", 0o755)
    stack.write("/full/file", b"")
    for path, error in [("/a/b", InvalidArgument), ("/full", NotEmpty), ("/file", NotADirectory)]:
        with pytest.raises(error):
            stack.fs.rename("/a", path)
    with pytest.raises(IsADirectory):
        stack.fs.rename("/file", "/a")


def test_what_others_put_into_an_empty_directory_is_not_replaced(stack: Stack) -> None:
    stack.fs.mkdir("/a", 0o755)
    stack.write("/a/file", b"ours")
    stack.fs.mkdir("/b", 0o755)
    stack.put("b/file", b"theirs")
    with pytest.raises(NotEmpty):
        stack.fs.rename("/a", "/b")
    assert stack.get("b/file") == b"theirs"


def test_sharing_and_publishing_are_kept_over_a_rename(stack: Stack) -> None:
    stack.put("file", b"content")
    stack.client.update(stack.container, "file", sharing="read=*", public=True)
    assert stack.fs.node("/file").sharing
    stack.fs.rename("/file", "/new")
    entry = stack.client.head(stack.container, "new").entry
    assert entry.sharing == "read=*"
    assert entry.public


# -- removing --------------------------------------------------------------------------------------------


def test_an_unlinked_open_file_lives_on_in_its_handles(stack: Stack) -> None:
    stack.write("/file", b"x" * 3000)
    handle = stack.fs.open("/file", write=True)
    stack.cache._memory.clear()
    stack.fs.unlink("/file")
    assert stack.ls() == []
    assert stack.read_handle(handle.number) == b"x" * 3000
    stack.fs.handles.write(handle.number, 0, b"y")
    assert stack.read_handle(handle.number) == b"y" + b"x" * 2999
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.names() == []
    assert stack.files.all() == []


def test_a_hidden_file_is_deleted_and_reachable_by_the_hidden_name_only(stack: Stack) -> None:
    stack.write("/file", b"content")
    handle = stack.fs.open("/file", write=True)
    hidden = "/.fuse_hidden0000000000000001"
    assert stack.fs.hide("/file", hidden)
    assert stack.ls() == []
    assert stack.fs.node(hidden).size == 7
    stack.fs.handles.write(handle.number, 0, b"C")
    stack.fs.set_attributes(hidden, mode=0o600)
    stack.fs.truncate(hidden, 3)
    assert stack.read_handle(handle.number) == b"Con"
    eventually(lambda: stack.names() == [])
    stack.namespace.forget()
    assert stack.ls() == []
    stack.fs.handles.release(handle.number)
    assert stack.fs.forget_hidden(hidden)
    assert not stack.fs.forget_hidden("/.fuse_hidden00000000000000ff")


def test_a_removed_open_file_keeps_its_attributes(stack: Stack) -> None:
    stack.write("/file", b"content")
    stack.fs.set_xattr("/file", "user.a", b"1", create=False, exists=False)
    handle = stack.fs.open("/file")
    assert stack.fs.hide("/file", "/.fuse_hidden0000000000000001")
    stack.write("/file", b"another")
    assert stack.fs.xattrs("/.fuse_hidden0000000000000001") == {"user.a": b"1"}
    stack.fs.set_xattr("/.fuse_hidden0000000000000001", "user.b", b"2", create=False, exists=False)
    assert stack.fs.xattr("/.fuse_hidden0000000000000001", "user.b") == b"2"
    assert stack.fs.xattrs("/file") == {}
    stack.fs.handles.release(handle.number)


def test_of_a_file_removed_with_its_directory_nothing_is_left(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libfuse finds no name for it any more when it is closed, and does not say that it is done with it."""
    left = []
    for number in range(2):
        monkeypatch.setattr("pithosfs.hidden._LINGER", 60.0)
        stack.fs.mkdir("/dir", 0o755)
        stack.write("/dir/file", b"content")
        handle, hidden = stack.fs.open("/dir/file", write=True), f"/dir/.fuse_hidden000000000000000{number}"
        assert stack.fs.hide("/dir/file", hidden)
        stack.fs.rmdir("/dir")
        stack.fs.handles.write(handle.number, 0, b"C")
        assert stack.fs.node(hidden).size == 7
        assert stack.read_handle(handle.number) == b"Content"
        left.append(weakref.ref(handle.file))
        stack.fs.handles.release(handle.number)
        assert stack.fs.node(hidden).size == 7  # for who looked it up just before
        monkeypatch.setattr("pithosfs.hidden._LINGER", 0.0)
    stack.write("/file", b"another")
    handle = stack.fs.open("/file")
    assert stack.fs.hide("/file", "/.fuse_hidden0000000000000003")
    gc.collect()
    assert [each() for each in left] == [None, None]
    stack.fs.handles.release(handle.number)
    eventually(lambda: not stack.files.removals)
    assert stack.names() == []
    assert not stack.files.all()
    assert not any(stack.staging.directory.glob("*.*"))


def test_a_hidden_file_that_is_opened_again_keeps_its_name_until_it_is_closed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pithosfs.hidden._LINGER", 0.0)
    hidden = ["/.fuse_hidden0000000000000001", "/.fuse_hidden0000000000000002"]
    for number, each in enumerate(hidden):
        stack.write(f"/file{number}", b"content")
        handle = stack.fs.open(f"/file{number}")
        assert stack.fs.hide(f"/file{number}", each)
        if number == 0:
            again = stack.fs.open(each)
        stack.fs.handles.release(handle.number)
        stack.fs.forget_hidden(each)
    assert stack.fs.node(hidden[0]).size == 7
    assert stack.read_handle(again.number) == b"content"
    stack.fs.handles.release(again.number)
    stack.fs.forget_hidden("/another")  # all whose time is over go with that
    with pytest.raises(NotFound):
        stack.fs.node(hidden[0])


def test_a_directory_is_not_hidden(stack: Stack) -> None:
    stack.fs.mkdir("/d", 0o755)
    assert not stack.fs.hide("/d", "/.fuse_hidden0000000000000001")
    assert stack.ls() == ["d"]


def test_a_hidden_name_can_be_taken_at_once(stack: Stack) -> None:
    stack.write("/file", b"old")
    handle = stack.fs.open("/file")
    assert stack.fs.hide("/file", "/.fuse_hidden0000000000000001")
    stack.write("/file", b"new")
    assert stack.read_handle(handle.number) == b"old"
    stack.fs.handles.release(handle.number)
    time.sleep(0.2)
    assert stack.names() == ["file"]
    assert stack.get("file") == b"new"


@pytest.mark.usefixtures("unhurried")
def test_replacing_an_open_file_the_way_libfuse_does_never_leaves_the_name_empty(stack: Stack) -> None:
    stack.write("/file", b"old")
    stack.write("/temp", b"new")
    handle = stack.fs.open("/file")
    stack.wire.reset()
    assert stack.fs.hide("/file", "/.fuse_hidden0000000000000001")
    stack.fs.rename("/temp", "/file")
    assert [method for method, _ in stack.wire.requests] == ["MOVE"]
    assert stack.read_handle(handle.number) == b"old"
    stack.fs.handles.release(handle.number)
    assert stack.get("file") == b"new"


def test_a_rename_onto_a_removed_name_that_fails_still_removes_it(stack: Stack) -> None:
    stack.write("/file", b"old")
    stack.write("/temp", b"new")
    handle = stack.fs.open("/file")
    assert stack.fs.hide("/file", "/.fuse_hidden0000000000000001")
    with pytest.raises(NotFound):
        stack.fs.node("/file")  # as the kernel looks, of which the name is gone
    stack.wire.refuse("MOVE")
    with pytest.raises(Unavailable):
        stack.fs.rename("/temp", "/file")
    stack.wire.reset()
    eventually(lambda: stack.names() == ["temp"])
    stack.fs.handles.release(handle.number)
    assert stack.ls() == ["temp"]


def test_a_removed_file_does_not_come_back_with_its_directory(stack: Stack) -> None:
    stack.fs.mkdir("/d", 0o755)
    stack.write("/d/file", b"x")
    handle = stack.fs.open("/d/file")
    assert stack.fs.hide("/d/file", "/d/.fuse_hidden0000000000000001")
    stack.fs.rename("/d", "/e")
    stack.fs.handles.release(handle.number)
    time.sleep(0.2)
    assert stack.names() == ["e"]


def test_a_new_file_waits_for_the_deletion_of_the_old_one(stack: Stack) -> None:
    stack.write("/file", b"old")
    handle = stack.fs.open("/file")
    held = stack.wire.hold("DELETE")
    assert stack.fs.hide("/file", "/.fuse_hidden0000000000000001")
    held.wait()
    creating = InThread(lambda: stack.write("/file", b"new"))
    time.sleep(0.1)
    assert creating.is_alive()
    held.release()
    creating.result()
    assert stack.get("file") == b"new"
    stack.fs.handles.release(handle.number)


def test_removing_a_directory(stack: Stack) -> None:
    stack.fs.mkdir("/d", 0o755)
    stack.write("/d/file", b"")
    with pytest.raises(NotEmpty):
        stack.fs.rmdir("/d")
    with pytest.raises(IsADirectory):
        stack.fs.unlink("/d")
    with pytest.raises(NotADirectory):
        stack.fs.rmdir("/d/file")
    stack.fs.unlink("/d/file")
    stack.fs.rmdir("/d")
    assert stack.names() == []
    with pytest.raises(NotFound):
        stack.fs.node("/d")


def test_the_last_file_leaves_a_directory_that_nobody_made(stack: Stack) -> None:
    stack.put("a/b/file", b"x")
    stack.fs.unlink("/a/b/file")
    assert stack.ls("/a") == ["b"]
    assert stack.ls("/a/b") == []
    stack.namespace.forget()
    assert stack.ls("/a") == ["b"]


def test_a_deletion_that_is_refused_changes_nothing(stack: Stack) -> None:
    stack.write("/file", b"content")
    stack.wire.refuse("DELETE")
    with pytest.raises(Unavailable):
        stack.fs.unlink("/file")
    stack.wire.reset()
    assert stack.read("/file") == b"content"
    assert stack.files.all() == []


# -- removing many -----------------------------------------------------------------------------------------


def some(stack: Stack, count: int = 5) -> list[str]:
    """Files in a directory of which one was removed just now."""
    stack.fs.mkdir("/d", 0o755)
    paths = [f"/d/{number}" for number in range(count)]
    for path in ("/d/first", *paths):
        stack.write(path, b"content")
    stack.fs.unlink("/d/first")
    return paths


def test_who_removes_many_files_waits_for_the_first_one_alone(stack: Stack) -> None:
    paths = some(stack)
    held = stack.wire.hold_all("DELETE")
    for path in paths:
        stack.fs.unlink(path)
    assert stack.ls("/d") == []
    stack.namespace.forget()
    assert stack.ls("/d") == [], "though the store lists them still"
    assert "d/0" in stack.names()
    held.release()
    stack.fs.sync_directory("/d")
    assert stack.names() == ["d"]


def test_a_directory_is_removed_after_what_was_in_it(stack: Stack) -> None:
    for path in some(stack):
        stack.fs.unlink(path)
    stack.wire.requests.clear()
    stack.fs.rmdir("/d")
    assert stack.wire.requests[-1][1].endswith("/d")
    assert stack.names() == []


def test_a_directory_that_is_gone_can_be_synced(stack: Stack) -> None:
    for path in some(stack):
        stack.fs.unlink(path)
    stack.fs.rmdir("/d")
    stack.fs.sync_directory("/d")
    assert stack.names() == []


def test_a_removal_that_fails_behind_the_program_is_told_to_who_waits_and_done_later(stack: Stack) -> None:
    first, second, *_ = some(stack)
    stack.wire.refuse("DELETE", "/d/0")
    stack.fs.unlink(first)
    with pytest.raises(Unavailable):
        stack.fs.sync_directory("/d")
    for path in ("/d/1", "/d/2", "/d/3", "/d/4"):
        stack.fs.unlink(path)  # these are waited for again
        assert path[1:] not in stack.names()
    with pytest.raises(Unavailable):
        stack.fs.rmdir("/d")
    assert stack.ls("/") == ["d"]
    assert stack.ls("/d") == []
    stack.wire.reset()
    stack.fs.rmdir("/d")
    assert stack.names() == []
    assert second == "/d/1"


def test_a_new_file_of_a_name_that_is_being_removed_stays(stack: Stack) -> None:
    path = some(stack)[0]
    held = stack.wire.hold("DELETE")
    stack.fs.unlink(path)
    held.wait()
    writing = InThread(lambda: stack.write(path, b"new"))
    time.sleep(0.05)
    assert writing.is_alive()
    held.release()
    writing.result()
    stack.fs.sync_directory("/d")
    assert stack.read(path) == b"new"
    assert stack.get("d/0") == b"new"


def test_a_renamed_file_takes_a_name_that_is_being_removed(stack: Stack) -> None:
    one, other, *_ = some(stack)
    held = stack.wire.hold("DELETE")
    stack.fs.unlink(one)
    held.wait()
    renaming = InThread(lambda: stack.fs.rename(other, one))
    time.sleep(0.05)
    held.release()
    renaming.result()
    stack.fs.sync_directory("/d")
    assert stack.get("d/0") == b"content"
    assert "d/1" not in stack.names()


def test_a_removal_that_was_refused_leaves_what_others_have_written_since(stack: Stack) -> None:
    path = some(stack)[0]
    stack.wire.refuse("DELETE")
    stack.fs.unlink(path)
    with pytest.raises(Unavailable):
        stack.fs.sync_directory("/d")
    stack.put("d/0", b"others")
    stack.wire.reset()
    stack.fs.sync_directory("/d")
    assert stack.get("d/0") == b"others"


# -- making -----------------------------------------------------------------------------------------------


def test_a_new_file_costs_one_request_with_its_bytes(stack: Stack) -> None:
    stack.ls()
    stack.wire.reset()
    stack.write("/file", b"content")
    assert [method for method, _ in stack.wire.requests] == ["PUT"]


def test_making_what_is_there(stack: Stack) -> None:
    stack.write("/file", b"")
    stack.fs.mkdir("/d", 0o755)
    for path in ("/file", "/d"):
        with pytest.raises(Exists):
            stack.fs.mkdir(path, 0o755)
        with pytest.raises(Exists):
            stack.fs.create(path, 0o644, exclusive=True)
    with pytest.raises(IsADirectory):
        stack.fs.create("/d", 0o644)
    with pytest.raises(NotADirectory):
        stack.fs.mkdir("/file/d", 0o755)
    with pytest.raises(Exists):
        stack.fs.symlink("target", "/file")


def test_a_directory_made_by_others_at_the_same_time(stack: Stack) -> None:
    stack.ls()
    stack.put("d", content_type="application/directory")
    with pytest.raises(Exists):
        stack.fs.mkdir("/d", 0o755)
    assert stack.ls() == ["d"]


def test_a_new_directory_has_its_own_number_after_the_old_one_moved(stack: Stack) -> None:
    stack.fs.mkdir("/d", 0o755)
    first = inode_number(stack.fs.node("/d"))
    stack.fs.rename("/d", "/e")
    stack.fs.mkdir("/d", 0o755)
    assert inode_number(stack.fs.node("/e")) == first
    assert inode_number(stack.fs.node("/d")) != first
    stack.namespace.forget()
    assert inode_number(stack.fs.node("/e")) == first


def test_a_link(stack: Stack) -> None:
    stack.fs.symlink("where/it leads \udce9", "/link")
    assert stack.fs.readlink("/link") == "where/it leads \udce9"
    stack.namespace.forget()
    assert stack.fs.readlink("/link") == "where/it leads \udce9"


ODD = [
    "line\nbreak",
    "\udcff\udc80",
    "‛‛",
    "a‛0A",
    "nai\u0308ve",
    "na\u00efve",
    "%41",
    "?#&+ ",
    " ",
    "~",
    "x" * 255,
    "emoji \U0001f600",
]


def test_a_link_that_is_not_sent_yet_can_be_followed(build: Build) -> None:
    stack = build(write_back=60.0)
    stack.fs.symlink("there", "/link")
    assert stack.ls() == ["link"]
    assert stack.fs.readlink("/link") == "there"
    stack.wire.reset()
    assert not stack.files.outbox.drain(10)
    assert stack.get("link") == b"there"
    assert stack.fs.readlink("/link") == "there"
    assert not stack.files.all()


def test_odd_names_come_back(stack: Stack) -> None:
    stack.fs.mkdir("/\U0001f600", 0o755)
    for directory in ("/", "/\U0001f600/"):
        for name in ODD:
            stack.write(directory + name, name.encode("utf-8", "surrogateescape"))
    stack.namespace.forget()
    assert stack.ls("/") == sorted([*ODD, "\U0001f600"])
    assert stack.ls("/\U0001f600") == sorted(ODD)
    for directory in ("/", "/\U0001f600/"):
        for name in ODD:
            assert stack.read(directory + name) == name.encode("utf-8", "surrogateescape")


def test_names_the_store_cannot_hold(stack: Stack) -> None:
    with pytest.raises(NameTooLong):
        stack.fs.create("/" + "x" * 1025, 0o644)
    with pytest.raises(InvalidArgument):
        stack.fs.mkdir("/‛", 0o755)  # would be an object without a name, and so the container
    with pytest.raises(InvalidArgument):
        stack.fs.create("/‛", 0o644)
    assert stack.ls() == []


def test_a_path_may_be_as_long_as_a_request_can(stack: Stack) -> None:
    """Percent-encoded, it has 3,797 bytes here, and one letter more is 3,803."""
    path = ""
    for _ in range(5):
        path += "/" + "é" * 120
        stack.fs.mkdir(path, 0o755)
    stack.fs.mkdir(path + "/" + "é" * 32, 0o755)  # 3,797 bytes in a request
    with pytest.raises(NameTooLong):
        stack.fs.mkdir(path + "/" + "é" * 33, 0o755)
    assert len(stack.names()) == 6


# -- contents through handles ---------------------------------------------------------------------------


def test_copies_move_no_bytes(stack: Stack) -> None:
    data = bytes(range(256)) * 40
    stack.write("/source", data)
    source = stack.fs.open("/source")
    target = stack.fs.create("/copy", 0o644)
    stack.wire.reset()
    done = 0
    while done < len(data):
        done += stack.fs.handles.copy(source.number, done, target.number, done, len(data) - done)
    stack.fs.handles.flush(target.number)
    assert stack.wire.count("GET") == 0
    assert stack.wire.count("POST") == 0
    stack.fs.handles.release(source.number)
    stack.fs.handles.release(target.number)
    assert stack.get("copy") == data


def test_appending_handles_never_overwrite_each_other(stack: Stack) -> None:
    stack.write("/log", b"")
    first = stack.fs.open("/log", write=True)
    second = stack.fs.open("/log", write=True)
    for number in range(10):
        stack.fs.handles.write(first.number, 0, f"a{number}".encode(), append=True)
        stack.fs.handles.write(second.number, 0, f"b{number}".encode(), append=True)
    for handle in (first, second):
        stack.fs.handles.flush(handle.number)
        stack.fs.handles.release(handle.number)
    assert stack.get("log") == b"".join(f"a{each}b{each}".encode() for each in range(10))


def test_holes_are_found_and_cost_no_block(stack: Stack) -> None:
    handle = stack.fs.create("/sparse", 0o644)
    stack.fs.handles.write(handle.number, 5 * SMALL, b"end")
    assert stack.fs.handles.seek(handle.number, 0, data=True) == 5 * SMALL
    assert stack.fs.handles.seek(handle.number, 0, data=False) == 0
    assert stack.fs.handles.seek(handle.number, 5 * SMALL, data=False) == 5 * SMALL + 3
    assert stack.fs.handles.seek(handle.number, 5 * SMALL + 3, data=True) is None
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.uploader.counts.sent <= 2
    assert stack.get("sparse") == bytes(5 * SMALL) + b"end"


def test_a_version_that_is_being_read_is_opened_again(stack: Stack) -> None:
    old = bytes(range(256)) * 20
    stack.put("file", old)
    handle = stack.fs.open("/file")
    stack.put("file", b"theirs")
    stack.namespace.forget()
    assert stack.fs.node("/file").size == len(old)
    assert stack.read("/file") == old
    stack.fs.handles.release(handle.number)
    assert stack.read("/file") == b"theirs"


def test_a_reader_keeps_its_version_when_others_replace_the_object(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pithosfs.users._READING", 0.0)  # it has stopped reading for a while
    old = bytes(range(256)) * 20
    stack.put("file", old)
    handle = stack.fs.open("/file")
    stack.put("file", b"theirs")
    stack.namespace.forget()
    other = stack.fs.open("/file")
    assert other.private
    assert stack.read_handle(handle.number) == old
    assert stack.read_handle(other.number) == b"theirs"
    stack.client.delete(stack.container, "file")
    stack.cache._memory.clear()
    assert stack.read_handle(handle.number) == old
    stack.fs.handles.release(handle.number)
    stack.fs.handles.release(other.number)


def test_an_object_cut_short_by_others_shows_none_of_what_was_cut(stack: Stack) -> None:
    """Such an object keeps the hash of its longer block; growing it must not bring the bytes back."""
    stack.put("file", b"secret!!" * 10)
    hashmap = stack.fetcher.hashmap(stack.fs.node("/file").readable_at)[1]
    cut = Hashmap(8, hashmap.hashes, SMALL)
    stack.client.put_hashmap(stack.container, "file", cut, content_type="text/plain")
    stack.namespace.forget()
    assert stack.read("/file") == b"secret!!"
    stack.fs.truncate("/file", 40)
    assert stack.read("/file") == b"secret!!" + bytes(32)
    assert stack.get("file") == b"secret!!" + bytes(32)


def test_what_is_cut_by_its_name_is_sent_though_somebody_reads_it(stack: Stack) -> None:
    """truncate(2) beside a program that keeps it open, and may do so for hours."""
    stack.write("/file", b"content")
    stack.fs.open("/file")
    stack.fs.truncate("/file", 3)
    assert stack.get("file") == b"con"


def test_what_is_cut_by_its_name_while_it_is_written_is_sent_when_it_is_closed(stack: Stack) -> None:
    stack.write("/file", b"content")
    writer = stack.fs.open("/file", write=True)
    stack.fs.truncate("/file", 3)
    assert stack.get("file") == b"content"
    stack.fs.handles.flush(writer.number)
    assert stack.get("file") == b"con"


def test_a_read_only_mount_changes_nothing(stack: Stack) -> None:
    stack.put("file", b"content")
    stack.fs.read_only = True
    for change in (
        lambda: stack.fs.create("/new", 0o644),
        lambda: stack.fs.open("/file", write=True),
        lambda: stack.fs.mkdir("/d", 0o755),
        lambda: stack.fs.unlink("/file"),
        lambda: stack.fs.rename("/file", "/new"),
        lambda: stack.fs.truncate("/file", 0),
        lambda: stack.fs.set_attributes("/file", mode=0o600),
        lambda: stack.fs.set_xattr("/file", "user.a", b"b", create=False, exists=False),
        lambda: stack.fs.symlink("a", "/b"),
        lambda: stack.fs.rmdir("/file"),
    ):
        with pytest.raises(ReadOnly):
            change()
    assert stack.read("/file") == b"content"


def test_two_machines_see_each_other(build: Build) -> None:
    first = build()
    second = build(container=first.container, ttl=0.0)
    first.fs.mkdir("/d", 0o755)
    first.write("/d/file", b"x" * 3000)
    assert second.ls("/d") == ["file"]
    assert second.read("/d/file") == b"x" * 3000
    handle = second.fs.open("/d/file", write=True)
    second.fs.handles.write(handle.number, 1500, b"y")
    second.fs.handles.flush(handle.number)
    second.fs.handles.release(handle.number)
    first.namespace.forget()
    assert first.read("/d/file") == b"x" * 1500 + b"y" + b"x" * 1499


def test_write_back_returns_before_the_server_has_it(build: Build) -> None:
    stack = build(write_back=1.0)
    stack.ls()
    stack.wire.reset()
    stack.write("/file", b"x" * 3000)
    assert stack.wire.count("PUT") == 0
    assert list(stack.staging.directory.glob("*.json"))
    assert stack.read("/file") == b"x" * 3000
    eventually(lambda: stack.names() == ["file"])
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"x" * 3000
    assert not list(stack.staging.directory.glob("*.json"))


def test_fsync_sends_whatever_write_back_says(build: Build) -> None:
    stack = build(write_back=60.0)
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, b"content")
    stack.fs.handles.fsync(handle.number)
    assert stack.get("file") == b"content"
    stack.fs.handles.release(handle.number)


@pytest.mark.parametrize("closed", [True, False])
def test_nobody_who_opens_the_next_version_shares_pages_with_who_reads_the_old_one(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    """Nor the second one, though the file is the same as the first one's by then."""
    monkeypatch.setattr("pithosfs.users._READING", 0.0)
    stack.put("file", b"old old")
    reader = stack.fs.open("/file")
    stack.put("file", b"new new")
    stack.namespace.forget()
    first = stack.fs.open("/file")
    if closed:
        stack.fs.handles.release(first.number)
    second = stack.fs.open("/file")
    assert first.private
    assert second.private
    stack.fs.handles.release(reader.number)
    third = stack.fs.open("/file")
    assert not third.private
    assert not third.unchanged  # the kernel may have pages of the old one
