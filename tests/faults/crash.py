"""Kill mount and server at random moments, again and again; what was acknowledged must still be there.

    python -m tests.faults.crash --rounds 200

Each round: writers work in a mount, each acknowledged close, fsync, rename,
unlink, mkdir and rmdir goes into a manifest that is fsynced outside the mount; at a random
moment mount, server, both or the network between them die.  Then the mount is
started again (it has its journal), must send all it still has, and every file
is compared by hash through another mount with an empty cache.

A file whose last change was not acknowledged may have its old or its new
content (or be there or not), nothing else, and so may a directory; so may one removed in the moment
before the mount died.  A rename that ended with an error may still arrive: what
the name had then is kept beside it.  Exit code 1 if anything was lost,
corrupted, read as it had been before, left over or hung.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import arguments
from tests.faults.scene import Scene, kill
from tests.support.files import opened, write_all
from tests.support.processes import run
from tests.support.server import Server

ABSENT, DIRECTORY = "absent", "directory"
WRITERS = 4
NAMES = 6  # files of each writer
TIMEOUT = 5.0
#: Seconds an operation may take before it counts as a hang: a commit may need several requests.
HANG = 3 * TIMEOUT + 10
#: Seconds a removal may need to get to the server: it is done a moment later (docs/semantics.md).
REMOVING = 0.3
SIZES = (0, 1, 700, 40_000, 300_000, 1_200_000, 4 * 1024 * 1024 + 17, 9_000_000)
KINDS = ("mount", "server", "both", "network")


class Manifest:
    """What each file may be, also on disk: a line for each intent and each acknowledgement."""

    def __init__(self, path: Path) -> None:
        self.acknowledged = 0
        self._lock = threading.Lock()
        self._states: dict[str, set[str]] = {}
        self._removed: dict[str, tuple[float, set[str]]] = {}
        self._moved: set[str] = set()  # names a rename onto which ended with an error
        self._out = path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._out.close()

    def may_be(self, name: str) -> set[str]:
        """Hashes the file may have; ABSENT among them if it may be missing."""
        with self._lock:
            return set(self._states.get(name, {ABSENT}))

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._states)

    @contextlib.contextmanager
    def change(self, **to: str) -> Iterator[None]:
        """The body changes files; until it ends well they may be as before or as they become."""
        with self._lock:
            before = {name: self._states.get(name, {ABSENT}) for name in to}
            for name, new in to.items():
                self._states[name] = before[name] | {new}
            self._write("begin", to)
        try:
            yield
        except OSError:
            with self._lock:
                self._moved |= {name for name, new in to.items() if len(to) > 1 and new != ABSENT}
            raise
        with self._lock:
            if set(to.values()) == {ABSENT}:
                self._removed.update((name, (time.monotonic(), before[name])) for name in to)
            self._states.update({name: {new} for name, new in to.items()})
            self.acknowledged += 1
            self._write("done", to)

    def was_moved_late(self, copy: str, state: str) -> bool:
        """Whether a conflict copy has what a name may have, onto which something was moved with an error.

        The server may have got that request later: then both contents are to be kept.
        """
        name = copy.partition(" (conflict ")[0]
        with self._lock:
            return copy != name and name in self._moved and state in self._states.get(name, ())

    def round_ended(self) -> None:
        """What happened in this round has been looked at."""
        with self._lock:
            self._moved.clear()

    def history(self, name: str) -> str:
        """The last changes of a file, for whoever has to find out."""
        lines = [line for line in Path(self._out.name).read_text().splitlines() if f'"{name}"' in line]
        return " ".join(lines[-8:])

    def mount_died(self) -> None:
        """What was removed just before may still be there."""
        with self._lock:
            for name, (at, before) in self._removed.items():
                if self._states[name] == {ABSENT} and time.monotonic() - at < REMOVING:
                    self._states[name] |= before
                    self._write("maybe not", {name: ABSENT})
            self._removed.clear()

    def was(self, name: str, state: str) -> str:
        """Whether a file ever was to be this, for whoever has to find out."""
        lines = Path(self._out.name).read_text().splitlines()
        hits = [number for number, line in enumerate(lines) if f'"{name}": "{state[:12]}"' in line]
        return f"written in line {hits[0] + 1} of {len(lines)}" if hits else "never written"

    def found(self, name: str, state: str) -> None:
        """After a round there is no doubt any more."""
        with self._lock:
            if self._states.get(name) != {state}:
                self._states[name] = {state}
                self._write("found", {name: state})

    def mark(self, what: str) -> None:
        """Note something else that happens."""
        with self._lock:
            self._write(what, {})

    def _write(self, what: str, to: dict[str, str]) -> None:
        short = {name: state[:12] for name, state in to.items()}
        self._out.write(json.dumps([what, short]) + "\n")
        self._out.flush()
        os.fsync(self._out.fileno())


class Writer(threading.Thread):
    """Works on its own files until told to stop; errors are what it expects."""

    def __init__(self, number: int, top: Path, manifest: Manifest, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"writer{number}", daemon=True)
        self.errors: Counter[str] = Counter()
        self.began: float | None = None
        self.hung = 0
        self.misread: list[str] = []
        self._mine = [f"w{number}f{each}" for each in range(NAMES)]
        self._top = top
        self._manifest = manifest
        self._dice = random.Random(seed)
        self._stop_asked = stop

    def run(self) -> None:
        actions: list[Callable[[str], None]] = [
            *(self._overwrite, self._overwrite, self._save, self._sync, self._fsync),
            *(self._edit, self._append, self._remove, self._make_or_remove_directory),
        ]
        while not self._stop_asked.is_set():
            self.began = time.monotonic()
            try:
                self._dice.choice(actions)(self._dice.choice(self._mine))
            except OSError as error:
                self.errors[os.strerror(error.errno or 0)] += 1
                self._stop_asked.wait(0.05)
            finally:
                took = time.monotonic() - self.began
                self.hung += took > HANG
                self.began = None

    def _content(self) -> bytes:
        size = self._dice.choice(SIZES)
        return self._dice.randbytes(min(size, 64)) + self._dice.randbytes(1) * max(0, size - 64)

    def _overwrite(self, name: str) -> None:
        data = self._content()
        with (
            self._manifest.change(**{name: digest(data)}),
            opened(self._top / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd,
        ):
            write_all(fd, data)

    def _save(self, name: str) -> None:
        """As editors do: a temporary file, then a rename onto the name."""
        self._save_by(f"{name}.tmp", name)

    def _sync(self, name: str) -> None:
        """As rsync does: the same, by a name the mount knows to be a temporary one."""
        self._save_by(f".{name}.Temp{self._dice.randrange(3):02}", name)

    def _save_by(self, temporary: str, name: str) -> None:
        data = self._content()
        with self._manifest.change(**{temporary: digest(data)}):
            (self._top / temporary).write_bytes(data)
        with self._manifest.change(**{temporary: ABSENT, name: digest(data)}):
            (self._top / temporary).rename(self._top / name)

    def _fsync(self, name: str) -> None:
        data = self._content()
        with (
            self._manifest.change(**{name: digest(data)}),
            opened(self._top / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd,
        ):
            write_all(fd, data)
            os.fsync(fd)

    def _edit(self, name: str) -> None:
        self._change_known(name, lambda data: (self._dice.randrange(len(data) or 1), b"edited"))

    def _append(self, name: str) -> None:
        self._change_known(name, lambda data: (len(data), b"appended"))

    def _change_known(self, name: str, where: Callable[[bytes], tuple[int, bytes]]) -> None:
        """Write a few bytes somewhere in a file whose content is certain."""
        states = self._manifest.may_be(name)
        if len(states) > 1 or ABSENT in states:
            return
        data = bytearray((self._top / name).read_bytes())
        found = digest(data)
        if found not in states:
            self.misread.append(
                f"{name} reads as {len(data)} bytes {found[:12]} ({self._manifest.was(name, found)}), "
                f"not as {states}; its history: {self._manifest.history(name)}"
            )
            return
        offset, piece = where(data)
        data[offset : offset + len(piece)] = piece
        with self._manifest.change(**{name: digest(data)}), opened(self._top / name, os.O_WRONLY) as fd:
            os.pwrite(fd, piece, offset)

    def _remove(self, name: str) -> None:
        if ABSENT not in self._manifest.may_be(name) and self._dice.random() < 0.3:
            with self._manifest.change(**{name: ABSENT}):
                (self._top / name).unlink()

    def _make_or_remove_directory(self, name: str) -> None:
        path, states = self._top / f"{name}.d", self._manifest.may_be(f"{name}.d")
        if states == {ABSENT}:
            with self._manifest.change(**{path.name: DIRECTORY}):
                path.mkdir()
        elif states == {DIRECTORY}:
            with self._manifest.change(**{path.name: ABSENT}):
                path.rmdir()


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def state_of(path: Path) -> str:
    """What a name has that is there."""
    return DIRECTORY if path.is_dir() else digest(path.read_bytes())


class Harness:
    """Rounds of work, death and comparison."""

    def __init__(self, folder: Path, seed: int, options: tuple[str, ...] = ()) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.lost = self.corrupted = self.misread = self.left_over = self.hangs = self.rounds = 0
        self.kept_both = 0  # conflict copies that are right
        self.slowest_recovery = 0.0
        self.compared = 0
        self._options = options
        self.server = Server(folder / "server")
        self.server.start()
        self.scene = Scene(folder, self.server, "crash", patience=None)
        self.manifest = Manifest(folder / "manifest")
        self._mount = self.scene.mount(*options, timeout=TIMEOUT)

    def close(self) -> None:
        self.manifest.close()
        self.scene.close()
        self.server.stop()

    @property
    def failed(self) -> bool:
        return bool(self.lost or self.corrupted or self.misread or self.left_over or self.hangs)

    def round(self) -> None:
        """One round."""
        self.rounds += 1
        kind = self.dice.choice(KINDS)
        stop = threading.Event()
        top = self._mount.mountpoint
        seeds = [self.dice.randrange(1 << 32) for _ in range(WRITERS)]
        writers = [Writer(number, top, self.manifest, seed, stop) for number, seed in enumerate(seeds)]
        for each in writers:
            each.start()
        time.sleep(self.dice.uniform(0.05, 2.0))
        self._strike(kind)
        if kind in ("server", "network"):
            time.sleep(self.dice.uniform(0.0, 1.5))
        stop.set()
        self._end(writers)
        self._recover()
        self._compare()

    def _strike(self, kind: str) -> None:
        self.faults[kind] += 1
        self.manifest.mark(f"strike {kind}")
        if kind in ("server", "both"):
            self.server.kill()
        if kind == "network":
            self.scene.proxy.down(silent=self.dice.random() < 0.5)
        if kind in ("mount", "both"):
            self._mount.abort()  # its mount point stays, dead: else writers would go on below it
            self._mount.process.wait()
            self.manifest.mount_died()

    def _end(self, writers: list[Writer]) -> None:
        """All writers come to an end by themselves: whatever they wait for fails in time."""
        deadline = time.monotonic() + HANG
        for each in writers:
            each.join(max(0.1, deadline - time.monotonic()))
            if each.is_alive():
                self.hangs += 1
                self._say(f"{each.name} hangs")
            self.hangs += each.hung
            self.errors.update(each.errors)
            for text in each.misread:
                self.misread += 1
                self._say(text)
        if any(each.is_alive() for each in writers):
            self._mount.abort()
            for each in writers:
                each.join()

    def _recover(self) -> None:
        """Everything comes back; then all of it must reach the server."""
        began = time.monotonic()
        self.scene.proxy.up()
        if not self.server.alive:
            self.server.start()
            if not self.rounds % 10:
                self._check_store()
        if not self._mount.alive:
            self._mount.destroy()
            self.scene.start(self._mount)
        done = self.scene.run("umount", self._mount.mountpoint)
        if done.returncode:
            self.left_over += 1
            self._say(f"umount: {done.returncode} {done.stderr.strip()}")
            kill(self._mount)
        self._mount.process.wait(20)
        self.slowest_recovery = max(self.slowest_recovery, time.monotonic() - began)
        left = [
            path for path in self._mount.cache.rglob("staging/**/*") if path.suffix in (".json", ".damaged")
        ]
        if left:
            self.left_over += len(left)
            self._say(f"left in the staging area: {left}")

    def _check_store(self) -> None:
        self.server.stop()
        run(sys.executable, "-m", "pithosfs.server", self.server.directory, "--check")
        self.server.start()

    def _compare(self) -> None:
        """Through a mount that has nothing cached."""
        self._mount.forget_cache()
        self.scene.start(self._mount)
        there = set(os.listdir(self._mount.mountpoint))
        for name in sorted(there - set(self.manifest.names())):
            path = self._mount.mountpoint / name
            if self.manifest.was_moved_late(name, state_of(path)):
                self.kept_both += 1
            else:
                self.left_over += 1
                self._say(f"nobody made {name}")
            path.rmdir() if path.is_dir() else path.unlink()
        for name in self.manifest.names():
            state = state_of(self._mount.mountpoint / name) if name in there else ABSENT
            allowed = self.manifest.may_be(name)
            self.compared += 1
            if state not in allowed:
                kind = "lost" if state == ABSENT else "corrupted"
                setattr(self, kind, getattr(self, kind) + 1)
                self._say(
                    f"{name} is {kind}: {state[:12]} instead of {sorted(each[:12] for each in allowed)}"
                )
                self._say(f"it was {self.manifest.was(name, state)}: {self.manifest.history(name)}")
            self.manifest.found(name, state)
        self.manifest.round_ended()

    def _say(self, text: str) -> None:
        print(f"round {self.rounds} (seed {self.seed}): {text}", flush=True)

    def report(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        failed = ", ".join(f"{count} x {text}" for text, count in self.errors.most_common())
        return (
            f"seed {self.seed}{' ' if self._options else ''}{' '.join(self._options)}\n"
            f"rounds {self.rounds}; killed: {kinds}\n"
            f"acknowledged {self.manifest.acknowledged}, refused: {failed or 'none'}\n"
            f"files compared {self.compared}; lost {self.lost}, corrupted {self.corrupted}, "
            f"misread {self.misread}, left over {self.left_over}, hangs {self.hangs}; "
            f"kept beside a late rename {self.kept_both}\n"
            f"slowest recovery {self.slowest_recovery:.1f} s"
        )


def main() -> int:
    parser = arguments.parser(__doc__)
    arguments.add_write_back(parser)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--keep", metavar="DIR", help="work there and leave logs and manifest")
    given = parser.parse_args()
    seed, options = arguments.seed_of(given), arguments.mount_options(given)
    print(f"seed {seed}", flush=True)
    with contextlib.ExitStack() as cleanup:
        folder = given.keep or cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pithosfs-crash-"))
        Path(folder).mkdir(exist_ok=True)
        harness = Harness(Path(folder).resolve(), seed, options)
        try:
            for _ in range(given.rounds):
                harness.round()
                if not harness.rounds % 20:
                    print(
                        f"{harness.rounds} rounds, {harness.manifest.acknowledged} acknowledged", flush=True
                    )
        finally:
            print(harness.report(), flush=True)
            harness.close()
    return 1 if harness.failed else 0


if __name__ == "__main__":
    sys.exit(main())
