"""The benchmark's own environment: a virtual environment, and the peers it needs.

Only the standard library is imported here: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ["urllib3>=2.2,<3", "matplotlib>=3.8"]
KAMAKI = ["kamaki==0.16"]


def cache_home() -> Path:
    """Where the environments live, so that the source tree stays clean."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pithosfs-bench"


def enter() -> None:
    """Continue inside the environment, made now if it is missing or out of date."""
    wanted = repr((str(REPOSITORY), (REPOSITORY / "pyproject.toml").read_bytes(), NEEDED)).encode()
    home = cache_home() / hashlib.sha256(wanted).hexdigest()[:12]
    if Path(sys.prefix) == home:
        return
    stamp = home / "complete"
    if not stamp.exists():
        _say(f"making the environment {home}")
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        _run(home / "bin" / "pip", "install", "--quiet", "--editable", str(REPOSITORY), *NEEDED)
        stamp.touch()
    python = str(home / "bin" / "python")
    os.execv(python, [python, *sys.argv])  # noqa: S606 - ourselves again


def find_rclone(install: bool) -> str | None:
    """rclone's path; installed from Debian if it is missing and we may."""
    found = shutil.which("rclone")
    if found or not install:
        return found
    command = ["apt-get", "install", "-y", "-qq", "rclone"]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        _say(f"rclone is missing and left out; to compare with it: sudo {' '.join(command)}")
        return None
    _say("installing rclone")
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        _say("rclone could not be installed and is left out")
    return shutil.which("rclone")


def find_kamaki() -> str | None:
    """kamaki's path in an environment of Python 2.7, made if that is found."""
    home = cache_home() / "kamaki"
    program = home / "bin" / "kamaki"
    if program.exists():
        return str(program)
    python = _find_python2()
    if not python:
        _say("kamaki is left out: no Python 2.7 here (pyenv install 2.7.18 makes one)")
        return None
    _say(f"making an environment of {python} for kamaki")
    maker = cache_home() / "virtualenv"
    try:
        venv.create(maker, with_pip=True)
        _run(maker / "bin" / "pip", "install", "--quiet", "virtualenv<20.22")
        _run(maker / "bin" / "virtualenv", "--quiet", "--python", python, str(home))
        _run(home / "bin" / "pip", "install", "--quiet", *KAMAKI)
    except subprocess.CalledProcessError as error:
        _say(f"kamaki could not be installed and is left out: {error.stderr.strip().splitlines()[-1:]}")
        shutil.rmtree(home, ignore_errors=True)
        return None
    return str(program)


def _find_python2() -> str | None:
    candidates = [*Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"), shutil.which("python2.7")]
    for each in filter(None, candidates):
        if subprocess.run([str(each), "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(each)
    return None


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)


def _say(message: str) -> None:
    print(f"bench: {message}", file=sys.stderr, flush=True)
