"""Times that other programs keep in an object's metadata: shown, and asked for once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pithosfs.transport import Request
from tests.core.conftest import Build
from tests.core.stack import Stack
from tests.support.waiting import eventually

TIME = "1600000000.123456789"
TIME_NS = 1_600_000_000_123_456_789


def put(stack: Stack, name: str, data: bytes = b"x", **meta: str) -> None:
    """As rclone does: a plain content type, the time in the metadata."""
    stack.client.put_object(stack.container, name, data, content_type="text/plain", meta=meta)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks first waits for the times, however busy this machine is."""
    monkeypatch.setattr("pithosfs.foreign._PATIENCE", 60.0)


def mtimes(stack: Stack, directory: str, names: list[str]) -> list[int]:
    return [stack.fs.node(f"{directory}/{name}").mtime_ns for name in names]


def test_the_time_in_the_metadata_is_shown(stack: Stack) -> None:
    put(stack, "d/file", mtime=TIME)
    assert stack.fs.node("/d/file").mtime_ns == TIME_NS


def test_each_version_is_asked_about_once_and_then_known_for_ever(build: Build, tmp_path: Path) -> None:
    stack = build(directory=tmp_path)
    names = [f"file{number}" for number in range(20)]
    for name in names:
        put(stack, f"d/{name}", mtime=TIME)
    assert mtimes(stack, "/d", names) == [TIME_NS] * 20
    assert stack.wire.count("HEAD") == 20
    assert stack.wire.count(within="meta=mtime") == 1
    stack.wire.reset()
    stack.namespace.forget()
    assert mtimes(stack, "/d", names) == [TIME_NS] * 20
    assert stack.wire.count("HEAD") == stack.wire.count(within="meta=mtime") == 0
    stack.close()
    again = build(directory=tmp_path, container=stack.container)
    assert mtimes(again, "/d", names) == [TIME_NS] * 20
    assert again.wire.count("HEAD") == 0


def test_what_has_no_such_time_costs_one_request_in_all(stack: Stack) -> None:
    """Files of kamaki and of the web interface, in many directories."""
    for number in range(50):
        put(stack, f"d/e{number % 5}/file{number}", colour="red")
    stack.ls("/d")
    for directory in range(5):
        for name in stack.ls(f"/d/e{directory}"):
            assert stack.fs.node(f"/d/e{directory}/{name}").mtime_ns > TIME_NS
    assert stack.wire.count("HEAD") == 0
    assert stack.wire.count(within="meta=mtime") <= 2


def test_a_listing_alone_asks_for_no_time(stack: Stack) -> None:
    put(stack, "d/file", mtime=TIME)
    assert stack.ls("/d") == ["file"]
    assert stack.wire.count("HEAD") == stack.wire.count(within="meta=mtime") == 0


def test_our_own_files_are_never_asked_about(stack: Stack) -> None:
    stack.write("/mine", b"x")
    stack.namespace.forget()
    stack.wire.reset()
    stack.fs.node("/mine")
    assert stack.wire.count("HEAD") == stack.wire.count(within="meta=mtime") == 0


def test_a_new_version_is_asked_about_again(build: Build) -> None:
    stack = build(ttl=0.0)
    put(stack, "file", mtime=TIME)
    assert stack.fs.node("/file").mtime_ns == TIME_NS
    put(stack, "file", mtime="1700000000")
    assert stack.fs.node("/file").mtime_ns == 1_700_000_000 * 10**9
    put(stack, "file")
    assert stack.fs.node("/file").mtime_ns > 1_700_000_000 * 10**9


@pytest.mark.parametrize("text", ["yesterday", "1e9", "12:30"])
def test_what_is_no_time_changes_nothing(stack: Stack, text: str) -> None:
    put(stack, "file", mtime=text)
    assert stack.fs.node("/file").mtime_ns > TIME_NS


def test_a_change_of_mode_keeps_the_time(build: Build) -> None:
    stack = build()
    put(stack, "file", mtime=TIME)
    stack.fs.node("/file")
    stack.fs.set_attributes("/file", mode=0o600)
    assert stack.fs.node("/file").mtime_ns == TIME_NS


def test_a_network_that_fails_is_no_error_and_is_not_waited_for_again(stack: Stack) -> None:
    put(stack, "d/a", mtime=TIME)
    put(stack, "d/b", mtime=TIME)
    stack.ls("/d")
    stack.wire.reset()
    stack.wire.refuse(within="meta=mtime")
    assert stack.fs.node("/d/a").mtime_ns != TIME_NS
    asked = len(stack.wire.requests)
    assert stack.fs.node("/d/b").mtime_ns != TIME_NS
    assert len(stack.wire.requests) == asked


def test_who_asks_waits_only_a_moment_and_sees_the_time_later(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pithosfs.foreign._PATIENCE", 1.0)
    names = [f"file{number}" for number in range(5)]
    for name in names:
        put(stack, f"d/{name}", mtime=TIME)
    held = stack.wire.hold_all("HEAD")
    try:
        assert TIME_NS not in mtimes(stack, "/d", names)
    finally:
        held.release()
    eventually(lambda: mtimes(stack, "/d", names) == [TIME_NS] * 5, what="the times")


def test_one_that_is_gone_meanwhile_does_not_keep_the_others_from_being_known(stack: Stack) -> None:
    put(stack, "d/gone", mtime=TIME)
    put(stack, "d/here", mtime=TIME)
    put(stack, "elsewhere/file", mtime=TIME)

    def vanish(request: Request) -> None:
        """Between the listing and the question, with all its history."""
        if request.method == "HEAD" and "gone" in request.url and not gone:
            gone.append(request)
            stack.client.delete(stack.container, "d/gone")
            stack.client.purge(stack.container, "d/gone", until=2**31)

    gone: list[Request] = []
    stack.wire.before = vanish
    assert stack.fs.node("/d/gone").mtime_ns != TIME_NS
    assert stack.fs.node("/d/here").mtime_ns == TIME_NS
    assert stack.fs.node("/elsewhere/file").mtime_ns == TIME_NS
    assert gone
