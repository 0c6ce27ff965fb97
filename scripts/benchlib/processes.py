"""Processes the benchmark starts: each ends with it, and tells what it cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A system did not do what the workload asked; the message is one line."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process and its children took: peak resident bytes, CPU seconds."""

    rss: int = 0
    cpu: float = 0.0


class Process:
    """A process in a session of its own, so that Ctrl-C reaches only us, and we end it in order."""

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, **pipes: Any
    ) -> None:
        self.command, self.log = list(command), log
        self._log: IO[bytes] = log.open("ab")
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._log, **pipes}
        environment = {**os.environ, **(env or {})}
        self.child = subprocess.Popen(
            self.command, stderr=self._log, env=environment, start_new_session=True, **streams
        )

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Until ``ready()``; Failed with the end of its log if the process ends or time is up."""
        end = time.monotonic() + seconds
        while not ready():
            if self.child.poll() is not None:
                raise Failed(f"{what}: ended with {self.child.returncode}: {self.last_words()}")
            if time.monotonic() > end:
                raise Failed(f"{what}: nothing for {seconds:.0f} s: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        """The last line it logged."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "(no message)"

    def cost(self) -> Cost:
        """What it and its children took so far."""
        return cost_of(self.child.pid)

    def alive(self) -> bool:
        """Whether it runs."""
        return self.child.poll() is None

    def kill(self) -> None:
        """End it at once."""
        self.child.kill()
        self.child.wait()

    def stop(self, seconds: float = 30.0) -> None:
        """End it: politely, then not."""
        for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
            if self.child.poll() is None:
                self.child.send_signal(sign)
                try:
                    self.child.wait(patience)
                except subprocess.TimeoutExpired:
                    continue
        self._log.close()


def cost_of(pid: int) -> Cost:
    """Peak memory (summed) and CPU seconds of a process and its living descendants."""
    rss, cpu = 0, 0.0
    for each in (pid, *_descendants(pid)):
        try:
            status = Path(f"/proc/{each}/status").read_text()
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        rss += next(
            (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0
        )
        # user, system, and those of children that have ended
        cpu += sum(map(int, fields[11:15])) / TICKS
    return Cost(rss, cpu)


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *_descendants(child))]


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 900.0,
    answer: str = "",
    release: Callable[[], None] = lambda: None,
) -> str:
    """Run a program to its end; what it printed.  Failed with its last line if it fails.

    ``answer`` is what it reads from its standard input.

    When time is up, ``release`` must end what the program waits for: a
    program inside a FUSE request cannot be killed.
    """
    child = subprocess.Popen(
        command,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        start_new_session=True,
    )
    try:
        output, errors = child.communicate(answer, timeout=timeout)
    except BaseException as error:
        child.kill()
        release()
        child.communicate(timeout=30)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise Failed(f"{Path(command[0]).name}: not done after {timeout:.0f} s") from None
    if child.returncode:
        words = (errors or output).strip().splitlines()[-1:] or ["(no message)"]
        raise Failed(f"{Path(command[0]).name} ended with {child.returncode}: {words[0][:200]}")
    return output


def say(message: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {message}", file=sys.stderr, flush=True)
