"""Several writers of one file: nobody's acknowledged content is lost."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.faults.soak import lost_updates
from tests.support.files import MIB, noise, opened, refused
from tests.support.kamaki import Kamaki, kamaki_program
from tests.support.processes import python
from tests.support.server import Server
from tests.support.waiting import eventually

OURS, THEIRS, BASE = noise(50_000, 1), noise(60_000, 2), noise(70_000, 3)


_WRITER = f"""
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC)
os.pwrite(fd, bytes.fromhex('{OURS.hex()}'), 0)
print("written")
sys.stdin.readline()
try:
    os.close(fd)
except OSError as error:
    print(error.errno)
"""


def conflict_copies(names: list[str]) -> list[str]:
    return [each for each in names if "(conflict " in each]


@pytest.mark.parametrize("existed", [True, False], ids=["changed by both", "made by both"])
def test_two_mounts_write_one_file_and_both_contents_stay(scene: Scene, existed: bool) -> None:
    one, two = scene.mount(), scene.mount(name="two")
    if existed:
        scene.store.put("file.txt", BASE)
        time.sleep(0.6)
    assert (two.mountpoint / "file.txt").exists() == existed
    flags = os.O_RDWR | os.O_CREAT
    with refused(errno.ESTALE), opened(one.mountpoint / "file.txt", flags) as mine:
        os.pwrite(mine, OURS, 0)
        with opened(two.mountpoint / "file.txt", flags) as yours:
            os.pwrite(yours, THEIRS, 0)
    names = scene.store.names()
    (copy,) = conflict_copies(names)
    assert copy.startswith("file (conflict ")
    assert copy.endswith(".txt")
    rest = BASE[50_000:] if existed else b""
    assert scene.store.get(copy) == OURS + rest
    assert scene.store.get("file.txt") == THEIRS + (BASE[60_000:] if existed else b"")
    assert scene.status(one)["conflicts"][0]["copy"].endswith(copy)
    eventually(lambda: copy in os.listdir(one.mountpoint), what="the conflict copy in the mount")
    assert scene.pending(one) == []


@pytest.mark.parametrize("existed", [True, False], ids=["changed by both", "made by both"])
def test_an_upload_by_the_real_kamaki_in_between_is_not_overwritten(
    scene: Scene, tmp_path: Path, existed: bool
) -> None:
    program = kamaki_program()
    (tmp_path / "kamaki").mkdir()
    kamaki = Kamaki(program, scene.server.config, tmp_path / "kamaki")
    (kamaki.home / "theirs").write_bytes(THEIRS)
    mount = scene.mount()
    path = mount.mountpoint / "file"
    if existed:
        path.write_bytes(BASE)
    # In a process of its own: starting kamaki closes a copy of what is open here, and a close sends.
    writer = python(_WRITER, path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    kamaki("file", "upload", "theirs", f"/{scene.container}/file", *(["-f"] if existed else []))
    assert writer.communicate("close\n", timeout=60)[0] == f"{errno.ESTALE}\n"
    (copy,) = conflict_copies(scene.store.names())
    kamaki("file", "download", f"/{scene.container}/{copy}", "copy")
    assert (kamaki.home / "copy").read_bytes() == OURS
    assert scene.store.get("file") == THEIRS
    eventually(lambda: path.read_bytes() == THEIRS, what="kamaki's content in the mount")


def test_a_change_by_another_client_in_between_is_not_overwritten(scene: Scene) -> None:
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(BASE)
    with refused(errno.ESTALE), opened(mount.mountpoint / "file", os.O_RDWR) as fd:
        os.pwrite(fd, OURS, 0)
        scene.store.put("file", THEIRS)
    assert scene.store.get("file") == THEIRS
    (copy,) = conflict_copies(scene.store.names())
    assert scene.store.get(copy) == OURS + BASE[50_000:]
    eventually(lambda: (mount.mountpoint / "file").read_bytes() == THEIRS, what="the other's content")


def test_a_file_deleted_by_somebody_else_is_made_anew(scene: Scene) -> None:
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(BASE)
    with opened(mount.mountpoint / "file", os.O_RDWR) as fd:
        os.pwrite(fd, OURS, 0)
        scene.store.delete("file")
    assert scene.store.get("file") == OURS + BASE[50_000:]


def test_a_conflict_met_while_the_network_was_down_keeps_both(scene: Scene) -> None:
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(BASE)
    scene.proxy.down()
    with refused(errno.EIO, errno.ETIMEDOUT):
        (mount.mountpoint / "file").write_bytes(OURS)
    scene.store.put("file", THEIRS)
    scene.proxy.up()
    scene.settle(mount)
    (copy,) = conflict_copies(scene.store.names())
    assert (scene.store.get("file"), scene.store.get(copy)) == (THEIRS, OURS)


@pytest.mark.parametrize("options", [(), ("--racy-conditions",)], ids=["atomic", "racy"])
def test_many_writers_of_one_file_lose_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    server = Server(tmp_path / "server", *options)
    server.start()
    try:
        result = lost_updates(tmp_path, server, seconds=4, mounts=2, writers=6, least=5)
    finally:
        server.stop()
    print(result)
    assert result.acknowledged > 5
    assert result.lost == []
    assert threading.active_count() < 50


@pytest.mark.parametrize("size", [5, 13 * MIB])
def test_a_version_that_is_being_read_is_the_one_shown(scene: Scene, size: int) -> None:
    """Size and content stay those of one version, for who reads it and for who opens it meanwhile."""
    mount = scene.mount()
    path = mount.mountpoint / "file"
    old, new = noise(11 * MIB, 1), noise(size, 2)
    scene.store.put("file", old)
    eventually(path.exists, what="the file")
    with path.open("rb", buffering=0) as file:
        read = file.read(MIB)
        scene.store.put("file", new)
        while piece := file.read(MIB):
            read += piece
            time.sleep(0.2)  # together longer than listings are believed
            assert path.stat().st_size == len(old)
    assert read == old
    eventually(lambda: path.stat().st_size == size, what="the new size")
    assert path.read_bytes() == new


@pytest.mark.xfail(strict=True, reason="the kernel has one size for a name and all its open handles")
def test_a_reader_sees_its_version_to_the_end_though_a_shorter_one_is_looked_at(scene: Scene) -> None:
    """The kernel learns the new size by name; the open handle must not take it for its own end."""
    mount = scene.mount()
    path = mount.mountpoint / "file"
    path.write_bytes(noise(2_000_000, 1))
    with path.open("rb", buffering=0) as file:
        read = file.read(100_000)
        scene.store.put("file", b"short")
        eventually(lambda: path.stat().st_size == 5, what="the new size")
        with path.open("rb") as other:
            assert other.read() == b"short"
        while piece := file.read(100_000):
            read += piece
    assert read == noise(2_000_000, 1)


def test_a_reader_sees_its_version_to_the_end_though_a_longer_one_is_looked_at(scene: Scene) -> None:
    mount = scene.mount()
    path = mount.mountpoint / "file"
    path.write_bytes(noise(200_000, 1))
    with path.open("rb", buffering=0) as file:
        read = file.read(100_000)
        scene.store.put("file", noise(300_000, 2))
        eventually(lambda: path.stat().st_size == 300_000, what="the new size")
        while piece := file.read(100_000):
            read += piece
    assert read == noise(200_000, 1)


def test_size_and_content_are_of_one_version(scene: Scene) -> None:
    """The kernel was told the old size a moment ago; what is opened now is the new version."""
    mount = scene.mount()
    path = mount.mountpoint / "file"
    old, new = noise(100, 1), noise(5000, 2)
    scene.store.put("file", old)
    eventually(path.exists, what="the file")
    for _ in range(5):
        scene.store.put("file", old)
        eventually(lambda: path.stat().st_size == 100, what="the old size")
        scene.store.put("file", new)
        time.sleep(0.55)
        assert not (mount.mountpoint / "absent").exists()  # has the directory listed anew
        assert path.read_bytes() in (old, new)
