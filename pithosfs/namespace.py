"""The tree: directories as listings with a time to live, and what changes them.

One listing of a directory answers all lookups, attributes and absences in it.
A listing that got old is first asked about: one conditional request
revalidates every listing of its container.  When a program is seen to walk a
tree, the whole subtree comes as flat pages of 10,000 objects instead of a
request a directory; what took that long is good for longer, or a walk would
never be done with listing.

What this mount does itself is put into the listings at once (:meth:`put`,
:meth:`drop`, :meth:`moved`); an answer that was on its way meanwhile does not
undo it.

Lock order: under ``Namespace._lock`` only inode numbers are asked for; requests are made outside of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum

from pithosfs import attributes, names
from pithosfs.api import PAGE, Client
from pithosfs.attributes import Attributes
from pithosfs.blocks import Hashmap
from pithosfs.errors import NotADirectory, NotFound, NotSupported, Stale, TimedOut, Unavailable
from pithosfs.inodes import Inodes
from pithosfs.lister import Arrival, Listed, Lister, Unchanged
from pithosfs.metastore import MetaStore
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node, committed, new_inode_number, of_entry, take_place, virtual_directory
from pithosfs.unlisted import Unlisted
from pithosfs.waiting import ENDING, if_cancelled, wait
from pithosfs.walks import Subtree, Walks

log = logging.getLogger(__name__)

#: Entries of directories that are kept, at about a kilobyte each; the directories not looked at for
#: longest are listed anew when they are needed.
KEPT = 150_000
#: A subtree of so many objects is listed anew as a whole where one of its directories is old: that costs
#: the store about as much as one request more, and most often saves several ...
_SMALL = 500
#: ... if its directories have been in use within so many seconds.
_IN_USE_SECONDS = 60.0
#: How many of the containers' stamps are remembered as confirmed.
_CONFIRMATIONS = 100

#: A directory and a component of a path in it.
Place = tuple[ObjectRef, str]


class _Pin(Enum):
    """What is known of a pinned entry of a directory that is not listed yet, if not its node."""

    AS_LISTED = "as listed"
    GONE = "gone"


@dataclass(slots=True)
class _Listing:
    """One directory: its children by path component, and how sure that is."""

    children: dict[str, Node]
    began: float  # monotonic, before the request was sent
    took: float = 0.0  # seconds until the last of several pages was there
    stamp: str | None = None  # the container's Last-Modified, if nothing else can hide in that second
    changes: dict[str, float] = field(default_factory=dict)  # component -> when we changed it
    used: float = field(default_factory=time.monotonic)


class Namespace:
    """The directories below ``top``; ``ttl`` in seconds; ``until`` for a moment of the past.

    A request lists ``page`` objects at most; ``kept`` entries are remembered.
    ``accounts`` makes the top a directory of accounts, those it returns.
    ``inodes`` knows the numbers of what was made here; ``saw`` is told the
    highest version of each listing, and when it was asked for.
    """

    def __init__(
        self,
        client_of: Callable[[ObjectRef], Client],
        top: ObjectRef,
        *,
        ttl: float,
        until: int | None = None,
        accounts: Callable[[], list[str]] | None = None,
        timeout: float = 60.0,
        page: int = PAGE,
        kept: int = KEPT,
        inodes: Inodes | None = None,
        saw: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        self._saw = saw
        self._inodes = Inodes(MetaStore(None)) if inodes is None else inodes
        self.top = virtual_directory(top)
        self._client_of = client_of
        self._ttl = ttl
        self._lister = Lister(client_of, until=until, accounts=accounts, page=page)
        self.until = until
        self.newest = 0  # the highest version in any listing so far
        self._accounts = accounts
        self._timeout = timeout
        self._kept = kept
        self._lock = threading.Lock()
        self._listings: dict[ObjectRef, _Listing] = {}
        self._confirmed: dict[tuple[str, str, str], float] = {}  # account, container, stamp -> monotonic
        self._arriving: dict[ObjectRef, Arrival] = {}
        self._walks = Walks(top)
        self._quiet = (0.0, 0.0)  # between these moments nobody but us changed anything
        self._pinned: dict[ObjectRef, dict[str, Node | _Pin]] = {}
        self._unlisted = Unlisted()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="list")

    def close(self) -> None:
        """Stop."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- looking ------------------------------------------------------------------------------

    def find(self, path: str) -> Node:
        """The node at ``path``; NotFound, NotADirectory or what the store raised."""
        node = self.top
        for component in names.split(path):
            node = self.child(node, component)
        return node

    def resolve(self, path: str) -> tuple[Node, list[str]]:
        """How far ``path`` leads, and the components that are left."""
        node, left = self.top, names.split(path)
        while left and node.is_directory:
            child = self.children(node).get(left[0])
            if child is None:
                break
            node = child
            del left[0]
        return node, left

    def find_parent(self, path: str) -> tuple[Node, str]:
        """The directory that holds ``path``, and the last component."""
        *above, last = names.split(path)
        node = self.top
        for component in above:
            node = self.child(node, component)
        if not node.is_directory:
            raise NotADirectory(f"{node.ref} is no directory")
        return node, last

    def child(self, directory: Node, component: str) -> Node:
        """One entry of a directory."""
        found = self.children(directory).get(component)
        if found is None:
            names.check_length(component)
            raise NotFound(f"{directory.ref} has no {component}", 404)
        if found.is_directory and found.ref not in self._listings:
            with self._lock:
                self._walks.looked_up(found.ref, directory.ref)
        return found

    def children(self, directory: Node, *, reading: bool = False) -> dict[str, Node]:
        """All entries of a directory; ``reading``: a program lists it, and gets a copy.

        Without ``reading`` the result is only for looking names up.
        """
        if not directory.is_directory:
            raise NotADirectory(f"{directory.ref} is no directory")
        ref, since = directory.ref, time.monotonic()
        while True:
            with self._lock:
                listing = self._listings.get(ref)
                if listing is not None and self._is_fresh(ref, listing):
                    break
                arrival = self._arriving.get(ref)
                mine = arrival is None
                if arrival is None:
                    arrival = self._arriving[ref] = Arrival()
                tree = self._worth(ref, listing, reading=reading) if mine else None
            if mine:
                self._submit(ref, tree, arrival)
            try:
                self._wait(arrival)
            except Unavailable:
                with self._lock:
                    listing = self._listings.get(ref)
                if listing is None:
                    raise
                break  # what was known stays readable while the network is away
            with self._lock:
                if self._unlisted.is_gone(ref, since):
                    raise NotFound(f"{ref} was moved away while it was listed", 404)
                listing = self._listings.get(ref)
            if listing is not None and not arrival.of_another:
                break
        listing.used = time.monotonic()
        if not reading:
            return listing.children
        with self._lock:
            self._walks.read(ref)
            return dict(listing.children)

    def _worth(self, ref: ObjectRef, before: _Listing | None, *, reading: bool) -> Subtree | None:
        """What to list in place of one directory, if anything.  ``_lock`` is held."""
        walked = self._walks.subtree(ref, ref.parent, reading=reading)
        if walked is None and before is not None and ref.container and self._is_small_and_in_use(before):
            return Subtree(ref, _SMALL)
        return walked

    def _is_small_and_in_use(self, listing: _Listing) -> bool:
        """Whether all below is known, little, and was looked at a short time ago: it will be again."""
        below, count, used = [listing], 0, float("-inf")
        for each in below:
            count += len(each.children)
            if count > _SMALL:
                return False
            for node in each.children.values():
                if node.is_directory:
                    found = self._listings.get(node.ref)
                    if found is None:
                        return False
                    below.append(found)
                    used = max(used, found.used)
        return time.monotonic() - used < _IN_USE_SECONDS

    def _wait(self, arrival: Arrival) -> None:
        """Wait for a listing, as long as its pages keep coming."""
        while True:
            before = arrival.pages
            try:
                return wait(arrival.future, self._timeout)
            except TimedOut:
                if arrival.pages == before:
                    raise

    def known(self, path: str, limit: int) -> list[str]:
        """Paths (with a slash in front) of what was listed at and below ``path``, the store not asked.

        At most ``limit``, those nearest to ``path`` first.
        """
        with self._lock:
            place = self._known_place(path)
            if place is None:
                return []
            found = [(f"/{path.strip('/')}".rstrip("/"), place)]
            for above, directory in found:
                listing = self._listings.get(directory.ref) if directory.is_directory else None
                if listing is not None and len(found) < limit:
                    found += [(f"{above}/{name}", node) for name, node in listing.children.items()]
        return [each or "/" for each, _ in found[:limit]]

    def _known_place(self, path: str) -> Node | None:
        """What a path leads to as it was last listed, the store not asked.  ``_lock`` is held."""
        place = self.top
        for component in names.split(path):
            listing = self._listings.get(place.ref)
            child = listing.children.get(component) if listing is not None else None
            if child is None:
                return None
            place = child
        return place

    def fresh(self, path: str) -> Mapping[str, Node]:
        """The entries of a directory if known and not too old, the store not asked; for looking only."""
        with self._lock:
            place = self._known_place(path)
            listing = self._listings.get(place.ref) if place is not None else None
            if place is None or listing is None or not self._is_fresh(place.ref, listing):
                return {}
            listing.used = time.monotonic()
            return listing.children

    def listed(self, ref: ObjectRef) -> Mapping[str, Node]:
        """The entries of a directory as they were last listed, the store not asked; for looking only."""
        with self._lock:
            listing = self._listings.get(ref)
            return listing.children if listing is not None else {}

    def learned(self, directory: ObjectRef, component: str, version: int, mtime_ns: int) -> None:
        """The time of an entry, of which listings say nothing, is known for this version."""
        with self._lock:
            listing = self._listings.get(directory)
            node = listing.children.get(component) if listing is not None else None
            if listing is not None and node is not None and node.version == version:
                kept = node.attributes.with_changes(mtime_ns=mtime_ns)
                listing.children[component] = replace(node, attributes=kept)

    def new_ref(self, directory: Node, component: str) -> ObjectRef:
        """The object a new entry of this directory would be."""
        if self._accounts is not None and not any(directory.ref):
            raise NotSupported("an account cannot be made here")
        if not directory.ref.container:
            return ObjectRef(names.to_object(component), "", directory.ref.account)
        return directory.ref.child(names.to_object(component))

    def _is_fresh(self, ref: ObjectRef, listing: _Listing) -> bool:
        if self.until is not None:
            return True
        now, at = time.monotonic(), listing.began
        if now - at < max(self._ttl, 2 * listing.took):  # as long again as it was on its way
            return True
        if self._quiet[0] <= at <= self._quiet[1]:
            at = self._quiet[1]
        if listing.stamp:
            at = max(at, self._confirmed.get((ref.account, ref.container, listing.stamp), 0.0))
        return now - at < self._ttl

    # -- asking the store -------------------------------------------------------------------------

    def _submit(self, ref: ObjectRef, tree: Subtree | None, arrival: Arrival) -> None:
        def work() -> None:
            error: BaseException | None = None
            began = time.monotonic()
            try:
                self._refresh(ref, tree, arrival)
            except BaseException as caught:
                error = caught
            with self._lock:
                self._arriving.pop(ref, None)
                arrival.of_another = self._unlisted.is_of_another(ref, began)
            if error is None:
                arrival.future.set_result(None)
            else:
                arrival.future.set_exception(error)

        def give_up() -> None:
            with self._lock:
                self._arriving.pop(ref, None)
            arrival.future.set_exception(Unavailable(ENDING))

        try:
            if_cancelled(self._pool.submit(work), give_up)
        except RuntimeError:
            give_up()

    def _refresh(self, ref: ObjectRef, tree: Subtree | None, arrival: Arrival) -> None:
        with self._lock:
            listing = self._listings.get(ref)
            stamp = listing.stamp if listing else None
        began = time.monotonic()
        try:
            listed = self._ask(ref, tree, arrival, stamp)
        except Unchanged:
            if stamp:
                self._confirm(ref, stamp, began)
            return
        for each, children in listed.directories.items():
            self._store(each, _Listing(children, listed.began, listed.took, listed.stamp))
        with self._lock:
            self._make_room(ref)

    def _ask(self, ref: ObjectRef, tree: Subtree | None, arrival: Arrival, stamp: str | None) -> Listed:
        """One listing; Unchanged if the container has still the ``stamp`` of when it was listed last."""
        if tree is not None:
            listed = self._lister.tree(tree, ref, arrival, stamp)
            if listed is not None:
                return listed
            with self._lock:
                self._walks.too_large(tree)
        return self._lister.directory(ref, arrival, stamp)

    def _make_room(self, wanted: ObjectRef) -> None:
        """Forget the directories not looked at for longest.  ``_lock`` is held."""
        count = sum(len(listing.children) + 1 for listing in self._listings.values())
        if count <= self._kept:
            return
        for ref in sorted(self._listings, key=lambda each: self._listings[each].used):
            if ref != wanted and ref not in self._pinned and ref not in self._arriving:
                listing = self._listings.pop(ref)
                count -= len(listing.children) + 1
                for component, at in listing.changes.items():
                    self._unlisted.changed(ref, component, listing.children.get(component), at)
            if count <= self._kept * 0.9:
                return

    def _confirm(self, ref: ObjectRef, stamp: str, began: float) -> None:
        """Every listing of this container with this stamp was still right at ``began``."""
        with self._lock:
            self._confirmed.pop((ref.account, ref.container, stamp), None)
            self._confirmed[ref.account, ref.container, stamp] = began
            if len(self._confirmed) > _CONFIRMATIONS:
                self._confirmed.pop(next(iter(self._confirmed)))

    def _store(self, ref: ObjectRef, listing: _Listing) -> None:
        """Take over a listing, but for what this mount changed since it was asked for."""
        children = listing.children
        newest = max((node.version for node in children.values()), default=0)
        self._saw(newest, listing.began)
        with self._lock:
            self.newest = max(self.newest, newest)
            if self._unlisted.is_of_another(ref, listing.began):
                return
            self._inodes.listed((node.ref, node.uuid) for node in children.values())
            for component, node in children.items():
                ino = self._inodes.of(node.ref, node.uuid)
                if ino:
                    children[component] = replace(node, ino=ino)
            before = self._listings.get(ref)
            if before is not None:
                self._keep_changes(ref, before, listing)
            else:
                self._put_pinned(ref, children)
                listing.changes = self._unlisted.apply(ref, children, listing.began)
            self._listings[ref] = listing

    def _put_pinned(self, ref: ObjectRef, children: dict[str, Node]) -> None:
        for component, known in self._pinned.get(ref, {}).items():
            if isinstance(known, Node):
                children[component] = known
            elif known is _Pin.GONE:
                children.pop(component, None)

    def _keep_changes(self, ref: ObjectRef, before: _Listing, listing: _Listing) -> None:
        children = listing.children
        for component, node in children.items():
            old = before.children.get(component)
            if old is not None and _is_what_it_was(old, node):
                children[component] = _with_what_is_known(node, old)
        pinned = self._pinned.get(ref, {}).keys()
        recent = {component: at for component, at in before.changes.items() if at >= listing.began}
        listing.changes = recent
        for component in pinned | recent.keys():
            if component in before.children:
                children[component] = before.children[component]
            else:
                children.pop(component, None)

    # -- what this mount changed ---------------------------------------------------------------------

    def put(self, directory: ObjectRef, component: str, node: Node) -> None:
        """An entry is new or different."""
        with self._lock:
            if node.ino and not node.uuid:
                self._inodes.born(node.ref, node.ino)
            listing = self._listings.get(directory)
            if listing is not None:
                listing.children[component] = node
                listing.changes[component] = time.monotonic()
            else:
                self._unlisted.changed(directory, component, node)
                if component in self._pinned.get(directory, {}):
                    self._pinned[directory][component] = node

    def drop(self, directory: ObjectRef, component: str) -> None:
        """An entry is gone."""
        with self._lock:
            listing = self._listings.get(directory)
            if listing is not None:
                node = listing.children.pop(component, None)
                if node is not None:
                    self._inodes.gone(node.ref)
                    self._listings.pop(node.ref, None)  # of a directory
                listing.changes[component] = time.monotonic()
            else:
                self._unlisted.changed(directory, component, None)
                if component in self._pinned.get(directory, {}):
                    self._pinned[directory][component] = _Pin.GONE

    def pin(self, directory: ObjectRef, component: str) -> None:
        """This mount knows better than the store: no listing changes this entry."""
        with self._lock:
            self._pinned.setdefault(directory, {}).setdefault(component, _Pin.AS_LISTED)

    def unpin(self, directory: ObjectRef, component: str) -> None:
        """Undo :meth:`pin`; what is known stays until the next listing."""
        with self._lock:
            pinned = self._pinned.get(directory)
            if pinned is not None:
                known = pinned.pop(component, None)
                if not pinned:
                    del self._pinned[directory]
                listing = self._listings.get(directory)
                if listing is None and known is not None and known is not _Pin.AS_LISTED:
                    self._unlisted.changed(directory, component, known if isinstance(known, Node) else None)
                if listing is not None:
                    listing.changes[component] = time.monotonic()
                    listing.stamp = None  # what it shows is not all from the store

    def made_directory(self, ref: ObjectRef) -> None:
        """A directory was made just now: it is empty, but for what this mount has not sent of it."""
        with self._lock:
            self._unlisted.replaced(ref)
            listing, before = _Listing({}, time.monotonic()), self._listings.get(ref)
            if before is not None:
                self._keep_changes(ref, before, listing)
            else:
                self._put_pinned(ref, listing.children)
            self._listings[ref] = listing

    def moved(self, old: ObjectRef, new: ObjectRef) -> None:
        """A subtree was moved: its listings go along."""
        with self._lock:
            self._walks.renamed(old, new)
            self._unlisted.replaced(old, gone=True)
            self._unlisted.replaced(new)
            for ref in [each for each in self._listings if each.is_below(new)]:
                del self._listings[ref]  # of what was there before
            for ref in self._inodes.names_below(old):
                self._inodes.renamed(ref, ref.moved(old, new))
            for ref in [each for each in self._listings if each.is_below(old)]:
                listing = self._listings.pop(ref)
                target = ref.moved(old, new)
                listing.children = {
                    name: node.at(node.ref.moved(old, new)) for name, node in listing.children.items()
                }
                listing.stamp = None
                self._listings[target] = listing

    def quiet(self, began: float, until: float) -> None:
        """Between these moments (monotonic) nobody but this mount changed anything."""
        with self._lock:
            known_from, known_until = self._quiet
            if known_from and began <= known_until:
                self._quiet = (known_from, max(known_until, until))
            else:
                self._quiet = (began, until)

    def forget(self, ref: ObjectRef | None = None) -> None:
        """Ask anew about this directory and all below it (or everything)."""
        with self._lock:
            for each in [each for each in self._listings if ref is None or each.is_below(ref)]:
                listing = self._listings[each]
                listing.began, listing.took, listing.stamp = float("-inf"), 0.0, None
            if ref is None:
                self._confirmed.clear()
                self._quiet = (0.0, 0.0)

    # -- directories on the server ----------------------------------------------------------------------

    def make_marker(self, ref: ObjectRef, kept: Attributes) -> Node:
        """Make a directory's object; Stale if there is one of its name."""
        client = self._client_of(ref)
        now = time.time_ns()
        written = client.put_object(
            ref.container,
            ref.name,
            b"",
            content_type=kept.content_type,
            meta={},
            if_none_match="*",
        )
        made = committed(ref, kept, Hashmap(0, ()), written, None)
        return replace(made, modified_ns=now, ino=new_inode_number())

    def have_marker(self, directory: Node, kept: Attributes) -> Node:
        """The object of a directory that nobody is known to have made: made now, unless somebody has.

        NotSupported if it is a file, which is shown beside the directory.
        """
        ref = directory.ref
        try:
            return take_place(self.make_marker(ref, kept), directory)
        except Stale:
            try:
                there = of_entry(ref, self._client_of(ref).head(ref.container, ref.name).entry)
            except NotFound:  # it was removed again
                return take_place(self.make_marker(ref, kept), directory)
        if not there.is_directory:
            raise NotSupported(f"{ref}: the directory has no object of its own, for a file has its name")
        return there


def directory_attributes(mode: int | None = None, mtime_ns: int | None = None) -> Attributes:
    """What a directory's object says."""
    return Attributes(attributes.DIRECTORY_TYPE, mtime_ns, mode)


def place_of(ref: ObjectRef) -> Place:
    """Where an object is shown whose name no other wants."""
    return ref.parent, names.to_path(ref.name.rpartition("/")[2])


def _with_what_is_known(node: Node, old: Node) -> Node:
    """A listed entry with what listings do not tell, but was known of the same before."""
    if old.changed_ns:
        node = replace(node, changed_ns=old.changed_ns)
    if node.attributes.mtime_ns is None and old.attributes.mtime_ns is not None:
        node = replace(node, attributes=node.attributes.with_changes(mtime_ns=old.attributes.mtime_ns))
    return node


def _is_what_it_was(old: Node, node: Node) -> bool:
    """Whether a listing shows what is known here already, maybe better."""
    if old.version:
        return old.version == node.version
    return (old.hash, old.size, old.attributes) == (node.hash, node.size, node.attributes)
