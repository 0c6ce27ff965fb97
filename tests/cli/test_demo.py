"""The demo ends well, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pithosfs import mountpoints
from tests.support.waiting import eventually

from .conftest import Place

COMMAND = [sys.executable, "-m", "pithosfs", "demo"]


@pytest.fixture
def folder(place: Place) -> Path:
    """Where the demo makes its directory."""
    folder = place.folder / "tmp"
    folder.mkdir()
    place.environment["TMPDIR"] = str(folder)
    return folder


def nothing_is_left(place: Place, folder: Path) -> bool:
    mounted = [each.path for each in mountpoints.mounted() if each.path.startswith(str(folder))]
    return not list(folder.iterdir()) and not mounted and not list(place._processes())


def test_without_a_terminal_it_ends_by_itself(place: Place, folder: Path) -> None:
    done = subprocess.run(
        COMMAND, env=place.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Not a byte differs." in done.stdout
    assert re.search(r"pithos/tree: \d\d+ objects brought back", done.stdout)
    # what the second copy added: nothing sent, sixteen blocks spared
    spared = [line.split(None, 1)[1] for line in done.stdout.splitlines() if line.startswith("spared")]
    sent = [line for line in done.stdout.splitlines() if line.startswith("sent")]
    assert sent[0] == sent[1]
    assert spared[1].startswith("64M in 16 blocks")
    assert nothing_is_left(place, folder)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)],
)
def test_a_signal_in_its_midst(place: Place, folder: Path, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        COMMAND, env=place.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("$ cp"):
            break
    process.send_signal(number)
    process.stdout.read()
    assert process.wait(30) == code
    assert nothing_is_left(place, folder)


@pytest.mark.parametrize("key", ["\n", "\x03"])
def test_on_a_terminal_it_stays_until_a_key(place: Place, folder: Path, key: str) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, COMMAND, place.environment)
    said = b""
    while b"takes away what they kept" not in said:
        said += os.read(terminal, 10_000)
    cloud = next(folder.iterdir()) / "cloud"
    assert (cloud / "second").exists()
    os.write(terminal, key.encode())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)
    eventually(lambda: nothing_is_left(place, folder))


@pytest.mark.parametrize("moment", ["as it is said", "while it ends"])
def test_ctrl_c_at_a_bad_moment(place: Place, folder: Path, moment: str) -> None:
    """Between the last line and the waiting for a key; and once more, when a key has ended it."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-c", INTERRUPTED, moment], place.environment)
    said = b""
    while b"takes away what they kept" not in said:
        said += os.read(terminal, 10_000)
    if moment == "while it ends":
        os.write(terminal, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)
    eventually(lambda: nothing_is_left(place, folder))


INTERRUPTED = """
import signal, sys
from pithosfs import cli, mountpoints
from pithosfs.cli import demo

say, locate = demo._say, mountpoints.locate

def say_and_interrupt(text):
    say(text)
    if "takes away" in text:
        signal.raise_signal(signal.SIGINT)

def interrupt_and_locate(path):
    signal.raise_signal(signal.SIGINT)
    return locate(path)

if sys.argv[1] == "as it is said":
    demo._say = say_and_interrupt
else:
    mountpoints.locate = interrupt_and_locate
sys.exit(cli.main(["demo"]))
"""
