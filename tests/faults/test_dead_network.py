"""The network is gone: nothing hangs, what is cached stays, and it goes on by itself."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.scene import SLACK, TIMEOUT, Scene, errno_of_write, within
from tests.support.faults import Fault
from tests.support.files import BLOCK, noise, refused
from tests.support.processes import python
from tests.support.waiting import eventually

CONTENT = noise(BLOCK + 54_321, 3)
SOON = 1.0 + SLACK / 2

dead = pytest.mark.parametrize("silent", [True, False], ids=["silent", "refused"])


def prepared(scene: Scene) -> Path:
    """A mount that has listed its top and read one of two files."""
    mount = scene.mount()
    scene.store.put("cached", CONTENT)
    scene.store.put("other", CONTENT[::-1])
    top = mount.mountpoint
    assert sorted(os.listdir(top)) == ["cached", "other"]
    assert (top / "cached").read_bytes() == CONTENT
    return top


@dead
def test_what_is_cached_stays_readable(scene: Scene, silent: bool) -> None:
    top = prepared(scene)
    scene.proxy.down(silent=silent)
    time.sleep(1.0)  # the listing is older than it may be
    with within(TIMEOUT + SLACK):
        assert sorted(os.listdir(top)) == ["cached", "other"]
    with within(TIMEOUT + SLACK):
        assert (top / "cached").read_bytes() == CONTENT
        assert (top / "other").stat().st_size == len(CONTENT)


@dead
def test_what_is_not_cached_is_an_error_in_time(scene: Scene, silent: bool) -> None:
    top = prepared(scene)
    fd = os.open(top / "other", os.O_RDONLY)
    scene.proxy.down(silent=silent)
    with within(TIMEOUT + SLACK), refused(errno.EIO, errno.ETIMEDOUT):
        os.read(fd, 1000)
    os.close(fd)


@dead
def test_each_operation_ends_in_time(scene: Scene, silent: bool) -> None:
    """No stall of many times the timeout by doing several things one after the other."""
    top = prepared(scene)
    scene.proxy.down(silent=silent)
    time.sleep(1.0)
    operations = {
        "stat": lambda: os.stat(top / "cached"),
        "absent": lambda: os.stat(top / "absent"),
        "list": lambda: os.listdir(top),
        "mkdir": lambda: os.mkdir(top / "directory"),
        "unlink": lambda: os.unlink(top / "cached"),
        "rename": lambda: os.rename(top / "other", top / "third"),
        "truncate": lambda: os.truncate(top / "other", 5),
        "chmod": lambda: os.chmod(top / "cached", 0o600),
        "write": lambda: (top / "new").write_bytes(CONTENT),
    }
    for name, operation in operations.items():
        began = time.monotonic()
        try:
            operation()
        except OSError as error:
            assert error.errno in (errno.EIO, errno.ETIMEDOUT, errno.ENOENT), name
            assert name == "absent" or error.errno != errno.ENOENT, name
        took = time.monotonic() - began
        assert took < TIMEOUT + SLACK, f"{name} took {took:.1f} s"


@dead
def test_statfs_and_the_directory_above_never_wait(scene: Scene, silent: bool) -> None:
    top = prepared(scene)
    scene.proxy.down(silent=silent)
    time.sleep(1.0)
    with within(SOON):
        os.statvfs(top)
    with within(SOON):
        with os.scandir(top.parent) as entries:
            assert top.name in [each.name for each in entries if each.stat().st_mode]
        os.stat(top)
    with within(SOON):
        subprocess.run(["df", str(top)], check=True, capture_output=True)


@dead
def test_the_mount_goes_on_by_itself(scene: Scene, silent: bool) -> None:
    top = prepared(scene)
    scene.proxy.down(silent=silent)
    with refused(errno.EIO, errno.ETIMEDOUT):
        (top / "other").read_bytes()
    assert errno_of_write(top / "new", b"new") in (errno.EIO, errno.ETIMEDOUT)
    scene.proxy.up()
    eventually(lambda: _reads(top / "other") == CONTENT[::-1], what="the file")
    eventually(lambda: scene.store.exists("new"), 40, "the file that was not sent")
    assert scene.versions("new") == [b"new"]


def _reads(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@dead
def test_umount_says_what_is_not_sent_and_force_ends_it(scene: Scene, silent: bool) -> None:
    top = prepared(scene)
    scene.proxy.down(silent=silent)
    assert errno_of_write(top / "new", b"new") in (errno.EIO, errno.ETIMEDOUT)
    with within(2 * TIMEOUT + 2 * SLACK):
        done = scene.run("umount", top, "--timeout", "1")
    assert (done.returncode, "new" in done.stderr) == (8, True), done.stderr
    with within(20):
        assert scene.run("umount", top, "--force").returncode == 0
    assert not os.path.ismount(top)


@dead
def test_umount_with_nothing_to_send_works_at_once(scene: Scene, silent: bool) -> None:
    top = prepared(scene)
    scene.proxy.down(silent=silent)
    with within(2 * SLACK):
        done = scene.run("umount", top)
    assert done.returncode == 0, done.stderr
    assert not os.path.ismount(top)


@dead
def test_a_signal_ends_it_in_time_and_nothing_is_lost(scene: Scene, silent: bool) -> None:
    """One file was refused, one is still being written, one is to be deleted: none can be sent."""
    seconds = 6.0
    mount = scene.mount(timeout=seconds)
    top = mount.mountpoint
    scene.store.put("removed", CONTENT)
    handles = [os.open(top / "open", os.O_RDWR | os.O_CREAT), os.open(top / "removed", os.O_RDONLY)]
    try:
        os.write(handles[0], CONTENT)
        scene.proxy.faults(Fault("answer", method="PUT", status=503, times=0))
        assert errno_of_write(top / "refused", CONTENT) == errno.EIO
        scene.proxy.down(silent=silent)
        (top / "removed").unlink()
        with within(seconds + 2 * SLACK):
            mount.process.terminate()
            mount.process.wait(3 * seconds)
    finally:
        for each in handles:
            with contextlib.suppress(OSError):  # cut off from its mount
                os.close(each)
    assert not os.path.ismount(top)
    scene.proxy.faults()
    scene.proxy.up()
    scene.start(mount)
    scene.settle(mount)
    assert scene.store.get("refused") == scene.store.get("open") == CONTENT
    assert not scene.store.exists("removed")


_READER = """
import sys
file = open(sys.argv[1], "rb")
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(("again", "seconds"), [(False, 9.0), (True, 21.0)], ids=["once", "twice"])
def test_a_program_that_lets_go_while_a_signal_ends_the_mount_costs_nothing(
    scene: Scene, again: bool, seconds: float
) -> None:
    """Two threads end the process then, and neither does in the middle of what the other saves."""
    mount = scene.mount(timeout=seconds)
    top = mount.mountpoint
    (top / "file").write_bytes(b"content")
    reader = python(_READER, top / "file")
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    scene.proxy.down(silent=True)
    os.chmod(top / "file", 0o600)
    time.sleep(1.5)  # it is on its way, and in no journal yet
    mount.process.terminate()
    eventually(lambda: not os.path.ismount(top), seconds, "the mount to be detached")
    reader.communicate("done\n", timeout=30)
    time.sleep(0.5)
    with within(11.0 + SLACK):
        if again:  # then it does not wait for what is being sent
            mount.process.terminate()
        mount.process.wait(3 * seconds)
    scene.proxy.down()  # what was on its way never arrives
    scene.proxy.up()
    scene.resume(mount)
    assert (top / "file").stat().st_mode & 0o777 == 0o600


def stuck(stack: contextlib.ExitStack, *command: str | Path) -> subprocess.Popen[bytes]:
    """A program that waits for the server."""
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(program.kill)
    time.sleep(1.0)
    assert program.poll() is None, "it is not stuck"
    return program


def ends_by_ctrl_c(program: subprocess.Popen[bytes]) -> None:
    with within(SOON):
        program.send_signal(signal.SIGINT)
        program.wait(20)


def test_ctrl_c_ends_a_stuck_cat(scene: Scene) -> None:
    top = scene.mount(timeout=60).mountpoint
    scene.store.put("file", CONTENT)
    assert os.listdir(top) == ["file"]
    scene.proxy.down(silent=True)
    with contextlib.ExitStack() as stack:
        ends_by_ctrl_c(stuck(stack, "cat", top / "file"))


def test_ctrl_c_ends_a_program_that_waits_for_one_that_is_stuck(scene: Scene) -> None:
    """Both close one file: the second waits for the commit of the first."""
    top = scene.mount("--dir-cache-time", "30", timeout=60).mountpoint
    scene.store.put("file", CONTENT)
    assert os.listdir(top) == ["file"]
    (top / "file").read_bytes()
    scene.proxy.down(silent=True)
    append = ("sh", "-c", 'exec /usr/bin/printf x >> "$0"', top / "file")
    with contextlib.ExitStack() as stack:
        first, second = (stuck(stack, *append) for _ in range(2))
        ends_by_ctrl_c(second)
        ends_by_ctrl_c(first)


def test_a_mount_that_cannot_reach_its_server_says_so_in_one_line(scene: Scene) -> None:
    scene.home()
    scene.proxy.down()
    (scene.folder / "mnt-none").mkdir()
    with within(TIMEOUT + 2 * SLACK):
        done = scene.run("mount", scene.container, scene.folder / "mnt-none", "--timeout", f"{TIMEOUT:g}")
    assert done.returncode == 6
    assert len(done.stderr.strip().splitlines()) == 1
    assert not os.path.ismount(scene.folder / "mnt-none")
