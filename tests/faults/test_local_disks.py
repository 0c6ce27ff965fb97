"""Full local disks and damaged local state: nothing acknowledged is lost, reading goes on."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.scene import TROUBLE, Scene, kill
from tests.faults.test_promise import LARGE, SMALL, refuse
from tests.support.files import BLOCK, MIB, noise, opened, refused, write_all
from tests.support.mounts import Mount

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs takes root")


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes at ``path``."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@needs_root
def test_a_full_staging_disk_is_enospc_and_nothing_acknowledged_is_lost(scene: Scene) -> None:
    with small_disk(scene.folder / "disk", 8 * MIB) as disk:
        # With so little memory for blocks they move to the disk.
        mount = scene.mount("--cache-dir", str(disk / "cache"), "--memory", "32M")
        top = mount.mountpoint
        (top / "before").write_bytes(LARGE[: 2 * MIB])
        with opened(top / "file", os.O_RDWR | os.O_CREAT) as fd:
            write_all(fd, LARGE[:MIB])
            os.fsync(fd)
            with refused(errno.ENOSPC):
                for _ in range(64):
                    write_all(fd, noise(MIB, 7))
            os.ftruncate(fd, MIB)
            os.fsync(fd)
        assert scene.store.get("before") == LARGE[: 2 * MIB]
        assert scene.store.get("file") == LARGE[:MIB]
        (top / "after").write_bytes(SMALL)
        assert scene.store.get("after") == SMALL
        assert (top / "before").read_bytes() == LARGE[: 2 * MIB]
        kill(mount)


@needs_root
def test_a_full_cache_disk_does_not_keep_anybody_from_reading(scene: Scene) -> None:
    with small_disk(scene.folder / "disk", 6 * MIB) as disk:
        mount = scene.mount("--cache-dir", str(disk / "cache"))
        (disk / "somebody else's").write_bytes(bytes(4 * MIB))
        for number in range(4):
            scene.store.put(f"file{number}", noise(BLOCK + 1000, number))
        for _ in range(2):
            for number in range(4):
                assert (mount.mountpoint / f"file{number}").read_bytes() == noise(BLOCK + 1000, number)
        space = os.statvfs(disk)
        assert space.f_bavail * space.f_frsize > 0
        kill(mount)


@needs_root
def test_write_back_without_room_for_the_journal_sends_at_once_or_says_so(scene: Scene) -> None:
    with small_disk(scene.folder / "disk", 2 * MIB) as disk:
        mount = scene.mount("--write-back=60", "--cache-dir", str(disk / "cache"))
        kept = []
        for number in range(60):
            path = mount.mountpoint / f"file{number}"
            try:
                path.write_bytes(noise(100_000, number))
                kept.append(number)
            except OSError as error:
                assert error.errno == errno.ENOSPC
        assert kept
        kill(mount)
        scene.start(mount)
        scene.settle(mount)
        for number in kept:
            assert scene.store.get(f"file{number}") == noise(100_000, number)
        kill(mount)


@pytest.mark.parametrize("why", ["removed", "full"])
def test_a_log_that_cannot_be_written_changes_no_answer(scene: Scene, why: str) -> None:
    logs = scene.folder / "logs"
    logs.mkdir()
    mount = scene.mount("--log-file", str(logs / "log"))
    shutil.rmtree(logs)
    if why == "full":
        logs.mkdir()
        (logs / "log").symlink_to("/dev/full")
    scene.proxy.faults(refuse(503))
    with refused(errno.EIO):
        (mount.mountpoint / "file").write_bytes(SMALL)
    assert (mount.mountpoint / "file").read_bytes() == SMALL
    scene.proxy.faults()
    scene.settle(mount)
    assert scene.store.get("file") == SMALL
    assert not mount.complaints()


# -- damage -----------------------------------------------------------------------------------------


def remounted(scene: Scene, data: bytes) -> tuple[Mount, list[Path]]:
    """A mount that ended, and the blocks of ``file`` in its cache."""
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(data)
    mount.unmount()
    found = [each for each in mount.cache.rglob("blocks/*/*") if each.is_file()]
    assert found, "nothing was cached"
    return mount, found


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "longer", "directory", "noise"])
def test_a_damaged_cache_block_is_fetched_again(scene: Scene, damage: str) -> None:
    mount, cached = remounted(scene, LARGE)
    for path in cached:
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 1
        elif damage == "longer":
            data += b"more"
        elif damage == "noise":
            data = bytearray(noise(len(data), 99))
        path.unlink()
        if damage == "directory":
            path.mkdir()
        else:
            path.write_bytes({"cut": data[: len(data) // 2], "empty": b""}.get(damage, bytes(data)))
    scene.start(mount)
    assert (mount.mountpoint / "file").read_bytes() == LARGE


@pytest.mark.parametrize("damage", ["empty", "noise", "page", "version", "directory"])
def test_a_damaged_metadata_store_is_begun_anew(scene: Scene, damage: str) -> None:
    mount, _ = remounted(scene, LARGE)
    (store,) = mount.cache.rglob("meta.sqlite3")
    data = bytearray(store.read_bytes())
    if damage == "empty":
        data.clear()
    elif damage == "noise":
        data = bytearray(noise(8192, 1))
    elif damage == "page":
        dice = random.Random(4)
        for _ in range(2000):
            data[dice.randrange(100, len(data))] = dice.randrange(256)
    elif damage == "version":
        data[60:64] = (9999).to_bytes(4, "big")
    for each in store.parent.glob("meta.sqlite3*"):
        each.unlink()
    if damage == "directory":
        store.mkdir()
    else:
        store.write_bytes(data)
    scene.start(mount)
    assert (mount.mountpoint / "file").read_bytes() == LARGE
    (mount.mountpoint / "file").chmod(0o600)
    (mount.mountpoint / "other").write_bytes(SMALL)
    assert scene.store.get("other") == SMALL


def test_a_damaged_journal_entry_is_set_aside_and_the_others_are_delivered(scene: Scene) -> None:
    mount = scene.mount()
    scene.proxy.faults(refuse(503))
    for number in range(3):
        with refused(*TROUBLE):
            (mount.mountpoint / f"file{number}").write_bytes(SMALL)
    kill(mount)
    scene.proxy.faults()
    entries = sorted(mount.cache.rglob("staging/*/*.json"), key=lambda path: path.stat().st_mtime_ns)
    assert len(entries) == 3
    text = entries[1].read_text()
    entries[1].write_text(text[: len(text) // 2])
    scene.start(mount)
    scene.settle(mount)
    assert len(scene.store.names()) == 2
    assert all(scene.store.get(name) == SMALL for name in scene.store.names())
    assert len(list(mount.cache.rglob("*.damaged"))) == 1
    assert "set aside" in mount.log.read_text()


def remove_cache(mount: Mount) -> None:
    """All of it, though the mount may just be writing there."""
    away = mount.cache.with_suffix(".away")
    mount.cache.rename(away)
    shutil.rmtree(away)


def test_a_mount_goes_on_when_its_cache_directory_is_removed(scene: Scene) -> None:
    mount = scene.mount()
    top = mount.mountpoint
    (top / "before").write_bytes(LARGE)
    remove_cache(mount)
    assert (top / "before").read_bytes() == LARGE
    scene.proxy.faults(refuse(503))
    with refused(errno.EIO):
        (top / "file").write_bytes(LARGE)
    kill(mount)
    scene.resume(mount)
    assert scene.store.get("file") == LARGE
    remove_cache(mount)
    mount.unmount()
    assert mount.process.returncode == 0


# -- one cache directory, two mounts ----------------------------------------------------------------


def test_two_mounts_share_a_cache_directory(scene: Scene) -> None:
    shared = str(scene.folder / "shared")
    one = scene.mount("--cache-dir", shared, "--write-back=60")
    two = scene.mount("--cache-dir", shared, name="two")
    for number in range(8):
        (one.mountpoint / f"one{number}").write_bytes(noise(300_000, number))
        (two.mountpoint / f"two{number}").write_bytes(noise(300_000, 100 + number))
    kill(two)
    scene.start(two, "two")
    assert len(scene.pending(one)) == 8, "the other mount took over what was not left behind"
    kill(one)
    kill(two)
    scene.start(two, "two")
    scene.settle(two, "two")
    for number in range(8):
        assert scene.store.get(f"one{number}") == noise(300_000, number)
        assert (two.mountpoint / f"two{number}").read_bytes() == noise(300_000, 100 + number)


def test_a_stale_mount_point_is_cleaned_by_the_next_mount(scene: Scene) -> None:
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(SMALL)
    mount.abort()
    mount.process.wait()
    with refused(errno.ENOTCONN):
        os.listdir(mount.mountpoint)
    done = scene.run("mount", scene.container, mount.mountpoint)  # goes to the background
    assert done.returncode == 0, done.stderr
    try:
        assert (mount.mountpoint / "file").read_bytes() == SMALL
    finally:
        assert scene.run("umount", mount.mountpoint).returncode == 0
