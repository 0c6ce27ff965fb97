"""The files in use: one :class:`OpenFile` an object, from its first handle to its last byte sent.

Who opens, closes, renames or removes a file comes through here; how its
changes get to the server is ``sending``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pithosfs import rescue
from pithosfs.attributes import Attributes, Kind
from pithosfs.conflicts import Conflicts
from pithosfs.departures import Departures
from pithosfs.errors import NoSpace, PithosError
from pithosfs.extents import Extents
from pithosfs.guard import Guard
from pithosfs.inuse import InUse, is_older
from pithosfs.journal import unpack_removal
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, Place, place_of
from pithosfs.nodes import Node, inode_number, new_inode_number
from pithosfs.openfile import OpenFile
from pithosfs.outbox import Outbox
from pithosfs.readahead import Readahead
from pithosfs.removals import Removals
from pithosfs.scratch import Scratch
from pithosfs.sending import Sending, persist
from pithosfs.services import Services

log = logging.getLogger(__name__)


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
        self._namespace = namespace
        self._in_use = InUse(namespace)
        self.conflicts = Conflicts(services.fetcher, namespace, self._in_use)
        self.sending = Sending(self._in_use, self.conflicts, guard_for, self.done, write_back=write_back)
        self.departures = Departures(services, namespace, self._in_use, self.outbox, delete)

    @property
    def outbox(self) -> Outbox:
        """The files whose changes wait."""
        return self.sending.outbox

    @property
    def removals(self) -> Removals:
        """The objects that are still to be deleted."""
        return self.departures.removals

    def start(self) -> None:
        """Start the threads."""
        self.outbox.start()

    def stop(self) -> None:
        """Stop the threads; what is not sent stays in the journal."""
        self.removals.stop()
        self.sending.stop()

    # -- finding ------------------------------------------------------------------------------

    def find(self, ref: ObjectRef) -> OpenFile | None:
        """The file in use of this name."""
        return self._in_use.find(ref)

    def unsent(self, ref: ObjectRef) -> OpenFile | None:
        """The directory in use under this name, if the store is not known to have such an object."""
        file = self.find(ref)
        new = file is not None and file.node is None and _is_directory(file)
        return file if new else None

    def view(self, node: Node) -> Node:
        """``node`` as this mount has it: with changes that are not sent yet, or as it is being read."""
        file = self.find(node.ref)
        if file is None or node.is_directory is not _is_directory(file):  # they may have one name
            return self._in_use.latest(node)
        ahead = file.node is not None and is_older(node, file.node)
        here = file.dirty or ahead or (_was_replaced(file.node, node) and file.users.stay())
        return file.view() if here else node

    def all(self) -> list[OpenFile]:
        """Every file in use."""
        return self._in_use.all()

    def below(self, ref: ObjectRef) -> list[OpenFile]:
        """The files in use below a directory, in the order of their names."""
        return self._in_use.below(ref)

    def replaced(self, ref: ObjectRef) -> list[OpenFile]:
        """The files in use that had this name until others replaced them."""
        return self._in_use.replaced(ref)

    def others_open(self, ref: ObjectRef) -> bool:
        """Whether another file is open that had this name when it was opened."""
        return self._in_use.others_open(ref)

    # -- coming ---------------------------------------------------------------------------------

    def use(self, node: Node, directory: ObjectRef, component: str) -> OpenFile:
        """The file of ``node``, shared with whoever uses it; another one if others replaced the object.

        It stays in use until :meth:`done`, or :meth:`opened` and :meth:`closed`.
        """
        there = self._in_use.find(node.ref)
        if there is not None:
            there.wait_until_free()  # not below, where everybody else would wait, too
        with self._in_use.lock:
            file, node = self._in_use.find(node.ref), self._in_use.latest(node)
            replaced = file is not None and not file.dirty and _was_replaced(file.node, node)
            if file is not None and replaced and not file.users.stay():
                file = None  # its handles go on reading what they opened
            if file is None:
                file = OpenFile(self.services, node.ref, node, node.attributes, inode_number(node))
                self._in_use.put(file, (directory, component))
            elif not replaced and not file.dirty and file.node and node.version > file.node.version:
                file.adopt(node)
            file.users.begin()
            return file

    def again(self, file: OpenFile) -> bool:
        """One use more of a file that lost its name; False if its bytes went with its last handle."""
        with self._in_use.lock:
            if not file.users and (file.node is None or file.unsent):
                return False
            file.users.begin()
            return True

    def create(self, ref: ObjectRef, kept: Attributes, directory: ObjectRef, component: str) -> OpenFile:
        """A new file, in use as by :meth:`use`; nothing is sent before it is closed."""
        file = OpenFile(self.services, ref, None, kept, new_inode_number())
        if not self.departures.succeed(file, ref):
            self.removals.finish(ref)
        file.users.begin()
        self._put_and_show(file, (directory, component))
        return file

    def make(
        self, ref: ObjectRef, kept: Attributes, directory: ObjectRef, component: str, data: bytes = b""
    ) -> None:
        """Make a new object, as by a program that writes ``data`` and closes; there is none if that fails."""
        file = self.create(ref, kept, directory, component)
        self.opened(file)
        try:
            if data:
                file.write(0, data)
                file.set_attributes(mtime_ns=kept.mtime_ns)
            self.sending.flush(file)
        except PithosError:
            unsure = file.maybe_there()
            self.departures.removed(ref)
            self._namespace.drop(directory, component)
            self.departures.left_behind(unsure, (directory, component))
            raise
        finally:
            self.closed(file)

    def _put_and_show(self, file: OpenFile, place: Place) -> None:
        with self._in_use.lock:
            self._in_use.forget_sent(file.ref)
            self._in_use.put(file, place)
            self._in_use.show(file)

    # -- going ----------------------------------------------------------------------------------

    def opened(self, file: OpenFile) -> None:
        """A handle is there now for a file that is in use."""
        with self._in_use.lock:
            file.users.opened()

    def closed(self, file: OpenFile) -> None:
        """One handle less; what is still not sent is from here on nobody's but ours."""
        with self._in_use.lock:
            last = file.users.closed()
        if not last:
            return
        try:
            if file.dirty and file not in self.outbox:
                self.sending.sync(file)
        except PithosError as error:
            log.warning("%s is not sent yet: %s", file.ref, error)
        finally:
            self.release(file)

    def done(self, file: OpenFile) -> None:
        """The operation that took the file into use has ended."""
        with self._in_use.lock:
            file.users.end()
        self.release(file)

    def release(self, file: OpenFile) -> None:
        """Forget the file if nobody uses it and all of it is on the server."""
        with self._in_use.lock:
            if file.users or file.dirty:
                return
            self._in_use.drop(file, file.ref)
        if not self.departures.needs(file):
            file.discard()

    # -- names change -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def still(self, *files: OpenFile | None) -> Iterator[None]:
        """Within this context none of ``files`` is being committed."""
        with contextlib.ExitStack() as stack:
            for file in sorted({each for each in files if each is not None}, key=id):
                stack.enter_context(file.committing)
            yield

    def renamed(
        self, file: OpenFile, ref: ObjectRef, node: Node | None, directory: ObjectRef, component: str
    ) -> None:
        """The file is ``ref`` now; ``node`` is what the server has there."""
        with self._in_use.lock:
            led_to = self._in_use.is_led_to(file)
            place = self._in_use.drop(file, file.ref)
            if place is not None:
                self._namespace.unpin(*place)
            for name in (file.ref, ref):
                self._in_use.forget_sent(name)
            file.moved(ref, node)
            if led_to and (file.users or file.dirty):
                self._in_use.put(file, (directory, component))
                if file.dirty:
                    self._in_use.show(file)
            elif file.users or file.dirty:
                self._in_use.put_beside(file, (directory, component))
        if not file.dirty:
            self.outbox.forget(file)
        elif file.journalled:
            persist(file)

    def directory_renamed(self, old: ObjectRef, new: ObjectRef, place: Place) -> None:
        """Everything below ``old`` is below ``new`` now, which is at ``place`` in the tree."""
        with self._in_use.lock:
            for name in (old, new):
                self._in_use.forget_sent_below(name)
            for file in self.below(old):
                ref = file.ref.moved(old, new)
                directory, component = self._in_use.place(file) or place_of(file.ref)
                node = None if file.node is None else file.node.at(ref)
                if file.ref == old:  # the directory itself, whose attributes are not sent yet
                    directory, component = place
                else:
                    directory = directory.moved(old, new)
                self.renamed(file, ref, node, directory, component)

    # -- by hand --------------------------------------------------------------------------------------

    def export(self, name: str, folder: Path) -> tuple[Path, Extents] | None:
        """Make a file in use an ordinary one (:func:`pithosfs.rescue.write_out`), by its object's name.

        None if no such file is in use: what was pending of it has been sent.
        """
        found = [each for each in self.all() if str(each.ref) == name]
        file = next((each for each in found if each.dirty), found[0] if found else None)
        if file is None:
            return None

        def read(offset: int, view: memoryview) -> Extents:
            try:
                file.read_into(offset, view, Readahead(file.block_size))
            except PithosError as error:
                log.warning("%s: bytes from %d cannot be exported: %s", name, offset, error)
                return Extents([(offset, offset + len(view))])
            return Extents()

        try:
            return rescue.write_out(folder, file.ref, file.size, read, file.attributes)
        except OSError as error:
            raise NoSpace(f"cannot write {name} below {folder}: {error.strerror}") from error

    # -- after a crash --------------------------------------------------------------------------------

    def recover(self) -> int:
        """Take over what mounts that died had not sent or deleted; returns how much that is."""
        count = 0
        found = list(self.services.staging.adopt())
        void = {key for _, entry, _ in found for key in entry.get("replaces", ())}
        found.sort(key=lambda each: bool(each[1].get("removed")))  # those after the files they give way to
        for key, entry, scratch in found:
            if key in void:  # its name was taken by another file, just before the mount died
                self.services.staging.forget(key)
                scratch.discard()
                continue
            try:
                self._recover(key, entry, scratch)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("journal entry %s cannot be used: %s", key, error)
                self.services.staging.set_aside(key)
            else:
                count += 1
        if count:
            log.warning("%d changes of an earlier mount had not been sent: sending them now", count)
        return count

    def _recover(self, key: str, entry: dict[str, Any], scratch: Scratch) -> None:
        removed = unpack_removal(entry)
        if removed:
            file = self.find(removed[-1].ref)
            if file is None:
                self.departures.resume(key, removed)
                return
            # It took the name over, just before the mount died, and overwrites what may be there.
            file.inherit(removed)
            persist(file)
            self.services.staging.forget(key)
            return
        file = OpenFile.recover(self.services, key, entry, scratch)
        self._put_and_show(file, place_of(file.ref))
        self.outbox.queue(file, 0.0)


def _is_directory(file: OpenFile) -> bool:
    return file.attributes.kind is Kind.DIRECTORY


def _was_replaced(base: Node | None, node: Node) -> bool:
    """Whether ``node`` is a later version of other content; a listing may also be older than ours."""
    if base is None or node.version < base.version:
        return False
    return (base.hash, base.size) != (node.hash, node.size)
