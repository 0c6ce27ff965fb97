"""Names that change while something of them is still on its way, or fails: on real mounts."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

from tests.faults.scene import Scene
from tests.support.faults import Fault
from tests.support.files import noise, refused

TEMPORARY = ".file.a8Xk2P"
#: Where the two calls libfuse makes for a rename onto an open file may be a few seconds apart, as they are
#: on a busy machine: in the moment after the first one the file to be replaced is not deleted.
UNHURRIED = (
    "-c",
    "import sys; from pithosfs import cli, removals\n"
    "removals._MOMENT = 5.0; sys.exit(cli.main(sys.argv[1:]))",
)


def test_what_is_moved_into_an_emptied_directory_is_whole(scene: Scene) -> None:
    top = scene.mount().mountpoint
    names = [f"file{number:02}" for number in range(40)]
    for directory in (top / "old", top / "new"):
        directory.mkdir()
        for each in names:
            (directory / each).write_bytes(b"content")
    os.listdir(top / "old"), os.listdir(top / "new")
    scene.proxy.shape(rtt=0.03)
    for each in names:
        os.unlink(top / "old" / each)
    os.rename(top / "new", top / "old")
    scene.settle(scene._mounts[0])
    time.sleep(1)
    assert sorted(os.listdir(top / "old")) == names


def test_a_listing_does_not_wait_for_a_rename_that_sends(scene: Scene) -> None:
    """The kernel locks the directory for the length of a rename: others wait in it for the whole upload."""
    top = scene.mount(timeout=20).mountpoint
    (top / "other").write_bytes(b"other")
    os.listdir(top)
    (top / TEMPORARY).write_bytes(noise(4 << 20, 1))
    scene.proxy.shape(rate=1_000_000)  # bits a second: half a minute
    code = "import os, sys; os.rename(sys.argv[1], sys.argv[2])"
    renaming = subprocess.Popen([sys.executable, "-c", code, str(top / TEMPORARY), str(top / "file")])
    time.sleep(0.5)
    began = time.monotonic()
    listing = subprocess.run(["ls", top], capture_output=True, text=True, timeout=60, check=True)
    took = time.monotonic() - began
    renaming.wait(60)
    assert listing.stdout.split()
    assert took < 15, "it waited for the upload"


def test_a_rename_that_fails_leaves_the_open_file_it_was_to_replace(scene: Scene) -> None:
    mount = scene.mount(program=UNHURRIED)
    top = mount.mountpoint
    (top / "file").write_bytes(b"old")
    (top / "new").write_bytes(b"new")
    with (top / "file").open("rb") as stream:
        scene.proxy.faults(Fault("answer", method="MOVE", status=413, times=0))
        with refused(errno.EDQUOT):
            os.rename(top / "new", top / "file")
        scene.proxy.faults()
        assert stream.read() == b"old"
    scene.settle(mount)
    time.sleep(1.5)
    assert sorted(os.listdir(top)) == ["file", "new"]
    assert (top / "file").read_bytes() == b"old"


def test_a_file_that_was_never_sent_survives_a_rename_onto_it_that_fails(scene: Scene) -> None:
    """With write-back: closed, and a reader has it open."""
    mount = scene.mount("--write-back=60", "--dir-cache-time", "5", program=UNHURRIED)
    top = mount.mountpoint
    scene.store.put("other", b"other")
    assert os.listdir(top) == ["other"]
    (top / "file").write_bytes(b"content")
    with (top / "file").open("rb"):
        scene.proxy.faults(Fault("answer", method="MOVE", status=413, times=0))
        with refused(errno.EDQUOT):
            os.rename(top / "other", top / "file")
        scene.proxy.faults()
    scene.settle(mount)
    time.sleep(1.5)
    assert sorted(os.listdir(top)) == ["file", "other"]
    assert (top / "file").read_bytes() == b"content"


def test_a_directory_moved_to_where_one_was_is_not_shown_empty(scene: Scene) -> None:
    top = scene.mount("--dir-cache-time", "5").mountpoint
    scene.store.put("dir/file", b"content")
    os.mkdir(top / "new")
    os.rmdir(top / "new")
    os.rename(top / "dir", top / "new")
    assert os.listdir(top / "new") == ["file"]
