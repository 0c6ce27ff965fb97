"""Copying and moving, object by object."""

from __future__ import annotations

import uuid
from dataclasses import replace

from pithosfs.server.store import changes, descriptions, versions
from pithosfs.server.store.database import Transaction
from pithosfs.server.store.values import Attributes, Moved
from pithosfs.server.store.versions import Container, State, Version


class Copying:
    """One copy or move, object by object."""

    def __init__(
        self, tx: Transaction, user: str, origin: Container, place: Container, *, move: bool
    ) -> None:
        self._tx = tx
        self._user = user
        self._origin = origin
        self._place = place
        self._move = move
        # a move inside an account needs no more room in it
        self._counts = not move or origin.account != place.account
        self.result = Moved([], 0, 0, False)

    def one(self, source: Version, name: str, attributes: Attributes) -> None:
        """Copy or move one version to ``name``."""
        tx, place = self._tx, self._place
        before = versions.live(tx, place.id, name)
        itself = place.id == self._origin.id and source.name == name
        new = replace(
            source,
            state=State.LIVE,
            author=self._user,
            uuid=self._uuid(source, before, itself=itself),
            type=source.type if attributes.type is None else attributes.type,
            meta=descriptions.merged(source.meta, attributes.meta or {}),
        )
        added = changes.add(tx, place, name, new, before, account_quota=self._counts)
        growth = added.size - (before.size if before else 0)
        removed, marked = 0, False
        if self._move and not itself:
            changes.mark_deleted(tx, self._user, self._origin, source)
            removed, marked = source.size, True
        old = self.result
        self.result = Moved(
            [*old.serials, added.serial], old.growth + growth, old.removed + removed, old.marked or marked
        )

    def _uuid(self, source: Version, before: Version | None, *, itself: bool) -> str:
        if self._move:
            return source.uuid
        if itself and before is not None:
            return before.uuid
        return str(uuid.uuid4())
