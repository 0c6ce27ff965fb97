"""The files in use: one :class:`OpenFile` an object, from its first handle to its last byte sent.

Who opens, closes, renames or removes a file comes through here; how its
changes get to the server is ``sending``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pithosfs import rescue
from pithosfs.attributes import Attributes
from pithosfs.conflicts import Conflicts
from pithosfs.errors import NoSpace, NotFound, PithosError
from pithosfs.extents import Extents
from pithosfs.guard import Guard
from pithosfs.inuse import InUse, is_older
from pithosfs.journal import unpack_removal
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, Place, place_of
from pithosfs.nodes import Node, inode_number, new_inode_number, of_entry
from pithosfs.openfile import OpenFile
from pithosfs.outbox import Outbox
from pithosfs.ranges import Origin
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
        self.removals = Removals(services.staging)
        self._delete = delete
        self._namespace = namespace
        self._in_use = InUse(namespace)
        self.conflicts = Conflicts(services.fetcher, namespace, self._in_use)
        self.sending = Sending(self._in_use, self.conflicts, guard_for, self.done, write_back=write_back)
        self._leaving: dict[ObjectRef, OpenFile] = {}  # removed, but a crash would bring them back
        self._unsure: dict[ObjectRef, list[Node]] = {}  # names left, and what may be there

    @property
    def outbox(self) -> Outbox:
        """The files whose changes wait."""
        return self.sending.outbox

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
        """What is in use under this name, if the store is not known to have such an object."""
        file = self.find(ref)
        return file if file is not None and file.node is None else None

    def view(self, node: Node) -> Node:
        """``node`` as this mount has it: with changes that are not sent yet, or as it is being read."""
        file = self.find(node.ref)
        if file is None:
            return self._in_use.latest(node)
        ahead = file.node is not None and is_older(node, file.node)
        here = file.dirty or ahead or (_was_replaced(file.node, node) and file.stays())
        return file.view() if here else node

    def all(self) -> list[OpenFile]:
        """Every file in use."""
        return self._in_use.all()

    def below(self, ref: ObjectRef) -> list[OpenFile]:
        """The files in use below a directory, in a fixed order."""
        return self._in_use.below(ref)

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
            if file is not None and replaced and not file.stays():
                file = None  # its handles go on reading what they opened
            if file is None:
                file = OpenFile(self.services, node.ref, node, node.attributes, inode_number(node))
                self._in_use.put(file, (directory, component))
            elif not replaced and not file.dirty and file.node and node.version > file.node.version:
                file.adopt(node)
            file.uses += 1
            return file

    def again(self, file: OpenFile) -> bool:
        """One use more of a file that lost its name; False if its bytes went with its last handle."""
        with self._in_use.lock:
            if not file.handles and not file.uses and (file.node is None or file.unsent):
                return False
            file.uses += 1
            return True

    def create(self, ref: ObjectRef, kept: Attributes, directory: ObjectRef, component: str) -> OpenFile:
        """A new file, in use as by :meth:`use`; nothing is sent before it is closed."""
        file = OpenFile(self.services, ref, None, kept, new_inode_number())
        if not self.succeed(file, ref):
            self.removals.finish(ref)
        file.uses += 1
        self._put_and_show(file, (directory, component))
        return file

    def make(self, ref: ObjectRef, kept: Attributes, directory: ObjectRef, component: str) -> bool:
        """With write-back, promise a new object without bytes; False if it is the caller's to make it now."""
        if not self.sending.writes_back:
            return False
        file = self.create(ref, kept, directory, component)
        self.opened(file)
        try:
            self.sending.flush(file)
        except PithosError:
            self.removed(ref)
            self._namespace.drop(directory, component)
            raise
        finally:
            self.closed(file)
        return True

    def _put_and_show(self, file: OpenFile, place: Place) -> None:
        with self._in_use.lock:
            self._in_use.forget_sent(file.ref)
            self._in_use.put(file, place)
            self._in_use.show(file)

    # -- going ----------------------------------------------------------------------------------

    def opened(self, file: OpenFile) -> None:
        """A handle is there now for a file that is in use."""
        with self._in_use.lock:
            file.handles += 1
            file.uses -= 1
            file.looked_at()

    def closed(self, file: OpenFile) -> None:
        """One handle less; what is still not sent is from here on nobody's but ours."""
        with self._in_use.lock:
            file.handles -= 1
            last = not file.handles
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
            file.uses -= 1
        self.release(file)

    def release(self, file: OpenFile) -> None:
        """Forget the file if nobody uses it and all of it is on the server."""
        with self._in_use.lock:
            if file.handles or file.uses or file.dirty:
                return
            self._in_use.drop(file, file.ref)
        if self._leaving.get(file.ref) is not file:  # its removal is not sure yet
            file.discard()

    # -- names change -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def still(self, *files: OpenFile | None) -> Iterator[None]:
        """Within this context none of ``files`` is being committed."""
        with contextlib.ExitStack() as stack:
            for file in sorted({each for each in files if each is not None}, key=id):
                stack.enter_context(file.committing)
            yield

    def hide(self, file: OpenFile, directory: ObjectRef, component: str, *, certain: bool = False) -> None:
        """The file is removed: its object goes behind the program, its handles live on.

        Not ``certain``: it is open, and may be about to be replaced.
        """
        node, ref, unsure = file.node, file.ref, file.maybe_there()
        displaced = self.displaced(ref)
        if node is None:
            self.left_behind(unsure, (directory, component))
            self.forget(displaced)
            return
        self._namespace.pin(directory, component)
        if displaced is not None:
            self._leaving[ref] = displaced
        there = replace(node, ref=ref)
        self.removals.add(
            there,
            _Once(lambda: self._delete(ref), lambda: self._delete_if_one_of([there])),
            lambda: self._namespace.unpin(directory, component),
            certain=certain,
            replaces=file.journal_keys,
            settled=lambda: self.forget(self._leaving.pop(ref, None)),
        )

    def left_behind(self, nodes: list[Node], place: Place) -> None:
        """A file has left its name: what it may have there (``maybe_there``, before) is deleted."""
        if nodes:
            self.services.late.add(nodes[-1].ref, [(each.hash, each.size) for each in nodes])
            self.removals.add_unsure(nodes, *self._unsure_removal(nodes, place))

    def _unsure_removal(
        self, nodes: list[Node], place: Place
    ) -> tuple[Callable[[], None], Callable[[], None]]:
        """How to delete which of ``nodes`` is there, and what to do then; until then the name is gone."""
        ref = nodes[-1].ref
        self._unsure[ref] = nodes
        self._namespace.pin(*place)
        self._namespace.drop(*place)

        def ended() -> None:
            self._unsure.pop(ref, None)
            self._namespace.unpin(*place)

        return lambda: self._delete_if_one_of(nodes), ended

    def replace_leaving(self, file: OpenFile, ref: ObjectRef) -> None:
        """``file`` takes the place of one that was removed just now, for that."""
        leaving = self._leaving.get(ref)
        if leaving is not None:
            file.take_place_of(leaving)

    def succeed(self, file: OpenFile, ref: ObjectRef) -> bool:
        """``file`` takes a name; whether it need not wait for the deletion of what may be there."""
        before = self._unsure.get(ref)
        if before is None or not self.removals.withdraw(ref):
            return False
        file.inherit(before)
        return True

    def removed(self, ref: ObjectRef) -> None:
        """The object is deleted or replaced; its handles live on without a name."""
        self.forget(self.displaced(ref))

    def displaced(self, ref: ObjectRef) -> OpenFile | None:
        """Take the file of this name out of the tree; its journal entry stays until :meth:`forget`."""
        file = self._in_use.displace(ref)
        if file is not None:
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
        with self._in_use.lock:
            place = self._in_use.drop(file, file.ref)
            if place is not None:
                self._namespace.unpin(*place)
            for name in (file.ref, ref):
                self._in_use.forget_sent(name)
            file.moved(ref, node)
            if file.handles or file.uses or file.dirty:
                self._in_use.put(file, (directory, component))
                if file.dirty:
                    self._in_use.show(file)
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
        file = next((each for each in self.all() if str(each.ref) == name), None)
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
            self.removals.resume(key, removed, *self._unsure_removal(removed, place_of(removed[-1].ref)))
            return
        file = OpenFile.recover(self.services, key, entry, scratch)
        self._put_and_show(file, place_of(file.ref))
        self.outbox.queue(file, 0.0)

    def _delete_if_one_of(self, nodes: list[Node]) -> None:
        """Delete an object if it is what was removed here."""
        ref = nodes[-1].ref
        try:
            there = of_entry(ref, self.services.fetcher.info(Origin(ref, 0)).entry)
        except NotFound:
            return
        if any(_is_still(node, there) for node in nodes):
            self._delete(ref)
            return
        log.warning("%s was removed here, but changed by somebody else since: it stays", ref)
        self._namespace.forget(ref.parent)


class _Once:
    """Does ``first`` when it is called, but ``again`` when it is called again."""

    def __init__(self, first: Callable[[], None], again: Callable[[], None]) -> None:
        self._next, self._again = first, again

    def __call__(self) -> None:
        now, self._next = self._next, self._again
        now()


def _is_still(node: Node, there: Node) -> bool:
    """Whether ``there`` is what ``node`` was; after a move, or a lost answer, its version is not known."""
    if node.version:
        return there.version == node.version
    return there.uuid == (node.uuid or there.uuid) and (there.hash, there.size) == (node.hash, node.size)


def _was_replaced(base: Node | None, node: Node) -> bool:
    """Whether ``node`` is a later version of other content; a listing may also be older than ours."""
    if base is None or node.version < base.version:
        return False
    return (base.hash, base.size) != (node.hash, node.size)
