"""One file per block, named by its hash: ``blocks/ab/abcdef…``.

A block is stored without its trailing zero bytes, the form its hash is taken
over, so that one hash means one file, however long the block was that
somebody sent; readers pad (:class:`Extent`).

A block is written to a temporary file and renamed; that survives the death of
the process.  A power cut it survives once :meth:`BlockFiles.sync` returned,
which is called before anything refers to the block.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pithosfs import blocks

_ZEROS = bytes(256 * 1024)
_TEMPORARY = "tmp"


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes ``start`` to ``stop`` of a block, zeros where its file is shorter."""

    path: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self) -> bytes:
        """The bytes.  Raises FileNotFoundError if the block is gone."""
        with open(self.path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), len(self), self.start)
        return data + bytes(len(self) - len(data))

    def send(self, connection: socket.socket) -> None:
        """Send the bytes without copying them through this process."""
        position = self.start
        with open(self.path, "rb", buffering=0) as file:
            while position < self.stop:
                sent = os.sendfile(connection.fileno(), file.fileno(), position, self.stop - position)
                if sent == 0:
                    break
                position += sent
        while position < self.stop:
            step = min(len(_ZEROS), self.stop - position)
            connection.sendall(memoryview(_ZEROS)[:step])
            position += step


class BlockFiles:
    """The directory of blocks.  Safe for any number of threads."""

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._root = root
        self._durable = durable
        self._temporary = root / _TEMPORARY
        self._temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(256):
            (root / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        for leftover in self._temporary.iterdir():
            leftover.unlink(missing_ok=True)

    def path(self, block_hash: str) -> Path:
        """Where the block lies, or would lie."""
        name = block_hash.lower()
        return self._root / name[:2] / name

    def write(self, block_hash: str, data: blocks.Buffer) -> None:
        """Store ``data``, whose hash is ``block_hash``, in place of what was there."""
        content = memoryview(data)[: blocks.stripped_length(data)]
        temporary = self._temporary / uuid.uuid4().hex
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            try:
                while content:
                    content = content[os.write(descriptor, content) :]
            finally:
                os.close(descriptor)
            os.replace(temporary, self.path(block_hash))
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def read(self, block_hash: str) -> bytes:
        """The block without its trailing zeros."""
        return self.path(block_hash).read_bytes()

    def extent(self, block_hash: str, start: int, stop: int) -> Extent:
        """Bytes ``start`` to ``stop`` of the block, read when they are sent."""
        return Extent(str(self.path(block_hash)), start, stop)

    def sync(self, hashes: Iterable[str]) -> None:
        """Return when these blocks, and their names, are on the disk."""
        if not self._durable:
            return
        directories = set()
        for block_hash in hashes:
            path = self.path(block_hash)
            _fsync(path)
            directories.add(path.parent)
        for directory in directories:
            _fsync(directory)

    def names(self) -> Iterable[str]:
        """The hashes of all blocks on the disk."""
        for number in range(256):
            for entry in os.scandir(self._root / f"{number:02x}"):
                yield entry.name


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
