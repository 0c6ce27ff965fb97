"""The bytes of a file in use: on the server, in its scratch, or zeros; read and changed here.

Knows nothing of names, attributes or commits: whoever commits takes a
:meth:`FileData.freeze` and tells what became of it.

The lock is the file's own, reentrant and passed in, so that its owner can do
several of these things, and what belongs to them, at one moment.  It is never
held while something is fetched.
"""

from __future__ import annotations

import threading
import time

from pithosfs import blocks
from pithosfs.base import of_version
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.commit import Changed
from pithosfs.content import Content, Local, Part, Remote
from pithosfs.promise import Promise
from pithosfs.ranges import Address, Origin
from pithosfs.readahead import Plan, Readahead, Unit
from pithosfs.scratch import Scratch, pack_bytes
from pithosfs.services import Services


class Stamps:
    """A number for each block that changes whenever its bytes do.  Not thread-safe."""

    def __init__(self) -> None:
        self.changes = 0  # so far
        self._of_block: dict[int, int] = {}
        self._floor = 0  # of all other blocks

    def of(self, index: int) -> int:
        """The stamp of one block."""
        return self._of_block.get(index, self._floor)

    def changed(self, first: int, stop: int) -> None:
        """Blocks ``first`` to ``stop`` (exclusive) changed."""
        self.changes += 1
        for index in range(first, stop):
            self._of_block[index] = self.changes

    def all_changed(self) -> None:
        """Any block may have."""
        self.changes += 1
        self._floor = self.changes
        self._of_block.clear()


class FileData:
    """The bytes of one file: ``content`` says where they are, ``promise`` which local ones must stay."""

    def __init__(
        self,
        services: Services,
        content: Content,
        promise: Promise,
        lock: threading.RLock,
        scratch: Scratch | None = None,
    ) -> None:
        self._services = services
        self._content = content
        self._promise = promise
        self._lock = lock
        self._scratch = scratch or services.staging.scratch()
        self._stamps = Stamps()

    # -- looking --------------------------------------------------------------------------------

    @property
    def content(self) -> Content:
        """Where each byte is.  For who holds the lock."""
        return self._content

    @property
    def size(self) -> int:
        """Bytes now."""
        return self._content.size

    @property
    def block_size(self) -> int:
        """Bytes of a block."""
        return self._content.block_size

    @property
    def changed(self) -> bool:
        """Whether the bytes differ from those on the server."""
        with self._lock:
            return self._content.changed

    @property
    def unsent(self) -> int:
        """Bytes that are only here."""
        with self._lock:
            return self._content.dirty.total

    def seek(self, offset: int, *, data: bool) -> int | None:
        """The next data (or hole) at or after ``offset``, by whole blocks; None if there is none."""
        content = self._content
        with self._lock:
            if not 0 <= offset < content.size:
                return None
            for index in range(offset // content.block_size, content.count):
                if content.is_hole(index) != data:
                    return max(offset, index * content.block_size)
            return None if data else content.size

    # -- reading ----------------------------------------------------------------------------------

    def read_into(self, offset: int, view: memoryview, readahead: Readahead) -> int:
        """Fill ``view`` from ``offset``; fewer bytes only at the end of the file.

        The bytes are those of one moment; nothing is locked while blocks arrive.
        """
        content = self._content
        with self._lock:
            stop = min(offset + len(view), content.size)
            if stop <= offset:
                return 0
            parts = list(content.parts(offset, stop))
            self._copy_local(parts, view)
            file_size = content.size
        if any(isinstance(part, Remote) for part in parts):
            plan = self._look_ahead(readahead, offset, stop - offset, file_size)
            began = time.monotonic()
            self._copy_remote(parts, view, plan)
            if plan.random:
                readahead.waited(time.monotonic() - began)
        return stop - offset

    def _copy_local(self, parts: list[Part], view: memoryview) -> None:
        at = 0
        for part in parts:
            if isinstance(part, Local):
                length = part.stop - part.start
                self._scratch.read_into(part.start, view[at : at + length])
            elif isinstance(part, Remote):
                length = part.stop - part.start
            else:
                length = part.length
                view[at : at + length] = bytes(length)
            at += length

    def _copy_remote(self, parts: list[Part], view: memoryview, plan: Plan) -> None:
        fetcher = self._services.fetcher
        at = 0
        for part in parts:
            if isinstance(part, Remote):
                length = part.stop - part.start
                with of_version(part.address.origin):
                    if plan.unit is Unit.PIECE or (plan.random and fetcher.on_disk(part.address)):
                        data = fetcher.piece(part.address, part.start, part.stop)
                    else:
                        data = blocks.cut(fetcher.block(part.address), part.start, part.stop)
                view[at : at + length] = data
            else:
                length = part.stop - part.start if isinstance(part, Local) else part.length
            at += length

    def _look_ahead(self, readahead: Readahead, offset: int, size: int, total: int) -> Plan:
        network = self._services.fetcher.network
        plan = readahead.plan(offset, size, total, network.latency, network.rate, self._services.window_limit)
        first, stop = plan.ahead
        if first < stop:
            content = self._content
            with self._lock:
                found = [content.block(index) for index in range(first, min(stop, content.count))]
                end = 0 if content.changed else min(plan.reach * content.block_size, content.base.size)
            self._services.fetcher.prefetch([each[0] for each in found if each], end)
        return plan

    # -- changing -----------------------------------------------------------------------------------

    def write(self, offset: int, data: Buffer) -> list[int]:
        """Keep all of ``data``; returns the full blocks this has ended.  NoSpace if it cannot be kept."""
        stop, size = offset + len(data), self.block_size
        with self._lock:
            self._scratch.write(offset, data)
            self._content.wrote(offset, stop)
            self._stamps.changed(offset // size, -(-stop // size))
            return [each for each in range(offset // size, stop // size) if self._content.complete(each)]

    def truncate(self, size: int) -> None:
        """Cut, or grow by a hole."""
        with self._lock:
            if size == self._content.size:
                return
            if not size:
                self._scratch = self._promise.begin_anew(self._scratch)
            elif size < self._content.size and not self._promise.made:
                self._scratch.truncate(size)
            self._content.resize(size)
            self._stamps.all_changed()

    def zero(self, start: int, stop: int) -> list[int]:
        """Make a range of the file zero, whole blocks as holes; returns as :meth:`write`."""
        ended: list[int] = []
        with self._lock:
            for span in blocks.spans(start, min(stop, self.size) - start, self.block_size):
                first = span.index * self.block_size
                length = blocks.block_length(span.index, self.size, self.block_size)
                if span.start == 0 and span.stop >= length:
                    self.splice(span.index, self._hole(span.index, length), length)
                else:
                    ended += self.write(first + span.start, bytes(span.stop - span.start))
        return ended

    def splice(self, index: int, address: Address, length: int) -> None:
        """Block ``index`` is now the server's block at ``address``, ``length`` bytes of it."""
        with self._lock:
            self._content.splice(index, address, length)
            self._stamps.changed(index, index + 1)

    def unchanged_block(self, index: int) -> tuple[Address, int] | None:
        """The block on the server that this one is, and its length; None if it is none as a whole."""
        with self._lock:
            if self._content.hash_of(index) is None:
                return None
            length = blocks.block_length(index, self.size, self.block_size)
            if not length:
                return None
            found = self._content.block(index)
            return (found[0] if found else self._hole(index, length)), length

    def _hole(self, index: int, length: int) -> Address:
        return Address(self._content.origin, index, blocks.ZERO_HASH, length, self.block_size)

    def persist(self) -> tuple[dict[str, str | None], Hashmap | None]:
        """Make all local bytes durable: what the journal has to say of them.  NoSpace if they cannot be.

        And the whole file as a hashmap, where it is small and all of it is local.
        """
        content = self._content
        with self._lock:
            if not content.dirty:
                return pack_bytes(None, None), None
            small = self._scratch.persist()
            packed, size = pack_bytes(self._scratch.key if small is None else None, small), content.size
            if small is None or len(small) != size or size > self.block_size:
                return packed, None
            whole = content.dirty.covers(0, size)
            return packed, blocks.hashmap_of(small, self.block_size) if whole else None

    def discard(self) -> None:
        """No local byte is needed any more."""
        with self._lock:
            self._scratch.discard()

    # -- what a commit needs to know ------------------------------------------------------------------

    def hash_of(self, index: int, length: int) -> str | None:
        """The block's hash if nothing of it changed, and it has just ``length`` bytes."""
        with self._lock:
            here = blocks.block_length(index, self._content.size, self.block_size)
            return self._content.hash_of(index) if here == length else None

    def stamp(self, index: int) -> int:
        """Changes whenever the block's bytes do."""
        with self._lock:
            return self._stamps.of(index)

    def read(self, index: int) -> tuple[int, Buffer]:
        """The block's stamp and its bytes, which nobody changes; fetches what is not local."""
        content = self._content
        while True:
            with self._lock:
                stamp = self._stamps.of(index)
                if content.complete(index):
                    return stamp, self._local_block(index)
                start = index * content.block_size
                stop = min(start + content.block_size, content.size)
                parts = list(content.parts(start, stop)) if stop > start else []
                data = self._services.fetcher.cache.new_buffer(max(0, stop - start))
                self._copy_local(parts, data)
            self._copy_remote(parts, data, Plan(Unit.BLOCK))
            if self.stamp(index) == stamp:
                return stamp, data

    def read_complete(self, index: int) -> tuple[int, Buffer] | None:
        """Stamp and bytes of a full block that are all local; None of any other."""
        with self._lock:
            if not self._content.complete(index):
                return None
            return self._stamps.of(index), self._local_block(index)

    def _local_block(self, index: int) -> Buffer:
        """All of a block that is complete in the scratch; nobody changes it."""
        data = self._scratch.lend(index)
        if data is None:
            data = self._services.fetcher.cache.new_buffer(self.block_size)
            self._scratch.read_into(index * self.block_size, data)
        return data

    def freeze(self) -> Frozen:
        """The file as it is now, for a commit: what changes from here on is told apart."""
        with self._lock:
            self._content.freeze()
            return Frozen(self, self._content.size, self._stamps.changes)

    def thaw(self) -> None:
        """The commit did not happen."""
        with self._lock:
            self._content.thaw()

    def cut_to(self) -> int:
        """How much of what was frozen was not cut off since."""
        with self._lock:
            return self._content.cut_to()

    def rebase(self, frozen: Frozen, hashmap: Hashmap, origin: Origin) -> bool:
        """What was frozen is on the server as ``hashmap``, at ``origin``.

        True if nothing changed since, so that no local byte is needed any more.
        """
        with self._lock:
            self._content.rebase(hashmap, origin)
            return not self._content.dirty and self._stamps.changes == frozen.changes

    def settle(self) -> None:
        """All of it is on the server: forget what is local."""
        with self._lock:
            self._scratch.discard()
            self._stamps.all_changed()


class Frozen:
    """A file as a commit sees it (``commit.Source``): its size stays, its blocks are read as they are."""

    def __init__(self, data: FileData, size: int, changes: int) -> None:
        self.size = size
        self.changes = changes  # before it was frozen
        self.block_size = data.block_size
        self.stamp = data.stamp
        self._data = data

    def hash_of(self, index: int) -> str | None:
        """The block's hash, if nothing of it changed nor was appended to it since."""
        length = blocks.block_length(index, self.size, self.block_size)
        found = self._data.hash_of(index, length)
        self._check_whole(index, length)
        return found

    def read(self, index: int) -> tuple[int, Buffer]:
        """The block's stamp and bytes, without what was appended since."""
        stamp, data = self._data.read(index)
        length = blocks.block_length(index, self.size, self.block_size)
        self._check_whole(index, length)
        return stamp, data if len(data) <= length else data[:length]

    def _check_whole(self, index: int, length: int) -> None:
        """After a look at a block: Changed if it was cut since, for the zeros in its place never were."""
        if self._data.cut_to() < index * self.block_size + length:
            raise Changed("the file was cut while it was sent")
