"""The files the workloads work with, made from a seed so that each system gets blocks of its own.

A Pithos server stores equal blocks once for everybody: two systems that wrote
the same content would profit from each other.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from .store import Content

MIB = 1 << 20
SMALL = 4096  # bytes of a small file, and of a small read or write
OLD = 1_500_000_000  # a time that is not the server's


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    big: int  # bytes
    small: int  # files, copied, read, synchronised
    small_dirs: int
    listed: int  # files
    listed_dirs: int
    reads: int  # random reads
    moved: int  # files in the directory that is renamed and deleted
    patience: float = 60.0  # seconds any single action may take


FULL = Sizes(256 * MIB, 300, 10, 2000, 20, 300, 200)
QUICK = Sizes(32 * MIB, 60, 6, 400, 10, 60, 40, patience=20.0)


class Corpus:
    """The local files of one system in one run; ``big`` changes with the workloads, as its copies must."""

    def __init__(self, folder: Path, sizes: Sizes, seed: str) -> None:
        self.folder, self.sizes, self.seed = folder, sizes, seed
        self.big = folder / "big.bin"
        self.small = folder / "small"
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._content: Content | None = None
        folder.mkdir(parents=True)
        self._make_big()
        self.listed = self._names("listed", sizes.listed, sizes.listed_dirs)
        self.moved = self._names("moving", sizes.moved, 1)
        self._make_small()

    def _make_big(self) -> None:
        with self.big.open("wb") as file:
            for _ in range(0, self.sizes.big, MIB):
                file.write(self._random.randbytes(MIB))

    def _make_small(self) -> None:
        for name in self._names("", self.sizes.small, self.sizes.small_dirs):
            path = self.small / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._random.randbytes(SMALL))
            os.utime(path, (OLD, OLD + self._random.randrange(10**6)))

    @staticmethod
    def _names(top: str, files: int, dirs: int) -> list[str]:
        lead = f"{top}/" if top else ""
        return [f"{lead}dir-{number % dirs:02}/file-{number:05}.dat" for number in range(files)]

    def small_files(self) -> list[Path]:
        """The small files, in the order a walk finds them."""
        return sorted(path for path in self.small.rglob("*") if path.is_file())

    def content(self) -> Content:
        """The content of the big file: hashed once, and again when it changed."""
        if self._content is None:
            self._content = Content.of(self.big)
        return self._content

    def expect_big(self, name: str) -> dict[str, Content]:
        """The big file as an object called ``name``."""
        return {name: self.content()}

    def expect_small(self, top: str) -> dict[str, Content]:
        """The small files as objects below ``top``."""
        return {f"{top}/{path.relative_to(self.small)}": Content.of(path) for path in self.small_files()}

    def offsets(self) -> list[int]:
        """Where the random reads go: aligned, each at most once."""
        places = self.big.stat().st_size // SMALL
        dice = random.Random(self.seed + "offsets")  # noqa: S311
        return [place * SMALL for place in dice.sample(range(places), min(self.sizes.reads, places))]

    def change(self, path: Path) -> None:
        """Change 4 KiB in the middle of ``big``, or of a copy of it, always the same ones."""
        self._forget(path)
        data = random.Random(self.seed + "change").randbytes(SMALL)  # noqa: S311
        with path.open("r+b", buffering=0) as file:
            file.seek(self.sizes.big // 2)
            file.write(data)

    def append(self, path: Path) -> None:
        """Append 4 KiB to ``big``, or to a copy of it, always the same ones."""
        self._forget(path)
        data = random.Random(self.seed + "append").randbytes(SMALL)  # noqa: S311
        with path.open("ab", buffering=0) as file:
            file.write(data)

    def _forget(self, path: Path) -> None:
        if path == self.big:
            self._content = None

    def remove(self) -> None:
        """Delete it all."""
        shutil.rmtree(self.folder, ignore_errors=True)
