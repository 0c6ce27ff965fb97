"""Directories as the store lists them: one at a time, or everything below one in flat pages.

Keeps nothing; whoever waits for a listing sees its pages coming.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from pithosfs import names, wire
from pithosfs.api import Client, Page
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node, TreeBuilder, virtual_directory
from pithosfs.walks import Subtree

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Arrival:
    """A listing on its way.

    ``pages`` have come so far; ``stamp`` is the container's, if it has been the
    same for all of them and nothing else can hide in that second.  ``of_another``:
    it tells of a directory whose name another one has by now.
    """

    future: Future[None] = field(default_factory=Future)
    pages: int = 0
    stamp: str | None = None
    of_another: bool = False

    def came(self, page: Page) -> None:
        """One page more."""
        if not self.pages:
            self.stamp = _settled(page)
        elif page.last_modified != self.stamp:
            self.stamp = None
        self.pages += 1


@dataclass(frozen=True, slots=True)
class Listed:
    """What was found in one or more ``directories``, by path component.

    ``began`` is monotonic, before the first request was sent; ``took`` are the
    seconds until the last of several pages was there; ``stamp`` is the
    container's Last-Modified, if nothing else can hide in that second.
    """

    directories: dict[ObjectRef, dict[str, Node]]
    began: float
    took: float = 0.0
    stamp: str | None = None


class Unchanged(Exception):
    """The container has still the stamp that was given."""


class Lister:
    """Asks for listings, as they are or as they were at ``until`` (seconds), ``page`` objects a request.

    Where a container's ``stamp`` is given, :class:`Unchanged` is raised if nothing changed in it since:
    one request tells that, or is already the listing.
    """

    def __init__(
        self,
        client_of: Callable[[ObjectRef], Client],
        *,
        until: int | None,
        accounts: Callable[[], list[str]] | None,
        page: int,
    ) -> None:
        self._client_of = client_of
        self._until = until
        self._accounts = accounts
        self._page = page

    def directory(self, ref: ObjectRef, arrival: Arrival, stamp: str | None = None) -> Listed:
        """One directory: the top of all accounts, an account, or one in a container."""
        began = time.monotonic()
        if self._accounts is not None and not any(ref):
            found = (virtual_directory(ObjectRef("", "", each)) for each in self._accounts())
            return Listed({ref: {names.to_path(each.ref.account): each for each in found}}, began)
        if not ref.container:
            return Listed({ref: self._containers(ref)}, began)
        builder = TreeBuilder(ref)
        for page in self._pages(ref, arrival, stamp, delimiter=True):
            builder.add_entries(page.entries)
            builder.add_subdirs(page.subdirs)
        return _listed({ref: builder.directories[ref]}, began, arrival)

    def tree(
        self, tree: Subtree, wanted: ObjectRef, arrival: Arrival, stamp: str | None = None
    ) -> Listed | None:
        """Everything below a directory, ``wanted`` in it; None if that is too much."""
        top, limit = tree
        builder = TreeBuilder(top)
        builder.directories[wanted] = {}  # nothing may be below it any more
        began = time.monotonic()
        count = 0
        for page in self._pages(top, arrival, stamp, delimiter=False):
            builder.add_entries(page.entries)
            count += len(page.entries)
            if page.marker is not None and count >= limit:
                log.info("%s has more than %d objects: listing one directory at a time", top, count)
                return None
        return _listed(builder.directories, began, arrival)

    def _pages(
        self, ref: ObjectRef, arrival: Arrival, stamp: str | None, *, delimiter: bool
    ) -> Iterator[Page]:
        arrival.pages = 0
        for page in self._client_of(ref).list_all(
            ref.container,
            prefix=ref.prefix,
            delimiter=delimiter,
            until=self._until,
            limit=self._page,
            modified_since=stamp,
        ):
            arrival.came(page)
            yield page
        if stamp and not arrival.pages:
            raise Unchanged

    def _containers(self, ref: ObjectRef) -> dict[str, Node]:
        return {
            names.to_path(each.name): virtual_directory(
                ObjectRef(each.name, "", ref.account), wire.time_ns(each.last_modified) or 0
            )
            for each in self._client_of(ref).containers(until=self._until)
        }


def _listed(directories: dict[ObjectRef, dict[str, Node]], began: float, arrival: Arrival) -> Listed:
    took = time.monotonic() - began if arrival.pages > 1 else 0.0
    return Listed(directories, began, took, arrival.stamp)


def _settled(page: Page) -> str | None:
    """The container's stamp, if nothing can have happened in that second that this page misses."""
    changed = wire.time_ns(page.last_modified)
    if not changed or page.date is None or page.date * 10**9 <= changed:
        return None
    return page.last_modified
