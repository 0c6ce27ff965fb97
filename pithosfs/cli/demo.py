"""``pithosfs demo``: a short story in real commands, on a server and a mount of its own."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pithosfs
from pithosfs import moments, mountpoints
from pithosfs.cli import arguments, checks
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.options import MountOptions

_DESCRIPTION = """\
Start a server, mount its container, copy files in, delete and restore some, and
read everything back, showing each command and what it prints.

On a terminal everything stays up until Enter or Ctrl-C, to go on by hand;
otherwise it ends by itself.  Nothing is left behind.

Example:
  pithosfs demo
"""

#: Seconds the server may take to end.
_PATIENCE = 30.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    arguments.add_command(commands, "demo", run, "see it work in a minute", _DESCRIPTION)


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 (the signature of all commands)
    """Tell the story in a temporary directory; take everything away at the end."""
    checks.require_fuse(MountOptions())
    with _ended_by_signals(), contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(_folder()))
        try:
            _Story(folder, cleanup).tell()
        finally:
            _ignore_signals()  # what is begun below is finished, however impatient somebody is
    return ExitCode.OK


class _Story:
    """The commands, in order; what they start is ended by ``cleanup``."""

    def __init__(self, folder: Path, cleanup: contextlib.ExitStack) -> None:
        self._folder = folder
        self._store = folder / "store"
        self._cloud = folder / "cloud"
        self._cleanup = cleanup
        # "pithosfs" in the story is this very program
        self._environment = {
            **os.environ,
            "KAMAKI_CONFIG": str(self._store / "kamakirc"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        }

    def tell(self) -> None:
        """The whole of it."""
        self._serve()
        self._mount()
        self._copy_a_tree()
        self._copy_twice()
        self._delete_and_restore()
        self._read_back()
        if sys.stdin.isatty() and sys.stdout.isatty():
            self._wait()

    def _serve(self) -> None:
        _say("A Pithos server that keeps its data in a directory:")
        command = ["pithosfs", "serve", "store", "--port", "0"]
        print(f"$ cd {self._folder}\n$ {shlex.join(command)} &", flush=True)
        server = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "pithosfs", *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            cwd=self._folder,
            start_new_session=True,  # Ctrl-C is for the story, which ends the server after the mount
        )
        self._cleanup.callback(_end, server)
        assert server.stdout is not None  # noqa: S101 (a pipe was asked for)
        if not (line := server.stdout.readline()):
            raise CommandError("the server did not start")
        print(line, end="", flush=True)

    def _mount(self) -> None:
        _say('Its container "pithos" becomes a directory:')
        self._run("mkdir", "cloud")
        self._cleanup.callback(self._unmount)
        self._run("pithosfs", "mount", "pithos", "cloud", "--cache-dir", "cache")

    def _copy_a_tree(self) -> None:
        tree = Path(pithosfs.__file__).parent
        _say("Copy a tree of real files into it, and look at it:")
        self._run("cp", "-r", tree, "cloud/tree")
        self._run("ls", "-C", "cloud/tree/server")
        self._run("ls", "-l", "cloud/tree/blocks.py")
        self._run("df", "-h", "cloud")

    def _copy_twice(self) -> None:
        _say("A file of 64 MiB, copied in twice; the second copy sends no data, the server has the blocks:")
        self._run("dd", "if=/dev/urandom", "of=big", "bs=1M", "count=64", "status=none")
        for name in ("first", "second"):
            self._run("cp", "big", f"cloud/{name}")
            self._run("pithosfs", "status", "cloud")

    def _delete_and_restore(self) -> None:
        _say("The tree is deleted by mistake; the store has every version, and brings it back:")
        before = time.time_ns()
        time.sleep(2.0)  # moments are whole seconds: this one shall be over
        then = moments.name_of(before + moments.SECOND)
        self._run("rm", "-r", "cloud/tree")
        self._run("ls", "cloud")
        self._run("ls", f"cloud/.pithos/at/{then}")
        self._run("pithosfs", "restore", "cloud/tree", "--at", then)

    def _read_back(self) -> None:
        tree = Path(pithosfs.__file__).parent
        _say("Mounted anew with an empty cache, everything is read back and compared:")
        self._run("pithosfs", "umount", "cloud")
        self._run("rm", "-r", "cache")
        self._run("pithosfs", "mount", "pithos", "cloud", "--cache-dir", "cache")
        self._run("diff", "-r", "--exclude=__pycache__", tree, "cloud/tree")
        self._run("cmp", "big", "cloud/second")
        _say("Not a byte differs.")

    def _wait(self) -> None:
        with contextlib.suppress(KeyboardInterrupt, EOFError):
            _say(  # whoever reads its end may press Ctrl-C before it returns
                f"It stays mounted: look into {self._cloud}. To go on by hand in another terminal:\n"
                f"  export PATH={Path(sys.executable).parent}:$PATH KAMAKI_CONFIG={self._store}/kamakirc\n"
                f"  cp -r ~/Pictures {self._cloud}/\n"
                f"  pithosfs status\n"
                "Enter (or Ctrl-C) ends mount and server, and takes away what they kept."
            )
            input()

    def _run(self, *words: str | Path) -> None:
        """Show a command as one would type it, and run it."""
        command = [str(each) for each in words]
        print(f"$ {shlex.join(command)}", flush=True)
        program = [sys.executable, "-m", "pithosfs"] if command[0] == "pithosfs" else command[:1]
        done = subprocess.run(  # noqa: S603
            [*program, *command[1:]], env=self._environment, cwd=self._folder, check=False
        )
        if done.returncode:
            raise CommandError(f"{command[0]} ended with exit code {done.returncode}")

    def _unmount(self) -> None:
        for way in (["--timeout", "5s"], ["--force"]):
            if mountpoints.mount_at(mountpoints.locate(self._cloud)) is None:
                return
            subprocess.run(  # noqa: S603
                [sys.executable, "-m", "pithosfs", "umount", *way, str(self._cloud)],
                env=self._environment,
                check=False,
            )


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _end(server: subprocess.Popen[str]) -> None:
    server.terminate()
    try:
        server.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="pithosfs-demo.")
    try:
        yield folder
    finally:
        # what is mounted below must not be emptied should unmounting have failed
        if not any(each.path.startswith(f"{folder}/") for each in mountpoints.mounted()):
            shutil.rmtree(folder)


def _ignore_signals() -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the story like Ctrl-C; while it is cleaned up after, all three are ignored."""

    def end(number: int, _frame: object) -> None:
        _ignore_signals()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
