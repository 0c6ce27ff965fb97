"""Files of temporary names: closed, they wait for the rename that sends them."""

from __future__ import annotations

import gc
import weakref

import pytest

from pithosfs.errors import Forbidden, QuotaExceeded, Stale, Unavailable
from pithosfs.openfile import OpenFile
from pithosfs.temporaries import is_temporary
from tests.core.conftest import SMALL, Build
from tests.core.stack import Stack
from tests.core.test_files import conflicts, dies, next_mount
from tests.support.files import noise
from tests.support.waiting import eventually

TEMPORARY = "/.file.a8Xk2P"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rename comes too late."""
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 60.0)


@pytest.mark.parametrize(
    "name",
    [
        ".file.a8Xk2P",
        ".file.a8xk2p",
        ".a.b.tar.gz.ABCDEF",
        ".goutputstream-1X2Y3Z",
        "sedAbCdEf",
        "tmp_obj_a1B2c3",
    ],
)
def test_names_programs_give_what_they_are_about_to_rename(name: str) -> None:
    assert is_temporary(name)


@pytest.mark.parametrize(
    "name",
    [
        "file",
        "file.sqlite",
        "file.a8Xk2P",
        "file.tmp",
        ".bashrc",
        ".file.config",
        ".file.sha256",
        ".file.a8Xk2",
        ".file.a8Xk2Pq",
        ".file.a8Xk-P",
        "..a8Xk2P",
        ".goutputstream-",
        "sedentary",
        "Cupboard",
        "tmp_obj_",
    ],
)
def test_names_that_may_be_meant_to_stay(name: str) -> None:
    assert not is_temporary(name)


@pytest.mark.parametrize("data", [b"", b"content", noise(SMALL, 1)], ids=["empty", "small", "block"])
def test_a_rename_sends_it_in_one_request(stack: Stack, data: bytes) -> None:
    stack.ls()
    stack.wire.reset()
    stack.write(TEMPORARY, data)
    stack.fs.set_attributes(TEMPORARY, mtime_ns=5 * 10**9, mode=0o640)
    assert not stack.wire.requests
    stack.fs.rename(TEMPORARY, "/file")
    assert [method for method, _ in stack.wire.requests] == ["PUT"]
    assert stack.names() == ["file"]
    assert stack.get("file") == data
    assert "mtime=5.0" in stack.client.head(stack.container, "file").entry.content_type
    assert "mode=0640" in stack.client.head(stack.container, "file").entry.content_type
    assert not stack.files.outbox.waiting()
    assert not list(stack.staging.directory.glob("*.json"))
    assert stack.ls() == ["file"]
    assert stack.read("/file") == data


def test_it_is_in_the_journal_before_close_returns(build: Build) -> None:
    first = build(outbox=False)
    first.write(TEMPORARY, b"content")
    assert first.names() == []
    dies(first)
    second = next_mount(build, first)
    assert second.names() == [TEMPORARY[1:]]
    assert second.get(TEMPORARY[1:]) == b"content"


def test_it_goes_out_by_itself_where_no_rename_follows(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 0.05)
    stack.write(TEMPORARY, b"content")
    eventually(lambda: not stack.files.outbox.waiting())
    assert stack.get(TEMPORARY[1:]) == b"content"
    stack.wire.reset()
    stack.fs.rename(TEMPORARY, "/file")
    assert [method for method, _ in stack.wire.requests] == ["MOVE"]
    assert stack.names() == ["file"]


def test_it_goes_out_at_once_for_an_fsync(stack: Stack) -> None:
    handle = stack.fs.create(TEMPORARY, 0o644)
    stack.fs.handles.write(handle.number, 0, b"content")
    stack.fs.handles.fsync(handle.number)
    assert stack.get(TEMPORARY[1:]) == b"content"
    stack.fs.handles.release(handle.number)


def test_it_goes_out_when_its_directory_is_synced(stack: Stack) -> None:
    stack.fs.mkdir("/directory", 0o755)
    stack.write(TEMPORARY, b"content")
    stack.write(f"/directory{TEMPORARY}", b"below")
    stack.fs.sync_directory("/directory")
    assert stack.names() == ["directory", f"directory{TEMPORARY}"]
    stack.fs.sync_directory("/")
    assert stack.get(TEMPORARY[1:]) == b"content"


def test_it_goes_out_when_the_mount_ends(stack: Stack) -> None:
    stack.write(TEMPORARY, b"content")
    assert not stack.files.outbox.drain(10)
    assert stack.get(TEMPORARY[1:]) == b"content"


def test_nothing_is_ever_sent_of_one_that_is_removed(stack: Stack) -> None:
    stack.ls()
    stack.wire.reset()
    stack.write(TEMPORARY, b"content")
    stack.fs.unlink(TEMPORARY)
    assert not stack.files.outbox.drain(10)
    assert not stack.wire.requests
    assert not list(stack.staging.directory.glob("*.json"))


def test_one_that_does_not_fit_into_a_block_is_sent_by_its_close(stack: Stack) -> None:
    stack.write(TEMPORARY, noise(SMALL + 1, 1))
    assert stack.names() == [TEMPORARY[1:]]


def test_one_that_is_there_already_is_sent_by_its_close(stack: Stack) -> None:
    stack.put(TEMPORARY[1:], b"before")
    handle = stack.fs.open(TEMPORARY, write=True, truncate=True)
    stack.fs.handles.write(handle.number, 0, b"content")
    stack.fs.handles.flush(handle.number)
    assert stack.get(TEMPORARY[1:]) == b"content"
    stack.fs.handles.release(handle.number)


def test_where_the_local_disk_is_full_its_close_sends_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.fill_disk(monkeypatch)
    stack.write(TEMPORARY, b"content")
    assert stack.get(TEMPORARY[1:]) == b"content"


def test_it_takes_the_place_of_a_file_and_keeps_what_that_was(stack: Stack) -> None:
    stack.put("file", b"before")
    stack.client.update(stack.container, "file", sharing="read=*")
    uuid = stack.client.head(stack.container, "file").entry.uuid
    stack.write(TEMPORARY, b"after")
    assert stack.read("/file") == b"before"
    stack.fs.rename(TEMPORARY, "/file")
    assert stack.names() == ["file"]
    assert stack.get("file") == b"after"
    assert stack.client.head(stack.container, "file").entry.uuid == uuid
    assert stack.client.head(stack.container, "file").entry.sharing == "read=*"


def test_what_somebody_else_wrote_there_meanwhile_is_kept(stack: Stack) -> None:
    stack.put("file", b"before")
    assert stack.ls() == ["file"]
    stack.write(TEMPORARY, b"ours")
    stack.put("file", b"theirs")
    with pytest.raises(Stale):
        stack.fs.rename(TEMPORARY, "/file")
    assert stack.get("file") == b"theirs"
    (copy,) = conflicts(stack)
    assert stack.get(copy) == b"ours"
    assert stack.names() == sorted(["file", copy])


@pytest.mark.parametrize("refusal", [QuotaExceeded("full", 413), Unavailable("down"), Forbidden("no", 403)])
def test_a_rename_tells_why_it_cannot_be_sent_and_it_is_sent_later(stack: Stack, refusal: Exception) -> None:
    def refuse(_: object) -> None:
        raise refusal

    stack.write(TEMPORARY, b"content")
    stack.wire.before = refuse
    with pytest.raises(type(refusal)):
        stack.fs.rename(TEMPORARY, "/file")
    assert stack.read("/file") == b"content"
    (waiting,) = stack.files.outbox.waiting()
    assert waiting.state in ("failed", "sending")
    assert waiting.object.endswith("/file")
    stack.wire.reset()
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["file"]
    assert stack.get("file") == b"content"


def test_closed_again_after_it_could_not_be_sent_it_is_tried_at_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.wire.refuse("PUT")
    handle = stack.fs.create(TEMPORARY, 0o644)
    stack.fs.handles.write(handle.number, 0, b"content")
    with pytest.raises(Unavailable):
        stack.fs.handles.fsync(handle.number)
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    stack.wire.reset()
    stack.fs.handles.flush(handle.number)
    assert stack.get(TEMPORARY[1:]) == b"content"
    stack.fs.handles.release(handle.number)


def test_an_answer_that_is_lost_makes_no_second_file(stack: Stack) -> None:
    stack.write(TEMPORARY, b"content")
    stack.wire.lose_answer("PUT", "/file")
    with pytest.raises(Unavailable):
        stack.fs.rename(TEMPORARY, "/file")
    stack.wire.reset()
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["file"]
    assert stack.get("file") == b"content"


@pytest.mark.parametrize("sent", [True, False])
def test_a_mount_that_dies_in_the_rename_leaves_one_file(build: Build, sent: bool) -> None:
    """Whether the server had it by then or not: under the new name, and nothing under the old one."""
    first = build(outbox=False)
    first.write(TEMPORARY, b"content")
    if sent:
        first.wire.lose_answer("PUT", "/file")
    else:
        first.wire.refuse("PUT")
    with pytest.raises(Unavailable):
        first.fs.rename(TEMPORARY, "/file")
    dies(first)
    second = next_mount(build, first)
    assert second.names() == ["file"]
    assert second.get("file") == b"content"
    assert not list(second.staging.root.rglob("*.json"))


def test_a_mount_that_dies_before_the_new_name_is_in_the_journal_keeps_both(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(outbox=False)
    first.put("file", b"before")
    first.write(TEMPORARY, b"after")
    monkeypatch.setattr("pithosfs.files.persist", lambda _: None)
    monkeypatch.setattr(first.files.sending, "sync", lambda _: None)
    first.fs.rename(TEMPORARY, "/file")
    dies(first)
    second = next_mount(build, first)
    assert second.get("file") == b"before"
    assert second.get(TEMPORARY[1:]) == b"after"


def test_with_write_back_a_rename_does_not_wait(build: Build) -> None:
    stack = build(write_back=60.0)
    stack.ls()
    stack.wire.reset()
    stack.write(TEMPORARY, b"content")
    stack.fs.rename(TEMPORARY, "/file")
    assert not stack.wire.requests
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["file"]


def test_one_that_is_written_again_goes_with_the_rename(stack: Stack) -> None:
    stack.write(TEMPORARY, b"first")
    handle = stack.fs.open(TEMPORARY, write=True)
    stack.fs.handles.write(handle.number, 0, b"again")
    stack.fs.handles.flush(handle.number)
    stack.fs.rename(TEMPORARY, "/file")
    assert stack.get("file") == b"again"
    stack.fs.handles.release(handle.number)


def test_below_a_renamed_directory_it_arrives_there(stack: Stack) -> None:
    stack.fs.mkdir("/old", 0o755)
    stack.write(f"/old{TEMPORARY}", b"content")
    stack.fs.rename("/old", "/new")
    assert not stack.files.outbox.drain(10)
    assert stack.names() == ["new", f"new{TEMPORARY}"]
    assert stack.get(f"new{TEMPORARY}") == b"content"


def test_a_link_is_sent_by_its_rename_too(stack: Stack) -> None:
    stack.fs.symlink("before", "/link")
    stack.wire.reset()
    stack.fs.symlink("after", "/CuAbCdEf")
    stack.fs.rename("/CuAbCdEf", "/link")
    assert [method for method, _ in stack.wire.requests] == ["PUT"]
    assert stack.names() == ["link"]
    assert stack.fs.readlink("/link") == "after"


def untold(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> OpenFile:
    """A temporary file whose conflict the outbox met: both versions are kept, nobody was told."""
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 0.2)
    stack.ls()
    stack.write(TEMPORARY, b"ours")
    file = stack.files.find(stack.ref(TEMPORARY[1:]))
    assert file is not None
    stack.put(TEMPORARY[1:], b"theirs")
    eventually(lambda: stack.files.conflicts.seen)
    eventually(lambda: not stack.files.outbox.waiting())
    return file


def test_a_conflict_nobody_asks_for_keeps_no_file_in_memory(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error's traceback leads to the file, which is the weak key it is kept under."""
    file = weakref.ref(untold(stack, monkeypatch))
    eventually(lambda: not stack.files.all())
    stack.files.outbox.stop()  # whose threads know what they sent last
    gc.collect()
    assert file() is None
