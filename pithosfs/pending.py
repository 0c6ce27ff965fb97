"""What of a mount is not on the server yet, as it tells commands of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

#: The state of a removal that waits.
TO_BE_DELETED = "to be deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One object that waits: ``size`` in bytes, ``unsent`` how many of them; ``since`` in seconds since 1970.

    ``state`` says in words what it waits for.  ``error`` is why it failed last,
    of ``attempts``; ``refused`` whether that was such that waiting does not help.
    """

    object: str
    size: int = 0
    unsent: int = 0
    state: str
    since: float = 0.0
    attempts: int = 0
    error: str | None = None
    refused: bool = False

    def pack(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> Pending:
        """Inverse of :meth:`pack`, also of what a mount of another version of pithosfs says."""
        return cls(**{each.name: packed[each.name] for each in fields(cls) if each.name in packed})

    @property
    def is_removal(self) -> bool:
        """Whether it has nothing to send: its object is to be deleted."""
        return self.state == TO_BE_DELETED

    @property
    def reason(self) -> str:
        """State and error in one; without the object's name, which stands beside it."""
        error = (self.error or "").replace(f"{self.object}: ", "", 1)
        return f"{self.state}: {error}" if error else self.state
