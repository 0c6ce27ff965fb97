"""The room an account has, as a mount shows it and keeps within it."""

from __future__ import annotations

import errno
import os

import pytest

from tests.support.files import refused

from .conftest import Place, Server

MIB = 1024**2


@pytest.fixture
def home(place: Place, server: Server) -> Place:
    """A user whose kamaki configuration is the server's."""
    place.environment["KAMAKI_CONFIG"] = str(server.config)
    return place


def mounted_with_quota(home: Place, server: Server, quota: int) -> Place:
    home.pithosfs("serve", server.directory, "--quota", f"local={quota}")
    home.pithosfs("mount", "pithos", home.mountpoint)
    return home


def test_an_account_without_a_quota_is_a_disk_of_a_pebibyte(home: Place, server: Server) -> None:
    mounted_with_quota(home, server, 0)
    space = os.statvfs(home.mountpoint)
    assert space.f_blocks * space.f_frsize == 1024**5
    assert space.f_bavail == space.f_blocks


def test_a_sparse_file_counts_with_all_its_size(home: Place, server: Server) -> None:
    mounted_with_quota(home, server, 5 * MIB)
    file = home.mountpoint / "sparse"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    os.ftruncate(descriptor, 64 * MIB)
    with refused(errno.EDQUOT):
        os.close(descriptor)
    assert "Requested: 67108864" in home.pithosfs("pending", check=False).stdout
    os.truncate(file, 4 * MIB)  # what fits is sent after all
    home.pithosfs("umount", home.mountpoint)
    home.pithosfs("mount", "pithos", home.mountpoint)
    assert file.stat().st_size == 4 * MIB
