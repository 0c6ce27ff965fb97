"""Walks through a tree, seen in the directories that are listed.  No I/O.

A program that goes from a directory it has just read, or after looking at
several of its directories, into one of them, or from one directory to its
sibling, will most likely want the others, too.  One flat listing then answers
for all of them; the first sign is worth one page of it, siblings that are
read are worth all.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import NamedTuple, TypeVar

from pithosfs.names import ObjectRef

Value = TypeVar("Value")

#: Sibling directories that are listed within so many seconds are a walk ...
_SIBLING_SECONDS = 10.0
#: ... and so is going down right after reading; a person takes longer.
_DESCENT_SECONDS = 1.0
#: Objects a first sign is worth: one request.
_ONE_PAGE = 10_000
#: A flat listing that grows beyond so many objects is given up: one directory at a time then.
#: All of it has to be kept until the walk has passed (``namespace.KEPT``), at a kilobyte each.
_LIMIT = 120_000
_REMEMBERED = 1000


class Subtree(NamedTuple):
    """All below ``top``, to be listed instead of one directory; not if that is over ``limit`` objects."""

    top: ObjectRef
    limit: int


class Walks:
    """The walks below ``top``; used under the lock of its owner."""

    def __init__(self, top: ObjectRef) -> None:
        self._top = top
        # parent -> last child
        self._children: OrderedDict[ObjectRef, tuple[ObjectRef, float]] = OrderedDict()
        self._read: OrderedDict[ObjectRef, float] = OrderedDict()
        # parent -> the last two children
        self._looked_up: OrderedDict[ObjectRef, tuple[ObjectRef, ObjectRef, float]] = OrderedDict()
        self._too_large: OrderedDict[ObjectRef, int] = OrderedDict()

    def subtree(self, directory: ObjectRef, parent: ObjectRef, *, reading: bool) -> Subtree | None:
        """A directory has to be listed: the subtree to list instead, if this is a walk."""
        if not directory.name or directory == self._top:
            return None
        now = time.monotonic()
        last, at = self._children.get(parent, (directory, 0.0))
        limit = 0
        if last != directory and now - at < _SIBLING_SECONDS:
            limit = _LIMIT if reading else _ONE_PAGE
        elif self._goes_down(parent, now, reading=reading):
            limit = _ONE_PAGE
        _remember(self._children, parent, (directory, now))
        return Subtree(parent, limit) if limit > self._too_large.get(parent, 0) else None

    def _goes_down(self, parent: ObjectRef, now: float, *, reading: bool) -> bool:
        """Whether a program has just read the parent, or looked at more than one of its directories."""
        if reading and now - self._read.get(parent, -_DESCENT_SECONDS) < _DESCENT_SECONDS:
            return True
        last, before, at = self._looked_up.get(parent, (parent, parent, now))
        return last != before and now - at < _DESCENT_SECONDS

    def looked_up(self, directory: ObjectRef, parent: ObjectRef) -> None:
        """A program has looked at a directory that is not listed."""
        now = time.monotonic()
        last, before, at = self._looked_up.get(parent, (directory, directory, now))
        if now - at >= _DESCENT_SECONDS:
            before = directory
        elif last != directory:
            before = last
        _remember(self._looked_up, parent, (directory, before, now))

    def renamed(self, old: ObjectRef, new: ObjectRef) -> None:
        """A directory has another name: who looks at it again has not looked at two."""
        for parent, (last, before, at) in self._looked_up.items():
            if old in (last, before):
                self._looked_up[parent] = (
                    new if last == old else last,
                    new if before == old else before,
                    at,
                )

    def read(self, directory: ObjectRef) -> None:
        """A program has read a directory."""
        _remember(self._read, directory, time.monotonic())

    def too_large(self, subtree: Subtree) -> None:
        """The subtree has more objects than it was worth."""
        _remember(self._too_large, subtree.top, subtree.limit)


def _remember(table: OrderedDict[ObjectRef, Value], key: ObjectRef, value: Value) -> None:
    table.pop(key, None)
    table[key] = value
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
