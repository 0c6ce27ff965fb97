"""Modification times that other programs keep in an object's metadata, as rclone does.

Listings do not show them.  One flat listing of the container, limited to
objects that have the key at all, tells which versions need a look; each of
those is asked about once, when somebody wants to know the time of something in
its directory, and remembered by version for ever.  Who asks waits for it, but
no longer than a moment: in a directory with very many of them the rest comes
in later, and the server's own time is shown until then.

Lock order: ``Times._lock`` is a leaf; requests are made outside of it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

from pithosfs import attributes
from pithosfs.api import Client
from pithosfs.attributes import Kind
from pithosfs.errors import NotFound, PithosError
from pithosfs.metastore import MetaStore
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, place_of
from pithosfs.nodes import Node

log = logging.getLogger(__name__)

#: Seconds the first look at a directory waits for the times in it.
_PATIENCE = 2.0
#: Seconds until a store that did not answer is asked again.
_PAUSE = 30.0
_PARALLEL = 8


class _Candidates:
    """The versions of a container that have a time in their metadata, as far as ``newest``."""

    def __init__(self, newest: int, versions: frozenset[int]) -> None:
        self.newest = newest
        self.versions = versions


class Times:
    """What other programs say of the files in one tree."""

    def __init__(
        self, client_of: Callable[[ObjectRef], Client], namespace: Namespace, store: MetaStore
    ) -> None:
        self._client_of = client_of
        self._namespace = namespace
        self._store = store
        self._lock = threading.Lock()
        self._candidates: dict[tuple[str, str], _Candidates] = {}  # account, container
        # by directory; waited for until then
        self._learning: dict[ObjectRef, tuple[Future[None], float]] = {}
        self._not_before = float("-inf")
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="times")

    def close(self) -> None:
        """Stop."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def shown(self, node: Node) -> Node:
        """``node`` with the time other programs gave it, if they did; may ask the store."""
        if not self.is_open(node):
            return node
        directory, component = place_of(node.ref)
        self._learn(directory)
        found = self._namespace.listed(directory).get(component)
        return found if found is not None and found.version == node.version else node

    def is_open(self, node: Node) -> bool:
        """Whether its metadata could have a time that nobody has looked at."""
        if node.kind is not Kind.FILE or node.attributes.mtime_ns is not None or not node.version:
            return False
        known = self._candidates.get((node.ref.account, node.ref.container))
        return known is None or node.version > known.newest or node.version in known.versions

    def _learn(self, directory: ObjectRef) -> None:
        """Look at all files of a directory, together with whoever else wants to know."""
        now = time.monotonic()
        with self._lock:
            if now < self._not_before:
                return
            if directory not in self._learning:
                try:
                    work = self._pool.submit(self._look, directory)
                except RuntimeError:  # the mount is being ended
                    return
                self._learning[directory] = (work, now + _PATIENCE)
            work, until = self._learning[directory]
        wait_for([work], max(0.0, until - now))

    def _look(self, directory: ObjectRef) -> None:
        try:
            nodes = dict(self._namespace.listed(directory))
            if any(self.is_open(node) for node in nodes.values()):
                self._find_candidates(directory)
            self._ask([node for node in nodes.values() if self.is_open(node)])
        except PithosError as error:
            log.info("times of other programs are not known for %s: %s", directory, error)
            self._not_before = time.monotonic() + _PAUSE
        finally:
            with self._lock:
                self._learning.pop(directory, None)

    def _find_candidates(self, directory: ObjectRef) -> None:
        """Ask which objects of the container have the key, in one request per 10,000 that do."""
        key = (directory.account, directory.container)
        newest = self._namespace.newest
        known = self._candidates.get(key)
        if known is not None and newest <= known.newest:
            return
        pages = self._client_of(directory).list_all(
            directory.container,
            prefix=self._namespace.top.ref.prefix if self._namespace.top.ref.container else "",
            meta=attributes.MTIME_META,
            until=self._namespace.until,
        )
        self._candidates[key] = _Candidates(
            newest, frozenset(entry.version for page in pages for entry in page.entries)
        )

    def _ask(self, nodes: list[Node]) -> None:
        """Learn the times of these, several at once."""
        left = deque(nodes)

        def work() -> None:
            with contextlib.suppress(IndexError):
                while True:
                    node = left.popleft()
                    self._learned(node, self._meta_of(node))

        helpers = [self._pool.submit(work) for _ in range(min(_PARALLEL, len(nodes)) - 1)]
        work()
        for each in helpers:
            if not each.cancel():  # one that has not begun by now is not needed, and might never begin
                each.result()

    def _meta_of(self, node: Node) -> dict[str, str]:
        meta = self._store.meta(node.version)
        if meta is None:
            try:
                info = self._client_of(node.ref).head(node.ref.container, node.ref.name, node.version)
            except NotFound:  # replaced meanwhile, where no versions are kept
                return {}
            meta = dict(info.meta)
            self._store.remember_meta(node.version, meta)
        return meta

    def _learned(self, node: Node, meta: dict[str, str]) -> None:
        said = attributes.parse_time(meta.get(attributes.MTIME_META, ""))
        mtime_ns = node.modified_ns if said is None else said
        self._namespace.learned(*place_of(node.ref), node.version, mtime_ns)
