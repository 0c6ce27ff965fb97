"""Unsent data as ordinary files: out of a mount, or of what a mount that died has left.

Nothing here changes the staging area: what is left there is still sent by the
next mount.  A file that is there already is never written over.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pithosfs import blocks, names, staging
from pithosfs.attributes import Attributes, Kind
from pithosfs.blocks import Buffer
from pithosfs.content import Content, Local, Remote
from pithosfs.errors import PithosError
from pithosfs.extents import Extents
from pithosfs.fileio import pread_into, pwrite_all
from pithosfs.journal import FileEntry, unpack_removal
from pithosfs.names import ObjectRef
from pithosfs.pending import TO_BE_DELETED
from pithosfs.ranges import Address
from pithosfs.scratch import NEW, unpack_bytes

#: Bytes copied at once.
_PIECE = blocks.BLOCK_SIZE

#: Fills the view with what is at the offset; returns the ranges (in the file) it could not get.
Read = Callable[[int, memoryview], Extents]
#: A block of a version on the server.
Fetch = Callable[[Address], Buffer]


@dataclass(frozen=True, slots=True)
class Leftover:
    """A change that was not sent, as the journal tells it.

    ``content`` is where the bytes of a file are, None where none of them
    changed; ``what`` says in words what waits.  An entry that cannot be read has
    no ``ref``.  ``since`` is in seconds since 1970; ``pid`` the process that had
    it, ``held`` whether it still has; ``data`` its changed bytes or the file of them.
    """

    entry: Path
    pid: int
    held: bool
    since: float
    what: str
    ref: ObjectRef | None = None
    content: Content | None = None
    attributes: Attributes = field(default_factory=Attributes)
    data: Path | bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.content.size if self.content else 0

    @property
    def unsent(self) -> int:
        """Bytes that are only here."""
        return self.content.dirty.total if self.content else 0


def left_in(cache: Path) -> Iterator[Leftover]:
    """What mounts with this cache directory have in their journals, of all accounts."""
    for root in sorted(cache.glob("*/staging")):
        for found in staging.entries(root):
            yield _leftover(found)


def _leftover(found: staging.Entry) -> Leftover:
    left = Leftover(found.path, found.pid, found.held, found.since, f"cannot be read ({found.trouble})")
    if found.entry is None:
        return left
    try:
        removed = unpack_removal(found.entry)
        if removed:
            return replace(left, what=TO_BE_DELETED, ref=removed[-1].ref)
        return _file(left, found.entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return replace(left, what=f"is damaged ({type(error).__name__}: {error})")


def _file(left: Leftover, entry: dict[str, Any]) -> Leftover:
    file, (key, small) = FileEntry.unpack(entry), unpack_bytes(entry)
    left = replace(left, ref=file.ref, attributes=file.attributes)
    if not file.changed:
        return replace(left, what="times, mode or attributes")
    data = None if key is None else left.entry.with_name(f"{key}.data")
    return replace(left, what="not sent", content=file.content, data=data if small is None else small)


# -- reading --------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(left: Leftover, fetch: Fetch) -> Iterator[Read]:
    """A reader of the file; ``fetch`` gets what of it is on the server only."""
    assert left.content is not None  # noqa: S101 - asked before
    content = left.content
    with contextlib.ExitStack() as cleanup:
        handle = None
        if isinstance(left.data, bytes):
            held = cleanup.enter_context(tempfile.TemporaryFile(buffering=0))
            held.write(left.data)
            handle = held.fileno()
        elif left.data is not None:
            handle = os.open(left.data, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            cleanup.callback(os.close, handle)
        yield lambda offset, view: _read(content, handle, fetch, offset, view)


def _read(content: Content, handle: int | None, fetch: Fetch, offset: int, view: memoryview) -> Extents:
    missing = Extents()
    at = 0
    for part in content.parts(offset, offset + len(view)):
        length = part.length if not isinstance(part, Local | Remote) else part.stop - part.start
        piece = view[at : at + length]
        got = True
        if isinstance(part, Local):
            got = handle is not None and pread_into(handle, piece, part.start) == length
        elif isinstance(part, Remote):
            got = _fetched(fetch, part, piece)
        if not got:
            missing.add(offset + at, offset + at + length)
        at += length
    return missing


def _fetched(fetch: Fetch, part: Remote, view: memoryview) -> bool:
    try:
        view[:] = blocks.cut(fetch(part.address), part.start, part.stop)
    except PithosError:
        return False
    return True


# -- writing --------------------------------------------------------------------------------


def write_out(folder: Path, ref: ObjectRef, size: int, read: Read, kept: Attributes) -> tuple[Path, Extents]:
    """Make the object a file below ``folder``, at its own path; returns where it is, and what it lacks.

    A taken name gets a number, but for a directory.  A file that lacks
    something has zeros there, and a name that ends in ``.incomplete``.
    Raises OSError.
    """
    goal = folder.joinpath(*(names.to_path(each) for each in str(ref).split("/")))
    goal.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if kept.kind is Kind.DIRECTORY:
        goal.mkdir(exist_ok=True, mode=0o700)
        return goal, Extents()
    path, handle = _new_file(goal)
    try:
        missing = _copy(handle, size, read)
        if kept.mtime_ns is not None:
            os.utime(handle, ns=(kept.mtime_ns, kept.mtime_ns))
        os.fsync(handle)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    if missing:
        whole, path = path, _new_file(goal.with_name(f"{goal.name}.incomplete"), keep_open=False)[0]
        whole.replace(path)
    return path, missing


def _new_file(goal: Path, *, keep_open: bool = True) -> tuple[Path, int]:
    """A file nobody had, by this name or the next free one."""
    number = 1
    while True:
        path = goal if number == 1 else goal.with_name(f"{goal.name} ({number})")
        try:
            handle = os.open(path, NEW, 0o600)
        except FileExistsError:
            number += 1
            continue
        if not keep_open:
            os.close(handle)
        return path, handle


def _copy(handle: int, size: int, read: Read) -> Extents:
    os.ftruncate(handle, size)
    missing = Extents()
    for start in range(0, size, _PIECE):
        data = bytearray(min(_PIECE, size - start))
        for low, high in read(start, memoryview(data)):
            missing.add(low, high)
        if data.count(0) < len(data):  # the rest stays a hole
            pwrite_all(handle, memoryview(data), start)
    return missing
