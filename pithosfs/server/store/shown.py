"""What of a container a user is shown: everything, or what is shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pithosfs.server.store import listing, sharing, versions
from pithosfs.server.store.database import Transaction
from pithosfs.server.store.sharing import Permissions
from pithosfs.server.store.versions import Container, Version


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A listing, and which of the objects: shared ones, public ones, those with some metadata."""

    query: listing.Query
    shared: bool = False
    public: bool = False
    wanted: Callable[[Version], bool] | None = None


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One entry, with what holds for its name."""

    entry: listing.Entry
    shared: Permissions | None = None
    public: str | None = None
    allowed: str | None = None


def entries(tx: Transaction, user: str, place: Container, query: ListQuery) -> list[ListEntry]:
    """What a listing of the container shows to the user."""
    owner = user == place.account
    names = sharing.names_for(tx, None if owner else user, place)
    public = sharing.public_names(tx, place) if owner else {}
    wanted = wanted_by(tx, place, query, None if owner and not query.shared else names, public)
    found = listing.entries(tx, place, replace(query.query, wanted=wanted))
    return [_list_entry(tx, user, place, entry, set(names), public) for entry in found]


def wanted_by(
    tx: Transaction, place: Container, query: ListQuery, names: list[str] | None, public: Mapping[str, str]
) -> Callable[[Version], bool] | None:
    """The test an object must pass to be listed, or None if all do."""
    if names is None and not query.public and query.wanted is None:
        return None
    exact = set(names or ())
    below = tuple(_directory(tx, place, name) for name in exact)
    below = tuple(prefix for prefix in below if prefix)

    def wanted(version: Version) -> bool:
        if names is not None or query.public:
            visible = names is not None and (version.name in exact or version.name.startswith(below))
            if not (visible or (query.public and version.name in public)):
                return False
        return query.wanted is None or query.wanted(version)

    return wanted


def _directory(tx: Transaction, place: Container, name: str) -> str:
    marker = versions.live(tx, place.id, name)
    if marker is None or not marker.is_directory:
        return ""
    return name.rstrip("/") + "/"


def _list_entry(
    tx: Transaction,
    user: str,
    place: Container,
    entry: listing.Entry,
    names: set[str],
    public: Mapping[str, str],
) -> ListEntry:
    if isinstance(entry, listing.Subdirectory):
        return ListEntry(entry)
    shared, allowed = None, None
    if entry.name in names:
        found = sharing.shared(tx, place, entry.name)
        shared = found.permissions if found else None
        if shared and user != place.account:
            allowed = "write" if sharing.granted(tx, user, shared.writers) else "read"
    return ListEntry(entry, shared, public.get(entry.name), allowed)
