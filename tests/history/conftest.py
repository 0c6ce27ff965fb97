"""The fixtures of the mount tests, and the command line on the same server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.conftest import mounted, shared_mount, site  # noqa: F401 - fixtures
from tests.support.disks import MountedDisk, Site
from tests.support.server import environment

Command = Callable[..., str]


def next_second() -> str:
    """Waits until a moment lies safely behind; its name, as a person would write it."""
    end = int(time.time()) + 1
    while time.time() < end + 0.1:
        time.sleep(0.02)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end))


class Pithosfs:
    """``pithosfs COMMAND …`` with a user's environment."""

    def __init__(self, home: dict[str, str]) -> None:
        self.home = home

    def run(
        self, *words: str | Path, answer: str = "", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pithosfs", *map(str, words)],
            env={**os.environ, **self.home, "COLUMNS": "200"},
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=cwd,
        )

    def __call__(self, *words: str | Path, answer: str = "", cwd: Path | None = None) -> str:
        """What it prints; it must succeed and have nothing to complain about."""
        done = self.run(*words, answer=answer, cwd=cwd)
        assert (done.returncode, done.stderr) == (0, ""), f"{words}: {done.returncode} {done.stderr}"
        return done.stdout

    def refused(self, *words: str | Path, answer: str = "", cwd: Path | None = None) -> tuple[int, str]:
        """The exit code and the one line it complains with."""
        done = self.run(*words, answer=answer, cwd=cwd)
        assert done.returncode != 0, done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.returncode, done.stderr.strip()


@pytest.fixture
def pithosfs(mounted: MountedDisk) -> Pithosfs:  # noqa: F811 - the fixture
    """The command line of the user who has the mount."""
    return Pithosfs(dict(mounted.mount.environment))


@pytest.fixture(scope="session")
def bob(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Pithosfs:  # noqa: F811 - the fixture
    """Another user of the server; ``.home`` is the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "pithosfs.server", site.server.directory, "--add-user", "bob"],
        capture_output=True,
        text=True,
        check=True,
    )
    home = environment(site.server, tmp_path_factory.mktemp("bob"))
    return Pithosfs({**home, "KAMAKI_CONFIG": done.stdout.strip()})
