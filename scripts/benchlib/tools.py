"""Systems without a mount: raw HTTP, the bound of what can be had, and kamaki's command line.

They know the actions that make sense for them; a workload they lack is left out.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

from pithosfs import blocks

from .corpus import SMALL, Corpus
from .mounts import write_kamakirc
from .processes import Cost, Failed, run
from .store import Content, Place, Store

IN_TURN = 30  # requests of a kind, each after the answer to the one before


class Tool:
    """What both have in common: nothing to mount."""

    name = "tool"

    def __init__(self, place: Place, container: str, corpus: Corpus, work: Path) -> None:
        self.place, self.container, self.corpus, self.work = place, container, corpus, work
        work.mkdir(parents=True)

    def start(self) -> None:
        """Nothing runs between actions."""

    def fresh(self) -> None:
        """Nothing is cached either."""

    def alive(self) -> bool:
        """Nothing runs that could have ended."""
        return True

    def cost(self) -> Cost:
        """Not measured: there is no process that stays."""
        return Cost()

    def close(self) -> None:
        """Remove the working folder."""
        shutil.rmtree(self.work, ignore_errors=True)


class Raw(Tool):
    """The fewest and widest requests a client could make by hand."""

    name = "raw"

    def __init__(self, place: Place, container: str, corpus: Corpus, work: Path) -> None:
        super().__init__(place, container, corpus, work)
        self.store = Store(place, container)

    def close(self) -> None:
        self.store.__exit__()
        super().close()

    def in_turn(self) -> dict[str, float]:
        """Seconds of one small request that waits for the one before, by method: the median of some."""
        names = [f"single-{number}" for number in range(IN_TURN)]
        seconds = statistics.median(
            _timed(partial(self.store.put, each, os.urandom(SMALL))) for each in names
        )
        for each in names:
            self.store.send("DELETE", each)
        return {"PUT": seconds}

    def upload(self, name: str) -> None:
        self.store.upload(name, self.corpus.big)

    def read(self, name: str) -> Callable[[], str]:
        """Read an object and keep nothing; what comes back reads it once more and tells the sha256."""
        size = self.store.stream(name)
        if size != self.corpus.big.stat().st_size:
            raise Failed(f"{name}: {size} bytes read")
        return partial(self.store.sha256, name)

    def random_reads(self, name: str) -> None:
        with self.corpus.big.open("rb") as model:
            for offset in self.corpus.offsets():
                model.seek(offset)
                if self.store.read(name, offset, SMALL) != model.read(SMALL):
                    raise Failed(f"wrong bytes at {offset}")

    def change(self, name: str) -> None:
        middle = self.corpus.sizes.big // 2 // blocks.BLOCK_SIZE
        with self.corpus.big.open("rb") as model:
            model.seek(middle * blocks.BLOCK_SIZE)
            changed = model.read(blocks.BLOCK_SIZE)
        hashes = self.store.hashmap(name)
        self.store.read(name, middle * blocks.BLOCK_SIZE, len(changed))  # what a client would have to fetch
        hashes[middle] = self.store.post_block(changed)
        self._commit(name, self.corpus.sizes.big, hashes)

    def append(self, name: str) -> None:
        size = self.corpus.big.stat().st_size
        with self.corpus.big.open("rb") as model:
            model.seek(size - SMALL)
            added = self.store.post_block(model.read())
        self._commit(name, size, [*self.store.hashmap(name), added])

    def _commit(self, name: str, size: int, hashes: list[str]) -> None:
        if self.store.put_hashmap(name, size, hashes):
            raise Failed(f"{name}: the server lacks blocks it was given")

    def copy_tree(self, name: str) -> None:
        def put(path: Path) -> None:
            self.store.put(f"{name}/{path.relative_to(self.corpus.small)}", path.read_bytes())

        self.store.each(put, self.corpus.small_files())

    def list_tree(self, name: str) -> None:
        files = sum(each.endswith(".dat") for each in self.store.listing(f"{name}/"))
        if files != self.corpus.sizes.listed:
            raise Failed(f"{files} files listed of {self.corpus.sizes.listed}")

    def read_small(self, name: str) -> None:
        def check(path: Path) -> None:
            if self.store.read(f"{name}/{path.relative_to(self.corpus.small)}") != path.read_bytes():
                raise Failed(f"{path.name} has other bytes")

        self.store.each(check, self.corpus.small_files())

    def rename(self, old: str, new: str) -> None:
        whole = "" if old.endswith(".bin") else "delimiter=/"
        self._move(old, new, whole)

    def _move(self, old: str, new: str, query: str = "") -> None:
        self.store.send("MOVE", old, query, headers={"Destination": quote(f"/{self.container}/{new}")})

    def delete_tree(self, name: str) -> None:
        self.store.send("DELETE", name, "delimiter=/")

    def copy_inside(self, old: str, new: str) -> None:
        self.store.send("COPY", old, headers={"Destination": quote(f"/{self.container}/{new}")})


def _timed(call: Callable[[], object]) -> float:
    """The seconds a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


class Kamaki(Tool):
    """The command line of the store's own project, one command an action."""

    name = "kamaki"
    program = "kamaki"

    def __init__(self, place: Place, container: str, corpus: Corpus, work: Path) -> None:
        super().__init__(place, container, corpus, work)
        write_kamakirc(work / "kamakirc", place)
        self._downloaded = work / "downloaded"

    def _file(self, *words: str) -> str:
        env = {"KAMAKI_CONFIG": str(self.work / "kamakirc"), "HOME": str(self.work)}
        # To the question whether what is in a directory may go, too, --yes is no answer.
        return run([self.program, "file", *words], env=env, timeout=self.corpus.sizes.patience, answer="y\n")

    def _path(self, name: str) -> str:
        return f"/{self.container}/{name}"

    def upload(self, name: str) -> None:
        self._file("upload", str(self.corpus.big), self._path(name))

    def read(self, name: str) -> Callable[[], str]:
        """Download an object; what comes back tells the sha256 of the file."""
        self._downloaded.unlink(missing_ok=True)
        self._file("download", self._path(name), str(self._downloaded))
        return lambda: Content.of(self._downloaded).sha256

    def copy_tree(self, name: str) -> None:
        self._file("upload", "-r", str(self.corpus.small), self._path(name))

    def list_tree(self, name: str) -> None:
        listed = self._file("list", self._path(name), "-r")
        if listed.count(".dat") != self.corpus.sizes.listed:
            raise Failed(f"{listed.count('.dat')} files listed of {self.corpus.sizes.listed}")

    def rename(self, old: str, new: str) -> None:
        recursive = () if old.endswith(".bin") else ("-r",)
        self._file("move", self._path(old), self._path(new), *recursive)

    def delete_tree(self, name: str) -> None:
        self._file("delete", "-r", "--yes", self._path(name))

    def copy_inside(self, old: str, new: str) -> None:
        self._file("copy", self._path(old), self._path(new))
