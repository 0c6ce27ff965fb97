"""Files that leave their names: removed, replaced or moved away, while their handles live on.

What the store has of them goes behind the program (``removals``).  Until that
is sure, a crash would bring them back, and with them what was not sent: their
entry in the journal stays as long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

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

    def needs(self, file: OpenFile) -> bool:
        """Whether the file's bytes must stay though nobody uses it: its removal is not sure yet."""
        return self._leaving.get(file.ref) is file

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
