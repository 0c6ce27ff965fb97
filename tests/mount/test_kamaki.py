"""What the real kamaki writes the mount reads, and the other way round, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pithosfs import blocks
from tests.support.disks import MountedDisk
from tests.support.kamaki import PACKAGE, Kamaki, kamaki_program

SIZES = [0, 1, 4096, blocks.BLOCK_SIZE, 2 * blocks.BLOCK_SIZE + 12345]


@pytest.fixture
def kamaki(mounted: MountedDisk, tmp_path: Path, record_property: Callable[[str, object], None]) -> Kamaki:
    program = kamaki_program()
    record_property("summary", f"ran with the real {PACKAGE}")
    home = tmp_path / "home"
    home.mkdir()
    return Kamaki(program, mounted.site.server.config, home)


@pytest.mark.parametrize("size", SIZES)
def test_what_kamaki_uploads_is_read_in_the_mount(mounted: MountedDisk, kamaki: Kamaki, size: int) -> None:
    data = os.urandom(size)
    (kamaki.home / "file").write_bytes(data)
    kamaki("file", "upload", "file", f"/pithos/{mounted.name}/file")
    found = mounted.second() / "file"
    assert found.read_bytes() == data
    assert found.stat().st_size == size


@pytest.mark.parametrize("size", SIZES)
def test_what_the_mount_writes_kamaki_downloads(mounted: MountedDisk, kamaki: Kamaki, size: int) -> None:
    data = os.urandom(size)
    (mounted.path / "file").write_bytes(data)
    kamaki("file", "download", f"/pithos/{mounted.name}/file", "back")
    assert (kamaki.home / "back").read_bytes() == data
    headers = mounted.store.head(f"{mounted.name}/file")
    assert headers["X-Object-Hash"] == blocks.hashmap_of(data).merkle
    assert headers["X-Object-Hash"] in kamaki("file", "info", f"/pithos/{mounted.name}/file")


def test_directories_and_renames_are_the_same_from_both_sides(mounted: MountedDisk, kamaki: Kamaki) -> None:
    (mounted.path / "ours").mkdir()
    (mounted.path / "ours" / "file").write_bytes(b"content")
    kamaki("file", "mkdir", f"/pithos/{mounted.name}/theirs")
    kamaki("file", "move", f"/pithos/{mounted.name}/ours/file", f"/pithos/{mounted.name}/theirs/moved")
    second = mounted.second()
    assert sorted(each.name for each in second.iterdir()) == ["ours", "theirs"]
    assert (second / "ours").is_dir()
    assert list((second / "ours").iterdir()) == []
    assert (second / "theirs" / "moved").read_bytes() == b"content"
