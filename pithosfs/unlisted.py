"""What this mount changed in directories of which it has no listing, and which are others by now.  No I/O.

A listing that was asked for before such a change, and is answered after it,
would undo it.  Not thread-safe: the namespace's lock is held around every call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pithosfs.names import ObjectRef
from pithosfs.nodes import Node

#: Directories remembered, those changed last; and for how many seconds: no listing is longer on its way.
_LIMIT, _KEPT = 10_000, 600.0


class Unlisted:
    """Changes by directory: what is at a name now, None if nothing is, and since when (monotonic)."""

    def __init__(self) -> None:
        self._changes: dict[ObjectRef, dict[str, tuple[float, Node | None]]] = {}
        # Directories that are others since then (monotonic), and whether there is none.
        self._others: dict[ObjectRef, tuple[float, bool]] = {}

    def changed(
        self, directory: ObjectRef, component: str, node: Node | None, at: float | None = None
    ) -> None:
        """A name in ``directory`` leads to ``node`` now, or since ``at``."""
        changes = self._changes.pop(directory, {})
        changes[component] = (time.monotonic() if at is None else at, node)
        self._changes[directory] = changes
        if len(self._changes) > _LIMIT:
            self._changes.pop(next(iter(self._changes)))

    def apply(self, directory: ObjectRef, children: dict[str, Node], began: float) -> dict[str, float]:
        """Change a listing of ``directory``, asked for at ``began``, by what it cannot tell of.

        Returns which names that are, and since when.
        """
        known, oldest = self._changes.get(directory, {}), time.monotonic() - _KEPT
        if known and all(at < oldest for at, _ in known.values()):
            del self._changes[directory]
        late = {component: at for component, (at, _) in known.items() if at >= began}
        for component in late:
            _, node = known[component]
            if node is None:
                children.pop(component, None)
            else:
                children[component] = node
        return late

    def replaced(self, directory: ObjectRef, *, gone: bool = False) -> None:
        """What has this name from now on, with all below it, is another directory, or none (``gone``)."""
        self._others.pop(directory, None)
        self._others[directory] = (time.monotonic(), gone)
        if len(self._others) > _LIMIT:
            self._others.pop(next(iter(self._others)))

    def is_of_another(self, directory: ObjectRef, began: float) -> bool:
        """Whether a listing of ``directory``, asked for at ``began``, tells of what had its name before."""
        return any(at > began for _, at, _ in self._at_and_above(directory))

    def is_gone(self, directory: ObjectRef, since: float) -> bool:
        """Whether ``directory``, which was there at ``since``, was moved away, or one above it replaced."""
        return any(
            at > since and (gone or each != directory) for each, at, gone in self._at_and_above(directory)
        )

    def _at_and_above(self, directory: ObjectRef) -> Iterator[tuple[ObjectRef, float, bool]]:
        while True:
            if directory in self._others:
                yield directory, *self._others[directory]
            if not directory.container:
                return
            directory = directory.parent
