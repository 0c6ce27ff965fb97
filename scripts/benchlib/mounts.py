"""Systems that mount a container as a directory: pithosfs, rclone, any command.

A mount runs in the foreground, as a process of ours, so that its memory and
CPU time can be read until the end.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .children import Child, in_child
from .corpus import MIB, SMALL, Corpus
from .processes import Cost, Failed, Process, run
from .store import Place


class Mount:
    """A container mounted by a command line; a subclass says which.

    The methods under "actions" are what the workloads ask for; each returns
    when a program would go on, and raises :class:`Failed` if it was refused
    or content was wrong.
    """

    name = "mount"

    def __init__(self, place: Place, container: str, corpus: Corpus, work: Path) -> None:
        self.place, self.container, self.corpus, self.work = place, container, corpus, work
        self.top = work / "mnt"
        self.cache = work / "cache"
        self.process: Process | None = None
        self._spent = Cost()
        self._reader: Child | None = None  # has open what was read last
        work.mkdir(parents=True)
        self.top.mkdir()
        self.prepare()

    def prepare(self) -> None:
        """Write what the command needs."""

    def command(self) -> list[str]:
        """The command line that mounts in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Its environment, beyond ours."""
        return {}

    # -- life ------------------------------------------------------------------------

    def start(self) -> None:
        """Mount."""
        self.process = Process(self.command(), self.work / "mount.log", self.environment())
        self.process.wait_until(self.top.is_mount, f"mounting with {self.name}")

    def stop(self) -> None:
        """Unmount; all that was written is on the server then."""
        self._let_go()
        process, self.process = self.process, None
        if process is None:
            return
        self._spent = _sum(self._spent, process.cost())
        for unmount in (["-u"], ["-u"], ["-uz"]):
            done = subprocess.run(["fusermount3", *unmount, str(self.top)], capture_output=True, check=False)
            if done.returncode == 0:
                break
            time.sleep(0.5)
        process.stop()

    def fresh(self) -> None:
        """Mount anew, with nothing cached."""
        self.stop()
        shutil.rmtree(self.cache, ignore_errors=True)
        self.start()

    def cost(self) -> Cost:
        """Peak memory of any mount so far, CPU seconds of all."""
        return _sum(self._spent, self.process.cost()) if self.process else self._spent

    def close(self) -> None:
        """Unmount and forget everything."""
        self.stop()
        if not self.top.is_mount():
            shutil.rmtree(self.work, ignore_errors=True)

    def alive(self) -> bool:
        """Whether the mount still works."""
        return self.process is not None and self.process.alive()

    def kill(self) -> None:
        """End the mount process, and so whatever hangs in it."""
        if self.process:
            self.process.kill()

    def _run(self, command: list[str]) -> str:
        return run(command, timeout=self.corpus.sizes.patience, release=self.kill)

    def in_child(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """``call(*arguments)`` in a child, so that a mount that hangs does not hang us."""
        return in_child(self.corpus.sizes.patience, self.kill, call, *arguments)

    # -- actions ------------------------------------------------------------------------

    def upload(self, name: str) -> None:
        self._run(["cp", str(self.corpus.big), str(self.top / name)])

    def read(self, name: str) -> Callable[[], str]:
        """Read a file from beginning to end; what comes back tells, once, the sha256 of what was read.

        The file stays open for that.  Opened again it might be asked about
        again, and a workload that follows would find that done.
        """
        self._let_go()
        reader = self._reader = Child(self.corpus.sizes.patience, self.kill, reading, self.top / name)
        size = reader.next()
        if size != self.corpus.big.stat().st_size:
            raise Failed(f"{name}: {size} bytes read of {self.corpus.big.stat().st_size}")
        return partial(self._sha256_from, reader)

    reread = read

    def random_reads(self, name: str) -> None:
        self.in_child(compare_at, self.top / name, self.corpus.big, self.corpus.offsets())

    def change(self, name: str) -> None:
        self.in_child(self.corpus.change, self.top / name)

    def append(self, name: str) -> None:
        self.in_child(self.corpus.append, self.top / name)

    def copy_tree(self, name: str) -> None:
        self._run(["cp", "-r", str(self.corpus.small), str(self.top / name)])

    def list_tree(self, name: str) -> None:
        lines = self._run(["ls", "-lR", str(self.top / name)]).splitlines()
        files = sum(line.startswith("-") for line in lines)
        if files != self.corpus.sizes.listed:
            raise Failed(f"{files} files listed of {self.corpus.sizes.listed}")

    def read_small(self, name: str) -> None:
        self.in_child(compare_trees, self.corpus.small, self.top / name)

    def rename(self, old: str, new: str) -> None:
        self._run(["mv", str(self.top / old), str(self.top / new)])

    def delete_tree(self, name: str) -> None:
        self._run(["rm", "-r", str(self.top / name)])

    def copy_inside(self, old: str, new: str) -> None:
        self._run(["cp", str(self.top / old), str(self.top / new)])

    def sync(self, name: str) -> str:
        """rsync -a the small files; what it says it changed."""
        return self._run(["rsync", "-ai", f"{self.corpus.small}/", f"{self.top / name}/"])

    # -- checks, not timed ----------------------------------------------------------------

    def _sha256_from(self, reader: Child) -> str:
        try:
            return str(reader.next())
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._reader:
            self._reader.end()
        self._reader = None

    def times_are_kept(self, expected: dict[str, int]) -> bool:
        """Whether the files have these times (whole seconds)."""
        return bool(self.in_child(_times_equal, self.top, expected))


class PithosFS(Mount):
    """Ours."""

    name = "pithosfs"
    times_in_types = True
    in_python = True  # py-spy understands it
    options: tuple[str, ...] = ()

    def prepare(self) -> None:
        write_kamakirc(self.work / "kamakirc", self.place)

    def command(self) -> list[str]:
        program = Path(sys.prefix) / "bin" / "pithosfs"
        words = [str(program), "mount", self.container, str(self.top), "--foreground"]
        return [
            *words,
            "--config",
            str(self.work / "kamakirc"),
            "--cache-dir",
            str(self.cache),
            *self.options,
        ]


class PithosFSWriteBack(PithosFS):
    """Ours, returning from close when the data is in the local journal."""

    name = "pithosfs+wb"
    options = ("--write-back=0.05",)  # as soon as rclone is told to


class Rclone(Mount):
    """rclone's mount of its swift backend, with the full cache.

    It uploads 50 ms after close instead of its usual 5 s: soon enough not to
    matter, late enough that rsync's rename comes before (renaming what it
    uploaded fails on Pithos).
    """

    name = "rclone"
    program = "rclone"

    def prepare(self) -> None:
        private(
            self.work / "rclone.conf",
            f"[bench]\ntype = swift\nstorage_url = {self.place.endpoint}/{self.place.account}\n"
            f"auth_token = {self.place.token}\n",
        )

    def command(self) -> list[str]:
        words = [self.program, "mount", f"bench:{self.container}", str(self.top)]
        words += ["--config", str(self.work / "rclone.conf"), "--cache-dir", str(self.cache)]
        return [*words, "--vfs-cache-mode", "full", "--vfs-write-back", "50ms"]


def custom(template: str) -> type[Mount]:
    """A mount by any command with {source}, {mountpoint}, {cache}, {config}, that stays in the foreground."""

    class Custom(PithosFS):
        name = re.split(r"[/\s]", template.split()[0])[-1]

        def command(self) -> list[str]:
            values = {"source": self.container, "mountpoint": self.top, "cache": self.cache}
            return shlex.split(template.format(config=self.work / "kamakirc", **values))

    return Custom


def write_kamakirc(path: Path, place: Place) -> None:
    """kamaki's configuration; it names the endpoint, because the catalogue leads past the proxy."""
    private(
        path,
        "[global]\ndefault_cloud = bench\nignore_ssl = on\n\n"
        f'[cloud "bench"]\nurl = {place.identity}\ntoken = {place.token}\n'
        f"pithos_url = {place.endpoint}\npithos_uuid = {place.account}\n",
    )


def private(path: Path, text: str) -> None:
    """Write a file only we can read."""
    path.touch(mode=0o600)
    path.write_text(text)


def _sum(one: Cost, other: Cost) -> Cost:
    return Cost(max(one.rss, other.rss), one.cpu + other.cpu)


# -- what a program does ---------------------------------------------------------------------


def read_through(path: Path) -> int:
    """Read a file from beginning to end; its size."""
    return int(next(reading(path)))


def reading(path: Path) -> Iterator[int | str]:
    """Read a file from beginning to end, and then again, without opening it again: its size, its sha256."""
    total, buffer = 0, bytearray(MIB)
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            total += got
        yield total
        file.seek(0)
        yield hashlib.file_digest(file, "sha256").hexdigest()


def compare_at(path: Path, model: Path, offsets: list[int]) -> None:
    """Read 4 KiB at each offset and compare with the same of ``model``."""
    with path.open("rb", buffering=0) as file, model.open("rb", buffering=0) as right:
        for offset in offsets:
            if os.pread(file.fileno(), SMALL, offset) != os.pread(right.fileno(), SMALL, offset):
                raise Failed(f"wrong bytes at {offset}")


def compare_trees(model: Path, copy: Path) -> None:
    """Read every file of ``copy``, one after the other, and compare with ``model``."""
    for path in sorted(each for each in model.rglob("*") if each.is_file()):
        name = path.relative_to(model)
        if (copy / name).read_bytes() != path.read_bytes():
            raise Failed(f"{name} has other bytes")


def _times_equal(top: Path, expected: dict[str, int]) -> bool:
    return all(int((top / name).stat().st_mtime) == time for name, time in expected.items())
