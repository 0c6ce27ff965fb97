"""Many writers and readers for a while, every byte verified; and many writers of one file.

    python -m tests.faults.soak --minutes 15

The first part has ``--writers`` threads in two mounts, each with files of its
own that the others only read: what a reader sees must be one of the contents
its writer has written.  The second has as many writers of a single file: each
acknowledged content must exist at the end, under the name, under a conflict
name or as a version.  Prints figures; exit code 1 if anything was wrong.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import arguments
from tests.faults.scene import Scene
from tests.support.mounts import Mount
from tests.support.server import Server
from tests.support.waiting import eventually

SIZES = (0, 100, 5_000, 70_000, 400_000, 2_000_000, 5_000_000)
FILES = 5  # of each writer


@dataclass
class Result:
    """What one run did and found."""

    seed: int
    seconds: float = 0.0
    acknowledged: int = 0
    refused: int = 0
    read: int = 0
    written_bytes: int = 0
    read_bytes: int = 0
    slowest: float = 0.0
    peak_memory: int = 0
    conflict_copies: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, {self.seconds:.0f} s: {self.acknowledged} writes acknowledged "
            f"({self.written_bytes / 1e6:.0f} MB), {self.refused} refused, "
            f"{self.read} files read ({self.read_bytes / 1e6:.0f} MB), "
            f"slowest operation {self.slowest:.1f} s, "
            f"peak memory {self.peak_memory / 2**20:.0f} MiB, {self.conflict_copies} conflict copies, "
            f"lost {len(self.lost)}, wrong {len(self.wrong)}"
        )


class Book:
    """The contents each file may have, by hash; and figures, for all threads."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self._lock = threading.Lock()
        self._written: dict[str, list[str]] = {}
        self._turns: dict[Path, threading.Lock] = {}

    def reading(self, path: Path) -> threading.Lock:
        """Held while a file is read."""
        with self._lock:
            return self._turns.setdefault(path, threading.Lock())

    def intend(self, name: str, digest: str) -> None:
        with self._lock:
            self._written.setdefault(name, []).append(digest)

    def acknowledged(self, size: int, took: float) -> None:
        with self._lock:
            self.result.acknowledged += 1
            self.result.written_bytes += size
            self.result.slowest = max(self.result.slowest, took)

    def refused(self) -> None:
        with self._lock:
            self.result.refused += 1

    def saw(self, name: str, data: bytes, took: float) -> None:
        with self._lock:
            self.result.read += 1
            self.result.read_bytes += len(data)
            self.result.slowest = max(self.result.slowest, took)
            if digest_of(data) not in self._written.get(name, ()):
                self.result.wrong.append(f"{name}: {len(data)} bytes that nobody wrote")

    def last(self) -> dict[str, str]:
        """The newest content of each file."""
        with self._lock:
            return {name: written[-1] for name, written in self._written.items()}


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(dice: random.Random) -> bytes:
    size = dice.choice(SIZES)
    return dice.randbytes(min(size, 5_000)) + bytes([dice.randrange(256)]) * max(0, size - 5_000)


def write(path: Path, data: bytes, book: Book) -> None:
    """Write a file anew, as a program does."""
    book.intend(path.name, digest_of(data))
    began = time.monotonic()
    path.write_bytes(data)
    book.acknowledged(len(data), time.monotonic() - began)


def work(number: int, tops: list[Path], writers: int, book: Book, seed: int, stop: threading.Event) -> None:
    """Write own files in one mount; read those of writers in other mounts.

    Not those of the same mount: there a reader sees a file half written, as on any file system.
    Nor does anybody look at a file that another one in the same mount is reading: the kernel knows
    one size for a name, so a shorter new version would end the reading of the old one early.
    """
    dice = random.Random(seed)
    mine = number % len(tops)
    while not stop.is_set():
        name = f"w{number}f{dice.randrange(FILES)}"
        write(tops[mine] / name, content(dice), book)
        other = dice.choice([each for each in range(writers) if each % len(tops) != mine])
        path = tops[mine] / f"w{other}f{dice.randrange(FILES)}"
        try:
            with book.reading(path):
                began = time.monotonic()
                data = path.read_bytes()
        except FileNotFoundError:
            continue
        book.saw(path.name, data, time.monotonic() - began)


def soak(
    folder: Path,
    server: Server,
    *,
    seconds: float,
    mounts: int = 2,
    writers: int = 16,
    seed: int = 1,
    least: int = 0,
) -> Result:
    """The first part; at least so many writes are acknowledged, and half as many files read."""
    result = Result(seed, seconds)
    book = Book(result)
    scene = Scene(folder, server, "soak", patience=None)
    try:
        found = [scene.mount(name=f"soak{number}", timeout=60) for number in range(mounts)]
        tops = [each.mountpoint for each in found]
        stop = threading.Event()
        failures: list[BaseException] = []

        def guarded(*arguments: object) -> None:
            try:
                work(*arguments)  # type: ignore[arg-type]
            except BaseException as error:
                failures.append(error)

        threads = [
            threading.Thread(
                target=guarded,
                args=(number, tops, writers, book, seed * 1000 + number, stop),
                daemon=True,
            )
            for number in range(writers)
        ]
        run_for(
            threads,
            seconds,
            stop,
            lambda: bool(failures) or (result.acknowledged > least and result.read > least // 2),
        )
        result.wrong += [f"a writer ended: {error}" for error in failures]
        finish(scene, found, result)
        compare(scene, book, result)
    finally:
        scene.close()
    return result


def run_for(
    threads: list[threading.Thread], seconds: float, stop: threading.Event, enough: Callable[[], bool]
) -> None:
    """At least so long, and until it is enough."""
    for each in threads:
        each.start()
    time.sleep(seconds)
    eventually(enough, 120, "what the writers were to do")
    stop.set()
    for each in threads:
        each.join(120)
        assert not each.is_alive(), "a writer hangs"


def finish(scene: Scene, mounts: list[Mount], result: Result) -> None:
    for mount in mounts:
        result.peak_memory = max(result.peak_memory, mount.peak_memory())
        mount.unmount()


def compare(scene: Scene, book: Book, result: Result) -> None:
    """Each file has its newest content, asked of the server itself."""
    for name, digest in book.last().items():
        if not scene.store.exists(name) or digest_of(scene.store.get(name)) != digest:
            result.lost.append(name)


# -- one file ---------------------------------------------------------------------------------------


def lost_updates(
    folder: Path,
    server: Server,
    *,
    seconds: float,
    mounts: int = 4,
    writers: int = 16,
    seed: int = 1,
    least: int = 0,
) -> Result:
    """The second part: every acknowledged content, ``least`` at least, is at the end a file, copy or version.

    Writers in one mount take turns, as programs that share a file on one machine have to.
    """
    result = Result(seed, seconds)
    scene = Scene(folder, server, "updates", patience=None)
    acknowledged: set[bytes] = set()
    lock = threading.Lock()
    stop = threading.Event()

    turns = [threading.Lock() for _ in range(mounts)]

    def update(number: int, path: Path) -> None:
        dice = random.Random(seed * 1000 + number)
        while not stop.is_set():
            data = f"{number} {time.monotonic_ns()} ".encode() + dice.randbytes(dice.choice((10, 3_000)))
            began = time.monotonic()
            try:
                with turns[number % mounts]:
                    path.write_bytes(data)
            except OSError:  # told that somebody else was faster: kept all the same, under a conflict name
                with lock:
                    result.refused += 1
                time.sleep(0.05)
                continue
            with lock:
                acknowledged.add(data)
                result.acknowledged += 1
                result.slowest = max(result.slowest, time.monotonic() - began)

    try:
        found = [scene.mount(name=f"updates{number}", timeout=60) for number in range(mounts)]
        threads = [
            threading.Thread(
                target=update, args=(number, found[number % mounts].mountpoint / "file"), daemon=True
            )
            for number in range(writers)
        ]
        run_for(threads, seconds, stop, lambda: result.acknowledged > least)
        finish(scene, found, result)
        names = scene.store.names()
        result.conflict_copies = len(names) - 1
        there = {scene.store.get(name) for name in names} | set(scene.versions("file"))
        result.lost += [data.split()[0].decode() for data in acknowledged - there]
    finally:
        scene.close()
    return result


def main() -> int:
    parser = arguments.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="for the first part (%(default)s)")
    parser.add_argument("--one-file", type=float, metavar="MINUTES", help="for the second; default: as long")
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--mounts", type=int, default=2)
    parser.add_argument("--racy", action="store_true", help="a server that checks conditions as the real one")
    given = parser.parse_args()
    seed = arguments.seed_of(given)
    one_file = given.minutes if given.one_file is None else given.one_file
    good = True
    for part, minutes in ((soak, given.minutes), (lost_updates, one_file)):
        with tempfile.TemporaryDirectory(prefix="pithosfs-soak-") as folder:
            server = Server(Path(folder).resolve() / "server", *(["--racy-conditions"] if given.racy else []))
            server.start()
            try:
                result = part(
                    Path(folder).resolve(),
                    server,
                    seconds=minutes * 60,
                    mounts=given.mounts,
                    writers=given.writers,
                    seed=seed,
                )
            finally:
                server.stop()
            print(f"{part.__name__}: {result}", flush=True)
            for each in [*result.lost, *result.wrong][:20]:
                print(f"  {each}")
            good = good and not (result.lost or result.wrong)
    return 0 if good else 1


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    sys.exit(main())
