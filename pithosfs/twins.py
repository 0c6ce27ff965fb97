"""Which version on the server has which content, so that the server can copy it.

A server that keeps MD5s reads the whole of an object that is put by its
hashmap, to hash it again.  A copy takes the MD5 over, and is done at once.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from cachetools import LRUCache

from pithosfs.blocks import Hashmap
from pithosfs.names import ObjectRef

#: Contents remembered.
_LIMIT = 10_000
#: Blocks from which on the server's MD5 takes longer than the request more that a copy is.
_WORTH_IT = 8
_MD5_DIGITS = 32


class Twin(NamedTuple):
    """A version with the content that is wanted: its ETag, an MD5, and the keys of its metadata."""

    ref: ObjectRef
    version: int
    etag: str
    keys: frozenset[str]


class Twins:
    """Versions by content, of the mount's own account.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: LRUCache[tuple[str, int], Twin] = LRUCache(_LIMIT)

    def add(self, content: Hashmap, ref: ObjectRef, version: int, etag: str, meta: Mapping[str, str]) -> None:
        """This version has this content, metadata and ETag, which tells whether the server keeps MD5s."""
        if version and _is_worth_it(content, ref) and len(etag) == _MD5_DIGITS:
            with self._lock:
                self._known[content.merkle, content.size] = Twin(ref, version, etag, frozenset(meta))

    def of(self, content: Hashmap, ref: ObjectRef, meta: Mapping[str, str]) -> Twin | None:
        """What to copy for ``ref``, which is not there, to have ``content`` and ``meta``.

        It would inherit metadata that ``meta`` lacks; what was under its own name is there no longer.
        """
        if not _is_worth_it(content, ref):
            return None
        with self._lock:
            twin = self._known.get((content.merkle, content.size))
        return twin if twin is not None and twin.keys <= meta.keys() and twin.ref != ref else None

    def forget(self, content: Hashmap) -> None:
        """The version is no longer there."""
        with self._lock:
            self._known.pop((content.merkle, content.size), None)


def _is_worth_it(content: Hashmap, ref: ObjectRef) -> bool:
    return not ref.account and len(content.hashes) >= _WORTH_IT
