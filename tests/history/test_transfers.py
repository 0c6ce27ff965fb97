"""Trees to the store and back, and the cache on disk."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pithosfs import cli
from pithosfs.blocks import block_hash
from pithosfs.disk import DiskCache
from tests.history.conftest import Pithosfs, next_second
from tests.support.disks import MountedDisk
from tests.support.files import noise
from tests.support.server import Server, environment
from tests.support.waiting import eventually

BLOCK = 4 << 20


def listed(top: Path) -> dict[str, tuple[object, ...]]:
    """Every path below ``top``: what it is, its content or target, mode and time."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            found[str(path.relative_to(top))] = ("link", os.readlink(path))
        elif path.is_dir():
            found[str(path.relative_to(top))] = ("directory", status.st_mode, status.st_mtime_ns)
        else:
            found[str(path.relative_to(top))] = (path.read_bytes(), status.st_mode, status.st_mtime_ns)
    return found


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A tree with all there is."""
    top = tmp_path / "local"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    content = os.urandom(2 * BLOCK + 77)  # the server has none of these blocks from elsewhere
    (top / "large").write_bytes(content)
    (top / "sub" / "same").write_bytes(content)
    (top / "sub" / "nothing").touch()
    (top / "link").symlink_to("sub/deep")
    for number in range(20):
        (top / "sub" / "deep" / f"{number} ä.txt").write_bytes(b"%d" % number)
    (top / "sub" / "nothing").chmod(0o640)
    os.utime(top / "large", ns=(0, 1_400_000_000_000000001))
    os.utime(top / "sub", ns=(0, 1_300_000_000_000000001))
    return top


def test_a_tree_goes_up_and_comes_back_as_it_was(
    mounted: MountedDisk, pithosfs: Pithosfs, local: Path, tmp_path: Path
) -> None:
    before = listed(local)
    target = f"pithos/{mounted.name}/tree"
    # First and alone: of two that are alike and sent at the same time, both travel.
    assert "8M sent" in pithosfs("upload", local / "large", f"pithos/{mounted.name}/known")
    assert re.search(r"\b\d+B sent, 16M were there", pithosfs("upload", local, mounted.path / "tree"))
    assert listed(mounted.path / "tree") == before
    told = mounted.store.head(f"{mounted.name}/tree/large")["X-Object-Meta-Mtime"]
    assert told == "1400000000.000000001"  # as rclone writes and reads it
    assert "0B sent" in pithosfs("upload", local, target)
    pithosfs("download", target, tmp_path / "back")
    assert listed(tmp_path / "back") == before
    with mounted.requests() as seen:
        assert "(24 files unchanged)" in pithosfs("download", target, tmp_path / "back")
    assert sum(each.bytes_out for each in seen) < 1 << 20
    assert listed(tmp_path / "back") == before


def test_where_things_go(mounted: MountedDisk, pithosfs: Pithosfs, local: Path, tmp_path: Path) -> None:
    here = mounted.path
    pithosfs("upload", local / "sub" / "deep", local / "large", f"{here}/into/")
    assert sorted(os.listdir(here / "into")) == ["deep", "large"]
    pithosfs("upload", local / "large", here / "renamed")
    pithosfs("upload", local / "large", here / "into" / "deep")
    assert (here / "renamed").read_bytes() == (here / "into" / "deep" / "large").read_bytes()
    assert pithosfs.refused("upload", local / "large", local / "sub", here / "into")[0] == 2
    assert pithosfs.refused("upload", tmp_path / "nothing", here / "x")[0] == 1
    assert pithosfs.refused("upload", local, "nowhere")[0] == 5
    (tmp_path / "d").mkdir()
    pithosfs("download", here / "into" / "large", tmp_path / "d")
    pithosfs("download", here / "into", f"{tmp_path}/d/")
    assert sorted(os.listdir(tmp_path / "d")) == ["into", "large"]
    assert pithosfs.refused("download", here / "nothing", tmp_path / "d")[0] == 5


def test_no_directory_is_uploaded_into_a_file(mounted: MountedDisk, pithosfs: Pithosfs, local: Path) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"content")
    done = pithosfs.run("upload", local, f"pithos/{mounted.object(file)}")
    assert (done.returncode, done.stdout.split(":")[0]) == (1, "uploaded 0B in 0 files")
    assert f"{mounted.object(file)} is a file; nothing was uploaded into it" in done.stderr
    for target in (file / "new", f"{file}/"):
        code, line = pithosfs.refused("upload", local, target)
        assert (code, f"{mounted.object(file)} is a file" in line) == (1, True)
    assert mounted.store.names(mounted.object(file)) == [mounted.object(file)]
    (mounted.path / "top").mkdir()
    (mounted.path / "top" / "sub").touch()
    assert pithosfs.run("upload", local, mounted.path / "top").returncode == 1
    assert sorted(os.listdir(mounted.path / "top")) == ["empty", "large", "link", "sub"]
    assert mounted.store.names(f"{mounted.name}/top/sub") == [f"{mounted.name}/top/sub"]


def test_what_cannot_be_stored_is_told(mounted: MountedDisk, pithosfs: Pithosfs, local: Path) -> None:
    os.mkfifo(local / "sub" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(local / "sock"))
    done = pithosfs.run("upload", local, "/dev/null", f"pithos/{mounted.name}/")
    assert done.returncode == 1
    assert done.stdout.startswith("uploaded 16M in 24 files")
    assert set(done.stderr.splitlines()) == {
        f"  failed: {local}/sub/pipe: a FIFO cannot be stored",
        f"  failed: {local}/sock: a socket cannot be stored",
        "  failed: /dev/null: a device cannot be stored",
    }
    assert pithosfs.run("upload", local / "sub" / "pipe", f"pithos/{mounted.name}/x").returncode == 1


def test_what_was_can_be_downloaded(
    mounted: MountedDisk, pithosfs: Pithosfs, local: Path, tmp_path: Path
) -> None:
    before = listed(local)
    pithosfs("upload", local, mounted.path / "tree")
    when = next_second()
    shutil.rmtree(mounted.path / "tree")
    pithosfs("download", mounted.path / "tree", tmp_path / "then", "--at", when)
    assert listed(tmp_path / "then") == before


def test_the_only_file_of_a_directory_is_still_in_one(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    mounted.store.put(f"{mounted.name}/tree/file", b"x")  # nobody made the directory
    pithosfs("download", f"pithos/{mounted.name}/tree", tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_link_is_not_followed_because_the_tree_is_called_like_it(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    """It may be what an earlier download made of the same object."""
    outside, target = tmp_path / "outside", f"pithos/{mounted.name}/tree"
    outside.mkdir()
    (mounted.path / "tree").symlink_to(outside)
    (tmp_path / "here").mkdir()
    pithosfs("download", target, tmp_path / "here")
    assert (tmp_path / "here" / "tree").readlink() == outside
    (mounted.path / "tree").unlink()
    (mounted.path / "tree").mkdir()
    (mounted.path / "tree" / "file").write_bytes(b"x")
    assert "is a symbolic link" in pithosfs.refused("download", target, f"{tmp_path}/here/")[1]
    assert not list(outside.iterdir())
    pithosfs("download", target, tmp_path / "here" / "tree")
    assert (outside / "file").read_bytes() == b"x"


def test_a_download_as_of_before_1970_brings_nothing(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    mounted.store.put(f"{mounted.name}/file", b"of today")
    for when, code in (("60 years ago", 2), ("@0", 5)):
        said = pithosfs.refused("download", "--at", when, f"pithos/{mounted.name}/file", tmp_path / "down")
        assert said[0] == code, said
    assert not list(tmp_path.iterdir())


def test_a_broken_off_upload_goes_on(mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path) -> None:
    top = tmp_path / "big"
    top.mkdir()
    for number in range(12):
        (top / str(number)).write_bytes(noise(2 * BLOCK, seed=100 + number))
    target = f"pithos/{mounted.name}/big"
    process = subprocess.Popen(
        [sys.executable, "-m", "pithosfs", "upload", top, target],
        env=pithosfs.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: mounted.store.names(f"{mounted.name}/big/"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(mounted.store.names(f"{mounted.name}/big/")) - 1
    said = pithosfs("upload", top, target)
    sent = re.search(r"(\d+)M sent", said)
    assert sent is None or int(sent[1]) <= 96 - 8 * max(done, 0)
    for number in range(12):
        assert mounted.store.get(f"{mounted.name}/big/{number}") == noise(2 * BLOCK, seed=100 + number)


@pytest.mark.parametrize("command", ["upload", "download"])
def test_ctrl_c_ends_what_is_under_way(tmp_path: Path, command: str) -> None:
    """The files that were begun are not finished first: the server stands still meanwhile."""
    server = Server(tmp_path / "store")
    server.start()
    process = None
    try:
        here = tmp_path / "file"
        here.write_bytes(noise(3 * BLOCK, seed=77))
        if command == "download":
            server.store().put("file", here.read_bytes())
            here.unlink()
        words = (here, "pithos/file") if command == "upload" else ("pithos/file", here)
        process = subprocess.Popen(
            [sys.executable, "-c", STOPPED, str(server.pid), command, *words],
            env={**os.environ, **environment(server, tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130  # a request would wait for a minute
        assert process.stderr.read() == f"pithosfs {command}: interrupted\n"
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.stop()
        if process is not None:
            process.kill()
            process.wait()


def test_ctrl_c_ends_warming(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    with (mounted.path / "large").open("wb") as file:
        file.truncate(1 << 36)
    program = (
        "import sys; from pithosfs import cli; from pithosfs.cli import warm; read = warm._read\n"
        "def begin(*words):\n  print('begun', file=sys.stderr, flush=True); read(*words)\n"
        "warm._read = begin; sys.exit(cli.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "warm", mounted.path / "large"],
        env={**os.environ, **pithosfs.home},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()


STOPPED = """
import os, signal, sys
from pithosfs import cli, transfer

def stopped(work):
    def begin(*words, **options):
        os.kill(int(sys.argv[1]), signal.SIGSTOP)
        print("begun", file=sys.stderr, flush=True)
        return work(*words, **options)
    return begin

transfer.upload, transfer.download = map(stopped, (transfer.upload, transfer.download))
sys.exit(cli.main(sys.argv[2:]))
"""


def test_nothing_uploaded_takes_the_place_of_something_else(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    store, top = mounted.store, mounted.name
    for name in ("file", "virtual/x"):
        store.put(f"{top}/{name}", b"there")
    store.put(f"{top}/directory", b"", "application/directory")
    (tmp_path / "tree" / "file").mkdir(parents=True)
    for name in ("virtual", "directory", "good"):
        (tmp_path / "tree" / name).write_bytes(b"new")
    done = pithosfs.run("upload", tmp_path / "tree", f"pithos/{top}")
    assert done.returncode == 1
    assert sorted(done.stderr.splitlines()) == [
        f"  failed: {tmp_path}/tree/directory: pithos/{top}/directory is a directory",
        f"  failed: {tmp_path}/tree/file: pithos/{top}/file is a file; nothing was uploaded into it",
        f"  failed: {tmp_path}/tree/virtual: pithos/{top}/virtual is a directory",
    ]
    assert (store.get(f"{top}/file"), store.get(f"{top}/good")) == (b"there", b"new")
    assert not store.exists(f"{top}/virtual")
    code, said = pithosfs.refused(
        "upload", tmp_path / "tree" / "good", tmp_path / "tree" / ".." / "tree" / "good", f"pithos/{top}/"
    )
    assert (code, "would both become" in said) == (2, True)


def test_a_cached_block_that_goes_while_it_is_verified_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mount makes room for others at any time."""
    cache = DiskCache(tmp_path / "account" / "blocks", limit=BLOCK)
    for data in (b"one", b"two", b"three"):
        cache.put(block_hash(data), data)
    listed_then = DiskCache.hashes

    def listed_and_gone(self: DiskCache) -> list[str]:
        found = listed_then(self)
        next((tmp_path / "account" / "blocks").rglob(block_hash(b"one"))).unlink()
        next((tmp_path / "account" / "blocks").rglob(block_hash(b"two"))).write_bytes(b"not two")
        return found

    monkeypatch.setattr(DiskCache, "hashes", listed_and_gone)
    assert cli.main(["cache", "verify", "--cache-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "2 blocks checked, 1 damaged and removed\n"


def test_a_file_where_a_directory_should_be(mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path) -> None:
    for name in ("a/x", "b"):
        mounted.store.put(f"{mounted.name}/{name}", name.encode())
    goal = tmp_path / "goal"
    goal.mkdir()
    (goal / "a").write_bytes(b"in the way")
    done = pithosfs.run("download", f"pithos/{mounted.name}", goal)
    assert done.returncode == 1
    assert f"failed: {goal}/a: File exists" in done.stderr
    assert {each.name: each.read_bytes() for each in goal.iterdir()} == {"a": b"in the way", "b": b"b"}


def test_one_failure_does_not_stop_the_others(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    pithosfs("upload", __file__, mounted.path / "file")
    pithosfs("upload", __file__, mounted.path / "other")
    (tmp_path / "goal" / "file").mkdir(parents=True)  # in the way
    done = pithosfs.run("download", mounted.path, tmp_path / "goal")
    assert done.returncode == 1
    assert f"failed: {tmp_path}/goal/file" in done.stderr
    assert (tmp_path / "goal" / "other").read_bytes() == Path(__file__).read_bytes()


def test_the_cache_is_shown_verified_and_pruned(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    (mounted.path / "file").write_bytes(noise(3 * BLOCK, seed=1))
    mounted.remount(fresh_cache=True)
    assert "12M" in pithosfs("warm", mounted.path / "file")
    mounted.mount.unmount()
    where = ("--cache-dir", str(mounted.mount.cache))
    assert "12M" in pithosfs("cache", "show", *where)
    assert "3 blocks checked, 0 damaged" in pithosfs("cache", "verify", *where)
    block = next(mounted.mount.cache.glob("*/blocks/*/*"))
    block.write_bytes(b"damaged")
    done = pithosfs.run("cache", "verify", *where)
    assert done.returncode == 1
    assert "1 damaged and removed" in done.stdout
    assert not block.exists()
    assert "4M freed" in pithosfs("cache", "prune", "--to", "5M", *where)
    assert "4M freed" in pithosfs("cache", "prune", *where)
    assert "nothing is cached" in pithosfs("cache", "show", "--cache-dir", tmp_path / "none")
    mounted.mount.start()
    assert (mounted.path / "file").read_bytes() == noise(3 * BLOCK, seed=1)


def test_a_file_that_is_called_like_the_unfinished_other_one(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    for name in ("film", "film.part"):
        mounted.store.put(f"{mounted.name}/{name}", name.encode())
    here = tmp_path / "here"
    here.mkdir()
    (here / "film.part").write_bytes(b"by another program")
    pithosfs("download", f"pithos/{mounted.name}/film", here / "film")
    assert (here / "film.part").read_bytes() == b"by another program"
    (here / "film.part").unlink()
    pithosfs("download", f"pithos/{mounted.name}", here)
    assert {each.name: each.read_bytes() for each in here.iterdir()} == {
        "film": b"film",
        "film.part": b"film.part",
    }
