#!/usr/bin/env python3
"""An exerciser for a file system: random operations on files, against a model in memory.

Every operation is done on the real file and on a ``bytearray``; what is read
must be equal, and the whole content is compared again and again.  Offsets
gather where mistakes live: around block borders and the end of the file.
The seed is printed, and the last operations with it when something differs.

By hand::

    python tests/mount/fsx.py DIR --ops 50000 --seed 7 [--remount 'COMMAND']
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import mmap
import os
import random
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

BLOCK = 4 * 1024 * 1024
PAGE = mmap.PAGESIZE
FALLOC_KEEP_SIZE, FALLOC_PUNCH = 1, 2
#: Errors that say "I do not have this": the operation is left out from then on.
NOT_HERE = (errno.EOPNOTSUPP, errno.ENOSYS)


class Difference(AssertionError):
    """The file is not what the model says."""


class File:
    """One file: its model, its name, and the handles open on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = bytearray()
        self.handles = [self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)]

    def _open(self, flags: int) -> int:
        return os.open(self.path, flags, 0o644)

    def open_another(self) -> None:
        self.handles.append(self._open(os.O_RDWR))

    def close(self, handle: int) -> None:
        self.handles.remove(handle)
        os.close(handle)

    def close_all(self) -> None:
        for handle in list(self.handles):
            self.close(handle)

    def reopen(self) -> None:
        self.close_all()
        self.open_another()


class Exerciser:
    """Random operations on a few files in ``folder``; the same seed does the same."""

    def __init__(
        self, folder: Path, seed: int, *, remount: Callable[[], None] | None = None, limit: int = 3 * BLOCK
    ) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._remount = remount
        self._limit = limit
        self._names = 0
        self._history: deque[str] = deque(maxlen=30)
        self._not_here: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.seed = seed
        self._files = [File(self._new_path()) for _ in range(2)]

    # -- what to do, how often ----------------------------------------------------

    def operations(self) -> dict[str, tuple[int, Callable[[File], str]]]:
        """Each operation with its weight; it returns what it did, for the history."""
        return {
            "write": (30, self.write),
            "read": (25, self.read),
            "append": (6, self.append),
            "truncate": (6, self.truncate),
            "truncate_path": (2, self.truncate_path),
            "map_read": (4, self.map_read),
            "map_write": (6, self.map_write),
            "allocate": (2, self.allocate),
            "punch": (2, self.punch),
            "copy_range": (4, self.copy_range),
            "copy_between": (4, self.copy_between),
            "fsync": (2, self.fsync),
            "reopen": (3, self.reopen),
            "open_another": (3, self.open_another),
            "close_one": (3, self.close_one),
            "rename": (2, self.rename),
            "rename_over": (1, self.rename_over),
            "unlink": (1, self.unlink),
            "empty": (1, self.empty),
            "stat": (4, self.stat),
            "compare": (3, self.compare),
            "remount": (1 if self._remount else 0, self.remount),
        }

    def run(self, count: int) -> None:
        """Do ``count`` operations and compare all at the end.

        Raises Difference, with the seed and the last operations.
        """
        operations = self.operations()
        names = list(operations)
        weights = [weight for weight, _ in operations.values()]
        for number in range(count):
            (name,) = self._random.choices(names, weights)
            self._do(number, name, operations[name][1])
        for index, file in enumerate(self._files):
            file.reopen()
            self._try(count, index, "compare", self.compare)

    def _do(self, number: int, name: str, operation: Callable[[File], str]) -> None:
        index = self._random.randrange(len(self._files))
        if name not in self._not_here:
            self._try(number, index, name, operation)

    def _try(self, number: int, index: int, name: str, operation: Callable[[File], str]) -> None:
        try:
            self._history.append(f"{number}: file {index} {operation(self._files[index])}")
            self.counts[name] += 1
        except (OSError, Difference) as error:
            if isinstance(error, OSError) and error.errno in NOT_HERE and name in ("punch", "allocate"):
                self._not_here.add(name)
                return
            self._history.append(f"{number}: file {index} {name}: {error}")
            told = "\n".join(self._history)
            raise Difference(f"seed {self.seed}, the last operations:\n{told}") from error

    def close(self) -> None:
        for file in self._files:
            file.close_all()

    # -- choices --------------------------------------------------------------------

    def _new_path(self) -> Path:
        self._names += 1
        return self._folder / f"fsx{self._names}"

    def _handle(self, file: File) -> int:
        return self._random.choice(file.handles)

    def _offset(self, file: File, limit: int) -> int:
        """Anywhere below ``limit``, mostly near a border: a block's, a page's, the end."""
        border = self._random.choice(
            [
                self._random.randrange(limit + 1),
                self._random.randrange(0, limit + 1, BLOCK),
                self._random.randrange(0, limit + 1, BLOCK),
                self._random.randrange(0, limit + 1, PAGE),
                len(file.model),
            ]
        )
        near = self._random.choice([0, 0, 1, -1, self._random.randrange(-9000, 9000)])
        return min(max(0, border + near), limit)

    def _length(self) -> int:
        sizes = [self._random.randrange(1, 20), self._random.randrange(1, 10_000)]
        sizes += [self._random.randrange(1, 200_000), PAGE, BLOCK if self._random.random() < 0.1 else 100]
        return self._random.choice(sizes)

    def _data(self, length: int) -> bytes:
        """Noise, zeros or one letter: hashes ignore zeros at the end, contents must not."""
        kind = self._random.randrange(6)
        if kind == 0:
            return bytes(length)
        if kind == 1:
            return bytes([self._random.randrange(256)]) * length
        data = self._random.randbytes(length)
        return data[: length // 2] + bytes(length - length // 2) if kind == 2 else data

    # -- the operations ---------------------------------------------------------------

    def write(self, file: File) -> str:
        offset = self._offset(file, self._limit)
        data = self._data(self._length())
        self._pwrite(self._handle(file), data, offset)
        self._paste(file, offset, data)
        return f"write {len(data)} at {offset}"

    def append(self, file: File) -> str:
        data = self._data(min(self._length(), 200_000))
        if len(file.model) + len(data) > self._limit:
            return "append skipped"
        with self._opened(file, os.O_WRONLY | os.O_APPEND) as handle:
            done = 0
            while done < len(data):
                done += os.write(handle, data[done:])
        file.model += data
        return f"append {len(data)}"

    def read(self, file: File) -> str:
        offset, length = self._offset(file, self._limit), self._length()
        self._compare(self._pread(self._handle(file), length, offset), file, offset, length)
        return f"read {length} at {offset}"

    def truncate(self, file: File) -> str:
        size = self._offset(file, self._limit)
        os.ftruncate(self._handle(file), size)
        self._resize(file, size)
        return f"truncate to {size}"

    def truncate_path(self, file: File) -> str:
        size = self._offset(file, self._limit)
        os.truncate(file.path, size)
        self._resize(file, size)
        return f"truncate by path to {size}"

    def map_read(self, file: File) -> str:
        if not file.model:
            return "map skipped"
        offset, length = self._inside(file)
        with mmap.mmap(self._handle(file), 0, prot=mmap.PROT_READ) as view:
            self._compare(view[offset : offset + length], file, offset, length)
        return f"map and read {length} at {offset}"

    def map_write(self, file: File) -> str:
        if not file.model:
            return "map skipped"
        offset, length = self._inside(file)
        data = self._data(length)
        flush = self._random.random() < 0.5
        with mmap.mmap(self._handle(file), 0) as view:
            view[offset : offset + length] = data
            if flush:
                view.flush()
        self._paste(file, offset, data)
        return f"map and write {length} at {offset}{', flushed' if flush else ''}"

    def allocate(self, file: File) -> str:
        offset, length = self._offset(file, self._limit), self._length()
        if self._random.random() < 0.5:
            _fallocate(self._handle(file), FALLOC_KEEP_SIZE, offset, length)
            return f"allocate {length} at {offset}, size kept"
        _fallocate(self._handle(file), 0, offset, length)
        self._resize(file, max(len(file.model), offset + length))
        return f"allocate {length} at {offset}"

    def punch(self, file: File) -> str:
        offset, length = self._offset(file, self._limit), self._length()
        _fallocate(self._handle(file), FALLOC_PUNCH | FALLOC_KEEP_SIZE, offset, length)
        inside = max(0, min(length, len(file.model) - offset))
        file.model[offset : offset + inside] = bytes(inside)
        return f"punch {length} at {offset}"

    def copy_range(self, file: File) -> str:
        return self._copy(file, file)

    def copy_between(self, file: File) -> str:
        return self._copy(file, self._random.choice(self._files))

    def fsync(self, file: File) -> str:
        self._random.choice([os.fsync, os.fdatasync])(self._handle(file))
        return "fsync"

    def reopen(self, file: File) -> str:
        file.reopen()
        return "close all and open"

    def open_another(self, file: File) -> str:
        if len(file.handles) < 4:
            file.open_another()
        return f"open another handle, {len(file.handles)} now"

    def close_one(self, file: File) -> str:
        if len(file.handles) > 1:
            file.close(self._handle(file))
        return f"close one, {len(file.handles)} left"

    def rename(self, file: File) -> str:
        file.path = file.path.rename(self._new_path())
        return f"rename to {file.path.name}"

    def rename_over(self, file: File) -> str:
        """The file takes the name of another one, whose handles go on with the old content."""
        other = self._random.choice(self._files)
        if other is file:
            return "rename over itself skipped"
        os.rename(file.path, other.path)
        gone, kept = other.handles.pop(), bytes(other.model)
        self._equal(self._pread(gone, len(kept) + 1, 0), kept)
        os.close(gone)
        other.close_all()
        file.path = other.path
        self._files[self._files.index(other)] = File(self._new_path())
        return f"rename over {file.path.name}"

    def unlink(self, file: File) -> str:
        """Gone, but written and read through its handle once more; then a new one of the same name."""
        file.path.unlink()
        data = self._data(1000)
        self._pwrite(file.handles[0], data, 10)
        self._paste(file, 10, data)
        self._equal(self._pread(file.handles[0], len(file.model) + 1, 0), bytes(file.model))
        file.close_all()
        self._files[self._files.index(file)] = File(file.path)
        return "unlink and make anew"

    def empty(self, file: File) -> str:
        with self._opened(file, os.O_WRONLY | os.O_TRUNC):
            file.model.clear()
        return "open with O_TRUNC"

    def stat(self, file: File) -> str:
        for size in (file.path.stat().st_size, os.fstat(self._handle(file)).st_size):
            if size != len(file.model):
                raise Difference(f"the size is {size}, not {len(file.model)}")
        return "stat"

    def compare(self, file: File) -> str:
        """The whole content, through a handle of its own."""
        with self._opened(file, os.O_RDONLY) as handle:
            content = self._pread(handle, len(file.model) + 1, 0)
        self._compare(content, file, 0, len(file.model) + 1)
        names = sorted(entry for entry in os.listdir(self._folder) if entry.startswith("fsx"))
        if names != sorted(each.path.name for each in self._files):
            raise Difference(f"the directory has {names}")
        return "compare all"

    def remount(self, file: File) -> str:
        """Everything is closed, unmounted and mounted again."""
        assert self._remount is not None
        for each in self._files:
            each.close_all()
        self._remount()
        for each in self._files:
            each.open_another()
            self.compare(each)
        return "remount"

    # -- pieces -----------------------------------------------------------------------

    @contextmanager
    def _opened(self, file: File, flags: int) -> Iterator[int]:
        handle = os.open(file.path, flags)
        try:
            yield handle
        finally:
            os.close(handle)

    def _inside(self, file: File) -> tuple[int, int]:
        """A piece of what is there."""
        offset = min(self._offset(file, len(file.model)), len(file.model) - 1)
        return offset, min(self._length(), len(file.model) - offset)

    def _copy(self, source: File, target: File) -> str:
        start, to, length = (
            self._offset(source, self._limit),
            self._offset(target, self._limit),
            self._length(),
        )
        length = min(length * self._random.choice([1, 1, 50]), self._limit)
        length = max(0, min(length, len(source.model) - start))
        if source is target and abs(start - to) < length:
            return "copy skipped"
        done = 0
        while done < length:
            arguments = (self._handle(source), self._handle(target), length - done, start + done, to + done)
            step = os.copy_file_range(*arguments)
            if not step:
                raise Difference(f"copy of {length} from {start} to {to} ended after {done}")
            done += step
        self._paste(target, to, bytes(source.model[start : start + length]))
        return f"copy {length} from {start} to {to}{'' if source is target else ' of the other file'}"

    @staticmethod
    def _pwrite(handle: int, data: bytes, offset: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(handle, data[done:], offset + done)

    @staticmethod
    def _pread(handle: int, length: int, offset: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < length:
            piece = os.pread(handle, length - len(pieces), offset + len(pieces))
            if not piece:
                break
            pieces += piece
        return bytes(pieces)

    @staticmethod
    def _resize(file: File, size: int) -> None:
        del file.model[size:]
        file.model.extend(bytes(size - len(file.model)))

    def _paste(self, file: File, offset: int, data: bytes) -> None:
        if not data:
            return
        if len(file.model) < offset:
            self._resize(file, offset)
        file.model[offset : offset + len(data)] = data

    def _compare(self, got: bytes, file: File, offset: int, length: int) -> None:
        self._equal(got, bytes(file.model[offset : offset + length]), offset)

    @staticmethod
    def _equal(got: bytes, wanted: bytes, offset: int = 0) -> None:
        if got == wanted:
            return
        if len(got) != len(wanted):
            raise Difference(f"{len(got)} bytes instead of {len(wanted)} at {offset}")
        first = next(at for at in range(len(got)) if got[at] != wanted[at])
        wrong = sum(one != other for one, other in zip(got, wanted, strict=True))
        text = f"{got[first : first + 8].hex()} instead of {wanted[first : first + 8].hex()}"
        raise Difference(f"{wrong} of {len(got)} bytes differ, first at {offset + first}: {text}")


def _fallocate(handle: int, mode: int, offset: int, length: int) -> None:
    if _libc.fallocate(handle, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> int:
    parser = argparse.ArgumentParser(description="Random operations on files, compared with a model.")
    parser.add_argument("directory", type=Path, help="where to work; files fsx* are made in it")
    parser.add_argument("--ops", type=int, default=10_000, help="how many operations (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="the same seed does the same")
    parser.add_argument("--size", type=int, default=3 * BLOCK, help="how large files grow (%(default)s)")
    parser.add_argument("--remount", help="a shell command that unmounts and mounts again, run now and then")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)

    def remount() -> None:
        subprocess.run(options.remount, shell=True, check=True)

    started = time.monotonic()
    exerciser = Exerciser(
        options.directory, seed, remount=remount if options.remount else None, limit=options.size
    )
    try:
        exerciser.run(options.ops)
    except Difference as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    finally:
        exerciser.close()
    did = ", ".join(f"{name} {count}" for name, count in exerciser.counts.most_common())
    print(f"{options.ops} operations in {time.monotonic() - started:.0f} s, no difference: {did}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
