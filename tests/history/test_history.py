"""Which bytes differ, where things are brought, and the whole of a container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pithosfs.history import Range, _byte_ranges, _joined
from tests.history.conftest import Pithosfs, next_second
from tests.support.disks import MountedDisk, Site

BLOCK = 4 << 20


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 1 << 40))
def test_ranges_hold_every_byte_that_differs_and_begin_and_end_with_one(
    one: bytes, other: bytes, offset: int
) -> None:
    size = min(len(one), len(other))
    one, other = one[:size], other[:size]
    found = list(_joined(_byte_ranges(one, other, offset)))
    inside = {index for each in found for index in range(each.start - offset, each.stop - offset)}
    differ = {index for index in range(size) if one[index] != other[index]}
    assert differ <= inside
    for each in found:
        assert {each.start - offset, each.stop - 1 - offset} <= differ
    for before, after in pairwise(found):
        assert after.start - before.stop >= 16


def test_ranges_of_a_whole_block() -> None:
    one = bytes(BLOCK)
    assert list(_joined(_byte_ranges(one, b"\1" * BLOCK, 7))) == [Range(7, 7 + BLOCK)]
    other = bytearray(one)
    for at in (65535, 65545, 2 * 65536 - 9, 2 * 65536 + 7):
        other[at] = 1
    assert list(_joined(_byte_ranges(one, bytes(other), 0))) == [
        Range(65535, 65546),
        Range(131063, 131080),
    ]


def test_ranges_across_blocks_are_told_as_one() -> None:
    parts = ([Range(0, 4), Range(90, 100)], [Range(100, 104), Range(115, 116), Range(140, 141)])
    assert list(_joined(*parts)) == [Range(0, 4), Range(90, 116), Range(140, 141)]


def test_a_whole_container_comes_back(site: Site, mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    name = f"box-{os.getpid()}"
    site.mount(name, "--create")
    store = site.server.store(name)
    for each in ("a", "d/b", "d/c/e", "odd//name"):
        store.put(each, each.encode())
    when = next_second()
    store.put("a", b"changed")
    for each in ("d/b", "d/c/e", "odd//name"):
        store.delete(each)
    store.put("later", b"later")
    assert pithosfs.refused("restore", name)[0] == 2
    done = pithosfs.run("restore", name, "--at", when, "--exact")
    assert done.returncode == 0
    assert {each: store.get(each) for each in store.names()} == {
        each: each.encode() for each in ("a", "d/b", "d/c/e", "odd//name")
    }
    pithosfs("restore", name, "--at", when, "--to", f"pithos/{mounted.name}/copy")
    assert mounted.store.get(f"{mounted.name}/copy/d/c/e") == b"d/c/e"
    done = pithosfs.run("restore", f"{name}/d", "--at", when, "--to", f"pithos/{mounted.name}")
    assert done.returncode == 0
    assert mounted.store.get(f"{mounted.name}/c/e") == b"d/c/e"
    assert "destroyed" in pithosfs("purge", name, "--yes")
    assert {each: store.get(each) for each in store.names()} == {
        each: each.encode() for each in ("a", "d/b", "d/c/e", "odd//name")
    }


def test_a_token_from_the_environment_is_enough(mounted: MountedDisk, pithosfs: Pithosfs, site: Site) -> None:
    """Also where two paths are given; it is asked for in the mount's own settings then."""
    (mounted.path / "file").write_bytes(b"1")
    url = os.getxattr(mounted.path / "file", "user.pithos.url").decode()
    endpoint, account = url.split("/v1/")[0] + "/v1", url.split("/v1/")[1].split("/")[0]
    store = site.server.store()
    home = {key: value for key, value in pithosfs.home.items() if key != "KAMAKI_CONFIG"}
    command = Pithosfs({**home, "PITHOSFS_TOKEN": store.token})
    name = f"pithos/{mounted.name}/file"
    account_options = ("--url", endpoint, "--account", account)
    number = json.loads(command("versions", name, "--json", *account_options))[0]["number"]
    command("restore", name, "--version", str(number), "--to", name + "2", *account_options)
    assert store.get(f"{mounted.name}/file2") == b"1"
    assert command.refused("versions", name)[0] == 3


def test_walking_a_moment_takes_few_requests(mounted: MountedDisk) -> None:
    mounted.store.put_many([f"{mounted.name}/d{number % 20:02}/{number}" for number in range(200)])
    when = next_second()
    top = mounted.mount.mountpoint / ".pithos" / "at" / when / mounted.name
    with mounted.requests() as seen:
        assert sum(len(files) for _, _, files in os.walk(top)) == 200
    assert len(seen) <= 8


def test_a_mount_at_a_time_that_cannot_be_says_why(site: Site, mounted: MountedDisk) -> None:
    for words, code, text in (
        (("--at", "soon"), 2, "is no time"),
        (("--at", "2100-01-01"), 2, "in the future"),
        (("--at", "1990-01-01"), 5, "there was no container pithos at 1990-01-01"),
        (("--shared",), 3, "mount it as /"),
    ):
        folder = mounted.mount.mountpoint.parent / "never"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pithosfs", "mount", "pithos", str(folder), *words],
            env=dict(mounted.mount.environment),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
        assert text in done.stderr


def test_a_whole_account_has_a_past(site: Site, mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(b"1")
    when = next_second()
    (mounted.path / "file").write_bytes(b"2")
    account = site.mount("/").mountpoint
    then = account / ".pithos" / "at" / when / "pithos" / mounted.name / "file"
    assert then.read_bytes() == b"1"
    versions = account / ".pithos" / "versions" / "pithos" / mounted.name / "file"
    assert [(versions / each).read_bytes() for each in sorted(os.listdir(versions))] == [b"1", b"2"]
