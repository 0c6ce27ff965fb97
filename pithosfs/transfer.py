"""Whole files to the store and back, for programs: one call each.

Ten lines do::

    from pathlib import Path
    from pithosfs.api import connect
    from pithosfs.config import load
    from pithosfs.transfer import download, upload

    client = connect(load())  # kamaki's configuration, its default cloud
    done = upload(client, "pithos", "film.mkv", Path("film.mkv"))
    print(f"{done.moved} of {done.size} bytes travelled")
    download(client, "pithos", "film.mkv", Path("copy.mkv"))

Memory is bounded whatever the size of the file.  Uploads send only the blocks
the store lacks, downloads verify every block against its hash.  ``progress``
is called with what is going on ("hashing", "uploading", "downloading"), the
bytes done and the bytes in all (None while that is not known); calls come
from several threads, one at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pithosfs import blocks
from pithosfs.api import Client
from pithosfs.batches import Block
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.cache import BlockCache
from pithosfs.commit import Changed, commit
from pithosfs.errors import InvalidArgument, MissingBlocks, ProtocolError
from pithosfs.fetch import Fetcher
from pithosfs.fileio import pread_into, pwrite_all
from pithosfs.names import ObjectRef
from pithosfs.ranges import Address, Origin
from pithosfs.upload import Terms, Uploader
from pithosfs.waiting import wait
from pithosfs.wire import DATA, Written

Progress = Callable[[str, int, int | None], None]

#: Blocks that are asked for, or about, at once.
_BATCH = 4
#: Batches of a download that are on their way before they are needed.
_AHEAD = 2
#: Bytes of blocks kept in memory: those on their way, and some that came before their turn.
_DOWNLOAD_MEMORY = (_AHEAD + 2) * _BATCH * blocks.BLOCK_SIZE
#: Blocks just hashed are kept, for they may have to be sent; of large files most are read again.
_UPLOAD_MEMORY = 6 * blocks.BLOCK_SIZE
_THREADS = 8
#: Bytes of blocks that are sent several at once.
_UNDER_WAY = 16 * blocks.BLOCK_SIZE


class Reader(Protocol):
    """Anything that fills a buffer: an open file, the body of an answer."""

    def readinto(self, view: memoryview, /) -> int | None:
        """Fill some of ``view``; 0 at the end.  None, of what does not wait, is refused."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer did: the object's ``size`` and Merkle ``hash``, its version, bytes that ``moved``."""

    size: int
    hash: str
    version: int
    moved: int


class _Meter:
    """Adds up progress from several threads and tells it."""

    def __init__(self, progress: Progress | None, step: str, total: int | None) -> None:
        self._progress = progress
        self._step = step
        self._lock = threading.Lock()
        self.total = total
        self.done = 0

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count
            if self.total is not None:
                self.total = max(self.total, self.done)
            if self._progress is not None:
                self._progress(self._step, self.done, self.total)


# -- to the store ------------------------------------------------------------------


def upload(
    client: Client,
    container: str,
    name: str,
    path: Path,
    *,
    content_type: str = DATA,
    meta: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    only_new: bool = False,
) -> Transferred:
    """Make the file the object ``name``: hash it, ask, send in parallel what is missing.

    ``meta`` becomes X-Object-Meta-*; what the object had of it before is gone.
    ``only_new`` refuses (Stale) to replace an object.  Raises what the store
    raised, OSError, or Changed if the file changes meanwhile; then nothing is
    put, unless it changed in the very moment in which its last request was made.
    """
    block_size = client.container(container).block_size
    with path.open("rb") as file:
        source = _File(path, file.fileno(), block_size, progress)
        terms = Terms(content_type, dict(meta or {}), only_new=only_new)
        with _uploading(client, progress, block_size) as uploader:
            ref = ObjectRef(container, name)
            done = commit(uploader, ref, source, terms, attempted=lambda _: source.check_unchanged())
            source.check_unchanged()
            return Transferred(
                source.size, done.hashmap.merkle, done.written.version, uploader.counts.sent_bytes
            )


def upload_stream(
    client: Client,
    container: str,
    name: str,
    reader: Reader,
    *,
    content_type: str = DATA,
    size: int | None = None,
    progress: Progress | None = None,
) -> Transferred:
    """Make what ``reader`` gives the object ``name``, in one pass and without touching the disk.

    ``size`` is for ``progress`` only.  Nothing is written if reading fails.
    """
    block_size = client.container(container).block_size
    ref, terms = ObjectRef(container, name), Terms(content_type, {})
    with _uploading(client, progress, block_size) as uploader:
        first = _read_block(reader, block_size)
        if len(first) < block_size:
            content = blocks.hashmap_of(first, block_size)
            written = uploader.put_body(ref, first, content.merkle, terms)
        else:
            stream = _Stream(uploader, ref, _Meter(progress, "hashing", size))
            total = stream.send_all(first, reader, block_size)
            content = Hashmap(total, tuple(stream.hashes), block_size)
            try:
                written = uploader.put_hashmap(ref, content, terms)
            except MissingBlocks as error:
                raise ProtocolError(f"{ref}: the store has lost blocks it had taken", 409) from error
        return Transferred(content.size, content.merkle, written.version, uploader.counts.sent_bytes)


class _File:
    """An open file as the source of an upload."""

    def __init__(self, path: Path, descriptor: int, block_size: int, progress: Progress | None) -> None:
        self.block_size = block_size
        self._path = path
        self._descriptor = descriptor
        self._first = os.fstat(descriptor)
        self.size = self._first.st_size
        self._meter = _Meter(progress, "hashing", self.size)
        self._seen: set[int] = set()

    def hash_of(self, index: int) -> str | None:  # noqa: ARG002 - part of Source
        return None

    def read(self, index: int) -> tuple[int, Buffer]:
        self.check_unchanged()
        stamp = self.stamp(index)
        data = bytearray(blocks.block_length(index, self.size, self.block_size))
        if pread_into(self._descriptor, memoryview(data), index * self.block_size) < len(data):
            raise Changed(f"{self._path} became shorter while it was uploaded; upload it again")
        if index not in self._seen:  # a block may be read once more to be sent
            self._seen.add(index)
            self._meter.add(len(data))
        return stamp, data

    def stamp(self, index: int) -> int:  # noqa: ARG002 - part of Source
        now = os.fstat(self._descriptor)
        return hash((now.st_mtime_ns, now.st_size))

    def check_unchanged(self) -> None:
        """Raises Changed if it is not what it was: some of its blocks would be of before, some of after."""
        now = os.fstat(self._descriptor)
        if (now.st_mtime_ns, now.st_size) != (self._first.st_mtime_ns, self._first.st_size):
            raise Changed(f"{self._path} changed while it was uploaded; upload it again")


class _Uploads(Uploader):
    """An uploader that tells its progress."""

    def __init__(self, client: Client, progress: Progress | None, block_size: int) -> None:
        super().__init__(
            lambda _ref: client,
            client,
            BlockCache(_UPLOAD_MEMORY, None),
            threads=_THREADS,
            block_size=block_size,
            memory=_UNDER_WAY,
        )
        self._meter = _Meter(progress, "uploading", 0)
        self._block_size = block_size

    def to_send(self, hashes: Sequence[str]) -> None:
        """So many blocks are going to be sent."""
        self._meter.total = (self._meter.total or 0) + len(hashes) * self._block_size

    def _stored(self, ref: ObjectRef, block: Block) -> None:
        super()._stored(ref, block)
        self._meter.add(len(block.data))

    def put_body(self, ref: ObjectRef, data: Buffer, merkle: str, terms: Terms) -> Written:
        written = super().put_body(ref, data, merkle, terms)
        self._meter.add(len(data))
        return written

    def put_hashmap(self, ref: ObjectRef, content: Hashmap, terms: Terms) -> Written:
        try:
            return super().put_hashmap(ref, content, terms)
        except MissingBlocks as missing:
            self.to_send(missing.hashes)
            raise


@contextlib.contextmanager
def _uploading(client: Client, progress: Progress | None, block_size: int) -> Iterator[_Uploads]:
    uploader = _Uploads(client, progress, block_size)
    try:
        yield uploader
    finally:
        uploader.close()


class _Stream:
    """Blocks of a stream on their way: hashed, asked about and sent a batch at a time."""

    def __init__(self, uploader: _Uploads, ref: ObjectRef, meter: _Meter) -> None:
        self.ref = ref
        self.hashes: list[str] = []
        self._uploader = uploader
        self._meter = meter
        self._sending: list[Future[None]] = []

    def send_all(self, first: Buffer, reader: Reader, block_size: int) -> int:
        """The ``first`` block and everything up to the stream's end; returns its size."""
        total = 0
        data = first
        batch: list[tuple[Future[str], Buffer]] = []
        try:
            while data:
                total += len(data)
                batch.append((self._uploader.submit(blocks.block_hash, data), data))
                if len(batch) == _BATCH:
                    self._send(batch)
                    batch = []
                data = _read_block(reader, block_size)
            self._send(batch)
            self._wait()
        finally:
            for each in self._sending:
                each.cancel()
        return total

    def _send(self, batch: Sequence[tuple[Future[str], Buffer]]) -> None:
        """Send what of a batch the store lacks, once the batch before it is through."""
        named: dict[str, Buffer] = {}
        for future, data in batch:
            block = wait(future)
            self.hashes.append(block)
            named.setdefault(block, data)
            self._meter.add(len(data))
        unknown = [each for each in named if each not in self._uploader.known]
        missing = self._uploader.missing(self.ref, unknown) if unknown else set()
        self._wait()
        self._uploader.to_send(list(missing))
        self._sending = [
            self._uploader.submit(self._uploader.send_blocks, self.ref, share)
            for share in self._uploader.batches.shares([Block(each, named[each]) for each in missing])
        ]

    def _wait(self) -> None:
        for each in self._sending:
            wait(each)
        self._sending = []


def _read_block(reader: Reader, block_size: int) -> bytearray:
    """The next block of a stream, shorter at its end, empty after it."""
    data = bytearray(block_size)
    view, done = memoryview(data), 0
    while done < block_size:
        count = reader.readinto(view[done:])
        if count is None:
            raise InvalidArgument("the stream has nothing to read yet: it must be one that waits")
        if not count:
            break
        done += count
    view.release()
    del data[done:]
    return data


# -- from the store -----------------------------------------------------------------


def chunks(
    client: Client,
    container: str,
    name: str,
    *,
    version: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Buffer]:
    """The object's content, block by block and in order, the next ones already on their way.

    All are of one version, whatever happens to the object meanwhile.
    """
    with _Download.of(client, container, name, version) as download_:
        meter = _Meter(progress, "downloading", download_.content.size)
        for index, data in download_.blocks(range(len(download_.content.hashes))):
            length = download_.address(index).length
            meter.add(length)
            yield blocks.cut(data, 0, length)


def download(
    client: Client,
    container: str,
    name: str,
    path: Path,
    *,
    version: int | None = None,
    mode: int | None = None,
    progress: Progress | None = None,
) -> Transferred:
    """Make the object the file ``path``: in parallel, verified, sparse where it is zero.

    Until it is complete it is a hidden file beside it; what is there already from
    an interrupted download, or in the file itself, is not fetched again.  Nobody else
    can read it before it has its ``mode``: by default that of the file it replaces, or
    what the umask leaves of 0666.
    """
    part = part_of(path)
    with (
        _Download.of(client, container, name, version) as download_,
        _opened(path) as finished,
        _locked(part) as target,
    ):
        local = _Local(target, finished, download_.content)
        meter = _Meter(progress, "downloading", download_.content.size)
        wanted = []
        for index in range(len(download_.content.hashes)):
            if local.provide(index):
                meter.add(download_.address(index).length)
            else:
                wanted.append(index)
        moved = 0
        for index, data in download_.blocks(wanted):
            length = download_.address(index).length
            local.write(index, blocks.cut(data, 0, length))
            meter.add(length)
            moved += length
        os.fsync(target)
        _require_ours(part, target)
        os.fchmod(target, _mode_now(finished) if mode is None else mode)
        part.replace(path)
        return Transferred(download_.content.size, download_.content.merkle, download_.origin.version, moved)


def part_of(path: Path) -> Path:
    """What ``path`` is until it is complete: of one length, and never another file's own name."""
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=16).hexdigest()
    return path.with_name(f".{digest}.pithosfs-part")


class _Download:
    """One version of an object and the way to its blocks."""

    def __init__(self, client: Client, origin: Origin, content: Hashmap) -> None:
        self.origin = origin
        self.content = content
        self._fetcher = Fetcher(
            lambda _ref: client,
            BlockCache(_DOWNLOAD_MEMORY, None),
            threads=_THREADS,
            timeout=client.transport.timeout,
            protected=client.endpoint.startswith("https:"),
        )

    @classmethod
    @contextlib.contextmanager
    def of(cls, client: Client, container: str, name: str, version: int | None) -> Iterator[_Download]:
        info, content = client.hashmap(container, name, version)
        made = cls(client, Origin(ObjectRef(container, name), info.entry.version), content)
        try:
            yield made
        finally:
            made._fetcher.close()

    def address(self, index: int) -> Address:
        """Where block ``index`` is."""
        length = blocks.block_length(index, self.content.size, self.content.block_size)
        return Address(self.origin, index, self.content.hashes[index], length, self.content.block_size)

    def blocks(self, wanted: Sequence[int]) -> Iterator[tuple[int, Buffer]]:
        """These blocks in this order, the next batches being fetched meanwhile."""
        batches = [wanted[at : at + _BATCH] for at in range(0, len(wanted), _BATCH)]
        for batch in batches[:_AHEAD]:
            self._fetcher.prefetch(map(self.address, batch))
        for number, batch in enumerate(batches):
            for index in batch:
                yield index, self._fetcher.block(self.address(index))
            for later in batches[number + _AHEAD : number + _AHEAD + 1]:
                self._fetcher.prefetch(map(self.address, later))


class _Local:
    """The file a download is written to, and what is in it already."""

    def __init__(self, target: int, finished: int | None, content: Hashmap) -> None:
        self._target = target
        self._content = content
        self._has_rest = os.fstat(target).st_size > 0
        self._finished = finished
        os.ftruncate(target, content.size)

    def provide(self, index: int) -> bool:
        """Whether the block is in the file now, without asking the store."""
        here = self._read(self._target, index) if self._has_rest else b""
        wanted = self._content.hashes[index]
        if blocks.block_hash(here) == wanted:
            return True
        if wanted == blocks.ZERO_HASH:
            self.write(index, bytes(self._length(index)))
            return True
        if self._finished is None:
            return False
        found = self._read(self._finished, index)
        if blocks.block_hash(found) != wanted:
            return False
        self.write(index, blocks.cut(found, 0, self._length(index)))
        return True

    def write(self, index: int, data: Buffer) -> None:
        """The block's content."""
        pwrite_all(self._target, memoryview(data), index * self._content.block_size)

    def _length(self, index: int) -> int:
        return blocks.block_length(index, self._content.size, self._content.block_size)

    def _read(self, descriptor: int, index: int) -> bytes:
        return os.pread(descriptor, self._length(index), index * self._content.block_size)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """The file that is there now, None without one.  Raises InvalidArgument for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # it may be a pipe
    except FileNotFoundError:
        yield None
        return
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"{path} is there already, and no file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, made if missing, for this process alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidArgument(f"{path} is being written by another download") from None
        _require_ours(path, descriptor)  # else another download has just made it the finished file
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)  # left by a download that had got as far as its mode
        yield descriptor
    finally:
        os.close(descriptor)


def _mode_now(finished: int | None) -> int:
    """The mode of the file that is replaced, or of a new one."""
    if finished is not None:
        return stat.S_IMODE(os.fstat(finished).st_mode) & 0o777
    return 0o666 & ~_umask()


def _umask() -> int:
    """Without setting it, which would be seen by other threads; for nobody else where it is not known."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("utf-8", "replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o077


def _require_ours(path: Path, descriptor: int) -> None:
    """Raise InvalidArgument unless ``path`` still is the open file."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.lstat(), os.fstat(descriptor)):
            return
    raise InvalidArgument(f"{path} was taken away by another program")
