"""What was: a tree as it stood at a moment, and every version of a file.  Read-only.

Both are shown below one directory of a mount, which no listing has:

* ``.pithos/at/TIME/…`` is the whole tree at TIME, any time one names;
  listing ``at`` shows times at which something changed, newest first.
* ``.pithos/versions/PATH/TIME`` is the version of one file that was current
  at TIME; listing the directory shows each version by its exact time.

The store keeps all of it and answers listings of the past; nothing is copied.
A moment of the past never changes, so what was asked once is kept.

Inode numbers differ from those of the same objects now: a program that
compares them must not take yesterday's file for today's.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from cachetools import LRUCache

from pithosfs import moments, wire
from pithosfs.api import Client, Info, Version
from pithosfs.errors import Forbidden, NotADirectory, NotFound, Unavailable
from pithosfs.moments import SECOND
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace
from pithosfs.nodes import Node, of_entry, virtual_directory
from pithosfs.waiting import ENDING, wait

log = logging.getLogger(__name__)

#: The directory at the top of a mount that leads to the past; it works, but is not listed.
PAST_DIRECTORY = ".pithos"

#: Moments whose listings are kept.
_MOMENTS = 16
#: Times shown in a listing of ``at``; names looked at in each listing for it, and seconds all may take.
_SHOWN, _LOOKED_AT, _LOOKING = 200, 1000, 1.0
#: Versions of one file that are listed, the newest ones; each takes a request.
_VERSIONS = 1000
#: How far back a listing of ``at`` looks for what is gone now: seconds.
_LOOKS_BACK = (60, 600, 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400)
#: Seconds for which ``2 hours ago``, as a directory, stays the same moment.
_PINNED = 600.0
#: Seconds for which lists of versions and of times are believed.
_FRESH = 2.0

Result = TypeVar("Result")
ClientOf = Callable[[ObjectRef], Client]


class Past:
    """The directory ``.pithos`` of one mount, by path components below it.

    ``of_others``: the mount shows what others share; how that was at a moment
    the store tells nobody but them.
    """

    def __init__(
        self, client_of: ClientOf, live: Namespace, *, of_others: bool = False, timeout: float = 60.0
    ) -> None:
        self._moments = None if of_others else Moments(client_of, live.top.ref, timeout=timeout)
        self._versions = Versions(client_of, live)
        self._top = _directory("top")
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="past")

    def close(self) -> None:
        """Stop."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._moments is not None:
            self._moments.close()
        self._versions.close()

    @property
    def _at(self) -> Moments:
        if self._moments is None:
            raise Forbidden("the history of others is theirs", 403)
        return self._moments

    def node(self, components: Sequence[str]) -> Node:
        """What is there; NotFound, or what the store raised."""
        return wait(self._submit(self._node, components))

    def entries(self, components: Sequence[str]) -> dict[str, Node]:
        """The entries of a directory."""
        return wait(self._submit(self._entries, components))

    def _submit(self, work: Callable[[Sequence[str]], Result], components: Sequence[str]) -> Future[Result]:
        """Ask in a thread of the pool, so that whoever waits can give up."""
        try:
            return self._pool.submit(work, components)
        except RuntimeError as error:
            raise Unavailable(ENDING) from error

    def _node(self, components: Sequence[str]) -> Node:
        match list(components):
            case []:
                return self._top
            case ["at", *below]:
                return self._at.node(below)
            case ["versions", *below]:
                return self._versions.node(below)
        raise NotFound(f"there is no {'/'.join(components)}", 404)

    def _entries(self, components: Sequence[str]) -> dict[str, Node]:
        match list(components):
            case []:
                at = {} if self._moments is None else {"at": self._moments.node([])}
                return {**at, "versions": self._versions.node([])}
            case ["at", *below]:
                return self._at.entries(below)
            case ["versions", *below]:
                return self._versions.entries(below)
        raise NotFound(f"there is no {'/'.join(components)}", 404)


# -- the tree at a moment ---------------------------------------------------------------


class Moments:
    """``at/TIME/…``: the tree below ``top`` at any moment.

    Lock order: ``Moments._lock`` is a leaf; requests are made outside of it.
    """

    def __init__(self, client_of: ClientOf, top: ObjectRef, *, timeout: float = 60.0) -> None:
        self._client_of = client_of
        self._top = top
        self._timeout = timeout
        self._lock = threading.Lock()
        self._trees: LRUCache[int, Namespace] = LRUCache(_MOMENTS)
        self._pinned: dict[str, tuple[int, float]] = {}  # words -> moment (ns), monotonic
        self._shown: tuple[dict[str, Node], float] = ({}, float("-inf"))

    def close(self) -> None:
        """Stop."""
        with self._lock:
            trees = list(self._trees.values())
        for tree in trees:
            tree.close()

    def node(self, below: Sequence[str]) -> Node:
        """``at`` itself, a moment's top directory, or what was below it."""
        if not below:
            return _directory("at")
        until = self._moment(below[0]) // SECOND
        return _then(self.tree(until).find("/".join(below[1:])), until)

    def entries(self, below: Sequence[str]) -> dict[str, Node]:
        """The entries of one of these directories."""
        if not below:
            return self._times()
        until = self._moment(below[0]) // SECOND
        tree = self.tree(until)
        found = tree.children(tree.find("/".join(below[1:])), reading=True)
        return {name: _then(node, until) for name, node in found.items()}

    def tree(self, until: int) -> Namespace:
        """The tree at ``until`` (seconds); NotFound if there was none then."""
        with self._lock:
            tree = self._trees.get(until)
        if tree is not None:
            return tree
        tree = Namespace(self._client_of, self._top, ttl=0.0, until=until, timeout=self._timeout)
        tree.children(tree.top)  # there was a container then
        with self._lock:
            return self._trees.setdefault(until, tree)

    def _moment(self, text: str) -> int:
        """The moment a directory's name names, the same for a while whatever the name."""
        with self._lock:
            found = self._pinned.get(text)
        if found is not None and (time.monotonic() - found[1] < _PINNED or moments.is_fixed(text)):
            return found[0]
        try:
            moment = moments.parse(text, time.time_ns())
        except ValueError as error:
            raise NotFound(str(error), 404) from None
        with self._lock:
            self._pinned[text] = (moment, time.monotonic())
            if len(self._pinned) > 10_000:
                del self._pinned[next(iter(self._pinned))]
        return moment

    # -- times at which something changed --

    def _times(self) -> dict[str, Node]:
        with self._lock:
            shown, asked = self._shown
        if time.monotonic() - asked < _FRESH:
            return shown
        changed = sorted(self._changes(), reverse=True)[:_SHOWN]
        shown = {moments.name_of(each * SECOND): _directory(f"at/{each}", each * SECOND) for each in changed}
        with self._lock:
            self._shown = (shown, time.monotonic())
        return shown

    def _changes(self) -> set[int]:
        """Seconds after which something was different: of what is here, and of what was here once."""
        now, deadline = int(time.time()), time.monotonic() + _LOOKING
        found: set[int] = set()
        for container in self._containers():
            found |= self._changes_in(container, now, deadline)
        return {each for each in found if each <= now}

    def _changes_in(self, container: ObjectRef, now: int, deadline: float) -> set[int]:
        """Of one container, by the beginnings of a few listings, from now backwards until there is enough."""
        found: set[int] = set()
        probes: list[int | None] = [None, *(now - each for each in _LOOKS_BACK)]
        for until in probes:
            if found and (len(found) >= _SHOWN or time.monotonic() > deadline):
                break
            try:
                page = self._client_of(container).list_page(
                    container.container, prefix=container.prefix, until=until, limit=_LOOKED_AT
                )
            except NotFound:
                break  # older than the container
            if page is None:
                break
            found |= {-(-each.modified_ns // SECOND) for each in page.entries if each.modified_ns}
            stamp = wire.time_ns(page.last_modified) if until is None else None
            if stamp:  # the last change, maybe a deletion: what was there before it?
                found.add(stamp // SECOND + 1)
                probes.insert(1, stamp // SECOND)
        return found

    def _containers(self) -> list[ObjectRef]:
        if self._top.container:
            return [self._top]
        listed = self._client_of(self._top).containers()
        return [ObjectRef(each.name, "", self._top.account) for each in listed]


# -- the versions of a file ----------------------------------------------------------------


class Versions:
    """``versions/PATH/TIME``: each file is a directory of its versions, also one that is gone.

    Lock order: ``Versions._lock`` is a leaf; requests are made outside of it.
    """

    def __init__(self, client_of: ClientOf, live: Namespace) -> None:
        self._client_of = client_of
        self._live = live
        self._lock = threading.Lock()
        self._lists: LRUCache[ObjectRef, tuple[list[Version], float]] = LRUCache(1000)
        self._infos: LRUCache[int, Info] = LRUCache(10_000)  # by version: these never change
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="versions")

    def close(self) -> None:
        """Stop."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def node(self, below: Sequence[str]) -> Node:
        """A directory of the tree, a file as a directory of versions, or one of these."""
        if not below:
            return _directory("versions")
        place, left = self._live.resolve("/".join(below))
        if not left:
            return _directory(f"versions/{place.ref}", place.modified_ns)
        ref, rest = self._file(place, left)
        if not rest:
            return _directory(f"versions/{ref}")
        if len(rest) > 1:
            raise NotADirectory(f"a version of {ref} is a file")
        return self._version(ref, self._at(ref, rest[0]))

    def entries(self, below: Sequence[str]) -> dict[str, Node]:
        """The entries of one of these directories."""
        place, left = self._live.resolve("/".join(below))
        if not left and place.is_directory:
            found = self._live.children(place, reading=True)
            return {
                name: _directory(f"versions/{each.ref}", each.modified_ns) for name, each in found.items()
            }
        ref, rest = self._file(place, left)
        if rest:
            raise NotADirectory(f"a version of {ref} is a file")
        listed = self._list(ref)[-_VERSIONS:]
        if self._version(ref, listed[-1]).is_directory:
            return {}  # gone; what was in it can be named, and listed below ``at``
        nodes = self._pool.map(lambda each: self._version(ref, each), listed)
        return {moments.exact_name_of(each.time_ns): node for each, node in zip(listed, nodes, strict=True)}

    def _file(self, place: Node, left: list[str]) -> tuple[ObjectRef, list[str]]:
        """The file a path leads to, and what comes behind it; names that are gone count, too."""
        if not place.is_directory:
            return place.ref, left
        ref, was = place.ref, None
        for index, component in enumerate(left):
            ref = self._live.new_ref(replace(place, ref=ref), component)
            was = self._last(ref)
            if was is not None and not was.is_directory:
                return ref, left[index + 1 :]
        if was is None:
            raise NotFound(f"there never was a file {ref}", 404)
        return ref, []

    def _last(self, ref: ObjectRef) -> Node | None:
        """The newest version of a name, which may be gone."""
        try:
            listed = self._list(ref) if ref.name else []
        except NotFound:
            return None
        return self._version(ref, listed[-1]) if listed else None

    def _list(self, ref: ObjectRef) -> list[Version]:
        with self._lock:
            found = self._lists.get(ref)
        if found is not None and time.monotonic() - found[1] < _FRESH:
            return found[0]
        listed = self._client_of(ref).versions(ref.container, ref.name)
        with self._lock:
            self._lists[ref] = (listed, time.monotonic())
        return listed

    def _at(self, ref: ObjectRef, text: str) -> Version:
        """The version that was current at the time named."""
        try:
            moment = moments.parse(text, time.time_ns())
        except ValueError as error:
            raise NotFound(str(error), 404) from None
        then = [each for each in self._list(ref) if each.time_ns <= moment]
        if not then:
            raise NotFound(f"{ref} did not exist at {text}", 404)
        return then[-1]

    def _version(self, ref: ObjectRef, version: Version) -> Node:
        with self._lock:
            info = self._infos.get(version.serial)
        if info is None:
            info = self._client_of(ref).head(ref.container, ref.name, version.serial)
            with self._lock:
                self._infos[version.serial] = info
        entry = replace(info.entry, version=version.serial, modified_ns=version.time_ns)
        return replace(of_entry(ref, entry), ino=_number(f"version\0{version.serial}"))


# -- nodes ------------------------------------------------------------------------------------


def _directory(key: str, modified_ns: int = 0) -> Node:
    """A directory that is no object."""
    return replace(virtual_directory(ObjectRef("", ""), modified_ns), ino=_number(f"directory\0{key}"))


def _then(node: Node, until: int) -> Node:
    """``node`` as one of the past."""
    ref = node.ref
    seed = f"{until}\0{node.uuid}\0{ref.account}\0{ref.container}\0{ref.name}"
    return replace(node, ino=_number(seed))


def _number(seed: str) -> int:
    """An inode number from the same words each time, unlike any object's of now."""
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogateescape"), digest_size=8, person=b"past").digest()
    return int.from_bytes(digest, "big") >> 1 | 1 << 62
