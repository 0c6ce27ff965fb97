"""A rename onto an open file that fails, as libfuse asks for it: the file is there as before."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from pithosfs.errors import NotFound, Unavailable
from pithosfs.transport import Request
from tests.core.conftest import Build
from tests.core.stack import Stack
from tests.core.test_files import dies, next_mount
from tests.core.threads import InThread
from tests.support.waiting import eventually

HIDDEN = "/.fuse_hidden0000000000000001"
TEMPORARY = "/.file.a8Xk2P"

pytestmark = pytest.mark.usefixtures("unhurried")


def refuses_a_rename_onto_open(
    stack: Stack,
    old: str,
    new: str,
    hidden: str = HIDDEN,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """As libfuse does it; the MOVE does not arrive.  ``meanwhile`` is called when it is about to be sent.

    The moment after which the file would have been deleted is over by then.
    """

    def tap(request: Request) -> None:
        if request.method == "MOVE":
            stack.end_moments()
            meanwhile()
            raise Unavailable("the network is down")

    stack.wire.before = tap
    assert stack.fs.hide(new, hidden)
    with pytest.raises(Unavailable):
        stack.fs.rename(old, new)
    stack.wire.reset()


def refuses_slowly(stack: Stack, old: str, new: str, seconds: float) -> None:
    """The same where all other requests take longer than a removal waits, and ``seconds`` more.

    Returns when nothing waits to be deleted.
    """

    def slow(request: Request) -> None:
        stack.end_moments()
        if request.method == "MOVE":
            raise Unavailable("the network is down")
        time.sleep(seconds)

    stack.wire.before = slow
    stack.fs.hide(new, HIDDEN)
    with pytest.raises(Unavailable):
        stack.fs.rename(old, new)
    stack.wire.reset()
    eventually(lambda: not stack.files.removals)


def test_an_unsent_file_that_got_its_name_back_is_sent(build: Build) -> None:
    """With write-back, a reader has it open, a rename onto it fails: nothing sends it any more."""
    stack = build(write_back=0.5)
    stack.write("/file", b"one")
    stack.write("/other", b"other")
    assert not stack.files.outbox.drain(10)
    reader = stack.fs.open("/file")
    stack.write("/file", b"two")
    refuses_a_rename_onto_open(stack, "/other", "/file")
    assert stack.read("/file") == b"two"
    eventually(lambda: stack.get("file") == b"two")
    stack.fs.handles.release(reader.number)


def test_a_file_that_was_never_sent_gets_its_name_back(build: Build) -> None:
    """It was closed, which promised it; neither the tree nor the journal nor the outbox has it now."""
    stack = build(write_back=60.0)
    stack.put("other", b"other")
    stack.ls()
    stack.write("/file", b"content")
    reader = stack.fs.open("/file")
    refuses_a_rename_onto_open(stack, "/other", "/file")
    stack.fs.handles.release(reader.number)
    assert stack.ls() == ["file", "other"]
    assert stack.read("/file") == b"content"
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"content"


def test_a_file_that_was_never_sent_and_gets_its_name_back_survives_a_crash(build: Build) -> None:
    first = build(write_back=60.0, outbox=False)
    first.put("other", b"other")
    first.ls()
    first.write("/file", b"content")
    first.fs.open("/file")
    refuses_a_rename_onto_open(first, "/other", "/file")
    dies(first)
    second = next_mount(build, first)
    assert not second.files.outbox.drain(10)
    assert second.get("file") == b"content"


def test_what_is_about_to_be_sent_while_the_rename_onto_it_fails_stays_in_the_journal(build: Build) -> None:
    """The network is down; the outbox has its turn when the file has no name, and so nothing to send."""
    first = build(write_back=60.0)
    first.put("other", b"other")
    first.ls()
    first.write("/file", b"content")
    first.fs.open("/file")
    first.wire.refuse()
    with first.files.find(first.ref("file")).committing:
        sent = InThread(lambda: first.files.outbox.drain(10))
        eventually(lambda: first.files.outbox.waiting()[0].state == "sending")
        first.fs.hide("/file", HIDDEN)
    sent.result()
    with pytest.raises(Unavailable):
        first.fs.rename("/other", "/file")
    dies(first)
    second = next_mount(build, first)
    assert second.get("file") == b"content"


def test_a_file_closed_while_the_rename_onto_it_fails_has_its_bytes(build: Build) -> None:
    """It was not sent yet (the network is bad); its reader leaves while the rename still waits."""
    stack = build(write_back=60.0, outbox=False)
    stack.put("other", b"other")
    stack.ls()
    stack.write("/file", b"content")
    reader = stack.fs.open("/file")
    refuses_a_rename_onto_open(
        stack, "/other", "/file", meanwhile=lambda: stack.fs.handles.release(reader.number)
    )
    assert stack.read("/file") == b"content"


def test_a_file_closed_while_the_rename_onto_it_fails_is_sent(stack: Stack) -> None:
    """Its writer closes it while the rename still waits, and hears of no error: it had no name then."""
    stack.write("/file", b"one")
    stack.write("/other", b"other")
    writer = stack.fs.open("/file", write=True, truncate=True)
    stack.fs.handles.write(writer.number, 0, b"two")

    def leaves() -> None:
        stack.fs.handles.flush(writer.number)
        stack.fs.handles.release(writer.number)

    refuses_a_rename_onto_open(stack, "/other", "/file", meanwhile=leaves)
    eventually(lambda: stack.get("file") == b"two")


def test_a_target_is_not_deleted_before_the_rename_onto_it_has_begun(build: Build) -> None:
    """A listing that got old is asked for first, which takes longer than a removal waits."""
    stack = build(ttl=0.0)
    stack.fs.mkdir("/dir", 0o755)
    stack.write("/dir/other", b"other")
    stack.write("/file", b"content")
    stack.ls(), stack.ls("/dir")
    reader = stack.fs.open("/file")

    refuses_slowly(stack, "/dir/other", "/file", 0.05)
    stack.fs.handles.release(reader.number)
    assert "file" in stack.names()


def test_a_rename_that_fails_late_leaves_the_file_it_was_to_replace(stack: Stack) -> None:
    """Its removal is overdue when it fails: on a busy machine a thread of those is first one time in four."""
    lost, ended = [], threading.Event()

    def busy() -> None:
        while not ended.is_set():
            sum(range(1000))

    def late(request: Request) -> None:
        if request.method == "MOVE":
            stack.end_moments()
            time.sleep(0.03)
            raise Unavailable("the network is down")

    others = [InThread(busy) for _ in range(2)]
    stack.write("/other", b"other")
    for number in range(30):
        name = f"file{number}"
        stack.write(f"/{name}", b"content")
        reader = stack.fs.open(f"/{name}")
        stack.wire.before = late
        stack.fs.hide(f"/{name}", f"/.fuse_hidden{number:016x}")
        with pytest.raises(Unavailable):
            stack.fs.rename("/other", f"/{name}")
        stack.wire.reset()
        eventually(lambda: not stack.files.removals)
        stack.fs.handles.release(reader.number)
        if name not in stack.names():
            lost.append(name)
    ended.set()
    for each in others:
        each.result()
    assert not lost


def test_the_last_file_of_a_directory_nobody_made_gets_its_name_back(build: Build) -> None:
    """The directory's object is made when the name is taken away: a request, and more than 20 ms."""
    stack = build()
    stack.put("dir/file", b"content")
    stack.put("other", b"other")
    stack.ls("/dir"), stack.ls()
    reader = stack.fs.open("/dir/file")

    refuses_slowly(stack, "/other", "/dir/file", 0.03)
    stack.fs.handles.release(reader.number)
    assert "dir/file" in stack.names()


def test_a_file_that_could_not_be_hidden_is_not_deleted(stack: Stack) -> None:
    """The same where that request fails: the program is told that nothing was replaced, or removed."""
    stack.put("dir/file", b"content")
    stack.ls("/dir")
    stack.fs.open("/dir/file")
    stack.wire.refuse("PUT")
    with pytest.raises(Unavailable):
        stack.fs.hide("/dir/file", HIDDEN)
    stack.wire.reset()
    eventually(lambda: not stack.files.removals)
    assert stack.ls("/dir") == ["file"]
    assert stack.names() == ["dir/file"]


def test_fsync_of_its_directory_meanwhile_does_not_delete_the_file(stack: Stack) -> None:
    """The directory's object is made when the name is taken away, as above, and somebody syncs it then."""
    stack.put("dir/file", b"content")
    stack.put("other", b"other")
    stack.ls("/dir"), stack.ls()
    stack.fs.open("/dir/file")
    making, synced = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        if request.method == "MOVE":
            raise Unavailable("the network is down")
        if request.method == "PUT":
            making.set()
            synced.wait(0.3)

    def replaces() -> None:
        stack.fs.hide("/dir/file", HIDDEN)
        stack.fs.rename("/other", "/dir/file")

    stack.wire.before = slow
    renaming = InThread(replaces)
    assert making.wait(10)
    stack.fs.sync_directory("/dir")
    synced.set()
    with pytest.raises(Unavailable):
        renaming.result()
    stack.wire.reset()
    assert stack.ls("/dir") == ["file"]
    assert "dir/file" in stack.names()


def test_a_removed_file_does_not_come_back_by_a_rename_elsewhere(stack: Stack) -> None:
    """rm a/file, which is open; mv other b/file fails, just then and in the same thread."""
    stack.fs.mkdir("/a", 0o755)
    stack.fs.mkdir("/b", 0o755)
    stack.write("/a/file", b"content")
    stack.write("/other", b"other")
    stack.ls("/a"), stack.ls("/b"), stack.ls()
    stack.fs.open("/a/file")
    stack.wire.refuse("MOVE")
    stack.fs.hide("/a/file", HIDDEN)  # unlink has returned
    with pytest.raises(Unavailable):
        stack.fs.rename("/other", "/b/file")
    stack.wire.reset()
    stack.end_moments()
    eventually(lambda: not stack.files.removals)
    assert stack.ls("/a") == []
    assert "a/file" not in stack.names()


def test_a_removed_file_does_not_come_back_by_a_rename_onto_its_name(stack: Stack) -> None:
    """rm file, which is open, has returned; then mv other file fails, in the same thread."""
    stack.write("/file", b"content")
    stack.write("/other", b"other")
    stack.ls()
    stack.fs.open("/file")
    stack.wire.refuse("MOVE")
    stack.fs.hide("/file", HIDDEN)
    stack.end_moments()
    with pytest.raises(NotFound):
        stack.fs.node("/file")  # as the kernel looks, of which the name is gone
    with pytest.raises(Unavailable):
        stack.fs.rename("/other", "/file")
    stack.wire.reset()
    eventually(lambda: not stack.files.removals)
    assert stack.ls() == ["other"]


def test_nothing_is_left_of_a_file_that_was_removed_while_it_was_open(stack: Stack) -> None:
    """Each thread of libfuse keeps the last one whose name it took."""
    stack.write("/file", b"content")
    handle = stack.fs.open("/file")
    file = weakref.ref(stack.files.find(stack.ref("file")))
    stack.fs.hide("/file", HIDDEN)
    stack.fs.handles.release(handle.number)
    stack.fs.forget_hidden(HIDDEN)
    stack.fs._paths.hidden._files.clear()  # as five seconds later
    del handle
    stack.end_moments()
    eventually(lambda: not stack.files.removals)
    gc.collect()
    assert file() is None
