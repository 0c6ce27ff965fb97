"""A mount's process: in the background, announced, stopped by signals, killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pithosfs import control, registry
from tests.support.waiting import eventually

from .conftest import Place


class TestBackground:
    def test_returns_once_the_mount_answers(self, place: Place) -> None:
        done = place.mount()
        assert (place.mountpoint / "file").read_text() == "hello\n"
        assert done.stdout == done.stderr == ""

    def test_the_process_has_let_go_of_terminal_directory_and_output(self, place: Place) -> None:
        place.mount()
        process = Path(f"/proc/{place.pid}")
        assert os.readlink(process / "cwd") == "/"
        assert {os.readlink(process / "fd" / number) for number in "012"} == {"/dev/null"}
        assert os.getsid(place.pid) == place.pid

    def test_a_reason_not_to_mount_is_told_with_its_code(self, place: Place) -> None:
        done = place.mount("--fail", "https://store.example does not answer", check=False)
        assert done.returncode == 6
        assert done.stderr == "pithosfs mount: https://store.example does not answer\n"
        assert place.is_over()

    def test_a_process_that_just_dies_is_no_success(self, place: Place) -> None:
        assert place.mount("--die-in-build", check=False).returncode == 128 + signal.SIGKILL
        assert not place.is_mounted

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_while_waiting_ends_the_child_too(self, place: Place, number: signal.Signals) -> None:
        parent = place.start("--build-takes", "50")
        eventually(lambda: waiting_child(parent.pid))
        child = waiting_child(parent.pid)
        parent.send_signal(number)
        assert parent.wait(30) == 130
        assert registry.birth(child) is None
        assert parent.stderr is not None
        assert parent.stderr.read() == "pithosfs mount: interrupted\n"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_while_it_goes_to_the_background_ends_the_child_too(
        self, number: signal.Signals, tmp_path: Path
    ) -> None:
        """The parent does not pass signals on yet when it comes."""
        command = [sys.executable, "-c", SENT_AT_ONCE, str(int(number)), str(tmp_path / "child")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode == 128 + number
        assert registry.birth(int((tmp_path / "child").read_text())) is None

    def test_a_signal_just_before_it_is_mounted_leaves_nothing(self, place: Place) -> None:
        runtime = Path(place.environment["XDG_RUNTIME_DIR"])
        parent = place.start("--mount-takes", "50")
        eventually(lambda: list(runtime.glob("pithosfs/*.sock")))
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == 130
        assert list(runtime.glob("pithosfs/*")) == []


SENT_AT_ONCE = """
import os, pathlib, signal, sys, time
from pithosfs import daemon

def fork(real=os.fork):
    child = real()
    if child:
        pathlib.Path(sys.argv[2]).write_text(str(child))
        os.kill(os.getpid(), int(sys.argv[1]))
    return child

def work(ready):
    try:
        time.sleep(50)
    except KeyboardInterrupt:
        return 130
    return 0

os.fork = fork
sys.exit(daemon.background(work))
"""


def waiting_child(pid: int) -> int:
    """The child that already waits for signals, in a thread of its own; else 0."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # a program that was run for a moment
            if len(list(Path(f"/proc/{child}/task").iterdir())) > 1:
                return int(child)
    return 0


def has_arrived(pid: int, number: signal.Signals) -> bool:
    """Whether a signal that was sent to a process waits there no more."""
    (waits,) = re.findall(r"^ShdPnd:\s+(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return not int(waits, 16) & 1 << (number - 1)


class TestAnnouncement:
    def test_the_entry_and_its_socket_are_private(self, place: Place) -> None:
        place.mount()
        folder = place.folder / "run" / "pithosfs"
        assert folder.stat().st_mode & 0o077 == 0
        assert sorted(each.suffix for each in folder.iterdir()) == [".json", ".sock"]

    def test_the_socket_answers(self, place: Place) -> None:
        place.mount()
        socket = place.folder / "run" / "pithosfs" / f"{place.pid}.sock"
        assert control.ask(socket, "status", timeout=10)["open_files"] == 0
        assert control.ask(socket, "drain", timeout=10, seconds=1) == []
        assert control.ask(socket, "refresh", timeout=10) == 0
        assert control.ask(socket, "refresh", timeout=10, path="a/b") == 0
        assert control.ask(socket, "status", timeout=10)["refreshed"] == 2

    def test_nothing_is_left_after_a_plain_unmount(self, place: Place) -> None:
        process = place.start_mounted()
        subprocess.run(["fusermount3", "-u", str(place.mountpoint)], check=True)
        assert process.wait(30) == 0
        assert place.is_over()


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_unmounts_and_ends_well(self, place: Place, number: signal.Signals) -> None:
        process = place.start_mounted()
        process.send_signal(number)
        assert process.wait(30) == 0
        assert place.is_over()
        assert process.stderr is not None
        assert process.stderr.read() == ""

    def test_a_file_held_open_does_not_keep_the_process_alive(self, place: Place) -> None:
        process = place.start_mounted()
        held = os.open(place.mountpoint / "file", os.O_RDONLY)
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            with contextlib.suppress(OSError):  # its file system has gone
                os.close(held)
        assert place.is_over()

    def test_what_is_unsent_is_waited_for(self, place: Place) -> None:
        process = place.start_mounted()
        place.unsent.write_text("a\n")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        assert place.is_mounted
        place.unsent.unlink()
        assert process.wait(30) == 0
        assert place.is_over()

    def test_a_second_signal_does_not_wait(self, place: Place) -> None:
        process = place.start_mounted()
        place.unsent.write_text("a\n")
        process.send_signal(signal.SIGTERM)
        eventually(lambda: has_arrived(process.pid, signal.SIGTERM))  # two at once would be one
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert place.is_over()

    def test_hangup_refreshes(self, place: Place) -> None:
        process = place.start_mounted()
        process.send_signal(signal.SIGHUP)
        socket = place.folder / "run" / "pithosfs" / f"{place.pid}.sock"
        eventually(lambda: control.ask(socket, "status", timeout=10)["refreshed"] == 1)
        assert (place.mountpoint / "file").exists()

    def test_the_level_of_the_log_can_be_switched(self, place: Place) -> None:
        process = place.start_mounted()
        process.send_signal(signal.SIGUSR2)
        assert (place.mountpoint / "file").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
