"""Inode numbers of objects that got one before they had a uuid.

A number comes from the object's uuid, which only a listing tells.  What is
made here needs one at once: it keeps that, over renames and remounts, by its
name until a listing tells the uuid, by the uuid from then on.

``Inodes`` is used under the lock of its owner.
"""

from __future__ import annotations

from collections.abc import Iterable

from pithosfs.metastore import MetaStore
from pithosfs.names import ObjectRef


class Inodes:
    """The numbers, remembered in ``store``."""

    def __init__(self, store: MetaStore) -> None:
        self._store = store
        self._by_uuid = store.inodes()
        self._newborn = {_ref(name): ino for name, ino in store.newborn().items()}

    def born(self, ref: ObjectRef, ino: int) -> None:
        """An object was made here and is known by this number."""
        if self._newborn.get(ref) != ino:
            self._newborn[ref] = ino
            self._store.remember_newborn(_name(ref), ino)

    def gone(self, ref: ObjectRef) -> None:
        """Nothing is known by this name any more."""
        if self._newborn.pop(ref, None) is not None:
            self._store.forget_newborn(_name(ref))

    def renamed(self, old: ObjectRef, new: ObjectRef) -> None:
        """The object of one name has another."""
        ino = self._newborn.get(old)
        if ino is not None:
            self.gone(old)
            self.born(new, ino)

    def listed(self, objects: Iterable[tuple[ObjectRef, str]]) -> None:
        """A listing tells these uuids: what has a number by its name has it by the uuid from now on."""
        told = []
        for ref, uuid in objects:
            if uuid and ref in self._newborn:
                ino = self._by_uuid[uuid] = self._newborn.pop(ref)
                told.append((_name(ref), uuid, ino))
        if told:
            self._store.name_by_uuid(told)

    def of(self, ref: ObjectRef, uuid: str) -> int:
        """The number of a listed object; 0 if it is the one its uuid makes."""
        return self._by_uuid.get(uuid, 0) if uuid else self._newborn.get(ref, 0)

    def names_below(self, top: ObjectRef) -> list[ObjectRef]:
        """The names below a directory that have a number of their own."""
        return [each for each in self._newborn if each.is_below(top)]


def _name(ref: ObjectRef) -> str:
    return f"{ref.account}\0{ref.container}\0{ref.name}"


def _ref(name: str) -> ObjectRef:
    account, container, rest = name.split("\0", 2)
    return ObjectRef(container, rest, account)
