"""A mounted container as a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pithosfs import mountpoints
from tests.support import processes
from tests.support.waiting import eventually

_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^Traceback|^\s*\w*(Error|Exception)\b")


#: What Python runs.
PITHOSFS = ("-m", "pithosfs")


class Mount:
    """``pithosfs mount`` in the foreground, where ``program`` is pithosfs.

    Its cache and log lie beside the mount point: ``NAME.cache``, ``NAME.log``.
    """

    def __init__(
        self,
        source: str,
        mountpoint: Path,
        environment: Mapping[str, str],
        options: tuple[str, ...] = (),
        program: Sequence[str] = PITHOSFS,
    ) -> None:
        self.source = source
        self._program = program
        self.mountpoint = mountpoint
        self.cache = mountpoint.with_name(mountpoint.name + ".cache")
        self.log = mountpoint.with_name(mountpoint.name + ".log")
        self.environment = environment
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.mountpoint.mkdir(exist_ok=True)
        self.log.touch()
        process = processes.start(
            [
                *(sys.executable, *self._program, "mount", self.source, str(self.mountpoint)),
                *("--foreground", "--cache-dir", str(self.cache), *self._options),
            ],
            output=self.log,
            environment=self.environment,
        )
        self._process = process

        def answers() -> bool:
            assert process.poll() is None, f"the mount ended:\n{self.log.read_text()}"
            return os.path.ismount(self.mountpoint)

        eventually(answers, what="the mount")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the mount was never started"
        return self._process

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def peak_memory(self) -> int:
        """The most bytes the process ever had in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024

    def cached(self) -> int:
        """Bytes that lie in the cache directory."""
        return sum(path.lstat().st_size for path in self.cache.rglob("*") if path.is_file())

    def unmount(self) -> None:
        """As a user does it; all must have been sent."""
        command = [sys.executable, "-m", "pithosfs", "umount", str(self.mountpoint)]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"umount ended with {done.returncode}: {done.stdout}{done.stderr}"
        self.process.wait(30)
        assert not os.path.ismount(self.mountpoint)

    def forget_cache(self) -> None:
        """Remove all that the mount keeps on this machine; it must be unmounted."""
        assert not self.alive
        shutil.rmtree(self.cache, ignore_errors=True)

    def abort(self) -> None:
        """Kill the process: whatever hangs in the mount gets an error and goes on."""
        self.process.kill()

    def destroy(self) -> None:
        """End process and mount whatever state they are in."""
        if self._process is not None:
            processes.stop(self._process)
        if mountpoints.mount_at(self.mountpoint):  # the kernel's table: a dead mount cannot be asked itself
            command = ["fusermount3", "-u", "-z", str(self.mountpoint)]
            subprocess.run(command, capture_output=True, timeout=20, check=False)

    def complaints(self, start: int = 0) -> list[str]:
        """Warnings, errors and tracebacks in the log from byte ``start`` on."""
        text = self.log.read_bytes()[start:].decode(errors="replace")
        return [line for line in text.splitlines() if _COMPLAINT.search(line)]
