"""Where a Python mount process spends its time, by py-spy."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import Failed, say

RATE = 100  # samples a second
LINES = 25
# Where threads of an idle pool wait; py-spy takes some of these for work.
WAITS = (
    "(threading.py:",
    "FUSE.__init__ (mfusepy",
    "_worker (concurrent/",
    "sigwait",
    "select (selectors.py",
)


def install() -> None:
    """Get py-spy into this environment."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "py-spy>=0.4"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"py-spy could not be installed: {done.stderr.strip().splitlines()[-1:]}")


@contextmanager
def profiled(pid: int, stem: Path) -> Iterator[None]:
    """Sample process ``pid`` meanwhile; ``stem``.raw gets the stacks, ``stem``.txt a summary."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    raw = stem.with_suffix(".raw")
    program = Path(sys.prefix) / "bin" / "py-spy"
    command = [str(program), "record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw"]
    spy = subprocess.Popen(
        [*command, "--output", str(raw), "--duration", "unlimited"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield
    finally:
        spy.send_signal(signal.SIGINT)
        errors = spy.communicate(timeout=60)[1]
    if not raw.exists():
        say(f"no profile: {errors.strip().splitlines()[-1:]}")
        return
    stem.with_suffix(".txt").write_text(summary(raw.read_text()))


def summary(stacks: str) -> str:
    """The functions most often at the top of a stack, and those most often anywhere in it.

    Waiting for the network counts: it is what a transfer is made of.
    """
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        # Without a frame it is a thread of libfuse that is in no operation.
        if not stack or any(wait in frames[-1] for wait in WAITS):
            continue
        own[frames[-1]] += int(samples)
        for frame in set(frames):
            within[frame] += int(samples)
    total = own.total() or 1
    parts = [f"{total} samples of threads that do not wait for each other, {RATE} a second and thread"]
    for title, counter in (("itself", own), ("with what it calls", within)):
        parts += ["", title]
        parts += [f"{count / total:7.1%}  {frame}" for frame, count in counter.most_common(LINES)]
    return "\n".join(parts) + "\n"
