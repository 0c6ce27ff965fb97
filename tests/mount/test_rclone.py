"""rclone on the same container: what each of the two writes, the other sees as it is."""

from __future__ import annotations

import json
import os
import shutil
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.support.disks import MountedDisk
from tests.support.files import BLOCK, noise, opened, write_all
from tests.support.processes import run

pytestmark = pytest.mark.skipif(not shutil.which("rclone"), reason="rclone is not installed")


class Rclone:
    """rclone with the server as a remote; its token is in its environment alone."""

    def __init__(self, mounted: MountedDisk, home: Path) -> None:
        parser = RawConfigParser(strict=False)
        parser.read(mounted.site.server.config)
        cloud = dict(parser.items('cloud "local"'))
        store = mounted.store.url.rpartition("/")[0]
        self._environment = {
            "RCLONE_CONFIG": str(home / "rclone.conf"),
            "RCLONE_CONFIG_PITHOS_TYPE": "swift",
            "RCLONE_CONFIG_PITHOS_STORAGE_URL": store,
            "RCLONE_CONFIG_PITHOS_AUTH_TOKEN": cloud["token"],
            "RCLONE_IGNORE_CHECKSUM": "true",  # ETags are no MD5s here
        }

    def __call__(self, *arguments: str | Path) -> str:
        return run("rclone", *arguments, environment=self._environment).stdout


def test_times_are_the_same_for_both(mounted: MountedDisk, tmp_path: Path) -> None:
    rclone = Rclone(mounted, tmp_path)
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.txt", "sub/b.bin", "sub/c")):
        path = tmp_path / "tree" / name
        path.write_bytes(noise(1000 * number, number))
        os.utime(path, ns=(1, 1_600_000_000_123_456_789 + number * 10**9))
    folder = f"{mounted.name}-of-rclone"
    rclone("copy", tmp_path / "tree", f"pithos:pithos/{folder}")
    mounted.remount(fresh_cache=True)
    for name in ("a.txt", "sub/b.bin", "sub/c"):
        there, here = mounted.mount.mountpoint / folder / name, tmp_path / "tree" / name
        assert there.stat().st_mtime_ns == here.stat().st_mtime_ns
        assert there.read_bytes() == here.read_bytes()


def test_rclone_sees_the_times_of_a_mount(mounted: MountedDisk, tmp_path: Path) -> None:
    """In the metadata, with the upload: small files, large ones, and after ``touch``."""
    rclone = Rclone(mounted, tmp_path)
    for name, size in (("small", 10), ("large", 2 * BLOCK)):
        with opened(mounted.path / name, os.O_WRONLY | os.O_CREAT) as fd:
            write_all(fd, noise(size))
            os.utime(fd, ns=(1, 1_600_000_000_123_456_789))
    (mounted.path / "touched").touch()
    os.utime(mounted.path / "touched", ns=(1, 1_600_000_000_123_456_789))
    mounted.remount()
    for name in ("small", "large", "touched"):
        told = json.loads(rclone("lsjson", "--stat", f"pithos:pithos/{mounted.name}/{name}"))
        assert told["ModTime"] == "2020-09-13T12:26:40.123456789Z"
