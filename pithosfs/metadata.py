"""Times, modes and extended attributes, changed by name.

Of a file, and of a directory that has an object of its own, a change waits a
moment for something that can carry it (``Sending.hold``).
"""

from __future__ import annotations

from collections.abc import Callable

from pithosfs import attributes
from pithosfs.errors import Exists, NoAttribute, NotSupported
from pithosfs.files import Files
from pithosfs.namespace import Namespace
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile
from pithosfs.paths import Paths
from pithosfs.services import Services


class Metadata:
    """The metadata of what is at a path."""

    def __init__(self, services: Services, namespace: Namespace, files: Files, paths: Paths) -> None:
        self._services = services
        self._namespace = namespace
        self._files = files
        self._paths = paths

    # -- times and modes ----------------------------------------------------------------------------

    def set_attributes(self, path: str, mtime_ns: int | None, mode: int | None) -> None:
        """Change times or mode (None: as they are)."""
        hidden = self._paths.hidden.find(path)
        if hidden is not None:
            hidden.set_attributes(mtime_ns, mode)
            return
        node = self._namespace.find(path)
        if node.is_directory:
            self._set_directory(path, node, mtime_ns, mode)
        else:
            self._set_file(path, mtime_ns, mode)

    def _set_file(self, path: str, mtime_ns: int | None, mode: int | None) -> None:
        with self._paths.in_use(path) as file:
            file.set_attributes(mtime_ns, mode)
            self._files.sending.hold(file)

    def _set_directory(self, path: str, node: Node, mtime_ns: int | None, mode: int | None) -> None:
        if not node.ref.name or node == self._namespace.top:
            return  # a container, or the top of the mount: there is nowhere to keep it
        if mtime_ns is not None:
            self._paths.changed.forget(node.ref)
        node = self._files.view(node)
        kept = node.attributes.with_changes(mtime_ns, mode)
        if kept == node.attributes:
            return
        if node.exists:
            self._set_file(path, mtime_ns, mode)
            return
        directory, component = self._namespace.find_parent(path)
        try:
            made = self._namespace.have_marker(node, kept)
        except NotSupported:
            return  # there is nowhere to keep it, either
        self._namespace.put(directory.ref, component, made)
        if made.attributes != kept:  # others have made it meanwhile
            self._set_file(path, mtime_ns, mode)

    # -- extended attributes ------------------------------------------------------------------------

    def xattrs(self, path: str) -> dict[str, bytes]:
        """The user's extended attributes by full name (``user.…``)."""
        hidden = self._paths.hidden.find(path)
        if hidden is not None:
            return attributes.read_xattrs(hidden.meta())
        return attributes.read_xattrs(self._meta(self._namespace.find(path)))

    def set_xattr(self, path: str, name: str, value: bytes, *, create: bool, exists: bool) -> None:
        """Set one: only a new one (``create``), only one there is (``exists``)."""
        found = self.xattrs(path)
        if create and name in found:
            raise Exists(f"{path} has {name} already")
        if exists and name not in found:
            raise NoAttribute(f"{path} has no {name}")
        self._change(path, lambda meta: attributes.set_xattr(meta, name, value))

    def remove_xattr(self, path: str, name: str) -> None:
        """Remove one."""
        if name not in self.xattrs(path):
            raise NoAttribute(f"{path} has no {name}")
        self._change(path, lambda meta: attributes.remove_xattr(meta, name))

    def _meta(self, node: Node) -> dict[str, str]:
        file = self._files.find(node.ref)
        if file is None:
            if not node.exists or not node.ref.name:
                return {}
            file = OpenFile(self._services, node.ref, node, node.attributes)
        return file.meta()

    def _change(self, path: str, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        if self._paths.hidden.find(path) is None:
            self._check_keeps_attributes(path)
        with self._paths.in_use(path) as file:
            file.set_meta(change(dict(file.meta())))
            self._files.sending.hold(file)

    def _check_keeps_attributes(self, path: str) -> None:
        node = self._namespace.find(path)
        if node.is_directory and not node.exists:
            raise NotSupported(f"{path} has no object of its own that could keep attributes")
        if not node.ref.name:
            raise NotSupported("a container keeps no attributes")
