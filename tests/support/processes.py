"""Processes that a test starts: they end with it, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask the kernel to end this process when the one that runs the tests is killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start(
    command: Sequence[str], *, output: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a long-running program in a process group of its own; all it says goes to ``output``."""
    with output.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def stop(process: subprocess.Popen[bytes], patience: float = 30.0) -> int:
    """End the program's process group, first politely; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    return process.wait(patience)


def run(
    *command: str | Path,
    cwd: Path | None = None,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; if it fails, the test shows all it said."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    if check:
        said = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{said}"
    return done


def python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Another Python process running ``code``; talk to it through its pipes."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_die_with_parent,
    )


def run_together(code: str, arguments: Sequence[Sequence[str | Path]]) -> list[str]:
    """Run ``code`` in several processes that start their work at the same moment.

    The code must say ``ready`` and wait for a line.  Returns what each printed
    after that; all must end well.
    """
    children = [python(code, *each) for each in arguments]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        answers = [child.communicate(timeout=100)[0].strip() for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert [child.returncode for child in children] == [0] * len(children)
    return answers
