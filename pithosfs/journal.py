"""Entries of the journal as JSON: files that are not sent yet, objects that are not deleted yet.  No I/O.

Where the bytes of a file are is added by who keeps them (``scratch``), what was
tried to send by the promise.  Unpacking raises KeyError, TypeError,
AttributeError or ValueError for what was never packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pithosfs.attributes import Attributes
from pithosfs.blocks import Hashmap
from pithosfs.content import Content
from pithosfs.extents import Extents
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node
from pithosfs.ranges import Address, Origin


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A changed file: ``node`` is the version it replaces, unless it is ``emptied`` not needed for any byte.

    ``content`` is None where its bytes are the store's and nobody has asked for their hashes; ``meta`` is the
    user metadata, None while it is not known; ``ino`` its inode number.
    """

    ref: ObjectRef
    node: Node | None
    emptied: bool
    attributes: Attributes
    meta: dict[str, str] | None
    content: Content | None
    ino: int

    @property
    def changed(self) -> bool:
        """Whether its bytes are others than the store's, not only its times, mode or metadata."""
        of_bytes = self.content is not None and self.content.changed
        return self.node is None or self.emptied or of_bytes

    def pack(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ref": list(self.ref),
            "node": pack_node(self.node),
            "emptied": self.emptied,
            "attributes": _pack_attributes(self.attributes),
            "meta": self.meta,
            "content": None if self.content is None else pack_content(self.content),
            "ino": self.ino,
        }

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> FileEntry:
        """Inverse of :meth:`pack`."""
        return cls(
            ObjectRef(*packed["ref"]),
            unpack_node(packed["node"]),
            packed["emptied"],
            Attributes(*packed["attributes"]),
            packed["meta"],
            None if packed["content"] is None else unpack_content(packed["content"]),
            packed["ino"],
        )


def pack_node(node: Node | None) -> dict[str, Any] | None:
    """What a commit has to know of the version it replaces."""
    if node is None:
        return None
    return {
        "ref": list(node.ref),
        "attributes": _pack_attributes(node.attributes),
        "size": node.size,
        "hash": node.hash,
        "etags": list(node.etags),
        "uuid": node.uuid,
        "version": node.version,
        "modified_ns": node.modified_ns,
        "sharing": node.sharing,
        "public": node.public,
        "origin": None if node.origin is None else _pack_origin(node.origin),
        "ino": node.ino,
    }


def unpack_node(packed: dict[str, Any] | None) -> Node | None:
    """Inverse of :func:`pack_node`."""
    if packed is None:
        return None
    return Node(
        ObjectRef(*packed["ref"]),
        Attributes(*packed["attributes"]),
        packed["size"],
        packed["hash"],
        tuple(packed["etags"]),
        packed["uuid"],
        packed["version"],
        packed["modified_ns"],
        sharing=packed["sharing"],
        public=packed["public"],
        origin=None if packed["origin"] is None else _unpack_origin(packed["origin"]),
        ino=packed["ino"],
    )


def pack_removal(nodes: Sequence[Node]) -> dict[str, Any]:
    """The entry of an object that is to be deleted: what it is, if it is one of these."""
    return {"removed": [pack_node(node) for node in nodes]}


def unpack_removal(entry: dict[str, Any]) -> list[Node]:
    """Inverse of :func:`pack_removal`; empty for the entry of a file."""
    return [node for node in map(unpack_node, entry.get("removed", ())) if node is not None]


def pack_content(content: Content) -> dict[str, Any]:
    """Where all bytes of a changed file are."""
    return {
        "base": [content.base.size, list(content.base.hashes), content.base.block_size],
        "origin": _pack_origin(content.origin),
        "size": content.size,
        "limit": content.limit,
        "dirty": [list(each) for each in content.dirty],
        "spliced": [
            [index, [_pack_origin(address.origin), *address[1:]], effective]
            for index, (address, effective) in content.spliced.items()
        ],
    }


def unpack_content(packed: dict[str, Any]) -> Content:
    """Inverse of :func:`pack_content`."""
    size, hashes, block_size = packed["base"]
    content = Content(Hashmap(size, tuple(hashes), block_size), _unpack_origin(packed["origin"]))
    content.size, content.limit = packed["size"], packed["limit"]
    content.dirty = Extents((start, stop) for start, stop in packed["dirty"])
    content.spliced = {
        index: (Address(_unpack_origin(origin), *rest), effective)
        for index, (origin, *rest), effective in packed["spliced"]
    }
    return content


def _pack_attributes(kept: Attributes) -> list[Any]:
    return [kept.base_type, kept.mtime_ns, kept.mode]


def _pack_origin(origin: Origin) -> list[Any]:
    return [list(origin.ref), origin.version]


def _unpack_origin(packed: list[Any]) -> Origin:
    ref, version = packed
    return Origin(ObjectRef(*ref), version)
