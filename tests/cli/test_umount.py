"""pithosfs umount: sent, gone, and what it says otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pithosfs import registry
from tests.support.waiting import eventually

from .conftest import Place, Server


def test_unmounts_and_waits_for_the_end(place: Place) -> None:
    place.mount()
    pid = place.pid
    assert place.pithosfs("umount", place.mountpoint).stderr == ""
    assert registry.birth(pid) is None
    assert place.is_over()


@pytest.mark.parametrize("how", ["slash", "relative", "dot", "link", "linked parent", "dotdot"])
def test_every_way_to_write_the_path(place: Place, how: str) -> None:
    place.mount()
    folder = place.folder
    (folder / "link").symlink_to("mnt")
    (folder / "parent").symlink_to(folder, target_is_directory=True)
    path = {
        "slash": f"{place.mountpoint}/",
        "relative": "mnt",
        "dot": "./mnt/.",
        "link": str(folder / "link"),
        "linked parent": str(folder / "parent" / "mnt"),
        "dotdot": f"{place.mountpoint}/../mnt",
    }[how]
    place.pithosfs("umount", path, cwd=folder)
    assert place.is_over()


def test_what_is_unsent_is_waited_for(place: Place) -> None:
    place.mount()
    place.unsent.write_text("a\nb\n")
    sender = threading.Timer(1.0, place.unsent.unlink)
    sender.start()
    place.pithosfs("umount", place.mountpoint)
    assert not sender.is_alive()
    assert place.is_over()


def test_what_cannot_be_sent_is_listed_and_the_mount_stays(place: Place) -> None:
    place.mount()
    place.unsent.write_text("letters/a\nb\n")
    done = place.pithosfs("umount", "--timeout", "0.1s", place.mountpoint, check=False)
    assert done.returncode == 8
    assert "  not sent: letters/a (1.5K): no answer\n  not sent: b (1.5K): no answer\n" in done.stderr
    assert f"2 files are not sent, {place.mountpoint} stays mounted" in done.stderr
    assert (place.mountpoint / "file").exists()


def test_sending_that_is_held_up_does_not_hold_umount_up(place: Place) -> None:
    place.mount("--drain-takes", "300")
    place.unsent.write_text("a\n")
    assert place.pithosfs("umount", "--timeout", "0.5s", place.mountpoint, check=False).returncode == 8
    place.unsent.unlink()
    place.pithosfs("umount", place.mountpoint)
    assert place.is_over()


def test_force_leaves_unsent_data_for_the_next_mount(place: Place) -> None:
    place.mount()
    place.unsent.write_text("a\n")
    place.pithosfs("umount", "-f", place.mountpoint)
    assert place.is_over()
    assert place.unsent.exists()


def test_a_mount_in_use_stays_and_its_users_are_named(place: Place) -> None:
    place.mount()
    with (place.mountpoint / "file").open():
        done = place.pithosfs("umount", place.mountpoint, check=False)
        assert done.returncode == 9
        assert f"(pid {os.getpid()})" in done.stderr
        assert place.is_mounted
    place.pithosfs("umount", place.mountpoint)


@pytest.mark.parametrize("beside", ["", "exec 3<file; "])
def test_the_shell_that_asks_is_told_to_leave(place: Place, beside: str) -> None:
    place.mount()
    place.environment["PYTHON"] = sys.executable
    script = f'cd "$1" && {beside}"$PYTHON" -m pithosfs umount .; echo $?'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(place.mountpoint)],
        env=place.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (
        "9\n",
        f"pithosfs umount: {place.mountpoint} is in use by this shell, whose working directory it is;"
        " cd elsewhere, or use --lazy\n",
    )


def test_a_mount_below_is_named(place: Place, server: Server) -> None:
    place.environment["KAMAKI_CONFIG"] = str(server.config)
    place.pithosfs("mount", "pithos", place.mountpoint)
    inner = place.mountpoint / "sub"
    inner.mkdir()
    place.pithosfs("mount", "pithos", inner)
    done = place.pithosfs("umount", place.mountpoint, check=False)
    assert done.returncode == 9
    assert f"in use by the mount {inner} in it; unmount that first, or use --lazy\n" in done.stderr
    place.pithosfs("umount", inner, place.mountpoint)
    assert place.is_over()


def test_of_several_each_is_unmounted_that_can_be(place: Place) -> None:
    place.mount()
    nothing = place.folder / "nothing"
    done = place.pithosfs("umount", nothing, place.mountpoint, check=False)
    assert (done.returncode, done.stderr) == (7, f"pithosfs umount: nothing is mounted on {nothing}\n")
    assert place.is_over()


def test_lazy_detaches_a_mount_in_use(place: Place) -> None:
    place.mount()
    pid = place.pid
    with (place.mountpoint / "file").open() as held:
        place.pithosfs("umount", "--lazy", place.mountpoint)
        assert not place.is_mounted
        assert held.read() == "hello\n"
        assert "ending" in place.pithosfs("status", check=False).stdout
    eventually(lambda: registry.birth(pid) is None)
    assert place.is_over()


def test_a_dead_mount_is_taken_away(place: Place) -> None:
    place.mount()
    place.kill()
    with pytest.raises(OSError, match=r"not connected|connection abort"):
        place.mountpoint.stat()
    place.pithosfs("umount", place.mountpoint)
    assert place.is_over()


def test_a_dead_mount_that_was_never_announced_is_taken_away(place: Place) -> None:
    place.mount()
    place.kill()
    for file in (place.folder / "run" / "pithosfs").iterdir():
        file.unlink()
    place.pithosfs("umount", place.mountpoint)
    assert place.is_over()


def test_a_mount_whose_entry_is_lost_is_unmounted_all_the_same(place: Place) -> None:
    place.mount()
    pid = place.pid
    for file in (place.folder / "run" / "pithosfs").iterdir():
        file.unlink()
    place.pithosfs("umount", place.mountpoint)
    eventually(lambda: registry.birth(pid) is None)
    assert not place.is_mounted


def test_force_ends_a_mount_that_hangs(place: Place) -> None:
    process = place.start_mounted()
    process.send_signal(signal.SIGSTOP)
    place.pithosfs("umount", "--force", place.mountpoint)
    assert process.wait(30) == -signal.SIGKILL
    assert place.is_over()


def test_nothing_is_mounted_there(place: Place) -> None:
    done = place.pithosfs("umount", place.mountpoint, check=False)
    assert (done.returncode, done.stderr) == (
        7,
        f"pithosfs umount: nothing is mounted on {place.mountpoint}\n",
    )


def test_a_place_inside_a_mount_is_no_mount_point(place: Place) -> None:
    place.mount()
    done = place.pithosfs("umount", place.mountpoint / "file", check=False)
    assert done.returncode == 7
    assert f"it lies in the mount {place.mountpoint}" in done.stderr
    assert place.is_mounted


def test_other_file_systems_are_left_alone(place: Place) -> None:
    done = place.pithosfs("umount", "/proc", check=False)
    assert done.returncode == 7
    assert "is no mount of pithosfs (type proc)" in done.stderr
    assert Path("/proc/self").exists()


class TestStatus:
    def test_nothing(self, place: Place) -> None:
        assert place.pithosfs("status", place.mountpoint, check=False).returncode == 7

    def test_ready(self, place: Place) -> None:
        place.mount()
        text = place.pithosfs("status", place.mountpoint).stdout
        assert str(place.mountpoint) in text
        assert "ready" in text

    def test_as_json(self, place: Place) -> None:
        before = time.time()
        place.mount()
        status = place.json("status", place.mountpoint, "--json")
        assert status["mountpoint"] == str(place.mountpoint)
        assert (status["state"], status["source"], status["pid"]) == ("ready", "tiny", place.pid)
        assert before <= status["since"] <= time.time()
        assert status["open_files"] == 0
        assert status in place.json("status", "--json")

    def test_dead(self, place: Place) -> None:
        place.mount()
        place.kill()
        done = place.pithosfs("status", place.mountpoint, check=False)
        assert done.returncode == 1
        assert f"lost its process; mount it again, or: pithosfs umount {place.mountpoint}" in done.stdout

    def test_hanging(self, place: Place) -> None:
        process = place.start_mounted()
        process.send_signal(signal.SIGSTOP)
        done = place.pithosfs("status", place.mountpoint, check=False)
        assert done.returncode == 1
        assert f"to end it: pithosfs umount --force {place.mountpoint}" in done.stdout

    def test_what_is_left_of_a_mount_is_forgotten(self, place: Place) -> None:
        place.mount()
        place.kill()
        # as an impatient administrator does it
        os.system(f"fusermount3 -u -z '{place.mountpoint}'")
        place.pithosfs("status", check=False)
        assert place.is_over()
