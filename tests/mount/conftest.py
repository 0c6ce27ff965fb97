"""Fixtures: the same test on a plain directory and on a mounted container.

``disk`` runs a test on both, so that the kernel's own file system proves what
the test demands; ``mounted`` is the mount alone, for what only a mount has.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import NO_FUSE
from tests.support.disks import Disk, MountedDisk, Site
from tests.support.mounts import Mount

_numbers = itertools.count(1)


class _SharedMount:
    """One mount for many tests; the next test gets a new one when a test has broken it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._mount: Mount | None = None

    def get(self) -> Mount:
        if self._mount is None or not self._mount.alive:
            if self._mount is not None:
                self.site.discard(self._mount)
            self._mount = self.site.mount()
        return self._mount


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A server and its mounts, one for each process that runs tests."""
    if NO_FUSE:
        pytest.skip(NO_FUSE)
    with tempfile.TemporaryDirectory(prefix="pithosfs-") as folder:
        site = Site(Path(folder).resolve())
        try:
            site.open()
            yield site
        finally:
            site.close()


@pytest.fixture
def mounted_with_md5s(tmp_path: Path) -> Iterator[MountedDisk]:
    """As ``mounted``, on a server of its own whose ETags are MD5s."""
    if NO_FUSE:
        pytest.skip(NO_FUSE)
    other = Site(tmp_path, "--md5-etags")
    try:
        other.open()
        disk = MountedDisk(other, other.mount(), "test")
        disk.path.mkdir()
        with disk.watched():
            yield disk
    finally:
        other.close()


@pytest.fixture(scope="session")
def shared_mount(site: Site) -> _SharedMount:
    return _SharedMount(site)


@pytest.fixture
def mounted(shared_mount: _SharedMount) -> Iterator[MountedDisk]:
    """An empty directory in a mounted container."""
    disk = MountedDisk(shared_mount.site, shared_mount.get(), f"test{next(_numbers)}")
    disk.path.mkdir()
    with disk.watched():
        yield disk


@pytest.fixture(params=["plain", "mount"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """An empty directory, once on a local file system and once in a mounted container."""
    if request.param == "mount":
        yield request.getfixturevalue("mounted")
        return
    (tmp_path / "plain").mkdir()
    yield Disk(tmp_path / "plain")
    shutil.rmtree(tmp_path / "plain")


@pytest.fixture
def path(disk: Disk) -> Path:
    """The directory itself, for tests that need nothing else of ``disk``."""
    return disk.path
