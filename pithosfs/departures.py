"""Files that leave their names: removed, replaced or moved away, while their handles live on.

What the store has of them goes behind the program (``removals``).  Until that
is sure, a crash would bring them back, and with them what was not sent: their
entry in the journal stays as long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pithosfs.blocks import ZERO_HASH
from pithosfs.errors import NotFound
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

#: After so many seconds it is asked what there is before it is deleted: others may have written there.
_FRESH = 1.0
#: Seconds from one call of libfuse's to the next, where both serve one request of the kernel's.
_AT_ONCE = 0.02


@dataclass(frozen=True, slots=True)
class Taken:
    """The name of an open file, taken away: where it was shown, as what; the file, if it was in use."""

    place: Place
    shown: Node
    file: OpenFile | None
    at: float = field(default_factory=time.monotonic)


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
        self._taken = _OfThread()

    def needs(self, file: OpenFile) -> bool:
        """Whether the file's bytes must stay though nobody uses it: its removal is not sure yet."""
        return self._leaving.get(file.ref) is file

    def hide(self, file: OpenFile, directory: ObjectRef, component: str, *, certain: bool = False) -> None:
        """The file is removed: its object goes behind the program, its handles live on.

        Not ``certain``: it is open, and may be about to be replaced.
        """
        node, ref, unsure = file.node, file.ref, file.maybe_there()
        shown, displaced = file.view(), self.displaced(ref)
        if not certain:
            self._taken.last = Taken((directory, component), shown, displaced)
        if node is None:
            self.left_behind(unsure, (directory, component))
            self.forget(displaced)
            return
        self._namespace.pin(directory, component)
        if displaced is not None:
            self._leaving[ref] = displaced
        there, unheard = replace(node, ref=ref), file.unheard()
        self._note_removed(there)
        self.removals.add(
            there,
            _Once(lambda: self._delete(ref), lambda: self._delete_if_one_of([*unheard, there])),
            lambda: self._namespace.unpin(directory, component),
            certain=certain,
            unheard=unheard,
            replaces=file.journal_keys,
            settled=lambda: self.forget(self._leaving.pop(ref, None)),
        )

    def left_behind(self, nodes: list[Node], place: Place) -> None:
        """A file has left its name: what it may have there (``maybe_there``, before) is deleted."""
        if nodes:
            self._services.late.add(nodes[-1].ref, [(each.hash, each.size) for each in nodes])
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

    def taken(self) -> Taken | None:
        """What lost its name in the call before of this thread, for what the present one moves there."""
        taken, self._taken.last = self._taken.last, None
        return taken if taken is not None and time.monotonic() - taken.at < _AT_ONCE else None

    def give_back(self, taken: Taken) -> None:
        """An open file has its name again: it was not replaced."""
        place, shown, file = taken.place, taken.shown, taken.file
        leaving = self._leaving.pop(shown.ref, None)
        if not self.removals.call_off(shown.ref) and shown.exists:
            self.forget(leaving)
            return  # it is deleted already
        self._namespace.put(*place, shown)
        if file is not None:
            with self._in_use.lock:
                file.gone = False
                self._in_use.put(file, place)
                if file.dirty:
                    self._in_use.show(file)

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
        self.removals.resume(key, nodes, *self._unsure_removal(nodes, place_of(nodes[-1].ref)))

    def _delete_if_one_of(self, nodes: list[Node]) -> None:
        """Delete an object if it is what was removed here."""
        ref = nodes[-1].ref
        try:
            there = of_entry(ref, self._services.fetcher.info(Origin(ref, 0)).entry)
        except NotFound:
            return
        if any(_is_still(node, there) for node in nodes):
            self._delete(ref)
            return
        log.warning("%s was removed here, but changed by somebody else since: it stays", ref)
        self._namespace.forget(ref.parent)


class _OfThread(threading.local):
    last: Taken | None = None


class _Once:
    """Does ``first`` when it is called soon, but ``again`` later, and when it is called again."""

    def __init__(self, first: Callable[[], None], again: Callable[[], None]) -> None:
        self._next, self._again = first, again
        self._made = time.monotonic()

    def __call__(self) -> None:
        now, self._next = self._next, self._again
        if time.monotonic() - self._made > _FRESH:
            now = self._again
        now()


def _is_still(node: Node, there: Node) -> bool:
    """Whether ``there`` is what ``node`` was; after a move, or a lost answer, its version is not known."""
    if node.version:
        return there.version == node.version
    return there.uuid == (node.uuid or there.uuid) and (there.hash, there.size) == (node.hash, node.size)
