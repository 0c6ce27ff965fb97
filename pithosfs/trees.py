"""Files and whole trees to the store and back, several files at a time.

Can be broken off and repeated: what is complete on the other side (the same
size and modification time) is passed over, of the rest only blocks that are
missing travel.  Times, modes, symbolic links and empty directories are kept
as a mount keeps them.  One file's failure does not stop the others; Ctrl-C
stops all at once, and closes the client's connections for it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pithosfs import attributes, names, transfer
from pithosfs.api import Client
from pithosfs.attributes import Attributes, Kind, kind_of
from pithosfs.errors import InvalidArgument, IsADirectory, NotADirectory, PithosError
from pithosfs.history import below
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node, TreeBuilder, of_entry

_PARALLEL = 4

Item = TypeVar("Item")

#: Told of a step ("hashing", "uploading", "downloading"), how many bytes more are done and
#: how many more there are to do than was known; from any thread.
Told = Callable[[str, int, int], None]


@dataclass(slots=True)
class Totals:
    """What was done: ``size`` bytes of ``files``, of which ``moved`` travelled; ``skipped`` were there.

    ``failed`` has a line for each that could not be done.
    """

    files: int = 0
    size: int = 0
    moved: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def done(self, size: int, moved: int) -> None:
        """One file more."""
        with self._lock:
            self.files += 1
            self.size += size
            self.moved += moved

    def skip(self, size: int) -> None:
        """One file more that was there."""
        with self._lock:
            self.files += 1
            self.size += size
            self.skipped += 1

    def fail(self, what: object, error: PithosError | OSError) -> None:
        """One file that could not be done."""
        reason = error.strerror if isinstance(error, OSError) else None
        with self._lock:
            self.failed.append(f"{what}: {reason or error}")


class _Progress:
    """Turns the progress of one file into steps of the whole."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._known: dict[str, tuple[int, int]] = {}

    def __call__(self, step: str, done: int, total: int | None) -> None:
        known_done, known_total = self._known.get(step, (0, 0))
        total = max(done, total or 0, known_total)
        self._known[step] = (done, total)
        self._told(step, done - known_done, total - known_total)


@contextlib.contextmanager
def _noting(totals: Totals, what: object) -> Iterator[None]:
    """Note a failure instead of raising it."""
    try:
        yield
    except (PithosError, OSError) as error:
        totals.fail(what, error)


def _each(client: Client, work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Do ``work`` for all of them, several at a time; an interruption ends those under way, too."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        try:
            list(pool.map(work, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            client.transport.close()
            raise


# -- to the store ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalItem:
    """A file, directory or link here, and the object it is to become."""

    path: Path
    ref: ObjectRef
    attributes: Attributes
    size: int


def local_items(path: Path, ref: ObjectRef, left_out: list[str]) -> Iterator[LocalItem]:
    """``path`` and all below it.  Raises OSError if ``path`` is not there.

    ``left_out`` gets a line for each thing below that cannot be read or is none the store can hold.
    """
    yield from _local_items(path, path.lstat(), ref, left_out)


def _local_items(
    path: Path, status: os.stat_result, ref: ObjectRef, left_out: list[str]
) -> Iterator[LocalItem]:
    mtime, mode = status.st_mtime_ns, stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        yield LocalItem(path, ref, Attributes(attributes.SYMLINK_TYPE, mtime, 0o777), 0)
    elif stat.S_ISREG(status.st_mode):
        kind = attributes.guess_type(path.name)
        yield LocalItem(path, ref, Attributes(kind, mtime, mode), status.st_size)
    elif stat.S_ISDIR(status.st_mode):
        if ref.name:
            yield LocalItem(path, ref, Attributes(attributes.DIRECTORY_TYPE, mtime, mode), 0)
        for each, found in _children(path, left_out):
            yield from _local_items(each, found, ref.child(names.to_object(each.name)), left_out)
    else:
        left_out.append(f"{path}: {_special(status.st_mode)} cannot be stored")


def _children(path: Path, left_out: list[str]) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        children = sorted(path.iterdir())
    except OSError as error:
        left_out.append(f"{path}: {error.strerror}")
        return
    for each in children:
        try:
            status = each.lstat()
        except OSError as error:
            left_out.append(f"{each}: {error.strerror}")
        else:
            yield each, status


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def upload(client: Client, items: list[LocalItem], top: ObjectRef, told: Told) -> Totals:
    """Make ``items``, all below ``top``, objects; returns when each is there or has failed."""
    totals = Totals()
    present = {entry.name: entry for entry in below(client, top).values()}
    directories = {name[:at] for name in present for at, each in enumerate(name) if each == "/"}
    directories |= {each.name for each in present.values() if kind_of(each.content_type) is Kind.DIRECTORY}
    files = {ref for ref in (top, *_directories_of(items)) if ref.name in present.keys() - directories}
    if top in files and all(each.ref != top for each in items):
        raise NotADirectory(_no_directory(top))
    _refuse_below_file(client, top)

    def send(item: LocalItem) -> None:
        there = present.get(item.ref.name)
        with _noting(totals, item.path):
            if item.attributes.kind is not Kind.DIRECTORY and item.ref.name in directories:
                raise IsADirectory(f"{item.ref} is a directory")
            if item.attributes.kind is Kind.DIRECTORY and item.ref in files:
                raise NotADirectory(_no_directory(item.ref))
            if there is not None and (there.size, attributes.parse(there.content_type)) == (
                _size_there(item),
                item.attributes,
            ):
                told("hashing", item.size, item.size)
                if item.attributes.kind is not Kind.DIRECTORY:
                    totals.skip(item.size)
            else:
                _send(client, item, told, totals)

    inside = {each.ref for each in items if any(each.ref.is_below(file) for file in files)} - files
    _each(client, send, [each for each in items if each.ref not in inside])
    return totals


def _directories_of(items: Iterable[LocalItem]) -> Iterator[ObjectRef]:
    return (each.ref for each in items if each.attributes.kind is Kind.DIRECTORY)


def _no_directory(ref: ObjectRef) -> str:
    return f"{ref} is a file; nothing was uploaded into it"


def _refuse_below_file(client: Client, top: ObjectRef) -> None:
    """Raises NotADirectory if something that ``top`` lies in is a file."""
    for at, character in enumerate(top.name):
        if character == "/":
            above = client.entry(top.container, top.name[:at])
            if above is not None and kind_of(above.content_type) is not Kind.DIRECTORY:
                raise NotADirectory(_no_directory(ObjectRef(top.container, above.name)))


def _size_there(item: LocalItem) -> int:
    if item.attributes.kind is Kind.SYMLINK:
        return len(os.fsencode(item.path.readlink()))
    return item.size


def _send(client: Client, item: LocalItem, told: Told, totals: Totals) -> None:
    container, name, _ = item.ref
    kept = item.attributes
    if kept.kind is Kind.FILE:
        done = transfer.upload(
            client,
            container,
            name,
            item.path,
            content_type=kept.content_type,
            meta=attributes.meta_for(kept, {}),
            progress=_Progress(told),
        )
        totals.done(done.size, done.moved)
        return
    data = os.fsencode(item.path.readlink()) if kept.kind is Kind.SYMLINK else b""
    client.put_object(container, name, data, content_type=kept.content_type)
    if kept.kind is Kind.SYMLINK:
        totals.done(len(data), len(data))


# -- from the store --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A file, directory or link in the store, and where it is to be here.

    The last ``depth`` components of ``path`` are names from the store, what is before them was
    named by whoever downloads.
    """

    node: Node
    path: Path
    depth: int = 0


def stored_items(client: Client, ref: ObjectRef, path: Path, until: int | None = None) -> list[StoredItem]:
    """``ref`` and all below it, now or at ``until`` (seconds), directories before what is in them.

    Empty if there is no such thing.
    """
    found = below(client, ref, until)
    own = found.pop("", None)
    builder = TreeBuilder(ref)
    builder.add_entries(found.values())
    if own is not None:
        node = of_entry(ref, own)
        if not node.is_directory and not found:
            return [StoredItem(node, path)]
        return [StoredItem(node, path), *_below(builder, ref, path)]
    return list(_below(builder, ref, path)) if found else []


def _below(builder: TreeBuilder, ref: ObjectRef, path: Path, depth: int = 1) -> Iterator[StoredItem]:
    for name, node in builder.directories.get(ref, {}).items():
        yield StoredItem(node, path / name, depth)
        if node.is_directory:
            yield from _below(builder, node.ref, path / name, depth + 1)


def download(client: Client, items: list[StoredItem], told: Told) -> Totals:
    """Make ``items`` files here; returns when each is there or has failed.

    Nothing is written through a symbolic link that has a name from the store: an earlier download
    may have made it, and those who may change the tree must not choose where this one goes.
    """
    totals = Totals()
    made: list[StoredItem] = []
    for item in items:
        if item.node.is_directory:
            with _noting(totals, item.path):
                _make_directory(item.path, item.depth)
                made.append(item)

    def fetch(item: StoredItem) -> None:
        with _noting(totals, item.path):
            _fetch(client, item, told, totals)

    _each(client, fetch, [each for each in items if not each.node.is_directory])
    for item in reversed(made):  # the inner ones first: filling them changed their times
        with _noting(totals, item.path):
            _set_directory_attributes(item)
    return totals


def _fetch(client: Client, item: StoredItem, told: Told, totals: Totals) -> None:
    node = item.node
    _make_directory(item.path.parent, item.depth - 1)
    if _is_there(item):
        told("downloading", node.size, node.size)
        totals.skip(node.size)
    elif node.kind is Kind.SYMLINK:
        target = bytes(client.read(node.ref.container, node.ref.name, 0, node.size, node.version or None))
        if not target or b"\0" in target:
            raise InvalidArgument(f"{node.ref} is a link to what no path can be")
        if item.path.is_symlink():
            item.path.unlink()
        item.path.symlink_to(os.fsdecode(target))
        _set_time(item.path, node)
        totals.done(node.size, node.size)
    else:
        done = transfer.download(
            client,
            node.ref.container,
            node.ref.name,
            item.path,
            version=node.version or None,
            mode=_permissions(node),
            progress=_Progress(told),
        )
        _set_time(item.path, node)
        totals.done(done.size, done.moved)


def _make_directory(path: Path, depth: int) -> None:
    """The directory and those it is in; a link among its last ``depth`` components is replaced by one."""
    if depth <= 0:
        path.mkdir(parents=True, exist_ok=True)
        return
    _make_directory(path.parent, depth - 1)
    if path.is_symlink():
        path.unlink()
    path.mkdir(exist_ok=True)


def _is_there(item: StoredItem) -> bool:
    try:
        status = item.path.lstat()
    except FileNotFoundError:
        return False
    known = item.node.attributes.mtime_ns
    is_kind = stat.S_ISLNK if item.node.kind is Kind.SYMLINK else stat.S_ISREG
    return (
        is_kind(status.st_mode)
        and known is not None
        and (status.st_size, status.st_mtime_ns) == (item.node.size, known)
    )


def _permissions(node: Node) -> int | None:
    """The mode to give it here: without setuid and setgid, which whoever shares a tree may have set."""
    mode = node.attributes.mode
    return None if mode is None else mode & 0o1777


def _set_directory_attributes(item: StoredItem) -> None:
    if item.depth and item.path.is_symlink():
        raise NotADirectory(f"{item.path} has become a symbolic link")
    mode = _permissions(item.node)
    if mode is not None:
        item.path.chmod(mode)
    _set_time(item.path, item.node, follow=not item.depth)


def _set_time(path: Path, node: Node, *, follow: bool = False) -> None:
    """Set the file's time; where the store knows of none, as of a directory nobody made, it stays."""
    known = node.attributes.mtime_ns
    time_ns = node.modified_ns or None if known is None else known
    if time_ns is not None:
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=follow)
