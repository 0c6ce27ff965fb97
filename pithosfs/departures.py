"""Files that leave their names: removed, replaced or moved away, while their handles live on.

What the store has of them goes behind the program (``removals``).  Until that
is sure, a crash would bring them back, and with them what was not sent: their
entry in the journal stays as long.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from pithosfs.blocks import ZERO_HASH
from pithosfs.errors import NotFound, PithosError, StoreError, TooLate
from pithosfs.inuse import InUse
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, Place, place_of
from pithosfs.nodes import Node, of_entry
from pithosfs.openfile import OpenFile
from pithosfs.outbox import Outbox
from pithosfs.ranges import Origin
from pithosfs.removals import Removals
from pithosfs.services import Services

log = logging.getLogger(__name__)

#: How often what is there is looked at, and its deletion tried again, before it has failed.
_LOOKS = 2


@dataclass(frozen=True, slots=True)
class _Hidden:
    """An open file without its name: where it was shown, whether it waited to be sent."""

    place: Place
    shown: Node
    file: OpenFile | None
    waited: bool


class Departures:
    """Files without a name, and names without a file; ``delete`` deletes an object."""

    def __init__(
        self,
        services: Services,
        namespace: Namespace,
        in_use: InUse,
        outbox: Outbox,
        delete: Callable[[ObjectRef], None],
    ) -> None:
        self.removals = Removals(services.staging)
        self._services = services
        self._namespace = namespace
        self._in_use = in_use
        self._outbox = outbox
        self._delete = delete
        self._leaving: dict[ObjectRef, OpenFile] = {}  # removed, but a crash would bring them back
        self._unsure: dict[ObjectRef, list[Node]] = {}  # names left, and what may be there
        self._hidden: dict[ObjectRef, _Hidden] = {}  # of open files, which may be about to be replaced
        self._last = _OfThread()

    def needs(self, file: OpenFile) -> bool:
        """Whether the file's bytes must stay though nobody uses it: its removal is not sure yet."""
        return self._leaving.get(file.ref) is file

    def hide(self, file: OpenFile, directory: ObjectRef, component: str, *, certain: bool = False) -> None:
        """The file is removed: its object goes behind the program, its handles live on.

        Not ``certain``: it is open, and may be about to be replaced; :meth:`hid` follows.
        """
        node, ref, unsure, place = file.node, file.ref, file.maybe_there(), (directory, component)
        shown, waited = file.view(), file in self._outbox
        displaced = self.displaced(ref)
        if node is None and certain:
            self.left_behind(unsure, place)
            self.forget(displaced)
            return
        if displaced is not None:
            self._leaving[ref] = displaced
        if not certain:
            self._hidden[ref] = _Hidden(place, shown, displaced, waited)
        if node is None:
            self._services.late.add(ref, [(each.hash, each.size) for each in unsure])
            delete, freed = self._unsure_removal(ref, unsure, place)
            again = delete
            there, unheard, nodes = shown, [], unsure
        else:
            there, unheard, nodes = replace(node, ref=ref), file.unheard(), None
            self._note_removed(there)
            self._namespace.pin(*place)
            delete = partial(self._delete_or_look, [*unheard, there])
            again = partial(self._delete_if_one_of, [*unheard, there])
            freed = partial(self._in_use.unpin, ref, place)

        def ended() -> None:
            self._hidden.pop(ref, None)
            freed()

        self.removals.add(
            there,
            delete,
            ended,
            again=again,
            certain=certain,
            unheard=unheard,
            nodes=nodes,
            replaces=file.journal_keys,
            settled=lambda: self.forget(self._leaving.pop(ref, None)),
        )

    def hid(self, path: str, ref: ObjectRef) -> None:
        """All is done to hide the file at ``path``; in a moment it is deleted, if nothing replaces it."""
        self._last.hidden = (path, ref)
        self.removals.begin(ref)

    def not_hid(self, ref: ObjectRef) -> None:
        """Something of that has failed, and the program is told so: the file has its name as before."""
        if self.removals.claim(ref):
            self._give_back(ref)

    @contextlib.contextmanager
    def replacing(self, path: str) -> Iterator[None]:
        """Within this context something gets the name ``path``; if that fails, the open file has it again
        that this thread has hidden for that just before.

        libfuse asks for both to serve one request.  Whoever looks up a hidden name waits until the file is
        deleted (``Removals.outcome``), and the kernel looks before it renames: so what was hidden for an
        unlink is not there any more.
        """
        hidden, self._last.hidden = self._last.hidden, None
        if hidden is None or hidden[0] != path or not self.removals.claim(hidden[1]):
            yield
            return
        ref = hidden[1]
        try:
            yield
        except BaseException:
            self._give_back(ref)
            raise
        finally:
            self.removals.unclaim(ref)

    def _give_back(self, ref: ObjectRef) -> None:
        hidden = self._hidden.get(ref)
        leaving = self._leaving.pop(ref, None)
        if hidden is None or not self.removals.call_off(ref):
            self.forget(leaving)
            return  # it was replaced before anything failed
        self._namespace.put(*hidden.place, hidden.shown)
        file = hidden.file
        if file is None:
            return
        with self._in_use.lock:
            file.gone = False
            if not file.users and not file.dirty:
                return
            self._in_use.put(file, hidden.place)
            if file.dirty:
                self._in_use.show(file)
        closed = file.dirty and not file.users.handles  # who did that meanwhile had nothing to send
        if closed and file.content_changed:
            with contextlib.suppress(PithosError):  # then it is in memory, at least
                file.persist()
        if closed or hidden.waited:
            self._outbox.queue(file, 0.0)

    def left_behind(self, nodes: list[Node], place: Place) -> None:
        """A file has left its name: what it may have there (``maybe_there``, before) is deleted."""
        if nodes:
            self._services.late.add(nodes[-1].ref, [(each.hash, each.size) for each in nodes])
            self.removals.add_unsure(nodes, *self._unsure_removal(nodes[-1].ref, nodes, place))

    def _unsure_removal(
        self, ref: ObjectRef, nodes: list[Node], place: Place
    ) -> tuple[Callable[[], None], Callable[[], None]]:
        """How to delete which of ``nodes`` is there, and what to do then; until then the name is gone."""
        self._unsure[ref] = nodes
        self._namespace.pin(*place)
        self._namespace.drop(*place)

        def ended() -> None:
            self._unsure.pop(ref, None)
            self._in_use.unpin(ref, place)

        return lambda: self._delete_if_one_of(nodes), ended

    def may_have(self, ref: ObjectRef) -> list[Node]:
        """What may be at a name that a file has left."""
        return self._unsure.get(ref, [])

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

    def delete(self, node: Node) -> None:
        """Delete an object for who waits for it."""
        self._delete_or_look([node])

    def deleted(self, node: Node) -> None:
        """The object has been deleted here."""
        self._note_removed(node)
        self.removed(node.ref)

    def _note_removed(self, node: Node) -> None:
        self._services.removed.add(node.ref, [(node.hash or ZERO_HASH, node.size)])

    def removed(self, ref: ObjectRef) -> None:
        """The object is deleted or replaced; its handles live on without a name."""
        self.forget(self.displaced(ref))

    def displaced(self, ref: ObjectRef) -> OpenFile | None:
        """Take the file of this name out of the tree; its journal entry stays until :meth:`forget`."""
        file = self._in_use.displace(ref)
        if file is not None:
            self._outbox.forget(file)
        return file

    def forget(self, file: OpenFile | None) -> None:
        """What was not sent of a displaced file is wanted no more."""
        if file is None:
            return
        if not file.users.handles:
            file.discard()
        else:
            file.forget_journal()

    def resume(self, key: str, nodes: list[Node]) -> None:
        """Carry out a removal that a mount before had only noted, in the journal's entry ``key``."""
        ref = nodes[-1].ref
        self.removals.resume(key, nodes, *self._unsure_removal(ref, nodes, place_of(ref)))

    def _delete_if_one_of(self, nodes: list[Node]) -> None:
        """Delete an object if it is what was removed here."""
        if nodes and self._is_there_still(nodes):
            self._delete_or_look(nodes)

    def _delete_or_look(self, nodes: list[Node]) -> None:
        """Delete an object, which is one of ``nodes``; if that fails at first, only if it still is."""
        for _ in range(_LOOKS):
            try:
                self._delete(nodes[-1].ref)
            except StoreError as error:
                if not error.maybe_done and not isinstance(error, TooLate):
                    raise
            else:
                return
            if not self._is_there_still(nodes):
                return
        self._delete(nodes[-1].ref)

    def _is_there_still(self, nodes: list[Node]) -> bool:
        """Whether what is there is one of ``nodes``, by which something was removed here."""
        ref = nodes[-1].ref
        try:
            there = of_entry(ref, self._services.fetcher.info(Origin(ref, 0)).entry)
        except NotFound:
            return False
        if any(_is_still(node, there) for node in nodes):
            return True
        log.warning("%s was removed here, but changed by somebody else since: it stays", ref)
        self._namespace.forget(ref.parent)
        return False


class _OfThread(threading.local):
    hidden: tuple[str, ObjectRef] | None = None  # the file that was hidden last


def _is_still(node: Node, there: Node) -> bool:
    """Whether ``there`` is what ``node`` was; after a move, or a lost answer, its version is not known."""
    if node.version:
        return there.version == node.version
    return there.uuid == (node.uuid or there.uuid) and (there.hash, there.size) == (node.hash, node.size)
