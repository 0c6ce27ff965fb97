"""The tree as a mount shows it: the files, the past below ``/.pithos``, facts as attributes, others' rights.

A thin layer over :class:`~pithosfs.filesystem.FileSystem`: paths below
``.pithos`` go to :mod:`pithosfs.past`, names ``user.pithos.*`` to
:mod:`pithosfs.facts`, all else straight on.  A file of the past that is open
is an ordinary handle, so that copying one into the present moves no data.
"""

from __future__ import annotations

from collections.abc import Callable

from pithosfs import facts, names
from pithosfs.api import Client
from pithosfs.attributes import read_xattrs
from pithosfs.errors import (
    Exists,
    Forbidden,
    IsADirectory,
    NoAttribute,
    NotFound,
    NotSupported,
    ReadOnly,
)
from pithosfs.files import Files
from pithosfs.filesystem import FileSystem
from pithosfs.handles import Handle
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile
from pithosfs.past import PAST_DIRECTORY, Past
from pithosfs.ranges import Origin
from pithosfs.rights import Rights
from pithosfs.services import Services

_PAST = f"/{PAST_DIRECTORY}"


class MountedTree(FileSystem):
    """A :class:`FileSystem` with ``past`` and facts."""

    def __init__(
        self,
        services: Services,
        namespace: Namespace,
        files: Files,
        client_of: Callable[[ObjectRef], Client],
        past: Past,
        *,
        rights: Rights | None = None,
        read_only: bool = False,
    ) -> None:
        """``rights`` are asked where the tree, or all in it, is somebody else's."""
        super().__init__(services, namespace, files, client_of, read_only=read_only)
        self._past = past
        self._rights = rights

    # -- the past ------------------------------------------------------------------------------

    def node(self, path: str) -> Node:
        """What is at ``path``, now or then."""
        then = _in_past(path)
        return super().node(path) if then is None else self._past.node(then)

    def entries(self, path: str) -> dict[str, Node]:
        """The entries of a directory; ``.pithos`` is not among those of the top."""
        then = _in_past(path)
        if then is not None:
            return self._past.entries(then)
        found = super().entries(path)
        # Objects below a directory of that name cannot be reached; nor is a backup to walk into it for them.
        return found if PAST_DIRECTORY not in found or names.split(path) else _without(found, PAST_DIRECTORY)

    def known(self, path: str) -> Callable[[str], Node | None]:
        """As in FileSystem; of the past nothing is known before it is asked for."""
        return super().known(path) if _in_past(path) is None else lambda _: None

    def _take(self, path: str, *, write: bool) -> tuple[OpenFile, bool]:
        """As in FileSystem; of others' files only what they allow."""
        then = _in_past(path)
        if then is not None:
            return self._then(self._past.node(then)), False
        if write:
            self._require_right(path)
        return super()._take(path, write=write)

    def _then(self, node: Node) -> OpenFile:
        if node.is_directory:
            raise IsADirectory(f"{node.ref} is a directory")
        file = OpenFile(self._services, node.ref, node, node.attributes, node.ino)
        file.users.begin()
        return file

    def _writable(self, *paths: str) -> None:
        super()._writable(*paths)
        if any(_in_past(path) is not None for path in paths):
            raise ReadOnly("the past cannot be changed")

    # -- others' trees -----------------------------------------------------------------------------

    def create(self, path: str, mode: int, **options: bool) -> Handle:
        """Make a new file and open it, where that is allowed."""
        self._require_right(path)
        return super().create(path, mode, **options)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory, where that is allowed."""
        self._require_right(path)
        super().mkdir(path, mode)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link, where that is allowed."""
        self._require_right(path)
        super().symlink(target, path)

    def truncate(self, path: str, size: int) -> None:
        """Change a file's size by name, where that is allowed."""
        self._require_right(path)
        super().truncate(path, size)

    def set_attributes(self, path: str, mtime_ns: int | None = None, mode: int | None = None) -> None:
        """Change time or mode, where that is allowed."""
        self._require_right(path)
        super().set_attributes(path, mtime_ns, mode)

    def unlink(self, path: str) -> None:
        """Remove a file; what others have on the server only they remove."""
        self._writable(path)
        self._require_ownership(path)
        super().unlink(path)

    def hide(self, path: str, hidden: str) -> bool:
        """Take an open file's name away; what others have on the server only they remove."""
        self._require_ownership(path)
        return super().hide(path, hidden)

    def rename(self, old: str, new: str, *, overwrite: bool = True) -> None:
        """Move a file or a directory, where both is allowed."""
        self._require_right(old)
        self._require_right(new)
        super().rename(old, new, overwrite=overwrite)

    def _require_ownership(self, path: str) -> None:
        if self._rights is not None and self._rights.exists(self.namespace.find(path).ref):
            raise Forbidden(f"{path} belongs to somebody else, who alone can remove it", 403)

    def _require_right(self, path: str) -> None:
        """Raises what :meth:`_writable` raises, and Forbidden where the owner grants no writing."""
        self._writable(path)
        if self._rights is None:
            return
        node, missing = self.namespace.resolve(path)
        if not node.ref.container or (not node.ref.name and len(missing) != 1):
            return  # accounts and containers: the operation itself says what is wrong
        if node.allowed != "write" and not self._rights.may_write(node.ref):
            raise Forbidden(f"{path} is not shared for writing", 403)

    # -- extended attributes -----------------------------------------------------------------------

    def xattrs(self, path: str) -> dict[str, bytes]:
        """The user's own attributes."""
        then = _in_past(path)
        if then is None:
            return super().xattrs(path)
        node = self._past.node(then)
        if not node.exists:
            return {}
        return read_xattrs(OpenFile(self._services, node.ref, node, node.attributes).meta())

    def xattr(self, path: str, name: str) -> bytes | None:
        """One attribute, of the user's own or of the store's facts."""
        if not facts.is_fact(name):
            return super().xattr(path, name)
        node = self.node(path)
        if not node.exists or not node.ref.name:
            return None
        version = Origin(node.ref, 0) if _in_past(path) is None else node.readable_at
        try:
            info = self._services.fetcher.info(version)
        except NotFound:
            return None  # not sent yet
        return facts.read(name, self._client_of(node.ref), node.ref, info.entry)

    def set_xattr(self, path: str, name: str, value: bytes, *, create: bool, exists: bool) -> None:
        """Set an attribute; ``user.pithos.public`` and ``…sharing`` take effect at once."""
        if not facts.is_fact(name):
            self._require_right(path)
            super().set_xattr(path, name, value, create=create, exists=exists)
            return
        self._writable(path)
        if (create or exists) and (self.xattr(path, name) is None) == exists:
            raise NoAttribute(f"{path} has no {name}") if exists else Exists(f"{path} has {name} already")
        self._set_fact(path, name, value)

    def remove_xattr(self, path: str, name: str) -> None:
        """Remove an attribute; of the facts that ends sharing or publishing."""
        if not facts.is_fact(name):
            self._require_right(path)
            super().remove_xattr(path, name)
            return
        self._writable(path)
        if self.xattr(path, name) is None:
            raise NoAttribute(f"{path} has no {name}")
        self._set_fact(path, name, b"")

    def _set_fact(self, path: str, name: str, value: bytes) -> None:
        node = self.node(path)
        if not node.exists or not node.ref.name:
            raise NotSupported(f"{path} has no object of its own that could be shared")
        if not node.is_directory:
            with self._paths.in_use(path) as file:
                if file.dirty:
                    self.files.sending.sync(file)
        facts.write(name, value, self._client_of(node.ref), node.ref)
        self.namespace.forget(node.ref.parent)


def _without(entries: dict[str, Node], component: str) -> dict[str, Node]:
    return {each: node for each, node in entries.items() if each != component}


def _in_past(path: str) -> list[str] | None:
    """The components below ``.pithos``; None for a path that does not lead there."""
    if not path.startswith(_PAST):
        return None
    first, *below = names.split(path)
    return below if first == PAST_DIRECTORY else None
