"""What this mount changed in directories of which it has no listing.  No I/O.

A listing that was asked for before such a change, and is answered after it,
would undo it.  Not thread-safe: the namespace's lock is held around every call.
"""

from __future__ import annotations

import time

from pithosfs.names import ObjectRef
from pithosfs.nodes import Node

#: Directories remembered, those changed last.
_LIMIT = 10_000


class Unlisted:
    """Changes by directory: what is at a name now, None if nothing is, and since when (monotonic)."""

    def __init__(self) -> None:
        self._changes: dict[ObjectRef, dict[str, tuple[float, Node | None]]] = {}

    def changed(self, directory: ObjectRef, component: str, node: Node | None) -> None:
        """A name in ``directory`` leads to ``node`` now."""
        changes = self._changes.pop(directory, {})
        changes[component] = (time.monotonic(), node)
        self._changes[directory] = changes
        if len(self._changes) > _LIMIT:
            self._changes.pop(next(iter(self._changes)))

    def apply(self, directory: ObjectRef, children: dict[str, Node], began: float) -> dict[str, float]:
        """Change the first listing of ``directory``, asked for at ``began``, by what it cannot tell of.

        Returns which names that are, and since when.  From here on the listing has what is changed.
        """
        late = {
            component: (at, node)
            for component, (at, node) in self._changes.pop(directory, {}).items()
            if at >= began
        }
        for component, (_, node) in late.items():
            if node is None:
                children.pop(component, None)
            else:
                children[component] = node
        return {component: at for component, (at, _) in late.items()}
