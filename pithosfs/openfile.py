"""One file in use: what the server has of it, what is not there yet, and the way there.

All handles of a file share one :class:`OpenFile`: one content, several
handles.  What it is on the server (its *base*) is one version and stays it
until a commit of our own; so a reader sees one version to the end, whatever
others do to the object.  Its bytes are a :class:`~pithosfs.filedata.FileData`,
once they are asked for; times, mode and metadata its
:class:`~pithosfs.traits.Traits`; its entry in the journal a
:class:`~pithosfs.promise.Promise`.

Locks: ``committing`` is held for the length of a commit, and by whoever
renames or removes the file; ``_loading`` while its base is asked for;
``_lock`` guards the state and all these parts, and is never held while
something is transferred.  They are taken in this order.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pithosfs import attributes, commit
from pithosfs.ahead import Ahead
from pithosfs.attributes import Attributes
from pithosfs.base import hashmap_of, meta_of
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.content import Content
from pithosfs.errors import InvalidArgument, StoreError, TooLarge
from pithosfs.filedata import FileData, Frozen
from pithosfs.journal import FileEntry
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node, committed, new_inode_number
from pithosfs.promise import Promise
from pithosfs.ranges import Address, Origin
from pithosfs.readahead import Readahead
from pithosfs.scratch import Scratch, pack_bytes
from pithosfs.services import Services
from pithosfs.traits import Traits
from pithosfs.upload import Terms
from pithosfs.users import Users
from pithosfs.waiting import Turn

log = logging.getLogger(__name__)

#: The largest file: its hashmap is some 30 MB of JSON.
MAX_SIZE = 2 * 1024**4
#: Seconds a program is given to close a file it changes before others see it unfinished.
_FINISHING = 5.0


class OpenFile:
    """A file and its changes.  ``node`` is what the server has, None for a new file."""

    def __init__(
        self, services: Services, ref: ObjectRef, node: Node | None, kept: Attributes, ino: int = 0
    ) -> None:
        self.ref = ref
        self.node = node
        self.ino = ino
        self.users = Users()
        self.gone = False  # removed: lives on without a name until the last handle closes
        self._services = services
        self._committing = Turn()
        self._lock = threading.RLock()
        self._loading = Turn()
        self._promise = Promise(services.staging)
        self._data: FileData | None = None
        meta = {} if node is None else services.store.meta(node.version)
        self._traits = Traits(kept, meta, new=node is None)
        self._ahead: Ahead | None = None
        self._sending = False
        self._emptied = False  # nothing of what the server has is in effect

    # -- state ------------------------------------------------------------------------------

    @property
    def committing(self) -> Turn:
        """Held by a commit, a rename, a removal: one at a time."""
        return self._committing

    @property
    def block_size(self) -> int:
        """Bytes of a block."""
        return self._services.block_size

    @property
    def dirty(self) -> bool:
        """Whether anything is not on the server yet, or on its way."""
        with self._lock:
            return not self.gone and (self._traits.changed or self._sending or self.content_changed)

    def wait_until_free(self) -> None:
        """Return when nobody changes the file, or makes it durable, which may take the local disk long."""
        with self._lock:
            pass

    @property
    def content_changed(self) -> bool:
        """Whether bytes are not on the server yet (or it has no such object at all)."""
        if self.gone:
            return False
        with self._lock:
            if self.node is None or self._emptied:
                return True
            return self._data is not None and self._data.changed

    @property
    def content_unsure(self) -> bool:
        """Whether other bytes than those of its base were sent, and nobody answered."""
        with self._lock:
            base = None if self.node is None else (self.node.hash, self.node.size)
            return any(each != base for each in self._promise.attempts)

    @property
    def attributes(self) -> Attributes:
        """Type, times and mode, as they are here."""
        return self._traits.attributes

    @property
    def journalled(self) -> bool:
        """Whether the journal has an entry of it."""
        return self._promise.made

    @property
    def journal_keys(self) -> tuple[str, ...]:
        """What the journal has of it."""
        return self._promise.keys

    @property
    def in_the_middle(self) -> bool:
        """Whether a program changes what was promised, and soon may close it: then it is whole again."""
        return bool(self.users.handles) and 0 < self._promise.outdated < _FINISHING

    @property
    def size(self) -> int:
        """Bytes now."""
        with self._lock:
            if self._data is not None:
                return self._data.size
            return self.node.size if self.node else 0

    @property
    def unsent(self) -> int:
        """Bytes that are only here."""
        with self._lock:
            return self._data.unsent if self._data else 0

    def view(self) -> Node:
        """The file as the tree shows it: what the server has, with what is changed."""
        with self._lock:
            base = self.node or Node(self.ref, self.attributes)
            return replace(
                base,
                ref=self.ref,
                attributes=self.attributes,
                size=self.size,
                hash="" if self.content_changed else base.hash,
                ino=self.ino,
                links=0 if self.gone else 1,
                changed_ns=self._traits.changed_ns or base.changed_ns,
            )

    # -- the base ---------------------------------------------------------------------------

    def load(self, wanted: tuple[int, int] = (0, 0)) -> FileData:
        """The bytes; if their hashmap must be fetched, those ``wanted`` (start, stop) are begun on."""
        data = self._data
        if data is None:
            with self._loading:
                if self._data is None:
                    content = self._load(wanted)
                    with self._lock:
                        self._data = self._data_of(content)
                data = self._data
        assert data is not None  # noqa: S101 - set above, never reset
        return data

    def _data_of(self, content: Content, scratch: Scratch | None = None) -> FileData:
        return FileData(self._services, content, self._promise, self._lock, scratch)

    def _load(self, wanted: tuple[int, int]) -> Content:
        node = self.node
        if node is None:
            return self._no_content()
        found, info = hashmap_of(self._services, node, wanted)
        with self._lock:
            if info is not None and self.node is node:
                if not node.version and node.readable_at.ref == node.ref:
                    self.node = replace(node, version=info.entry.version)
                if self._traits.meta is None:
                    self._traits.meta = dict(info.meta)
            return Content(found, self.node.readable_at if self.node else Origin(self.ref, 0))

    def _no_content(self) -> Content:
        return Content(Hashmap(0, (), self.block_size), Origin(self.ref, 0))

    def meta(self) -> dict[str, str]:
        """The object's user metadata, asked for if it is not known yet."""
        known = self._traits.meta
        if known is None:
            assert self.node is not None  # noqa: S101 - a new file's metadata is known
            found = meta_of(self._services, self.node)
            with self._lock:
                known = self._traits.meta
                if known is None:  # else it was changed while it was asked for
                    known = self._traits.meta = found
        return known

    # -- bytes --------------------------------------------------------------------------------

    def read_into(self, offset: int, view: memoryview, readahead: Readahead) -> int:
        """Fill ``view`` from ``offset``; fewer bytes only at the end of the file."""
        self.users.looked()
        data = self._data or self.load(self._opening(offset, len(view), readahead))
        return data.read_into(offset, view, readahead)

    def _opening(self, offset: int, size: int, readahead: Readahead) -> tuple[int, int]:
        """What a read will most likely want of a file of which nothing is known yet but its size."""
        return readahead.opening(offset, size, self.size, self._services.fetcher.network.rate)

    def seek(self, offset: int, *, data: bool) -> int | None:
        """The next data (or hole) at or after ``offset``, by whole blocks; None if there is none."""
        return self.load().seek(offset, data=data)

    def write(self, offset: int, data: Buffer) -> int:
        """Write all of ``data`` at ``offset``; NoSpace if it cannot be kept."""
        self._check_size(offset + len(data))
        bytes_ = self.load()
        with self._lock:
            complete = bytes_.write(offset, data)
            self._modified()
        self._send_ahead(complete)
        return len(data)

    def append(self, data: Buffer) -> int:
        """Write all of ``data`` at the end, whoever else appends."""
        self.load()
        with self._lock:
            return self.write(self.size, data)

    def truncate(self, size: int) -> None:
        """Cut, or grow by a hole."""
        self._check_size(size)
        if not size and self._empty():
            return
        data = self.load()
        with self._lock:
            data.truncate(size)
            self._modified()

    def _check_size(self, size: int) -> None:
        if size < 0:
            raise InvalidArgument("a size cannot be negative")
        if size > MAX_SIZE:
            raise TooLarge(f"{self.ref} would be larger than {MAX_SIZE} bytes")

    def _empty(self) -> bool:
        """Cut to nothing a file whose content is not known yet, and need not be; False if it is."""
        if self._data is not None:
            return False
        with self._loading, self._lock:
            if self._data is not None:
                return False
            self._data = self._data_of(self._no_content())
            self._emptied = True
            self._modified()
            return True

    def zero(self, start: int, stop: int) -> None:
        """Make a range within the file zero; whole blocks become holes."""
        data = self.load()
        with self._lock:
            complete = data.zero(start, stop)
            self._modified()
        self._send_ahead(complete)

    def splice_into(self, target: OpenFile, offset: int, to: int, length: int) -> int:
        """Copy whole blocks to ``target`` as hashes, no byte moves; returns the bytes done, maybe 0.

        A last block that is not full counts as whole where both files end.
        """
        size = self.block_size
        if offset % size or to % size or (self is target and to < offset + length):
            return 0
        data, done = self.load(), 0
        target.load()
        while done < length:
            found = data.unchanged_block((offset + done) // size)
            if found is None:
                break
            address, here = found
            left = length - done
            if left < size and (left < here or to + done + here < target.size):
                break
            target._splice((to + done) // size, address, here)
            done += here
        return done

    def _splice(self, index: int, address: Address, length: int) -> None:
        data = self.load()
        with self._lock:
            data.splice(index, address, length)
            self._modified()

    def _modified(self) -> None:
        self._traits.modified()
        self._promise.outdate()

    def _send_ahead(self, complete: list[int]) -> None:
        if not complete or self.gone:
            return
        with self._lock:
            if self._ahead is None:
                self._ahead = Ahead(self._services.uploader, self.ref, self._read_complete)
            ahead = self._ahead
        for index in complete:
            ahead.offer(index)

    def _read_complete(self, index: int) -> tuple[int, Buffer] | None:
        return None if self.gone else self.load().read_complete(index)

    # -- attributes ---------------------------------------------------------------------------

    def set_attributes(self, mtime_ns: int | None = None, mode: int | None = None) -> None:
        """Change times or mode; goes out with the next commit."""
        with self._lock:
            self._traits.set_attributes(mtime_ns, mode)

    def set_meta(self, meta: Mapping[str, str]) -> None:
        """Replace the user metadata; goes out with the next commit."""
        with self._lock:
            self._traits.set_meta(meta)

    # -- committing ---------------------------------------------------------------------------

    def commit(self) -> bool:
        """Bring the server up to date; True if there was anything to do.

        Returns when the server has answered 201 for exactly these bytes.
        Raises what the store raised; the changes are kept then.
        """
        with self._committing:
            if not self.dirty:
                return False
            self._commit(self.ref, None if self.node is None else self.node.etags)
            return True

    def commit_as(self, ref: ObjectRef) -> None:
        """Make the content a new object of another name, which the file is from here on.

        Stale if there is such an object; the file is what it was then.
        """
        with self._committing:
            self._commit(ref, None)
            with self._lock:
                self.ref = ref

    def _commit(self, ref: ObjectRef, etags: tuple[str, ...] | None) -> None:
        """Send the file as ``ref``: over a version that has one of ``etags``, or over none (None)."""
        data = self.load()
        self.meta()  # asked for now if it is not known: what is sent is all of one moment
        with self._lock:
            terms = self._terms(etags)
            self._promise.attempts.expect()
            frozen = data.freeze()
            kept, taken, promised = self.attributes, self._traits.take(), self._promise.count
            ahead, self._ahead = self._ahead, None
            self._sending = True
        try:
            written, hashmap = commit.commit(
                self._services.uploader, ref, frozen, terms, ahead, self._attempted
            )
        except BaseException as error:
            with self._lock:
                if isinstance(error, StoreError) and not error.maybe_done:
                    self._promise.attempts.refused()
                data.thaw()
                self._traits.give_back(taken)
                self._sending = False
            raise
        if ref != self.ref:
            self.ino = new_inode_number()
        node = committed(ref, kept, hashmap, written, self.node if ref == self.ref else None)
        self._rebase(replace(node, ino=self.ino, changed_ns=self._traits.changed_ns), hashmap, frozen)
        self._kept_until(promised)
        self._services.store.remember_meta(written.version, dict(terms.meta))
        self._services.store.remember_hashmap(hashmap)

    def _terms(self, etags: tuple[str, ...] | None) -> Terms:
        meta = attributes.meta_for(self.attributes, self.meta())
        return Terms(self.attributes.content_type, meta, etags or (), only_new=etags is None)

    def _attempted(self, content: Hashmap) -> None:
        with self._lock:
            self._promise.attempted(content)
            log.debug("%s is sent as %s over %s", self.ref, content.merkle[:12], _etags(self.node))

    def _rebase(self, node: Node, hashmap: Hashmap, frozen: Frozen) -> None:
        """What the file was when it was frozen is on the server as ``node``."""
        data = self.load()
        with self._lock:
            self.node, self._sending = node, False
            clean = data.rebase(frozen, hashmap, Origin(node.ref, node.version))
            self._emptied = False
            self._services.late.add(node.ref, self._promise.attempts.settled())
            if clean:
                self._promise.forget()
                data.settle()

    def _kept_until(self, promised: int) -> None:
        """What was promised so far is on the server: what has changed since nobody has been told is kept."""
        with self._lock:
            if self._promise.count == promised:
                self._promise.forget()

    # -- what others did ------------------------------------------------------------------------

    def was_sent(self, node: Node) -> bool:
        """Whether ``node`` is what a commit of ours has put there without hearing of it."""
        late = self._services.late.has(node.ref, node.hash, node.size)
        sent = self._promise.attempts
        log.debug("%s: there is %s, sent was %s", self.ref, _etags(node), list(sent))
        return late or (node.hash, node.size) in sent

    def unheard(self) -> list[Node]:
        """What commits may have made of the object, without being told so."""
        with self._lock:
            return [
                Node(self.ref, self.attributes, size, merkle, (merkle,))
                for merkle, size in self._promise.attempts
            ]

    def maybe_there(self) -> list[Node]:
        """The same for a file of which the store is not known to have anything."""
        with self._lock:
            return self.unheard() if self.node is None else []

    def take_place_of(self, other: OpenFile) -> None:
        """This file gets the name of ``other``, and what that may have made there; its promise is void."""
        self.inherit(other.unheard())
        with self._lock:
            self._promise.replace(other._promise)

    def inherit(self, others: Iterable[Node]) -> None:
        """What another file, whose name this one takes, may have made there."""
        with self._lock:
            self._promise.attempts.inherit((node.hash, node.size) for node in others)

    def recognise(self, node: Node) -> bool:
        """Whether the object is ours already: sent by a commit whose answer was lost, maybe before a crash.

        Then the file is based on ``node``; what changed since is left to commit.
        """
        with self._committing:
            data = self.load()
            if data.size != node.size or not node.hash or self.attributes.kind is not node.kind:
                return False
            frozen = data.freeze()
            found: Hashmap | None = None
            try:
                found = commit.hashmap_of(self._services.uploader, self.ref, frozen)
            finally:
                if found is None or found.merkle != node.hash:
                    data.thaw()
            if found.merkle != node.hash:
                return False
            self._rebase(node, found, frozen)
            with self._lock:
                self._traits.recognised(node.attributes)
                if node.is_directory:
                    self._traits.meta = None  # others may have made it, and what they say of it stays
            return True

    def base_on(self, node: Node) -> None:
        """The next commit replaces ``node``, whatever the file was based on; its bytes stay what they are."""
        self.load()
        with self._lock:
            self.node, self._traits.changed = node, True
            self._emptied = True  # no byte of that is one of this file's

    def supersede(self, node: Node) -> None:
        """A file that was never sent takes the place of an object: the next commit overwrites it."""
        self.load()  # of the new file, not of what it takes the place of
        with self._lock:
            self.node = node
            self._emptied = True

    def supersede_nothing(self) -> None:
        """The object is gone: all bytes are still at hand (by version), the next commit makes it anew."""
        self.load()
        with self._lock:
            self.node = None

    def adopt(self, node: Node) -> None:
        """The same content has another version, or other attributes, on the server."""
        with self._lock:
            self.node = node
            self._traits.adopt(node.attributes, self._services.store.meta(node.version))

    def drop_attributes(self) -> bool:
        """Give up a change of times, mode or metadata; False if the content changed, too."""
        with self._lock:
            if self.node is None or self.content_changed or self.content_unsure:
                return False
            self._traits.drop(self.node.attributes, self._services.store.meta(self.node.version))
            self._promise.forget()
            return True

    def settled(self, kept: Attributes) -> None:
        """Times and mode went to the server by another way (with a move)."""
        with self._lock:
            self._traits.sent(kept)

    def moved(self, ref: ObjectRef, node: Node | None) -> None:
        """The file has another name; ``node`` is what the server has there."""
        with self._lock:
            self.ref, self.node, self._ahead = ref, node, None
            self._traits.changed_ns = time.time_ns()

    # -- the journal --------------------------------------------------------------------------

    def persist(self) -> None:
        """Make the changes survive a crash, on local disk.  NoSpace if they cannot."""
        if self.content_changed:
            self.load()
        with self._lock:
            data = self._data  # None: what the store has may not be known, nor can be asked for just now
            where, coming = (pack_bytes(None, None), None) if data is None else data.persist()
            content = None if data is None else data.content
            entry = FileEntry(
                self.ref, self.node, self._emptied, self.attributes, self._traits.meta, content, self.ino
            )
            self._promise.make({**where, **entry.pack()}, coming)

    @classmethod
    def recover(cls, services: Services, key: str, entry: dict[str, Any], scratch: Scratch) -> OpenFile:
        """The file of the journal's entry ``key``; ValueError if it is none."""
        try:
            found = FileEntry.unpack(entry)
            file = cls(services, found.ref, found.node, found.attributes, found.ino)
            file._promise = Promise(services.staging, key, entry)
            if found.content is not None:
                file._data = file._data_of(found.content, scratch)
            file._emptied, file._traits.meta = found.emptied, found.meta
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an entry of this version: {error}") from error
        file._traits.all_changed()
        return file

    def forget_journal(self) -> None:
        """The journal need not keep the file any more."""
        with self._lock:
            self._promise.forget()

    def forget_journal_if_sent(self) -> bool:
        """The same, unless a program has changed the file again in this moment; whether it was done.

        Of a file without a name nothing was sent: its entry stays until its removal is sure.
        """
        with self._lock:
            if self.dirty or self.gone:
                return False
            self._promise.forget()
            return True

    def discard(self) -> None:
        """Nothing of the changes is needed any more."""
        with self._lock:
            self._promise.forget()
            if self._data is not None:
                self._data.discard()


def _etags(node: Node | None) -> str:
    """A version for the log."""
    return "nothing" if node is None else f"{node.version} {' '.join(each[:12] for each in node.etags)}"
