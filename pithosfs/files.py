"""The files in use: one :class:`OpenFile` an object, from its first handle to its last byte sent.

Who opens, changes or closes a file comes through here, and so does what
becomes of a commit: the tree learns of it, a conflict keeps both versions, a
failure is journalled and tried again.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pithosfs.attributes import Attributes
from pithosfs.errors import NotFound, PithosError, Stale
from pithosfs.fetch import Origin
from pithosfs.guard import Guard
from pithosfs.names import MAX_COMPONENT, ObjectRef, to_path
from pithosfs.namespace import Namespace, is_below, parent_of, rebase
from pithosfs.nodes import Node, inode_number, new_inode_number, of_entry
from pithosfs.openfile import OpenFile
from pithosfs.outbox import Outbox
from pithosfs.removals import Removals
from pithosfs.services import Services

log = logging.getLogger(__name__)

#: How long a change of attributes waits for a rename that could carry it.
HOLD_SECONDS = 1.0
#: Seconds at the end to look what the last commits replaced.
_LAST_LOOK = 5.0
#: How often a commit begins anew because the object is another one each time.
_ROUNDS = 5
#: A conflict copy keeps endings of so many characters.
_LONGEST_EXTENSION = 32


class Files:
    """All files in use.  ``write_back`` in seconds, None to send before close returns."""

    def __init__(
        self,
        services: Services,
        namespace: Namespace,
        delete: Callable[[ObjectRef], None],
        guard_for: Callable[[Callable[[ObjectRef, ObjectRef], None]], Guard],
        *,
        write_back: float | None,
    ) -> None:
        self.services = services
        self.removals = Removals(delete)
        self.conflicts: deque[dict[str, Any]] = deque(maxlen=100)
        self._namespace = namespace
        self._guard = guard_for(self._conflict)
        self._write_back = write_back
        self._lock = threading.RLock()
        self._table: dict[ObjectRef, OpenFile] = {}
        self._places: dict[OpenFile, tuple[ObjectRef, str]] = {}
        self.outbox = Outbox(self._send)

    def start(self) -> None:
        """Start the threads."""
        self.outbox.start()

    def stop(self) -> None:
        """Stop the threads; what is not sent stays in the journal."""
        self.removals.stop()
        self.outbox.stop()
        self._guard.drain(_LAST_LOOK)
        self._guard.stop()

    # -- finding ------------------------------------------------------------------------------

    def find(self, ref: ObjectRef) -> OpenFile | None:
        """The file in use of this name."""
        with self._lock:
            return self._table.get(ref)

    def view(self, node: Node) -> Node:
        """``node`` as this mount has it: with changes that are not sent yet."""
        file = self.find(node.ref)
        return file.view() if file is not None and file.dirty else node

    def all(self) -> list[OpenFile]:
        """Every file in use."""
        with self._lock:
            return list(self._table.values())

    def below(self, ref: ObjectRef) -> list[OpenFile]:
        """The files in use below a directory, in a fixed order."""
        with self._lock:
            return [self._table[each] for each in sorted(self._table) if is_below(each, ref)]

    # -- coming ---------------------------------------------------------------------------------

    def use(self, node: Node, directory: ObjectRef, component: str) -> OpenFile:
        """The file of ``node``, shared with whoever uses it; another one if others replaced the object.

        It stays in use until :meth:`done`, or :meth:`opened` and :meth:`closed`.
        """
        with self._lock:
            file = self._table.get(node.ref)
            if file is not None and not file.dirty and _was_replaced(file.node, node):
                file = None  # its handles go on reading what they opened
            if file is None:
                file = OpenFile(self.services, node.ref, node, node.attributes, inode_number(node))
                self._table[node.ref] = file
                self._places[file] = (directory, component)
            elif not file.dirty and file.node is not None and node.version > file.node.version:
                file.adopt(node)
            file.uses += 1
            return file

    def again(self, file: OpenFile) -> bool:
        """One use more of a file that lost its name; False if its bytes went with its last handle."""
        with self._lock:
            if not file.handles and not file.uses and (file.node is None or file.unsent):
                return False
            file.uses += 1
            return True

    def create(self, ref: ObjectRef, kept: Attributes, directory: ObjectRef, component: str) -> OpenFile:
        """A new file, in use as by :meth:`use`; nothing is sent before it is closed."""
        self.removals.finish(ref)
        file = OpenFile(self.services, ref, None, kept, new_inode_number())
        file.uses += 1
        with self._lock:
            self._table[ref] = file
            self._place(file, directory, component)
        return file

    def _place(self, file: OpenFile, directory: ObjectRef, component: str) -> None:
        self._places[file] = (directory, component)
        self._namespace.pin(directory, component)
        self._namespace.put(directory, component, file.view())

    # -- going ----------------------------------------------------------------------------------

    def opened(self, file: OpenFile) -> None:
        """A handle is there now for a file that is in use."""
        with self._lock:
            file.handles += 1
            file.uses -= 1

    def closed(self, file: OpenFile) -> None:
        """One handle less; what is still not sent is from here on nobody's but ours."""
        with self._lock:
            file.handles -= 1
            last = not file.handles
        if not last:
            return
        if file.dirty and file not in self.outbox:
            try:
                self.sync(file)
            except PithosError as error:
                log.warning("%s is not sent yet: %s", file.ref, error)
        self.release(file)

    def done(self, file: OpenFile) -> None:
        """The operation that took the file into use has ended."""
        with self._lock:
            file.uses -= 1
        self.release(file)

    def release(self, file: OpenFile) -> None:
        """Forget the file if nobody uses it and all of it is on the server."""
        with self._lock:
            if file.handles or file.uses or file.dirty:
                return
            if self._table.get(file.ref) is file:
                del self._table[file.ref]
            self._places.pop(file, None)
        file.discard()

    # -- sending --------------------------------------------------------------------------------

    def flush(self, file: OpenFile) -> None:
        """The file is closed: send it, or promise to (write-back)."""
        if self._write_back is None:
            self.sync(file)
        elif file.dirty:
            file.persist()
            self.outbox.queue(file, self._write_back)

    def sync(self, file: OpenFile) -> None:
        """Returns when the server has the file; else it is kept, retried, and the reason raised."""
        try:
            self._commit(file)
        except PithosError as error:
            if file.dirty:  # else both versions are kept, and the error says so
                self._keep(file, error)
            raise

    def hold(self, file: OpenFile) -> None:
        """Attributes changed: they go out soon, by themselves, or with the content if that changed, too."""
        if file.dirty and not file.content_changed:
            self._pin(file)
            self.outbox.hold(file, HOLD_SECONDS)

    def _pin(self, file: OpenFile) -> None:
        with self._lock:
            place = self._places.get(file)
            if place is not None:
                self._namespace.pin(*place)

    def _send(self, file: OpenFile) -> None:
        try:
            self._commit(file)
        except Stale:
            if file.dirty:
                raise  # else both versions are kept, and it was said
        self.release(file)

    def _keep(self, file: OpenFile, error: PithosError) -> None:
        log.warning("%s could not be sent: %s; it is kept and tried again", file.ref, error)
        self._pin(file)
        self._persist(file)
        self.outbox.keep(file, error)

    @staticmethod
    def _persist(file: OpenFile) -> None:
        try:
            file.persist()
        except PithosError as trouble:
            log.error(  # noqa: TRY400 - a full disk is no bug of ours
                "%s is only in memory: %s", file.ref, trouble
            )

    def _commit(self, file: OpenFile) -> None:
        """Send the file; Stale if others changed it meanwhile (both versions are kept then)."""
        with file.committing:
            conflict = self._commit_or_give_way(file)
            if not file.dirty:
                self.outbox.forget(file)
                file.forget_journal()
            elif file.journalled:  # changed while it was sent: the entry is of a version that is no more
                self._persist(file)
            self._settle(file)
        if conflict is not None:
            raise conflict

    def _commit_or_give_way(self, file: OpenFile) -> Stale | None:
        for _ in range(_ROUNDS):
            before, base = self._guard.mark(), file.node
            try:
                done = file.commit()
            except Stale as error:
                ref, copy = file.ref, self._give_way(file)
                if copy is not None:
                    text = f"{ref} was changed by somebody else; your version is {copy.name}"
                    return Stale(text, error.status)
            else:
                if done and file.node is not None:
                    self._guard.committed(file.node, base, before)
                return None
        raise Stale(f"{file.ref} changes faster than it can be written", 412)

    def _settle(self, file: OpenFile) -> None:
        """The tree shows what the server has now."""
        with self._lock:
            place = self._places.get(file)
            if place is not None and file.node is not None and not file.gone:
                self._namespace.put(*place, file.node)
                if not file.dirty:
                    self._namespace.unpin(*place)

    # -- others changed it, too -------------------------------------------------------------------

    def _give_way(self, file: OpenFile) -> ObjectRef | None:
        """The object is not what the file was based on: overwrite nothing, lose nothing.

        Returns the name our version got; None if it did not need one, and the
        file can be committed on top of what is there.
        """
        try:
            info = self.services.fetcher.info(Origin(file.ref, 0))
        except NotFound:
            self._deleted_by_others(file)
            return None
        current = of_entry(file.ref, info.entry)
        if file.drop_attributes():
            log.info("%s was replaced by somebody else; times and mode are theirs", file.ref)
            self._detach(file, current)
        elif file.recognise(current):
            log.info("%s had been sent already, its answer was lost", file.ref)
        elif file.was_sent(current):
            log.info("%s had been sent before its last changes, and the answer was lost", file.ref)
            file.base_on(current)
        else:
            return self._keep_both(file, current)
        return None

    def _deleted_by_others(self, file: OpenFile) -> None:
        if file.content_changed:
            log.info("%s was deleted by somebody else; it is made anew", file.ref)
            file.supersede_nothing()
            return
        log.info("%s was deleted by somebody else", file.ref)
        with self._lock:
            place = self._places.get(file)
        self.removed(file.ref)
        if place is not None:
            self._namespace.drop(*place)

    def _keep_both(self, file: OpenFile, current: Node) -> ObjectRef:
        """The file becomes another object beside ``current``, and its handles go on with that."""
        ref = file.ref
        for attempt in range(100):
            copy = conflict_ref(ref, attempt)
            try:
                file.commit_as(copy)
            except Stale:
                continue
            log.warning("%s was changed by somebody else: this mount's version is kept as %s", ref, copy)
            self._detach(file, current)
            with self._lock:
                self._table[copy] = file
                self._places[file] = (parent_of(copy), to_path(copy.name.rpartition("/")[2]))
            self._conflict(ref, copy)
            return copy
        raise Stale(f"no free name for a conflict copy of {ref}", 412)

    def _detach(self, file: OpenFile, current: Node) -> None:
        """The file is no longer what its name leads to: that is ``current``."""
        with self._lock:
            if self._table.get(current.ref) is file:
                del self._table[current.ref]
            place = self._places.pop(file, None)
            if place is not None:
                self._namespace.put(*place, current)
                self._namespace.unpin(*place)

    def _conflict(self, ref: ObjectRef, copy: ObjectRef) -> None:
        """Both versions of an object are there now."""
        self.conflicts.append({"object": str(ref), "copy": str(copy), "time": time.time()})
        self._namespace.forget(parent_of(ref))

    # -- names change -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def still(self, *files: OpenFile | None) -> Iterator[None]:
        """Within this context none of ``files`` is being committed."""
        with contextlib.ExitStack() as stack:
            for file in sorted({each for each in files if each is not None}, key=id):
                stack.enter_context(file.committing)
            yield

    def hide(self, file: OpenFile, directory: ObjectRef, component: str) -> None:
        """The file is removed while it is open: its object goes in a moment, its handles live on."""
        node, ref = file.node, file.ref
        self.removed(ref)
        if node is not None:
            self._namespace.pin(directory, component)
            self.removals.add(replace(node, ref=ref), lambda: self._namespace.unpin(directory, component))

    def removed(self, ref: ObjectRef) -> None:
        """The object is deleted or replaced; its handles live on without a name."""
        self.forget(self.displaced(ref))

    def displaced(self, ref: ObjectRef) -> OpenFile | None:
        """Take the file of this name out of the tree; its journal entry stays until :meth:`forget`."""
        with self._lock:
            file = self._table.pop(ref, None)
            if file is None:
                return None
            place = self._places.pop(file, None)
            if place is not None:
                self._namespace.unpin(*place)
            file.gone = True
        self.outbox.forget(file)
        return file

    def forget(self, file: OpenFile | None) -> None:
        """What was not sent of a displaced file is wanted no more."""
        if file is None:
            return
        if not file.handles:
            file.discard()
        else:
            file.forget_journal()

    def renamed(
        self, file: OpenFile, ref: ObjectRef, node: Node | None, directory: ObjectRef, component: str
    ) -> None:
        """The file is ``ref`` now; ``node`` is what the server has there."""
        with self._lock:
            if self._table.get(file.ref) is file:
                del self._table[file.ref]
            place = self._places.pop(file, None)
            if place is not None:
                self._namespace.unpin(*place)
            file.moved(ref, node)
            if file.handles or file.uses or file.dirty:
                self._table[ref] = file
                self._places[file] = (directory, component)
                if file.dirty:
                    self._place(file, directory, component)
        if not file.dirty:
            self.outbox.forget(file)
        elif file.journalled:
            self._persist(file)

    def directory_renamed(self, old: ObjectRef, new: ObjectRef, place: tuple[ObjectRef, str]) -> None:
        """Everything below ``old`` is below ``new`` now, which is at ``place`` in the tree."""
        with self._lock:
            for file in self.below(old):
                ref = rebase(file.ref, old, new)
                directory, component = self._places[file]
                node = None if file.node is None else file.node.at(ref)
                if file.ref == old:  # the directory itself, whose attributes are not sent yet
                    directory, component = place
                else:
                    directory = rebase(directory, old, new)
                self.renamed(file, ref, node, directory, component)

    # -- after a crash --------------------------------------------------------------------------------

    def recover(self) -> int:
        """Take over what mounts that died had not sent; returns how many files."""
        count = 0
        for key, entry, scratch in self.services.staging.adopt():
            try:
                file = OpenFile.recover(self.services, key, entry, scratch)
            except ValueError as error:
                log.warning("journal entry %s cannot be used: %s", key, error)
                self.services.staging.set_aside(key)
                continue
            with self._lock:
                self._table[file.ref] = file
                self._place(file, parent_of(file.ref), to_path(file.ref.name.rpartition("/")[2]))
            self.outbox.queue(file, 0.0)
            count += 1
        if count:
            log.warning("%d files of an earlier mount had not been sent: sending them now", count)
        return count


def _was_replaced(base: Node | None, node: Node) -> bool:
    """Whether ``node`` is a later version of other content; a listing may also be older than ours."""
    if base is None or node.version < base.version:
        return False
    return (base.hash, base.size) != (node.hash, node.size)


def conflict_ref(ref: ObjectRef, attempt: int) -> ObjectRef:
    """``name (conflict YYYY-MM-DD HH.MM.SS HOST).ext``, beside the object.

    A long name is cut so that the new one is still a path component.
    """
    directory, slash, last = ref.name.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not stem or len(extension) > _LONGEST_EXTENSION:
        stem, dot, extension = last, "", ""
    when = time.strftime("%Y-%m-%d %H.%M.%S")
    number = f" {attempt + 1}" if attempt else ""
    host = socket.gethostname().partition(".")[0]
    ending = f" (conflict {when} {host}{number}){dot}{extension}"
    room = MAX_COMPONENT - len(ending.encode("utf-8", "surrogateescape"))
    stem = stem.encode("utf-8", "surrogateescape")[:room].decode("utf-8", "ignore")
    return ref._replace(name=f"{directory}{slash}{stem}{ending}")
