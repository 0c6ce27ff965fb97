"""Small helpers around files: descriptors, exact errors, content, comparing trees."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pithosfs.blocks import BLOCK_SIZE

BLOCK = BLOCK_SIZE
MIB = 1024 * 1024


@contextmanager
def opened(path: str | bytes | Path, flags: int = os.O_RDWR, mode: int = 0o644) -> Iterator[int]:
    """A file descriptor, closed at the end; an error of close() is an error of the test."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)


@contextmanager
def refused(*codes: int) -> Iterator[None]:
    """The body must fail with one of these errno values, and with no other."""
    wanted = " or ".join(errno.errorcode[code] for code in codes)
    try:
        yield
    except OSError as error:
        got = errno.errorcode.get(error.errno or 0, str(error.errno))
        assert error.errno in codes, f"{got} instead of {wanted}"
    else:
        raise AssertionError(f"succeeded instead of {wanted}")


def noise(size: int, seed: int = 0) -> bytes:
    """Incompressible bytes, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def pwrite_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def pread_all(fd: int, size: int, offset: int) -> bytes:
    """As much as there is of ``size`` bytes at ``offset``."""
    pieces = []
    while size and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        size, offset = size - len(piece), offset + len(piece)
    return b"".join(pieces)


class Facts(NamedTuple):
    """What a copy of an entry must have in common with the original."""

    kind: str
    mode: int
    mtime_ns: int
    size: int
    content: str


def facts(path: Path, *, mtime: bool = True) -> Facts:
    """The entry's type, mode, mtime, size and content (a directory's size and content say nothing)."""
    info = path.lstat()
    mtime_ns = info.st_mtime_ns if mtime else 0
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISLNK(info.st_mode):
        return Facts("symlink", 0o777, mtime_ns, info.st_size, os.readlink(path))
    if stat.S_ISDIR(info.st_mode):
        return Facts("directory", mode, mtime_ns, 0, "")
    return Facts("file", mode, mtime_ns, info.st_size, sha256(path))


def tree(root: Path, *, mtime: bool = True) -> dict[str, Facts]:
    """All that is below ``root``, by relative path."""
    found: dict[str, Facts] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = facts(path, mtime=mtime)
    return found


def make_tree(root: Path, *, seed: int = 1) -> None:
    """A tree with what trees have: empty and large files, modes, times, links, odd names."""
    root.mkdir(exist_ok=True)
    contents = {
        "empty": b"",
        "small.txt": b"hello\n",
        "one block": noise(BLOCK, seed),
        "two blocks and a bit.bin": noise(2 * BLOCK + 4097, seed + 1),
        "zeros": bytes(70_000),
        "sub/deep/er/file": noise(10_000, seed + 2),
        "sub/ünïcödé-\U0001f600.txt": "καλημέρα\n".encode(),
        "sub/#%?&'\"quotes.txt": b"x",
        "-leading-dash": b"y",
    }
    for index, (name, data) in enumerate(contents.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod((0o644, 0o600, 0o755, 0o440)[index % 4])
    for index in range(100):
        path = root / "many" / f"file-{index:03}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(noise(index * 37, index))
    (root / "empty directory").mkdir()
    (root / "link").symlink_to("small.txt")
    (root / "sub" / "dangling").symlink_to("../nowhere")
    (root / "link to directory").symlink_to("sub")
    stamp(root)


def stamp(root: Path, start: int = 1_600_000_000_123_456_789) -> None:
    """Times in the past with all nine digits, innermost first so that directories keep theirs."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in sorted(folders + files):
            start += 86_400_000_000_001
            os.utime(Path(folder, name), ns=(start, start), follow_symlinks=False)
