"""The version a file in use starts from: its blocks and metadata, asked for if they are not known here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pithosfs.api import Info
from pithosfs.blocks import ZERO_HASH, Hashmap
from pithosfs.errors import NotFound, ProtocolError, Stale, VersionGone
from pithosfs.nodes import Node
from pithosfs.ranges import Origin
from pithosfs.services import Services


@contextlib.contextmanager
def of_version(origin: Origin) -> Iterator[None]:
    """Reads a version that was there: VersionGone if the store has it no longer."""
    try:
        yield
    except NotFound as error:
        if not origin.version:
            raise
        text = f"{origin.ref}: the version that was opened is no longer there"
        raise VersionGone(f"{text} (replaced, and its container keeps no versions?)", 404) from error


def hashmap_of(
    services: Services, node: Node, wanted: tuple[int, int] = (0, 0)
) -> tuple[Hashmap, Info | None]:
    """The blocks of ``node``, and what else was heard of it if the server had to be asked.

    If so, the whole blocks at bytes ``wanted`` (start, stop) are begun on meanwhile.
    Stale if the server has another version by now, VersionGone if it has that one no more.
    """
    size = services.block_size
    if not node.size:
        return Hashmap(0, (), size), None
    if node.size <= size and node.hash:
        return Hashmap(node.size, (node.hash,), size), None
    info: Info | None = None
    found = services.store.hashmap(node.hash, node.size, size) if node.hash else None
    if found is None:
        begun = services.fetcher.begin(node.readable_at, *wanted) if wanted[0] < wanted[1] else None
        try:
            info, found = _ask(services, node)
        except BaseException:
            if begun is not None:
                begun.last_call()
            raise
        if begun is not None and found.hashes[wanted[0] // size] == ZERO_HASH:
            begun.last_call()  # a hole: most likely there are more
    services.uploader.known.add(found.hashes[:1024])
    return found, info


def _ask(services: Services, node: Node) -> tuple[Info, Hashmap]:
    with of_version(node.readable_at):
        info, found = services.fetcher.hashmap(node.readable_at)
    version = info.entry.version
    if not node.hash or (found.merkle, found.size) == (node.hash, node.size):
        services.store.remember_hashmap(found)
        services.uploader.twins.add(found, node.readable_at.ref, version, info.etag, info.meta)
    # An object cut short inside a block has another Merkle hash than its hashmap makes.
    elif not version or (node.version and version != node.version):
        raise Stale(f"{node.ref} was replaced meanwhile", 412)
    elif found.size != node.size:
        raise ProtocolError(f"{node.ref} has {node.size} bytes, and a hashmap of {found.size} came")
    services.store.remember_meta(version, dict(info.meta))
    return info, found


def meta_of(services: Services, node: Node) -> dict[str, str]:
    """The user metadata of ``node``.

    If the store has that version no longer, that of the present one if it has the same content, else none.
    """
    try:
        meta = dict(services.fetcher.info(node.readable_at).meta)
    except NotFound:
        if not node.readable_at.version:
            raise
        return _meta_of_successor(services, node)
    services.store.remember_meta(node.version, meta)
    return meta


def _meta_of_successor(services: Services, node: Node) -> dict[str, str]:
    try:
        info = services.fetcher.info(Origin(node.ref, 0))
    except NotFound:
        return {}
    return dict(info.meta) if (info.entry.hash, info.entry.size) == (node.hash, node.size) else {}
