"""The staging area among several processes, some of which die."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from pithosfs.errors import NoSpace
from pithosfs.scratch import Memory, Room, pack_bytes, unpack_bytes
from pithosfs.staging import Staging, entries
from tests.support.processes import run_together

#: Begins and ends staging areas in a common directory while others look for what dead processes left.
COMING_AND_GOING = """
import sys
from pathlib import Path
from pithosfs.scratch import pack_bytes
from pithosfs.staging import Staging
print("ready")
input()
for _ in range(150):
    staging = Staging(Path(sys.argv[1]))
    assert not list(staging.adopt())
    scratch = staging.scratch()
    scratch.write(0, b"data")
    staging.record("a" * 32, pack_bytes(scratch.key, scratch.persist()))
    staging.tried("a" * 32, [])
    staging.forget("a" * 32)
    scratch.discard()
    staging.close()
print("done")
"""


def test_processes_that_start_together_do_not_take_each_others_directory(tmp_path: Path) -> None:
    assert run_together(COMING_AND_GOING, [[tmp_path]] * 4) == ["done"] * 4
    assert os.listdir(tmp_path) == []


def leave(root: Path, key: str, data: bytes, *, in_file: bool = True) -> Path:
    """What a process that died leaves behind: its data in a file, or in the entry."""
    staging = Staging(root, Memory(Room(0), Room(0)) if in_file else None)
    scratch = staging.scratch()
    scratch.write(0, data)
    staging.record(key, pack_bytes(scratch.key, scratch.persist()))
    staging.tried(key, [("hash", 7)])
    assert len(list(staging.directory.glob("*.data"))) == in_file
    assert staging._held is not None
    os.close(staging._held)
    return staging.directory


def adopted(root: Path) -> tuple[Staging, dict[str, bytes]]:
    """Take over what is left; the data by key."""
    staging = Staging(root)
    found = {}
    for key, entry, scratch in staging.adopt():
        assert entry["attempts"] == [["hash", 7]]
        view = bytearray(100)
        scratch.read_into(0, memoryview(view))
        found[key] = bytes(view).rstrip(b"\0")
    return staging, found


@pytest.mark.parametrize("in_file", [True, False])
@pytest.mark.parametrize("done", range(5))
def test_taking_over_can_itself_be_interrupted(
    tmp_path: Path, done: int, in_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that takes over dies after ``done`` of its changes to the directories."""
    leave(tmp_path, "a" * 32, b"one", in_file=in_file)
    left = done

    def step(real):  # type: ignore[no-untyped-def]
        def stepping(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal left
            if not left:
                raise KeyboardInterrupt  # nothing below here expects it: all stays as it is
            left -= 1
            return real(*args, **kwargs)

        return stepping

    first = Staging(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", step(os.link))
        patch.setattr(Path, "rename", step(Path.rename))
        patch.setattr(Path, "unlink", step(Path.unlink))
        with contextlib.suppress(KeyboardInterrupt):
            list(first.adopt())
    assert first._held is not None
    os.close(first._held)
    _, found = adopted(tmp_path)
    assert found == {"a" * 32: b"one"}


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"format": 99}',
        b'{"format": 1, "scratch": "../../../etc/passwd"}',
        b'{"format": 1, "scratch": 7}',
        b'{"format": 1, "scratch": "' + b"f" * 32 + b'"}',
        b'{"format": 2, "scratch": null, "bytes": "?"}',
        b'{"format": 2, "scratch": null, "bytes": 7}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_entry_is_set_aside_and_the_others_are_recovered(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    one = leave(tmp_path, "a" * 32, b"one")
    (one / ("0" * 32 + ".json")).write_bytes(damage)
    leave(tmp_path, "b" * 32, b"two", in_file=False)
    _, found = adopted(tmp_path)
    assert found == {"a" * 32: b"one", "b" * 32: b"two"}
    assert [path.read_bytes() for path in tmp_path.rglob("*.damaged")] == [damage]
    assert "set aside" in caplog.text


def test_an_entry_that_was_only_begun_is_no_entry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who died over it had promised nothing yet."""
    one = leave(tmp_path, "a" * 32, b"one")
    (one / ("0" * 32 + ".json")).touch()
    assert [each.path.stem for each in entries(tmp_path)] == ["a" * 32]
    _, found = adopted(tmp_path)
    assert found == {"a" * 32: b"one"}
    assert not list(tmp_path.rglob("*.damaged"))
    assert not caplog.records


@pytest.mark.parametrize("before", [False, True])
def test_an_entry_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path)
    if before:
        staging.record("a" * 32, pack_bytes(None, b"before"))

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NoSpace):
            staging.record("a" * 32, pack_bytes(None, b"after"))
    names = {path.name for path in staging.directory.iterdir()}
    assert names == {"lock"} | ({"a" * 32 + ".json"} if before else set())
    assert [unpack_bytes(each.entry or {})[1] for each in entries(tmp_path)] == [b"before"] * before


def test_a_directory_that_was_removed_is_there_again(tmp_path: Path) -> None:
    """It is somewhere below ~/.cache, which people empty."""
    root = tmp_path / "root"
    staging = Staging(root, Memory(Room(0), Room(0)))
    shutil.rmtree(root)
    scratch = staging.scratch()
    scratch.write(0, b"later")
    staging.record("a" * 32, pack_bytes(scratch.key, scratch.persist()))
    shutil.rmtree(root)
    staging.record("b" * 32, pack_bytes(None, b"latest"))
    assert [each.held for each in entries(root)] == [True]
    assert not list(Staging(root).adopt()), "it is in use"
    assert staging._held is not None
    os.close(staging._held)  # as the end of a process does
    assert [key for key, _, _ in Staging(root).adopt()] == ["b" * 32]


def test_data_that_was_removed_is_not_promised(tmp_path: Path) -> None:
    staging = Staging(tmp_path, Memory(Room(0), Room(0)))
    scratch = staging.scratch()
    scratch.write(0, b"data")
    shutil.rmtree(staging.directory)
    staging.scratch()  # another file is opened
    with pytest.raises(NoSpace, match="somebody has removed"):
        scratch.persist()
    view = memoryview(bytearray(4))
    scratch.read_into(0, view)
    assert bytes(view) == b"data"


def test_nothing_is_left_to_remove_where_somebody_has_removed_it(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "root")
    shutil.rmtree(tmp_path / "root")
    staging.close()


def test_everything_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        leave(tmp_path / "root", "a" * 32, b"one")
        leave(tmp_path / "root", "b" * 32, b"two", in_file=False)
    finally:
        os.umask(before)
    for path in (tmp_path / "root").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o700
    assert json.loads(next(tmp_path.rglob("*.json")).read_text())["format"] == 2


def test_an_entry_of_the_version_before_is_read(tmp_path: Path) -> None:
    directory = leave(tmp_path, "a" * 32, b"one")
    (path,) = directory.glob("*.json")
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({"format": 1, "scratch": entry["scratch"]}))
    _, found = adopted(tmp_path)
    assert found == {"a" * 32: b"one"}
