"""Nodes: what the store's listings say of files and directories, as a tree has them.  No I/O."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pithosfs import attributes, names
from pithosfs.api import Entry, Written
from pithosfs.attributes import Attributes, Kind
from pithosfs.blocks import Hashmap
from pithosfs.names import ObjectRef
from pithosfs.ranges import Origin

log = logging.getLogger(__name__)

_DIRECTORY = Attributes(attributes.DIRECTORY_TYPE)


@dataclass(frozen=True, slots=True)
class Node:
    """One file, directory or symbolic link of the tree.

    ``version`` is 0 where it is not known (after a move); ``origin`` says
    where the bytes can be read in that case.  ``modified_ns`` is the server's
    time, ``changed_ns`` when this mount changed anything of it.  ``ino`` is set where the inode
    number was given before there was a uuid.  ``exists`` is False for a
    directory that is known only from the names below it.  ``hash`` is the
    Merkle hash, ``etags`` what a condition may name.  ``links`` is 0 for a
    file that was removed and is still open.

    As listings tell them, None where they say nothing: ``sharing`` is who else
    may read and write it (``read=…;write=…``), ``public`` its link that opens without
    a token, ``allowed`` what the owner of somebody else's object lets us do:
    ``read`` or ``write``.
    """

    ref: ObjectRef
    attributes: Attributes
    size: int = 0
    hash: str = ""
    etags: tuple[str, ...] = ()
    uuid: str = ""
    version: int = 0
    modified_ns: int = 0
    exists: bool = True
    sharing: str | None = None
    public: str | None = None
    allowed: str | None = None
    origin: Origin | None = field(default=None, compare=False)
    ino: int = field(default=0, compare=False)
    links: int = field(default=1, compare=False)
    changed_ns: int = field(default=0, compare=False)

    @property
    def kind(self) -> Kind:
        """File, directory or symbolic link."""
        return attributes.kind_of(self.attributes.base_type)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return attributes.kind_of(self.attributes.base_type) is Kind.DIRECTORY

    @property
    def mtime_ns(self) -> int:
        """When the content last changed, nanoseconds since 1970."""
        return self.modified_ns if self.attributes.mtime_ns is None else self.attributes.mtime_ns

    @property
    def readable_at(self) -> Origin:
        """Where the bytes can be read."""
        return self.origin or Origin(self.ref, self.version)

    def at(self, ref: ObjectRef) -> Node:
        """The same after a move on the server: its version is unknown, its bytes are where they were."""
        origin = self.readable_at if self.readable_at.version else None
        return replace(self, ref=ref, version=0, origin=origin, sharing=None, public=None)


def of_entry(ref: ObjectRef, entry: Entry) -> Node:
    """The node of a listed object."""
    etags: tuple[str, ...] = (entry.hash,) if entry.hash else ()
    if entry.etag and entry.etag != entry.hash:
        etags += (entry.etag,)
    return Node(
        ref,
        attributes.parse(entry.content_type),
        entry.size,
        entry.hash,
        etags,
        entry.uuid,
        entry.version,
        entry.modified_ns,
        sharing=entry.sharing,
        public=entry.public,
        allowed=entry.allowed_to,
    )


def committed(
    ref: ObjectRef, kept: Attributes, hashmap: Hashmap, written: Written, base: Node | None
) -> Node:
    """The node of an object just written, over ``base`` if there was one."""
    etags = tuple(dict.fromkeys(each for each in (hashmap.merkle, written.etag) if each))
    node = Node(ref, kept, hashmap.size, hashmap.merkle, etags, "", written.version, time.time_ns())
    if base is None:
        return node
    return replace(node, uuid=base.uuid, sharing=base.sharing, public=base.public)


def virtual_directory(ref: ObjectRef, modified_ns: int = 0) -> Node:
    """A directory nobody made: it is there because something is below it."""
    return Node(ref, _DIRECTORY, modified_ns=modified_ns, exists=False)


def take_place(made: Node, node: Node) -> Node:
    """``made``, an object just made for a directory that had none, with the inode number of ``node``."""
    return replace(made, ino=inode_number(node), uuid=node.uuid)


def inode_number(node: Node) -> int:
    """A number that stays with the object: from its uuid, else from its name."""
    if node.ino:
        return node.ino
    seed = node.uuid or f"{node.ref.account}\0{node.ref.container}\0{node.ref.name}"
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) | 2


def new_inode_number() -> int:
    """A number for an object whose uuid is not known yet."""
    return secrets.randbits(61) | 1 << 61


class TreeBuilder:
    """Collects listed objects into directories: path component -> node, for each directory.

    Where an object and names below it want one path, the directory gets the
    name and the file is shown beside it (``names.distinct``).
    """

    def __init__(self, top: ObjectRef) -> None:
        self.top = top
        self.directories: dict[ObjectRef, dict[str, Node]] = {top: {}}
        # Neighbours are mostly in one directory: what the last name began with, and the directory it was in.
        self._above, self._here = "", top

    def add_entries(self, entries: Iterable[Entry]) -> None:
        """Objects below the top directory, at any depth, in listing order."""
        for entry in entries:
            if names.is_text(entry.name):
                self._add(entry)
            else:
                log.warning("object %r cannot be shown: its name is no text", entry.name)

    def add_subdirs(self, prefixes: Iterable[str]) -> None:
        """Common prefixes of a listing of one level, each ending in a slash."""
        for prefix in prefixes:
            component = prefix[len(self.top.prefix) : -1]
            if (component or self.top.name) and names.is_text(prefix):
                self._directory_in(self.directories[self.top], self.top.child(component), component)

    def _add(self, entry: Entry) -> None:
        above, slash, last = entry.name[len(self.top.prefix) :].rpartition("/")
        if above + slash != self._above and not self._enter(above + slash):
            log.warning("object %r cannot be shown: its name begins with a slash", entry.name)
            return
        here = self._here
        ref = ObjectRef(self.top.container, entry.name, self.top.account)
        node = of_entry(ref, entry)
        if not last:
            self._trailing_slash(here, node)
        elif node.is_directory:
            self._marker(here, node, last)
        else:
            _show(self.directories[here], names.to_path(last), node)

    def _enter(self, above: str) -> bool:
        """Go to the directory of names that begin with ``above``; False if it can be none."""
        here = self.top
        for component in above.split("/")[:-1]:
            if not component and not here.name:
                return False
            below = here.child(component)
            self._directory_in(self.directories[here], below, component)
            self.directories.setdefault(below, {})
            here = below
        self._above, self._here = above, here
        return True

    def _trailing_slash(self, here: ObjectRef, node: Node) -> None:
        """An object ``d/``: other tools' way to mark directory ``d``; shown only if it has content."""
        if node.size or not node.is_directory:
            _show(self.directories[here], names.to_path(""), node)

    def _marker(self, here: ObjectRef, node: Node, component: str) -> None:
        _show_directory(self.directories[here], names.to_path(component), node)
        self.directories.setdefault(node.ref, {})

    def _directory_in(self, children: dict[str, Node], ref: ObjectRef, component: str) -> None:
        name = names.to_path(component)
        found = children.get(name)
        if found is None or not found.is_directory:
            _show_directory(children, name, virtual_directory(ref))


def _show_directory(children: dict[str, Node], component: str, node: Node) -> None:
    """Put a directory into another one, in place of what was known of it; a file makes way for it."""
    before = children.pop(component, None)
    _show(children, component, node)
    if before is not None and not before.is_directory:
        _show(children, component, before)


def _show(children: dict[str, Node], component: str, node: Node) -> None:
    """Put ``node`` into a directory, under ``component`` or what is free beside it."""
    free = names.distinct(component, children)
    if names.showable(free):
        children[free] = node
    else:
        log.warning("object %s… cannot be shown: its name is too long", str(node.ref)[:80])
