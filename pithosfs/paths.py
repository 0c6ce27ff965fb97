"""What a path leads to: the tree, with what is in use, hidden, or about to be replaced in it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from pithosfs import names
from pithosfs.errors import InvalidArgument, NameTooLong, NotFound, NotSupported
from pithosfs.files import Files
from pithosfs.foreign import Times
from pithosfs.hidden import Hidden
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, place_of
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile

#: Directories whose changes here are remembered.
_DIRECTORIES = 10_000


class Paths:
    """Paths of one mount."""

    def __init__(self, namespace: Namespace, files: Files, times: Times) -> None:
        self.hidden = Hidden()
        self.changed = DirectoryTimes()
        self._namespace = namespace
        self._files = files
        self._times = times

    # -- looking ----------------------------------------------------------------------------------

    def node(self, path: str) -> Node:
        """What is at ``path``, as this mount has it."""
        hidden = self.hidden.find(path)
        if hidden is not None:
            return hidden.view()
        return self.changed.shown(self._files.view(self._times.shown(self.find(path))))

    def entries(self, path: str) -> dict[str, Node]:
        """The entries of a directory, by name."""
        found = self._namespace.children(self._namespace.find(path), reading=True)
        for name, node in found.items():
            found[name] = self._files.view(node)
        return found

    def known(self, path: str) -> Callable[[str], Node | None]:
        """A look at single entries of a directory, without asking the store.

        None of what is not there, not listed lately, or of a file whose time has to be asked for.
        """
        listed = self._namespace.fresh(path)

        def look(component: str) -> Node | None:
            node = listed.get(component)
            if node is None or self._times.is_open(node):
                return None
            return self.changed.shown(self._files.view(node))

        return look

    def find(self, path: str) -> Node:
        """The node at ``path``; a name that is just being replaced is never missing."""
        try:
            return self._namespace.find(path)
        except NotFound:
            if not self._was_replaced(path):
                raise
            return self._namespace.find(path)

    def _was_replaced(self, path: str) -> bool:
        """Wait if the name was moved out of the way, maybe to be replaced; whether to look again."""
        if not self._files.removals or not names.split(path):
            return False
        directory, component = self._namespace.find_parent(path)
        return self._files.removals.outcome(self._namespace.new_ref(directory, component))

    # -- using ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def in_use(self, path: str) -> Iterator[OpenFile]:
        """The file at ``path``, in use for the length of one operation."""
        hidden = self.hidden.find(path)
        if hidden is not None:
            yield hidden
            return
        directory, component = self._namespace.find_parent(path)
        with self.using(self._namespace.child(directory, component), directory, component) as file:
            yield file

    @contextlib.contextmanager
    def using(self, node: Node, directory: Node, component: str) -> Iterator[OpenFile]:
        """The file of ``node``; whoever opens it meanwhile gets the same one."""
        file = self._files.use(node, directory.ref, component)
        try:
            yield file
        finally:
            self._files.done(file)

    # -- names come and go ----------------------------------------------------------------------------

    def new_ref(self, directory: Node, component: str, path: str) -> ObjectRef:
        """The object a new entry of a directory would be; InvalidArgument or NameTooLong if it cannot be."""
        ref = self._namespace.new_ref(directory, component)
        if not ref.name and (directory.ref.container or not ref.container):
            raise InvalidArgument(f"{path}: the store has no object with an empty name")
        names.check_length(component)
        if not names.storable(ref):
            raise NameTooLong(f"{path[:60]}…: the name is too long for the store")
        return ref

    def came(self, directory: Node) -> None:
        """Something is new in a directory."""
        self.changed.now(directory.ref)

    def left(self, directory: Node) -> None:
        """Something went out of a directory; one that nobody made must not vanish with it."""
        self.changed.now(directory.ref)
        if directory.exists or not directory.ref.name or directory.ref == self._namespace.top.ref:
            return
        try:
            empty = not self._namespace.children(directory)
        except NotFound:
            return  # it was moved away meanwhile, and made for that
        if empty:
            self._files.removals.finish(directory.ref)  # of a file that had its name
            with contextlib.suppress(NotSupported):  # a file has its name: it ends with what was in it
                made = self._namespace.have_marker(directory, directory.attributes)
                self._namespace.put(*place_of(directory.ref), made)


class DirectoryTimes:
    """When names last came to directories or went from them, on this mount; the store does not know."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[ObjectRef, int] = {}  # nanoseconds since 1970

    def now(self, ref: ObjectRef) -> None:
        """A name came or went."""
        with self._lock:
            self._times[ref] = time.time_ns()
            if len(self._times) > _DIRECTORIES:
                self._times.pop(next(iter(self._times)))

    def shown(self, node: Node) -> Node:
        """``node``, a directory with the time its names changed if that is later."""
        at = self._times.get(node.ref)
        if at is None or not node.is_directory or at <= node.mtime_ns:
            return node
        return replace(node, attributes=node.attributes.with_changes(mtime_ns=at))

    def forget(self, ref: ObjectRef) -> None:
        """Somebody has set another time."""
        with self._lock:
            self._times.pop(ref, None)

    def renamed(self, old: ObjectRef, new: ObjectRef) -> None:
        """A directory has another name."""
        with self._lock:
            at = self._times.pop(old, None)
            if at is not None:
                self._times[new] = at
