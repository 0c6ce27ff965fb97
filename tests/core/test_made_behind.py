"""Directories and links made with write-back: in the journal first, on the server a little later."""

from __future__ import annotations

from pathlib import Path

import pytest

from pithosfs.attributes import Kind
from pithosfs.errors import Exists, NotEmpty, NotFound, Unavailable
from tests.core.conftest import Build
from tests.core.stack import Stack
from tests.core.test_files import conflicts, dies, next_mount


@pytest.fixture
def back(build: Build) -> Stack:
    """A mount that sends nothing by itself for a long time, and knows its top."""
    stack = build(write_back=60.0)
    stack.ls()
    stack.wire.reset()
    return stack


def kind(stack: Stack, name: str) -> str:
    return stack.client.head(stack.container, name).entry.content_type.partition(";")[0]


def send(stack: Stack) -> None:
    assert not stack.files.outbox.drain(10)
    assert not conflicts(stack)
    assert not list(stack.staging.directory.glob("*.json"))


def test_a_tree_is_made_without_a_request_and_arrives(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o750)
    back.fs.mkdir("/dir/below", 0o755)
    back.write("/dir/below/file", b"content")
    back.fs.symlink("below/file", "/dir/link")
    assert not back.wire.requests
    assert back.ls("/dir") == ["below", "link"]
    assert back.fs.node("/dir").is_directory
    assert back.fs.node("/dir").attributes.mode == 0o750
    assert back.fs.node("/dir/link").kind is Kind.SYMLINK
    assert back.fs.readlink("/dir/link") == "below/file"
    ino = back.fs.node("/dir").ino
    send(back)
    assert back.wire.count("PUT") == 4
    assert back.names() == ["dir", "dir/below", "dir/below/file", "dir/link"]
    assert kind(back, "dir") == kind(back, "dir/below") == "application/directory"
    assert "mode=0750" in back.client.head(back.container, "dir").entry.content_type
    assert back.fs.node("/dir").ino == ino
    back.namespace.forget()
    assert back.ls() == ["dir"]
    assert back.ls("/dir") == ["below", "link"]
    assert back.fs.node("/dir").ino == ino


def test_times_and_modes_set_meanwhile_go_along(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o755)
    back.fs.set_attributes("/dir", mtime_ns=5 * 10**9, mode=0o700)
    back.fs.set_xattr("/dir", "user.colour", b"red", create=False, exists=False)
    send(back)
    assert back.wire.count("PUT") == 1
    shown = back.client.head(back.container, "dir").entry.content_type
    assert "mtime=5.0" in shown
    assert "mode=0700" in shown
    assert back.fs.xattrs("/dir") == {"user.colour": b"red"}


def test_a_listing_from_before_it_is_sent_does_not_lose_it(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o755)
    back.fs.mkdir("/dir/empty", 0o755)
    back.write("/dir/file", b"content")
    back.files.sending.send(back.ref("dir/file"))
    back.namespace.forget()
    assert back.ls() == ["dir"]
    assert back.ls("/dir") == ["empty", "file"]
    assert back.ls("/dir/empty") == []
    send(back)
    assert back.names() == ["dir", "dir/empty", "dir/file"]


def test_it_is_there_for_who_makes_it_again(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o755)
    with pytest.raises(Exists):
        back.fs.mkdir("/dir", 0o755)


def test_nothing_is_sent_of_one_that_is_removed(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o755)
    back.fs.mkdir("/dir/below", 0o755)
    with pytest.raises(NotEmpty):
        back.fs.rmdir("/dir")
    back.fs.rmdir("/dir/below")
    back.fs.rmdir("/dir")
    assert back.ls() == []
    send(back)
    assert not back.wire.count("PUT")
    assert not back.wire.count("DELETE")
    with pytest.raises(NotFound):
        back.fs.node("/dir")


def test_one_that_was_sent_without_an_answer_is_removed_there(back: Stack) -> None:
    back.wire.lose_answer("PUT", "/dir")
    back.fs.mkdir("/dir", 0o755)
    with pytest.raises(Unavailable):
        back.files.sending.send(back.ref("dir"))
    assert back.names() == ["dir"]
    back.fs.rmdir("/dir")
    back.files.removals.finish_all(lambda _: True)
    assert back.names() == []
    back.fs.mkdir("/dir", 0o755)
    send(back)
    assert back.names() == ["dir"]


def test_renamed_it_arrives_under_the_new_name(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o755)
    back.fs.mkdir("/dir/below", 0o755)
    back.write("/dir/below/file", b"content")
    back.fs.rename("/dir", "/new")
    assert back.ls() == ["new"]
    assert back.read("/new/below/file") == b"content"
    send(back)
    assert back.names() == ["new", "new/below", "new/below/file"]


def test_it_is_replaced_by_another(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o755)
    back.write("/dir/file", b"content")
    back.fs.mkdir("/target", 0o700)
    back.fs.rename("/dir", "/target")
    send(back)
    assert back.ls() == ["target"]
    assert back.names() == ["target", "target/file"]
    assert "mode=0755" in back.client.head(back.container, "target").entry.content_type


def test_where_somebody_else_made_it_too_it_is_one(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o700)
    back.put("dir", b"", "application/directory")
    back.put("dir/theirs", b"theirs")
    back.write("/dir/ours", b"ours")
    send(back)
    assert back.names() == ["dir", "dir/ours", "dir/theirs"]
    back.namespace.forget()
    assert back.ls("/dir") == ["ours", "theirs"]


def test_where_somebody_else_made_a_file_both_stay(back: Stack) -> None:
    back.fs.mkdir("/dir", 0o755)
    back.write("/dir/ours", b"ours")
    back.put("dir", b"")
    assert not back.files.outbox.drain(10)
    assert kind(back, "dir") == "text/plain"
    assert back.get("dir/ours") == b"ours"


def test_it_survives_the_death_of_the_mount(build: Build) -> None:
    first = build(outbox=False, write_back=60.0)
    first.fs.mkdir("/dir", 0o750)
    first.write("/dir/file", b"content")
    first.fs.symlink("file", "/dir/link")
    dies(first)
    second = next_mount(build, first)
    assert second.names() == ["dir", "dir/file", "dir/link"]
    assert kind(second, "dir") == "application/directory"
    assert second.fs.readlink("/dir/link") == "file"


def test_where_the_local_disk_is_full_it_is_waited_for_or_there_is_none(
    back: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    back.fill_disk(monkeypatch)
    back.fs.mkdir("/sent", 0o755)
    assert back.names() == ["sent"], "it was waited for"
    back.wire.refuse("PUT")
    with pytest.raises(Unavailable):
        back.fs.mkdir("/dir", 0o755)
    assert back.ls() == ["sent"]
    assert not back.files.all()
    back.wire.reset()
    send(back)
    assert back.names() == ["sent"]


def test_a_file_that_the_local_disk_has_no_room_for_is_sent_by_its_close(
    back: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    back.fill_disk(monkeypatch)
    back.write("/file", b"content")
    assert back.get("file") == b"content"
    assert not back.files.outbox.waiting()


def test_it_is_exported_as_a_directory(back: Stack, tmp_path: Path) -> None:
    back.fs.mkdir("/dir", 0o755)
    back.write("/dir/file", b"content")
    for name in (f"{back.container}/dir/file", f"{back.container}/dir"):
        done = back.files.export(name, tmp_path)
        assert done is not None
        assert not done[1]
    assert (tmp_path / back.container / "dir" / "file").read_bytes() == b"content"
    assert sorted(each.name for each in tmp_path.rglob("*")) == [back.container, "dir", "file"]


def test_without_write_back_it_is_there_at_once(stack: Stack) -> None:
    stack.fs.mkdir("/dir", 0o755)
    stack.fs.symlink("dir", "/link")
    assert stack.names() == ["dir", "link"]
