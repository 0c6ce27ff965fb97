"""Names made and removed: directories, symbolic links, files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from pithosfs import attributes, names
from pithosfs.api import Client
from pithosfs.attributes import Attributes
from pithosfs.errors import (
    Conflict,
    Exists,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotSupported,
    Stale,
)
from pithosfs.files import Files
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, directory_attributes
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile
from pithosfs.paths import Paths


class Naming:
    """What comes into a directory and goes out of it.

    All of it is on the server on return, but for new files, for directories and links made with write-back,
    and for files that are removed one after the other: they are deleted there behind the program, as long
    as the store keeps up (``removals``).
    """

    def __init__(
        self,
        namespace: Namespace,
        files: Files,
        paths: Paths,
        client_of: Callable[[ObjectRef], Client],
    ) -> None:
        self._namespace = namespace
        self._files = files
        self._paths = paths
        self._client_of = client_of

    # -- made -----------------------------------------------------------------------------------

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        directory, component, ref = self._new(path)
        if not ref.name:
            self._client_of(ref).create_container(ref.container)
            self._namespace.forget(directory.ref)
            return
        kept = directory_attributes(mode & 0o7777, time.time_ns())
        if self._files.sending.writes_back:
            self._files.make(ref, kept, directory.ref, component)
        else:
            self._make_marker(path, ref, kept, directory, component)
        self._namespace.made_directory(ref)
        self._paths.came(directory)

    def _make_marker(
        self, path: str, ref: ObjectRef, kept: Attributes, directory: Node, component: str
    ) -> None:
        self._files.removals.finish(ref)
        try:
            made = self._namespace.make_marker(ref, kept)
        except Stale as error:
            self._namespace.forget(directory.ref)
            raise Exists(f"{path} is there already") from error
        self._files.services.store.remember_meta(made.version, {})
        self._namespace.put(directory.ref, component, made)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        directory, component, ref = self._new(path)
        kept = Attributes(attributes.SYMLINK_TYPE, time.time_ns(), 0o777)
        _only_containers(ref, path)
        data = target.encode("utf-8", "surrogateescape")
        self._files.make(ref, kept, directory.ref, component, data)
        self._paths.came(directory)

    def create(self, path: str, mode: int) -> OpenFile:
        """Make a new file, in use as by ``Files.use``; it is sent when it is closed."""
        directory, component, ref = self._new(path)
        _only_containers(ref, path)
        kept = Attributes(attributes.guess_type(component), time.time_ns(), mode & 0o7777)
        file = self._files.create(ref, kept, directory.ref, component)
        self._paths.came(directory)
        return file

    def _new(self, path: str) -> tuple[Node, str, ObjectRef]:
        """Where a new name is to be: its directory, its last component, its object; Exists if it is there."""
        directory, component = self._namespace.find_parent(path)
        if component in self._namespace.children(directory):
            raise Exists(f"{path} is there already")
        return directory, component, self._paths.new_ref(directory, component, path)

    # -- removed --------------------------------------------------------------------------------

    def unlink(self, path: str) -> None:
        """Remove a file; who has it open goes on with it."""
        directory, component, node = self._there(path)
        if node.is_directory:
            raise IsADirectory(f"{path} is a directory")
        with self._paths.using(node, directory, component) as file, self._files.still(file):
            if file.node is None or self._files.removals.keeps_up():
                self._files.departures.hide(file, directory.ref, component, certain=True)
            else:
                there = replace(file.node, ref=node.ref)
                self._files.removals.now(lambda: self._files.departures.delete(there))
                self._files.departures.deleted(node)
            self._namespace.drop(directory.ref, component)
        self._paths.left(directory)

    def sync(self, path: str) -> None:
        """Return when the store has what was done to names in a directory; raises why it has not."""
        try:
            directory = self._namespace.find(path)
        except NotFound:
            return  # it was removed, and so all that was in it
        self._files.removals.finish_all(lambda each: each.parent == directory.ref)
        self._files.sending.sync_directory(directory.ref)

    def hide(self, path: str, hidden: str) -> bool:
        """Remove a file that is or just was open; ``hidden`` still leads to it, which nobody sees.

        False if it is no file: then it is an ordinary rename.
        """
        directory, component, node = self._there(path)
        if node.is_directory:
            return False
        with self._paths.using(node, directory, component) as file:
            try:
                with self._files.still(file):
                    self._files.departures.hide(file, directory.ref, component)
                    self._namespace.drop(directory.ref, component)
                self._paths.left(directory)
            except BaseException:
                self._files.departures.not_hid(node.ref)
                raise
            self._paths.hidden.put(hidden, file)
            self._files.departures.hid(path, node.ref)
        return True

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        if not names.split(path):
            raise NotSupported("the top of the mount cannot be removed")
        directory, component, node = self._there(path)
        if not node.is_directory:
            raise NotADirectory(f"{path} is no directory")
        if self._namespace.children(node):
            raise NotEmpty(f"{path} is not empty")
        self._files.removals.finish_all(lambda each: each != node.ref and each.is_below(node.ref))
        if not node.ref.name:
            try:
                self._client_of(node.ref).delete_container(node.ref.container)
            except Conflict as error:
                raise NotEmpty(f"{path} is not empty") from error
        with self._files.still(self._files.find(node.ref)):
            unsent = self._files.unsent(node.ref)
            if unsent is not None:
                self._files.departures.hide(unsent, directory.ref, component, certain=True)
            elif node.ref.name and node.exists:
                self._files.departures.delete(node)
            if unsent is not None or node.exists:  # else a file may have the name
                self._files.departures.deleted(node)
            self._namespace.drop(directory.ref, component)
        self._paths.left(directory)

    def _there(self, path: str) -> tuple[Node, str, Node]:
        """The directory of a name, its last component, and what it leads to."""
        directory, component = self._namespace.find_parent(path)
        return directory, component, self._namespace.child(directory, component)


def _only_containers(ref: ObjectRef, path: str) -> None:
    if not ref.name:
        raise NotSupported(f"{path}: among containers only directories can be made, which are containers")
