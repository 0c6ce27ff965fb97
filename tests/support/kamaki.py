"""The real kamaki 0.16 (Python 2.7), in an environment made once in the user's cache directory."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest

PACKAGE = "kamaki==0.16"


def find_python27() -> str | None:
    """A Python 2.7: $PITHOSFS_PYTHON27, python2.7 on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    wanted = [os.environ.get("PITHOSFS_PYTHON27"), shutil.which("python2.7")]
    for candidate in [*wanted, *map(str, sorted(pyenv.glob("2.7*/bin/python")))]:
        if candidate and _is_python27(candidate):
            return candidate
    return None


def _is_python27(candidate: str) -> bool:
    try:
        done = subprocess.run([candidate, "-V"], capture_output=True, text=True, timeout=20)
    except OSError:
        return False
    return "Python 2.7" in done.stdout + done.stderr


def install_kamaki(python: str) -> Path:
    """kamaki's program, in an environment that is made at the first use."""
    cache = platformdirs.user_cache_path("pithosfs-tests")
    cache.mkdir(parents=True, exist_ok=True)
    home = cache / "kamaki-0.16"
    program = home / "env" / "bin" / "kamaki"
    with (cache / "kamaki.lock").open("w") as lock:  # parallel test workers make it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(home / "tools")],
            [str(home / "tools/bin/pip"), "-q", "install", "virtualenv<20.22"],
            [str(home / "tools/bin/virtualenv"), "-q", "-p", python, str(home / "env")],
            [str(home / "env/bin/pip"), "-q", "install", PACKAGE],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=250)
            if done.returncode != 0:
                pytest.skip(f"kamaki cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        return program


def kamaki_program() -> Path:
    """The real kamaki; skips the test where there is no Python 2.7."""
    python = find_python27()
    if python is None:
        pytest.skip("no Python 2.7 was found (kamaki 0.16 needs one): nothing was tested with kamaki")
    return install_kamaki(python)


@dataclass
class Kamaki:
    """kamaki's command line with the configuration ``config``, run in ``home``."""

    program: Path
    config: Path
    home: Path

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """Run a command and return what it prints."""
        command = [str(self.program), "-c", str(self.config), *arguments]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=self.home, timeout=120)
        assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout
