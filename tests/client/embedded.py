"""The embedded server as a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def running(directory: Path, *options: str) -> Iterator[Path]:
    """Serve ``directory`` on a free port; gives kamaki's configuration file for it."""
    command = [sys.executable, "-m", "pithosfs.server", str(directory), "--port", "0", "--no-fsync", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "the server did not start"
        yield directory / "kamakirc"
    finally:
        process.terminate()
        process.communicate(timeout=10)
