"""One file in use: what the server has of it, what is not there yet, and the way there.

All handles of a file share one :class:`OpenFile`: one content, several
handles.  What it is on the server (its *base*) is one version and stays it
until a commit of our own; so a reader sees one version to the end, whatever
others do to the object.

Locks: ``_committing`` is held for the length of a commit, and by whoever
renames or removes the file; ``_lock`` guards the state and is never held
while something is transferred.  Order: ``_committing`` before ``_lock``.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pithosfs import attributes, blocks
from pithosfs.attributes import Attributes
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.content import Content, Local, Part, Remote
from pithosfs.errors import InvalidArgument, NoSpace, Stale, TooLarge
from pithosfs.fetch import Address, Fetcher, Origin
from pithosfs.journal import pack_content, pack_node, unpack_content, unpack_node
from pithosfs.metastore import MetaStore
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node, new_inode_number
from pithosfs.readahead import Plan, Readahead, Unit
from pithosfs.scratch import Scratch
from pithosfs.staging import Staging
from pithosfs.upload import Ahead, Terms, Uploader

log = logging.getLogger(__name__)

#: The largest file: its hashmap is some 30 MB of JSON.
MAX_SIZE = 2 * 1024**4


@dataclass(frozen=True, slots=True)
class Services:
    """What every open file works with.  ``block_size`` is the containers', in bytes."""

    fetcher: Fetcher
    uploader: Uploader
    staging: Staging
    store: MetaStore
    block_size: int = blocks.BLOCK_SIZE
    window_limit: int = 32


class OpenFile:
    """A file and its changes.  ``node`` is what the server has, None for a new file."""

    def __init__(
        self, services: Services, ref: ObjectRef, node: Node | None, kept: Attributes, ino: int = 0
    ) -> None:
        self.ref = ref
        self.node = node
        self.attributes = kept
        self.ino = ino
        self.handles = 0
        self.uses = 0  # operations under way that will need it when they go on
        self.gone = False  # removed: lives on without a name until the last handle closes
        self.journalled = False
        self._services = services
        self._committing = threading.RLock()
        self._lock = threading.Condition()
        self._loading = threading.Lock()
        self._content: Content | None = None
        self._meta: dict[str, str] | None = {} if node is None else services.store.meta(node.version)
        self._key = uuid.uuid4().hex  # of its entry in the journal
        self._entry: dict[str, Any] = {}  # that entry, if there is one
        self._scratch: Scratch = services.staging.scratch()
        self._promised: Scratch | None = None  # what the journal has, while the file is written anew
        self._ahead: Ahead | None = None
        self._attributes_changed = node is None
        self._meta_changed = False
        self._sending = False
        self._changed_ns = 0 if node is not None else time.time_ns()  # of anything, here; 0: not yet
        self._emptied = False  # nothing of what the server has is in effect
        self._attempts: deque[tuple[str, int]] = deque(maxlen=16)  # Merkle hash and size of each PUT
        self._changes = 0
        self._stamps: dict[int, int] = {}
        self._floor = 0

    # -- state ------------------------------------------------------------------------------

    @property
    def committing(self) -> threading.RLock:
        """Held by a commit, a rename, a removal: one at a time."""
        return self._committing

    @property
    def dirty(self) -> bool:
        """Whether anything is not on the server yet, or on its way."""
        return not self.gone and (self._attributes_changed or self._sending or self.content_changed)

    @property
    def content_changed(self) -> bool:
        """Whether bytes are not on the server yet (or it has no such object at all)."""
        if self.gone:
            return False
        with self._lock:
            if self.node is None or self._emptied:
                return True
            return self._content is not None and self._content.changed

    @property
    def size(self) -> int:
        """Bytes now."""
        with self._lock:
            if self._content is not None:
                return self._content.size
            return self.node.size if self.node else 0

    @property
    def unsent(self) -> int:
        """Bytes that are only here."""
        with self._lock:
            return self._content.dirty.total if self._content else 0

    def view(self) -> Node:
        """The file as the tree shows it: what the server has, with what is changed."""
        with self._lock:
            base = self.node or Node(self.ref, self.attributes)
            return Node(
                self.ref,
                self.attributes,
                self.size,
                base.hash if not self.content_changed else "",
                base.etags,
                base.uuid,
                base.version,
                base.modified_ns,
                sharing=base.sharing,
                public=base.public,
                origin=base.origin,
                ino=self.ino,
                links=0 if self.gone else 1,
                changed_ns=self._changed_ns or base.changed_ns,
            )

    # -- the base ---------------------------------------------------------------------------

    def load(self) -> Content:
        """The content, its hashmap fetched if need be."""
        content = self._content
        if content is None:
            with self._loading:
                if self._content is None:
                    loaded = self._load()
                    with self._lock:
                        self._content = loaded
                content = self._content
        assert content is not None  # noqa: S101 - set above, never reset
        return content

    def _load(self) -> Content:
        node, size = self.node, self._services.block_size
        if node is None or not node.size:
            return self._no_content()
        if node.size <= size and node.hash:
            return Content(Hashmap(node.size, (node.hash,), size), node.readable_at)
        found = self._services.store.hashmap(node.hash, node.size, size) if node.hash else None
        if found is None:
            found = self._fetch_hashmap(node)
        self._services.uploader.known.add(found.hashes[:1024])
        return Content(found, self.node.readable_at if self.node else Origin(self.ref, 0))

    def _fetch_hashmap(self, node: Node) -> Hashmap:
        origin = node.readable_at
        info, found = self._services.fetcher.hashmap(origin)
        if node.hash and (found.merkle, found.size) != (node.hash, node.size):
            # An object cut short inside a block has another Merkle hash than its hashmap makes.
            if not info.entry.version or (node.version and info.entry.version != node.version):
                raise Stale(f"{self.ref} was replaced meanwhile", 412)
        else:
            self._services.store.remember_hashmap(found)
        if not node.version and origin.ref == node.ref:
            self.node = replace(node, version=info.entry.version)
        self._services.store.remember_meta(info.entry.version, dict(info.meta))
        if self._meta is None:
            self._meta = dict(info.meta)
        return found

    def meta(self) -> dict[str, str]:
        """The object's user metadata, asked for if it is not known yet."""
        if self._meta is None:
            node = self.node
            assert node is not None  # noqa: S101 - a new file's metadata is known
            self._meta = dict(self._services.fetcher.info(node.readable_at).meta)
            self._services.store.remember_meta(node.version, self._meta)
        return self._meta

    # -- reading ----------------------------------------------------------------------------

    def read_into(self, offset: int, view: memoryview, ahead: Readahead) -> int:
        """Fill ``view`` from ``offset``; fewer bytes only at the end of the file.

        The bytes are those of one moment; nothing is locked while blocks arrive.
        """
        content = self.load()
        with self._lock:
            stop = min(offset + len(view), content.size)
            if stop <= offset:
                return 0
            parts = list(content.parts(offset, stop))
            self._copy_local(parts, view)
            file_size = content.size
        remote = any(isinstance(part, Remote) for part in parts)
        if remote:
            plan = self._look_ahead(content, ahead, offset, stop - offset, file_size)
            began = time.monotonic()
            self._copy_remote(parts, view, plan.unit)
            if plan.random:
                ahead.waited(time.monotonic() - began)
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

    def _copy_remote(self, parts: list[Part], view: memoryview, unit: Unit) -> None:
        fetcher = self._services.fetcher
        at = 0
        for part in parts:
            if isinstance(part, Remote):
                length = part.stop - part.start
                if unit is Unit.PIECE:
                    data = fetcher.piece(part.address, part.start, part.stop)
                else:
                    data = blocks.cut(fetcher.block(part.address), part.start, part.stop)
                view[at : at + length] = data
            else:
                length = part.stop - part.start if isinstance(part, Local) else part.length
            at += length

    def _look_ahead(self, content: Content, ahead: Readahead, offset: int, size: int, total: int) -> Plan:
        network = self._services.fetcher.network
        plan = ahead.plan(offset, size, total, network.latency, network.rate, self._services.window_limit)
        first, stop = plan.ahead
        if first < stop:
            with self._lock:
                found = [content.block(index) for index in range(first, min(stop, content.count))]
            self._services.fetcher.prefetch(each[0] for each in found if each)
        return plan

    # -- writing ----------------------------------------------------------------------------

    def write(self, offset: int, data: Buffer) -> int:
        """Write all of ``data`` at ``offset``; NoSpace if it cannot be kept."""
        stop = offset + len(data)
        if stop > MAX_SIZE:
            raise TooLarge(f"{self.ref} would be larger than {MAX_SIZE} bytes")
        content = self.load()
        with self._lock:
            self._scratch.write(offset, data)
            content.wrote(offset, stop)
            self._touched(offset, stop)
            complete = self._completed(content, offset, stop)
        if complete and not self.gone:
            self._send_ahead(complete)
        return len(data)

    def append(self, data: Buffer) -> int:
        """Write all of ``data`` at the end, whoever else appends."""
        self.load()
        with self._lock:
            return self.write(self.size, data)

    def truncate(self, size: int) -> None:
        """Cut, or grow by a hole."""
        if size < 0:
            raise InvalidArgument("a size cannot be negative")
        if size > MAX_SIZE:
            raise TooLarge(f"{self.ref} would be larger than {MAX_SIZE} bytes")
        if not size and self._empty():
            return
        content = self.load()
        with self._lock:
            if size != content.size:
                if not size:
                    self._begin_anew()
                elif size < content.size and not self.journalled:
                    self._scratch.truncate(size)
                content.resize(size)
                self._floor = self._tick()
                self._stamps.clear()
            self._modified()

    def _empty(self) -> bool:
        """Cut to nothing a file whose content is not known yet, and need not be; False if it is."""
        if self._content is not None:
            return False
        with self._loading, self._lock:
            if self._content is not None:
                return False
            self._content = self._no_content()
            self._emptied = True
            self._modified()
            return True

    def _begin_anew(self) -> None:
        """No byte is needed any more; but what the journal promised stays whole until it promises more."""
        if self.journalled and self._promised is None:
            self._promised, self._scratch = self._scratch, self._services.staging.scratch()
        else:
            self._scratch.truncate(0)

    def _no_content(self) -> Content:
        return Content(Hashmap(0, (), self._services.block_size), Origin(self.ref, 0))

    def supersede(self, node: Node) -> None:
        """A file that was never sent takes the place of an object: the next commit overwrites it."""
        self.load()  # of the new file, not of what it takes the place of
        with self._lock:
            self.node = node
            self._emptied = True

    def zero(self, start: int, stop: int) -> None:
        """Make a range within the file zero; whole blocks become holes."""
        content = self.load()
        for span in blocks.spans(start, stop - start, content.block_size):
            first = span.index * content.block_size
            if span.start == 0 and (span.stop == content.block_size or first + span.stop >= content.size):
                hole = Address(
                    Origin(self.ref, 0), span.index, blocks.ZERO_HASH, span.stop, content.block_size
                )
                self._splice(span.index, hole, min(span.stop, content.size - first))
            else:
                self.write(first + span.start, bytes(span.stop - span.start))

    def splice_into(self, target: OpenFile, offset: int, to: int, length: int) -> int:
        """Copy whole blocks to ``target`` as hashes, no byte moves; returns the bytes done, maybe 0.

        A last block that is not full counts as whole where both files end.
        """
        size = self.block_size
        if offset % size or to % size or (self is target and to < offset + length):
            return 0
        content, done = self.load(), 0
        target.load()
        while done < length:
            index = (offset + done) // size
            with self._lock:
                found = content.block(index) if content.hash_of(index) is not None else None
                here = min(size, content.size - index * size)
            left = length - done
            whole = left >= size or (left >= here and to + done + here >= target.size)
            if not whole or content.hash_of(index) is None:
                break
            address = found[0] if found else Address(Origin(self.ref, 0), index, blocks.ZERO_HASH, here, size)
            target._splice((to + done) // size, address, here)
            done += here
        return done

    def _splice(self, index: int, address: Address, length: int) -> None:
        content = self.load()
        with self._lock:
            content.splice(index, address, length)
            self._stamps[index] = self._tick()
            self._modified()

    def seek(self, offset: int, *, data: bool) -> int | None:
        """The next data (or hole) at or after ``offset``, by whole blocks; None if there is none."""
        content = self.load()
        with self._lock:
            if not 0 <= offset < content.size:
                return None
            for index in range(offset // content.block_size, content.count):
                if content.is_hole(index) != data:
                    return max(offset, index * content.block_size)
            return None if data else content.size

    def set_attributes(self, mtime_ns: int | None = None, mode: int | None = None) -> None:
        """Change times or mode; goes out with the next commit."""
        with self._lock:
            changed = self.attributes.with_changes(mtime_ns, mode)
            self._changed_ns = time.time_ns()
            if changed != self.attributes:
                self.attributes = changed
                self._attributes_changed = True

    def set_meta(self, meta: Mapping[str, str]) -> None:
        """Replace the user metadata; goes out with the next commit."""
        with self._lock:
            self._meta = dict(meta)
            self._changed_ns = time.time_ns()
            self._attributes_changed = self._meta_changed = True

    def _touched(self, start: int, stop: int) -> None:
        stamp = self._tick()
        for index in range(start // self._services.block_size, -(-stop // self._services.block_size)):
            self._stamps[index] = stamp
        self._modified()

    def _modified(self) -> None:
        self._changed_ns = time.time_ns()
        self.attributes = self.attributes.with_changes(mtime_ns=self._changed_ns)
        self._attributes_changed = True

    def _tick(self) -> int:
        self._changes += 1
        return self._changes

    def _completed(self, content: Content, start: int, stop: int) -> list[int]:
        """Full blocks that this write has ended."""
        size = content.block_size
        return [index for index in range(start // size, stop // size) if content.complete(index)]

    def _send_ahead(self, complete: list[int]) -> None:
        with self._lock:
            if self._ahead is None:
                self._ahead = Ahead(self._services.uploader, self.ref, self._read_complete)
            ahead = self._ahead
        for index in complete:
            ahead.offer(index)

    def _read_complete(self, index: int) -> tuple[int, Buffer] | None:
        content = self.load()
        with self._lock:
            if self.gone or not content.complete(index):
                return None
            return self.stamp(index), self._copy(content, index)

    # -- what a commit needs to know (upload.Source) -----------------------------------------

    @property
    def block_size(self) -> int:
        """Bytes of a block."""
        return self._services.block_size

    def hash_of(self, index: int) -> str | None:
        """The block's hash if nothing of it changed."""
        content = self.load()
        with self._lock:
            return content.hash_of(index)

    def stamp(self, index: int) -> int:
        """Changes whenever the block's bytes do."""
        with self._lock:
            return self._stamps.get(index, self._floor)

    def read(self, index: int) -> tuple[int, Buffer]:
        """The block's stamp and a copy of its bytes; fetches what is not local."""
        content = self.load()
        while True:
            with self._lock:
                stamp = self.stamp(index)
                if content.complete(index):
                    return stamp, self._copy(content, index)
                start = index * content.block_size
                stop = min(start + content.block_size, content.size)
                parts = list(content.parts(start, stop)) if stop > start else []
                data = self._services.fetcher.cache.new_buffer(max(0, stop - start))
                self._copy_local(parts, data)
            self._copy_remote(parts, data, Unit.BLOCK)
            if self.stamp(index) == stamp:
                return stamp, data

    def _copy(self, content: Content, index: int) -> Buffer:
        """All of a block that is complete in the scratch; nobody changes it."""
        data = self._scratch.lend(index)
        if data is None:
            data = self._services.fetcher.cache.new_buffer(content.block_size)
            self._scratch.read_into(index * content.block_size, data)
        return data

    # -- committing ---------------------------------------------------------------------------

    def commit(self) -> bool:
        """Bring the server up to date; True if there was anything to do.

        Returns when the server has answered 201 for exactly these bytes.
        Raises what the store raised; the changes are kept then.
        """
        with self._committing:
            if not self.dirty:
                return False
            self._commit(self.ref, self._conditions())
            return True

    def commit_as(self, ref: ObjectRef) -> None:
        """Make the content a new object of another name, which the file is from here on.

        Stale if there is such an object; the file is what it was then.
        """
        with self._committing:
            self._commit(ref, None)
            with self._lock:
                self.ref = ref

    def _conditions(self) -> tuple[str, ...] | None:
        return None if self.node is None else self.node.etags

    def _terms(self, etags: tuple[str, ...], *, only_new: bool) -> Terms:
        with self._lock:
            kept = self.attributes
        meta = attributes.meta_for(kept, self.meta())
        return Terms(kept.content_type, meta, etags, only_new)

    def _commit(self, ref: ObjectRef, etags: tuple[str, ...] | None) -> None:
        content = self.load()
        terms = self._terms(etags or (), only_new=etags is None)
        with self._lock:
            content.freeze()
            kept, before, ahead = self.attributes, self._changes, self._ahead
            meta_changed = self._meta_changed
            self._ahead, self._attributes_changed, self._meta_changed = None, False, False
            self._sending = True
            source = _Frozen(self, content.size)
        try:
            written, hashmap = self._services.uploader.commit(ref, source, terms, ahead, self._attempted)
        except BaseException:
            with self._lock:
                content.thaw()
                self._attributes_changed = True
                self._meta_changed |= meta_changed
                self._sending = False
            raise
        base = self.node if ref == self.ref else None
        if ref != self.ref:
            self.ino = new_inode_number()
        node = Node(
            ref,
            kept,
            hashmap.size,
            hashmap.merkle,
            tuple(dict.fromkeys((hashmap.merkle, *((written.etag,) if written.etag else ())))),
            base.uuid if base else "",
            written.version,
            time.time_ns(),
            sharing=base.sharing if base else None,
            public=base.public if base else None,
            ino=self.ino,
            changed_ns=self._changed_ns,
        )
        self._rebase(node, hashmap, before)
        self._services.store.remember_meta(written.version, dict(terms.meta))
        self._services.store.remember_hashmap(hashmap)

    def _rebase(self, node: Node, hashmap: Hashmap, before: int) -> None:
        """What the file was at the freeze, after ``before`` changes, is on the server as ``node``."""
        content = self.load()
        with self._lock:
            self.node, self._sending = node, False
            content.rebase(hashmap, Origin(node.ref, node.version))
            self._emptied = False
            self._attempts.clear()
            if not content.dirty and self._changes == before:
                self.forget_journal()
                self._scratch.discard()
                self._stamps.clear()
                self._floor = self._tick()

    def _attempted(self, content: Hashmap) -> None:
        """Note what is about to be sent, for the next mount too: it must not take it for a foreign change."""
        with self._lock:
            self._attempts.append((content.merkle, content.size))
            if self.journalled:
                with contextlib.suppress(NoSpace):
                    self._services.staging.record(self._key, self._entry | {"attempts": list(self._attempts)})

    def was_sent(self, node: Node) -> bool:
        """Whether ``node`` is what a commit of ours has put there without hearing of it."""
        return (node.hash, node.size) in self._attempts

    def base_on(self, node: Node) -> None:
        """The next commit replaces ``node``, whatever the file was based on; its bytes stay what they are."""
        self.load()
        with self._lock:
            self.node, self._attributes_changed = node, True

    def recognise(self, node: Node) -> bool:
        """Whether the object is ours already: sent by a commit whose answer was lost, maybe before a crash.

        Then the file is based on ``node``; what changed since is left to commit.
        """
        with self._committing:
            content = self.load()
            if content.size != node.size or not node.hash:
                return False
            with self._lock:
                content.freeze()
                before, source = self._changes, _Frozen(self, content.size)
            found: Hashmap | None = None
            try:
                found = self._services.uploader.hashmap(self.ref, source)
            finally:
                if found is None or found.merkle != node.hash:
                    with self._lock:
                        content.thaw()
            if found.merkle != node.hash:
                return False
            self._rebase(node, found, before)
            with self._lock:
                same = self.attributes.content_type == node.attributes.content_type
                self._attributes_changed = self._meta_changed or not same
            return True

    def supersede_nothing(self) -> None:
        """The object is gone: all bytes are still at hand (by version), the next commit makes it anew."""
        self.load()
        with self._lock:
            self.node = None

    def adopt(self, node: Node) -> None:
        """The same content has another version, or other attributes, on the server."""
        with self._lock:
            self.node, self.attributes = node, node.attributes
            self._meta = self._services.store.meta(node.version)

    def drop_attributes(self) -> bool:
        """Give up a change of times, mode or metadata; False if the content changed, too."""
        with self._lock:
            if self.node is None or self.content_changed:
                return False
            self.attributes = self.node.attributes
            self._attributes_changed = self._meta_changed = False
            self._meta = self._services.store.meta(self.node.version)
            self.forget_journal()
            return True

    def settled(self, kept: Attributes) -> None:
        """Times and mode went to the server by another way (with a move)."""
        with self._lock:
            self._attributes_changed &= self._meta_changed or self.attributes != kept

    def moved(self, ref: ObjectRef, node: Node | None) -> None:
        """The file has another name; ``node`` is what the server has there."""
        with self._lock:
            self.ref, self.node, self._ahead = ref, node, None
            self._changed_ns = time.time_ns()

    # -- the journal --------------------------------------------------------------------------

    def persist(self) -> None:
        """Make the changes survive a crash, on local disk.  NoSpace if they cannot."""
        content = self.load()
        with self._lock:
            self._scratch.persist()
            entry = {
                "scratch": self._scratch.key if content.dirty else None,
                "ref": list(self.ref),
                "node": pack_node(self.node),
                "emptied": self._emptied,
                "attributes": [self.attributes.base_type, self.attributes.mtime_ns, self.attributes.mode],
                "meta": self._meta,
                "content": pack_content(content),
                "ino": self.ino,
                "attempts": list(self._attempts),
            }
            self._services.staging.record(self._key, entry)
            self._entry = entry
            self._forget_promised()
            self.journalled = True

    @classmethod
    def recover(cls, services: Services, key: str, entry: dict[str, Any], scratch: Scratch) -> OpenFile:
        """The file of the journal's entry ``key``; ValueError if it is none."""
        try:
            ref = ObjectRef(*entry["ref"])
            file = cls(
                services, ref, unpack_node(entry["node"]), Attributes(*entry["attributes"]), entry["ino"]
            )
            file._content = unpack_content(entry["content"])
            file._emptied, file._meta = entry["emptied"], entry["meta"]
            file._attempts.extend((merkle, size) for merkle, size in entry.get("attempts", ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an entry of this version: {error}") from error
        file._key, file._entry, file._scratch, file.journalled = key, entry, scratch, True
        file._attributes_changed = file._meta_changed = True
        return file

    def forget_journal(self) -> None:
        """The journal need not keep the file any more; its entry goes before the bytes it tells of."""
        with self._lock:
            if self.journalled:
                self._services.staging.forget(self._key)
                self._forget_promised()
                self.journalled = False

    def _forget_promised(self) -> None:
        if self._promised is not None:
            self._promised.discard()
            self._promised = None

    def discard(self) -> None:
        """Nothing of the changes is needed any more."""
        with self._lock:
            self.forget_journal()
            self._scratch.discard()


class _Frozen:
    """A file as a commit sees it: its size stays, its blocks are looked at as they are."""

    def __init__(self, file: OpenFile, size: int) -> None:
        self.size = size
        self.block_size = file.block_size
        self.hash_of = file.hash_of
        self.stamp = file.stamp
        self._file = file

    def read(self, index: int) -> tuple[int, Buffer]:
        """The block's stamp and bytes, without what was appended since."""
        stamp, data = self._file.read(index)
        length = blocks.block_length(index, self.size, self.block_size)
        return stamp, data if len(data) <= length else data[:length]
