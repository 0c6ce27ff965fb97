"""Trees to the store and back, as the commands do it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pithosfs import transfer, trees
from pithosfs.blocks import hashmap_of
from pithosfs.trees import Totals
from tests.core.conftest import SMALL
from tests.core.stack import Stack


def link(stack: Stack, name: str, target: Path) -> None:
    """Make the object ``name`` a symbolic link."""
    content = os.fsencode(target)
    stack.client.put_object(
        stack.container,
        name,
        content,
        content_type="inode/symlink",
        expected=hashmap_of(content, SMALL).merkle,
    )


def down(stack: Stack, name: str, path: Path) -> Totals:
    """Download a tree."""
    items = trees.stored_items(stack.client, stack.ref(name), path)
    return trees.download(stack.client, items, lambda *_: None)


@pytest.mark.parametrize("top", ["tree", ""], ids=["a directory", "the container"])
@pytest.mark.parametrize("made", [True, False], ids=["made", "known from the names below"])
def test_a_tree_does_not_lead_out_of_where_it_is_downloaded_to(
    stack: Stack, tmp_path: Path, top: str, made: bool
) -> None:
    """Its owner, who shares it, makes a directory of what was a link when it was downloaded before."""
    outside, target = tmp_path / "outside", tmp_path / "down"
    outside.mkdir(mode=0o700)
    os.utime(outside, ns=(0, 1))
    prefix = f"{top}/" if top else ""
    link(stack, f"{prefix}a", outside)
    stack.put(f"{prefix}other")
    assert not down(stack, top, target).failed
    assert (target / "a").is_symlink()
    stack.client.delete(stack.container, f"{prefix}a")
    if made:
        stack.put(f"{prefix}a", content_type="application/directory; mode=0777; mtime=1.5")
    stack.put(f"{prefix}a/authorized_keys", b"mine")
    stack.put(f"{prefix}a/deeper/file", b"mine")
    assert not down(stack, top, target).failed
    status = outside.stat()
    assert (list(outside.iterdir()), stat.S_IMODE(status.st_mode), status.st_mtime_ns) == ([], 0o700, 1)
    assert not (target / "a").is_symlink()
    assert (target / "a" / "authorized_keys").read_bytes() == b"mine"
    assert (target / "a" / "deeper" / "file").read_bytes() == b"mine"


def test_a_link_to_a_directory_that_the_user_names_is_followed(stack: Stack, tmp_path: Path) -> None:
    """As cp does: where a download goes is up to whoever calls for it."""
    real, named = tmp_path / "real", tmp_path / "named"
    real.mkdir()
    named.symlink_to(real)
    stack.put("tree", content_type="application/directory; mode=0750")
    stack.put("tree/file", b"content")
    assert not down(stack, "tree", named).failed
    assert not down(stack, "tree", named / "again").failed
    assert named.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o750
    assert (real / "file").read_bytes() == (real / "again" / "file").read_bytes() == b"content"


@pytest.mark.parametrize("time_ns", [0, -1])
def test_a_time_of_1970_comes_back_with_a_downloaded_tree(stack: Stack, tmp_path: Path, time_ns: int) -> None:
    (tmp_path / "up" / "sub").mkdir(parents=True)
    (tmp_path / "up" / "file").write_bytes(b"content")
    (tmp_path / "up" / "link").symlink_to("file")
    for each in ("sub", "file", "link"):
        os.utime(tmp_path / "up" / each, ns=(time_ns, time_ns), follow_symlinks=False)
    top, left_out = stack.ref("tree"), list[str]()
    items = list(trees.local_items(tmp_path / "up", top, left_out))
    assert not trees.upload(stack.client, items, top, lambda *_: None).failed + left_out
    for _ in range(2):
        done = down(stack, "tree", tmp_path / "down")
        assert not done.failed
        for each in ("sub", "file", "link"):
            assert (tmp_path / "down" / each).lstat().st_mtime_ns == time_ns
    assert done.skipped == 2, "what is there is passed over"


def test_a_private_file_is_private_while_it_is_downloaded(stack: Stack, tmp_path: Path) -> None:
    target, part, modes = tmp_path / "down", transfer.part_of(tmp_path / "down"), set()
    stack.put("secret", os.urandom(8 * SMALL), content_type="text/plain; mode=0600")
    part.touch(0o644)  # as an earlier version left it

    def told(step: str, done: int, more: int) -> None:
        modes.update(stat.S_IMODE(each.stat().st_mode) for each in (target, part) if each.exists())

    items = trees.stored_items(stack.client, stack.ref("secret"), target)
    assert not trees.download(stack.client, items, told).failed
    assert modes == {0o600}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not part.exists()


def test_a_file_that_vanishes_while_a_tree_is_listed_does_not_stop_the_others(
    stack: Stack, tmp_path: Path
) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()
    left_out: list[str] = []
    listing = trees.local_items(tmp_path, stack.ref("tree"), left_out)
    items = [next(listing), next(listing)]
    (tmp_path / "b").unlink()
    items += [next(listing), next(listing)]
    (tmp_path / "d").rmdir()
    items += listing
    assert [each.path.name for each in items] == [tmp_path.name, "a", "c", "d"]
    assert left_out == [f"{tmp_path / each}: No such file or directory" for each in "bd"]
    (tmp_path / "c").unlink()
    done = trees.upload(stack.client, items, stack.ref("tree"), lambda *_: None)
    assert done.failed == [f"{tmp_path / 'c'}: No such file or directory"]
    assert "tree/a" in stack.names()


@pytest.mark.parametrize("target", [b"a\0b", b""], ids=["a NUL", "nothing"])
def test_a_link_to_what_is_no_path_does_not_stop_the_others(
    stack: Stack, tmp_path: Path, target: bytes
) -> None:
    for name in "abcdefgh":
        stack.put(f"tree/{name}", b"content", content_type="text/plain; mtime=-999999999999")
    link(stack, "tree/link", Path("before"))
    assert not down(stack, "tree", tmp_path / "down").failed
    stack.put("tree/0", b"content")
    stack.put("tree/link", target, content_type="inode/symlink")
    (failed,) = down(stack, "tree", tmp_path / "down").failed
    assert "link" in failed
    assert (tmp_path / "down" / "link").readlink() == Path("before")
    assert (tmp_path / "down" / "0").read_bytes() == b"content"


def test_nobody_gets_a_setuid_program_by_a_download(stack: Stack, tmp_path: Path) -> None:
    stack.put("tree/program", b"content", "text/plain; mode=6755")
    stack.put("tree/dir", b"", "application/directory; mode=2755")
    stack.put("tree/dir/file", b"content")
    items = trees.stored_items(stack.client, stack.ref("tree"), tmp_path / "down")
    assert not trees.download(stack.client, items, lambda *_: None).failed
    modes = {each: stat.S_IMODE((tmp_path / "down" / each).stat().st_mode) for each in ("program", "dir")}
    assert modes == {"program": 0o755, "dir": 0o755}
