"""Files that wait to be sent."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pithosfs import outbox as outbox_module
from pithosfs.admin import Admin
from pithosfs.errors import QuotaExceeded, Stale, Unavailable
from pithosfs.outbox import Outbox
from pithosfs.pending import TO_BE_DELETED
from pithosfs.transport import Request
from tests.core.conftest import Build
from tests.core.stack import Stack
from tests.core.threads import InThread
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(outbox_module, "_FIRST_PAUSE", 0.05)
    yield


def kept(stack: Stack, path: str, data: bytes) -> None:
    """A file whose commit failed, closed."""
    handle = stack.fs.create(path, 0o644)
    stack.fs.handles.write(handle.number, 0, data)
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)


def test_a_change_of_mode_is_held_for_a_moment(build: Build) -> None:
    stack = build(outbox=False)  # the moment is not over before all is looked at
    stack.write("/file", b"x")
    stack.wire.reset()
    stack.fs.set_attributes("/file", mode=0o600)
    stack.fs.set_attributes("/file", mtime_ns=5 * 10**9)
    (waiting,) = stack.files.outbox.waiting()
    assert waiting.state == "held back for a moment"
    assert waiting.object.endswith("/file")
    assert stack.wire.count("PUT") == 0
    stack.files.start()
    eventually(lambda: not stack.files.outbox.waiting())
    assert stack.wire.count("PUT") == 1
    assert "mode=0600" in stack.client.head(stack.container, "file").entry.content_type


def test_failures_are_retried_until_they_work(stack: Stack) -> None:
    stack.wire.refuse("PUT")
    kept(stack, "/file", b"content")
    eventually(lambda: stack.files.outbox.waiting()[0].attempts >= 2)
    (waiting,) = stack.files.outbox.waiting()
    assert waiting.state in ("failed", "sending")
    assert waiting.error == "the network is down"
    assert waiting.unsent == 7
    stack.wire.reset()
    eventually(lambda: not stack.files.outbox.waiting())
    assert stack.get("file") == b"content"


def test_the_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []  # as they are meant: how long they get is the machine's business

    class File:
        ref, size, unsent, dirty, handles = "file", 1, 1, True, 0

    def send(_: object) -> None:
        raise Unavailable("down")

    box = Outbox(send)  # type: ignore[arg-type]
    place = box._place

    def placed(item: Any, seconds: float, lot: Any = None) -> None:
        pauses.append(seconds)
        place(item, seconds, lot)

    monkeypatch.setattr(box, "_place", placed)
    box.start()
    box.keep(File(), Unavailable("down"))  # type: ignore[arg-type]
    eventually(lambda: len(pauses) >= 5)
    box.stop()
    assert pauses[4] > 2 * pauses[1] > 2 * pauses[0]


def test_drain_sends_now_and_says_what_it_could_not(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_FIRST_PAUSE", 600.0)  # nothing is tried but by drain
    stack.wire.refuse("PUT", "/bad")
    kept(stack, "/bad", b"x")
    stack.wire.refuse("PUT")
    kept(stack, "/good", b"y")

    def refuse_bad(request: object) -> None:
        if "/bad" in getattr(request, "url", ""):
            raise QuotaExceeded("full", 413)

    stack.wire.before = refuse_bad
    left = stack.files.outbox.drain(10)
    assert [each.object.rpartition("/")[2] for each in left] == ["bad"]
    assert left[0].error == "full"
    assert stack.names() == ["good"]
    stack.wire.reset()
    assert stack.files.outbox.drain(10) == []


def test_drain_tries_once_more_what_was_under_way_and_fails(stack: Stack) -> None:
    """The network is back, though not for the attempt that had begun before: umount asks for another."""
    stack.wire.refuse("PUT")
    kept(stack, "/file", b"content")
    begun, go = threading.Event(), threading.Event()

    def fails(request: Request) -> None:
        if request.method == "PUT":
            begun.set()
            assert go.wait(20)
            raise Unavailable("the network is down")

    stack.wire.before = fails
    assert begun.wait(20)
    stack.wire.reset()  # for all that begin from now on
    draining = InThread(lambda: stack.files.outbox.drain(None))
    eventually(lambda: any(each.hurried for each in stack.files.outbox._waiting.values()))
    go.set()
    assert draining.result() == []
    assert stack.get("file") == b"content"


def test_drain_does_not_wait_for_what_comes_after_it(build: Build) -> None:
    stack = build(write_back=600.0)
    stack.write("/before", b"x")
    held = stack.wire.hold("PUT")
    draining = InThread(lambda: stack.files.outbox.drain(None))
    held.wait()
    stack.write("/after", b"y")
    held.release()
    draining.result()
    assert stack.names() == ["before"]
    stack.files.outbox.drain(10)
    assert stack.names() == ["after", "before"]


def test_drain_gives_up_in_time(stack: Stack) -> None:
    stack.wire.refuse("PUT")
    kept(stack, "/file", b"x")
    held = stack.wire.hold_all("PUT")
    held.wait()
    began = time.monotonic()
    assert len(stack.files.outbox.drain(0.3)) == 1
    assert time.monotonic() - began < 5
    held.release()


def test_one_that_fails_does_not_hold_up_the_others(stack: Stack) -> None:
    stack.wire.refuse("PUT")
    for number in range(12):
        kept(stack, f"/file{number:02}", b"x")

    def refuse_one(request: object) -> None:
        if "/file00" in getattr(request, "url", ""):
            raise Unavailable("down")

    stack.wire.before = refuse_one
    eventually(lambda: len(stack.names()) == 11)
    stack.wire.reset()


def test_what_was_changed_while_it_was_sent_is_sent_again(build: Build) -> None:
    """With write-back, and somebody else still reading: nobody would close it for hours."""
    stack = build(write_back=0.0)
    stack.write("/file", b"first")
    assert not stack.files.outbox.drain(10)
    reader = stack.fs.open("/file")
    held = stack.wire.hold("PUT")
    stack.write("/file", b"second")
    held.wait()
    writing = InThread(lambda: stack.write("/file", b"THIRD"))
    writing.result()
    held.release()
    eventually(lambda: stack.get("file") == b"THIRDd")
    eventually(lambda: not stack.files.outbox.waiting())
    stack.fs.handles.release(reader.number)


def test_files_closed_one_after_the_other_are_sent_when_that_pauses(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And until then one at a time, when their own time has come."""
    monkeypatch.setattr(outbox_module, "_TOGETHER", 600.0)
    stack = build(write_back=3.0)
    held = stack.wire.hold_all("PUT")
    closed = 0
    while not held.arrived.is_set():
        stack.write(f"/file{closed}", b"x")
        closed += 1
        time.sleep(0.5)
    assert closed > 2
    assert stack.wire.count("PUT") == 1
    eventually(lambda: stack.wire.count("PUT") == closed)
    held.release()
    eventually(lambda: len(stack.names()) == closed)


def test_who_goes_before_the_others_makes_room_for_the_next(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_TOGETHER", 600.0)
    stack = build(write_back=0.2)
    numbers = itertools.count()

    def several_are_sent_while_writing() -> bool:
        stack.write(f"/file{next(numbers)}", b"x")
        return len(stack.names()) > 3

    eventually(several_are_sent_while_writing)


def test_files_closed_without_a_pause_are_sent_all_the_same(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_TOGETHER", 0.3)
    stack = build(write_back=0.2)
    numbers = itertools.count()

    def sent_while_writing() -> bool:
        stack.write(f"/file{next(numbers)}", b"x")
        return bool(stack.names())

    eventually(sent_while_writing)


def test_a_file_closed_again_and_again_is_sent_all_the_same(build: Build) -> None:
    """As by ``echo >> log`` every now and then: it is not put off each time."""
    stack = build(write_back=0.2)

    def sent_while_writing() -> bool:
        stack.write("/log", b"x")
        return bool(stack.names())

    eventually(sent_while_writing)


def test_a_file_touched_again_and_again_is_sent_all_the_same(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pithosfs.sending.HOLD_SECONDS", 0.2)
    stack.write("/file", b"x")
    stack.wire.reset()
    times = itertools.count(1)

    def sent_while_touched() -> int:
        stack.fs.set_attributes("/file", mtime_ns=next(times) * 10**9)
        return stack.wire.count("PUT")

    eventually(sent_while_touched)


def test_an_unexpected_failure_is_kept_too(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.wire.refuse("PUT")
    kept(stack, "/file", b"x")
    broken = threading.Event()

    def tap(request: object) -> None:
        if getattr(request, "method", "") == "PUT" and not broken.is_set():
            broken.set()
            raise ZeroDivisionError("a defect")

    stack.wire.before = tap
    assert broken.wait(10)
    eventually(lambda: stack.names() == ["file"])
    assert stack.get("file") == b"x"


def test_a_file_is_sent_once_though_its_journal_entry_cannot_be_removed(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    stack = build(write_back=60.0)
    stack.write("/file", b"content")
    (entry,) = stack.staging.directory.glob("*.json")
    entry.unlink()
    entry.mkdir()  # as on a disk that takes no changes any more
    assert not stack.files.outbox.drain(10)
    assert not stack.files.all()
    assert stack.get("file") == b"content"
    assert stack.wire.count("PUT") == 1
    assert f"cannot remove {entry}" in caplog.text
    assert "internal error" not in caplog.text
    entry.rmdir()


def test_a_removed_file_is_not_sent(stack: Stack) -> None:
    stack.wire.refuse("PUT")
    kept(stack, "/file", b"x")
    stack.fs.unlink("/file")
    stack.wire.reset()
    assert stack.files.outbox.waiting() == []
    assert stack.files.outbox.drain(5) == []
    assert stack.names() == []
    # What a lost answer may have left is deleted behind the caller's back; the journal knows until then.
    stack.files.removals.drain()
    assert not list(stack.staging.directory.glob("*.json"))
    assert not list(stack.staging.directory.glob("*.data"))


def test_what_arrives_late_is_not_taken_for_somebody_elses(stack: Stack) -> None:
    """The server gets an upload that timed out after the file was removed; then the name is used again."""
    stack.wire.refuse("PUT", maybe_done=True)
    kept(stack, "/file", b"old")
    stack.fs.unlink("/file")
    stack.wire.reset()
    stack.files.removals.drain()
    stack.write("/file", b"new")  # ends the doubt about what may be there
    stack.fs.unlink("/file")
    stack.files.removals.drain()
    assert stack.names() == []
    stack.put("file", b"old")
    stack.write("/file", b"newest")
    assert stack.names() == ["file"]
    assert stack.get("file") == b"newest"


def test_what_somebody_else_made_meanwhile_is_kept(stack: Stack) -> None:
    stack.wire.refuse("PUT")
    kept(stack, "/file", b"old")
    stack.fs.unlink("/file")
    stack.wire.reset()
    stack.files.removals.drain()
    stack.put("file", b"foreign")
    with contextlib.suppress(Stale):
        stack.write("/file", b"newest")
    assert len(stack.names()) == 2
    assert {stack.get(name) for name in stack.names()} == {b"foreign", b"newest"}


def test_what_was_closed_after_a_file_that_takes_long_does_not_wait_for_it() -> None:
    """The first of a lot goes before the others; no thread is left that looks when those are due."""

    class Users:
        handles = 0

    class File:
        size, unsent, dirty, users = 1, 1, True, Users()

        def __init__(self, ref: str) -> None:
            self.ref = ref

    go, sent = threading.Event(), []

    def send(file: File) -> None:
        if file.ref == "large":
            go.wait(60)
        file.dirty = False
        sent.append(file.ref)

    outbox = Outbox(send)  # type: ignore[arg-type]
    outbox.start()
    time.sleep(0.2)  # all threads wait
    large, small = File("large"), File("small")
    try:
        outbox.queue(large, 0.3)  # type: ignore[arg-type]
        time.sleep(0.1)
        outbox.queue(small, 0.3)  # type: ignore[arg-type]
        eventually(lambda: sent == ["small"])
    finally:
        go.set()
        outbox.stop()


def test_files_are_sent_though_a_removal_is_stuck(build: Build) -> None:
    """As umount asks for both, and has so much time for them."""
    stack = build(write_back=60.0)
    stack.put("removed", b"x")
    stack.ls()
    stack.write("/file", b"content")
    held = stack.wire.hold("DELETE")
    stack.fs.open("/removed")
    stack.fs.hide("/removed", "/.fuse_hidden0000000000000001")
    held.wait()
    admin = Admin(
        stack.client,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        stack.services,
        stack.namespace,
        stack.files,
    )
    draining = InThread(lambda: admin.drain(None))
    eventually(lambda: stack.names() == ["file", "removed"])
    assert [each.state for each in admin.drain(0.3)] == [TO_BE_DELETED]
    held.release()
    assert draining.result() == []
    assert stack.get("file") == b"content"


def test_drain_sends_what_is_closed_again_while_it_is_sent_without_a_pause(build: Build) -> None:
    """``echo >> log; umount`` while the line before is being sent: it is not put off as by any close."""
    stack = build(write_back=60.0)
    stack.write("/log", b"one")
    held = stack.wire.hold("PUT")
    draining = InThread(lambda: stack.files.outbox.drain(None))
    held.wait()
    stack.write("/log", b"two")
    held.release()
    draining.result()
    assert stack.get("log") == b"two"


def test_what_is_closed_twice_is_sent_once_as_it_was_last(build: Build) -> None:
    stack = build(write_back=60.0)
    stack.write("/file", b"one")
    stack.write("/file", b"two")
    assert len(stack.files.outbox.waiting()) == 1
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"two"
    assert stack.wire.count("PUT") == 1
    assert not list(stack.staging.directory.glob("*.json"))


def test_what_is_closed_again_after_it_failed_is_tried_as_it_was_to_be(build: Build) -> None:
    stack = build(write_back=0.0)
    stack.wire.refuse("PUT")
    stack.write("/file", b"one")
    eventually(lambda: stack.files.outbox.waiting()[0].attempts >= 2)
    stack.write("/file", b"two")
    (waiting,) = stack.files.outbox.waiting()
    assert waiting.attempts >= 2
    assert waiting.error == "the network is down"
    stack.wire.reset()
    assert not stack.files.outbox.drain(10)
    assert stack.get("file") == b"two"
