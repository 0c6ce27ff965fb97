"""Paths and handles: what a program can do to the tree.  Knows no FUSE and no errno.

Each method is one thing a program asks for, raises :mod:`pithosfs.errors`, and
says how it is done in terms of the layers below: the tree (``namespace``),
the files in use (``files``), and the store (``api``).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pithosfs import attributes, names
from pithosfs.api import Client
from pithosfs.attributes import Attributes, Kind
from pithosfs.blocks import Buffer
from pithosfs.errors import (
    BadHandle,
    Conflict,
    Exists,
    InvalidArgument,
    IsADirectory,
    NameTooLong,
    NoAttribute,
    NoLink,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotSupported,
    ReadOnly,
    Stale,
    StoreError,
)
from pithosfs.fetch import Address
from pithosfs.files import Files
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, directory_attributes, is_below, parent_of
from pithosfs.nodes import Node, inode_number
from pithosfs.openfile import OpenFile, Services
from pithosfs.readahead import Readahead
from pithosfs.siblings import Siblings
from pithosfs.space import Space, Usage

log = logging.getLogger(__name__)

#: Copies between files move so many bytes at most where hashes cannot be spliced.
_COPY_CHUNK = 4 * 1024 * 1024
_MAX_LINK = 4096
#: Seconds a replaced file can still be opened: by who looked its name up just before.
_LINGER = 5.0


@dataclass(slots=True)
class Handle:
    """An open file, as one ``open`` gave it."""

    number: int
    file: OpenFile
    readable: bool
    writable: bool
    append: bool
    ahead: Readahead
    #: The kernel's cached pages of this file are still right.
    unchanged: bool = False
    #: Another version of the same path is open: its pages must not be shared.
    private: bool = False


class FileSystem:
    """A mounted tree; ``read_only`` refuses every change."""

    def __init__(
        self,
        services: Services,
        namespace: Namespace,
        files: Files,
        client_of: Callable[[ObjectRef], Client],
        *,
        read_only: bool = False,
    ) -> None:
        self.namespace = namespace
        self.files = files
        self.read_only = read_only
        self._services = services
        self._client_of = client_of
        self._lock = threading.Lock()
        self._handles: dict[int, Handle] = {}
        self._numbers = itertools.count(1)
        self._kernel_has: dict[int, tuple[str, int]] = {}  # inode -> hash and size of its cached pages
        self._touched: dict[ObjectRef, int] = {}  # directories changed here -> when, ns
        self._usage = Usage(lambda: client_of(namespace.top.ref).account())
        self._siblings = Siblings()
        self._hidden: dict[str, OpenFile] = {}  # libfuse's names for removed files that are still open
        self._forgotten: deque[tuple[float, str]] = (
            deque()
        )  # those of them libfuse is done with, and since when

    # -- looking -------------------------------------------------------------------------------

    def node(self, path: str) -> Node:
        """What is at ``path``."""
        hidden = self._hidden_file(path)
        if hidden is not None:
            return hidden.view()
        found = self.files.view(self._find(path))
        touched = self._touched.get(found.ref)
        if touched is not None and found.is_directory and touched > found.mtime_ns:
            return _with_time(found, touched)
        return found

    def _find(self, path: str) -> Node:
        """The node at ``path``; a name that is just being replaced is never missing."""
        try:
            return self.namespace.find(path)
        except NotFound:
            if not self._was_replaced(path):
                raise
            return self.namespace.find(path)

    def _was_replaced(self, path: str) -> bool:
        """Wait if the name was moved out of the way, maybe to be replaced; whether to look again."""
        if not self.files.removals or not names.split(path):
            return False
        directory, component = self.namespace.find_parent(path)
        return self.files.removals.outcome(self.namespace.new_ref(directory, component))

    def node_of(self, number: int) -> Node:
        """What an open handle is of."""
        return self.handle(number).file.view()

    def entries(self, path: str) -> dict[str, Node]:
        """The entries of a directory, by name."""
        found = self.namespace.children(self.namespace.find(path), reading=True)
        for name, node in found.items():
            found[name] = self.files.view(node)
        return found

    def readlink(self, path: str) -> str:
        """The target of a symbolic link."""
        node = self.node(path)
        if node.kind is not Kind.SYMLINK:
            raise NoLink(f"{path} is no symbolic link")
        file = OpenFile(self._services, node.ref, node, node.attributes)
        view = memoryview(bytearray(min(node.size, _MAX_LINK)))
        file.read_into(0, view, Readahead(self._services.block_size))
        return bytes(view).decode("utf-8", "surrogateescape")

    def space(self) -> Space:
        """The account's quota and usage, as last heard; waits a moment at most, the first time."""
        return self._usage.now()

    # -- handles ---------------------------------------------------------------------------------

    def handle(self, number: int) -> Handle:
        """The handle of this number; BadHandle if it is closed."""
        found = self._handles.get(number)
        if found is None:
            raise BadHandle(f"handle {number} is not open")
        return found

    def open(
        self,
        path: str,
        *,
        read: bool = True,
        write: bool = False,
        append: bool = False,
        truncate: bool = False,
    ) -> Handle:
        """Open a file."""
        if write or truncate:
            self._writable(path)
        hidden = self._hidden_file(path)
        if hidden is not None:  # the name was replaced between the kernel's lookup and its open
            if not self.files.again(hidden):
                raise NotFound(f"{path} is gone", 404)
            return self._new_handle(hidden, read, write, append)
        if self._find(path).is_directory:
            raise IsADirectory(f"{path} is a directory")
        directory, component = self.namespace.find_parent(path)
        node = self.namespace.child(directory, component)
        before = self.files.find(node.ref)
        file = self.files.use(node, directory.ref, component)
        try:
            if truncate:
                file.truncate(0)
        except BaseException:
            self.files.done(file)
            raise
        handle = self._new_handle(file, read, write, append)
        handle.private = before is not None and before is not file and before.handles > 0
        if read and not write:
            self._fetch_siblings(directory, component, node)
        handle.unchanged = not file.content_changed and self._kernel_still_has(file)
        return handle

    def _fetch_siblings(self, directory: Node, component: str, node: Node) -> None:
        """When small files are read one after the other, begin on the next ones."""
        size = self._services.block_size
        if node.size > size:
            return
        children = self.namespace.children(directory)
        ahead = (children.get(each) for each in self._siblings.opened(directory.ref, component, children))
        self._services.fetcher.prefetch(
            Address(each.readable_at, 0, each.hash, each.size, size)
            for each in ahead
            if each is not None and each.kind is Kind.FILE and each.hash and 0 < each.size <= size
        )

    def create(self, path: str, mode: int, *, read: bool = True, exclusive: bool = False) -> Handle:
        """Make a new file and open it; opens one that is there unless ``exclusive``."""
        self._writable(path)
        directory, component = self.namespace.find_parent(path)
        ref = self._new_ref(directory, component, path)
        if component in self.namespace.children(directory):
            if exclusive:
                raise Exists(f"{path} is there already")
            return self.open(path, read=read, write=True)
        kept = Attributes(attributes.guess_type(component), time.time_ns(), mode & 0o7777)
        file = self.files.create(ref, kept, directory.ref, component)
        self._touch(directory.ref)
        return self._new_handle(file, read, True, False)

    def _new_handle(self, file: OpenFile, read: bool, write: bool, append: bool) -> Handle:
        self.files.opened(file)
        handle = Handle(next(self._numbers), file, read, write, append, Readahead(self._services.block_size))
        self._handles[handle.number] = handle
        return handle

    def _kernel_still_has(self, file: OpenFile) -> bool:
        node = file.node
        if node is None or not node.hash:
            return False
        now = (node.hash, node.size)
        with self._lock:
            same = self._kernel_has.get(file.ino) == now
            self._kernel_has[file.ino] = now
            if len(self._kernel_has) > 100_000:
                self._kernel_has.pop(next(iter(self._kernel_has)))
        return same

    def _kernel_wrote(self, file: OpenFile) -> None:
        """All that is new in the file went through the kernel: its pages are right."""
        node = file.node
        if node is not None and not file.content_changed:
            with self._lock:
                self._kernel_has[file.ino] = (node.hash, node.size)

    def read_into(self, number: int, offset: int, view: memoryview) -> int:
        """Fill ``view``; returns how many bytes, fewer only at the end of the file."""
        handle = self.handle(number)
        if not handle.readable:
            raise BadHandle("not open for reading")
        return handle.file.read_into(offset, view, handle.ahead)

    def write(self, number: int, offset: int, data: Buffer) -> int:
        """Write all of ``data``."""
        handle = self._writing(number)
        return handle.file.append(data) if handle.append else handle.file.write(offset, data)

    def flush(self, number: int) -> None:
        """A descriptor is closed: returns when the server has the file (or raises why not)."""
        handle = self.handle(number)
        if handle.writable and handle.file.dirty:
            self.files.flush(handle.file)
            self._kernel_wrote(handle.file)

    def fsync(self, number: int) -> None:
        """Returns when the server has the file, whatever was set for close."""
        handle = self.handle(number)
        if handle.file.dirty:
            self.files.sync(handle.file)
            self._kernel_wrote(handle.file)

    def release(self, number: int) -> None:
        """The last descriptor of a handle is gone; never raises."""
        handle = self._handles.pop(number, None)
        if handle is not None:
            self.files.closed(handle.file)

    def _writing(self, number: int) -> Handle:
        handle = self.handle(number)
        if not handle.writable:
            raise BadHandle("not open for writing")
        return handle

    # -- sizes and copies ------------------------------------------------------------------------

    def truncate(self, path: str, size: int) -> None:
        """Change a file's size by name."""
        self._writable(path)
        with self._in_use(path) as file:
            file.truncate(size)
            if not file.handles and not file.gone:
                self.files.sync(file)

    def truncate_handle(self, number: int, size: int) -> None:
        """Change a file's size by handle."""
        self._writing(number).file.truncate(size)

    def allocate(self, number: int, offset: int, length: int, *, keep_size: bool) -> None:
        """Make room: a hole is as good as any."""
        file = self._writing(number).file
        if offset < 0 or length <= 0:
            raise InvalidArgument("a range must begin at 0 or later and not be empty")
        if not keep_size and offset + length > file.size:
            file.truncate(offset + length)

    def zero(self, number: int, offset: int, length: int, *, keep_size: bool) -> None:
        """Make a range zero; whole blocks cost nothing."""
        file = self._writing(number).file
        if offset < 0 or length <= 0:
            raise InvalidArgument("a range must begin at 0 or later and not be empty")
        if not keep_size and offset + length > file.size:
            file.truncate(offset + length)
        file.zero(offset, min(offset + length, file.size))

    def copy(self, source: int, offset: int, target: int, to: int, length: int) -> int:
        """Copy a range between open files; whole blocks as hashes, without moving a byte.

        Returns how many bytes were copied, which may be fewer.
        """
        from_, into = self.handle(source).file, self._writing(target).file
        length = min(length, from_.size - offset)
        if length <= 0:
            return 0
        done = from_.splice_into(into, offset, to, length)
        if done:
            return done
        view = memoryview(bytearray(min(length, _COPY_CHUNK)))
        got = from_.read_into(offset, view, self.handle(source).ahead)
        return into.write(to, view[:got])

    def seek(self, number: int, offset: int, *, data: bool) -> int | None:
        """The next data or hole at or after ``offset``; None if there is none."""
        file = self.handle(number).file
        return file.seek(offset, data=data)

    # -- attributes ----------------------------------------------------------------------------------

    def set_attributes(self, path: str, mtime_ns: int | None = None, mode: int | None = None) -> None:
        """Change times or mode by name; goes out in a moment, or with a rename."""
        self._writable(path)
        hidden = self._hidden_file(path)
        if hidden is not None:
            hidden.set_attributes(mtime_ns, mode)
            return
        node = self.namespace.find(path)
        if node.is_directory:
            self._set_directory(path, node, mtime_ns, mode)
            return
        with self._in_use(path) as file:
            self._change(file, mtime_ns, mode)

    def set_handle_attributes(
        self, number: int, mtime_ns: int | None = None, mode: int | None = None
    ) -> None:
        """Change times or mode by handle."""
        self._change(self.handle(number).file, mtime_ns, mode)

    def _change(self, file: OpenFile, mtime_ns: int | None, mode: int | None) -> None:
        file.set_attributes(mtime_ns, mode)
        if not file.content_changed:
            self.files.hold(file)

    def _set_directory(self, path: str, node: Node, mtime_ns: int | None, mode: int | None) -> None:
        if not node.ref.name or node == self.namespace.top:
            return  # a container, or the top of the mount: there is nowhere to keep it
        if mtime_ns is not None:
            self._touched.pop(node.ref, None)
        node = self.files.view(node)
        kept = node.attributes.with_changes(mtime_ns, mode)
        if kept == node.attributes:
            return
        if node.exists:
            with self._in_use(path) as file:
                self._change(file, mtime_ns, mode)
            return
        directory, component = self.namespace.find_parent(path)
        made = self.namespace.make_marker(node.ref, kept, only_new=False)
        self.namespace.put(directory.ref, component, _as(made, node))

    def xattrs(self, path: str) -> dict[str, bytes]:
        """The user's extended attributes by full name (``user.…``)."""
        return attributes.read_xattrs(self._meta(self.namespace.find(path)))

    def xattr(self, path: str, name: str) -> bytes | None:
        """One extended attribute, None if there is none of this name."""
        return self.xattrs(path).get(name)

    def set_xattr(self, path: str, name: str, value: bytes, *, create: bool, exists: bool) -> None:
        """Set one extended attribute: only a new one (``create``), only one there is (``exists``)."""
        found = self.xattrs(path)
        if create and name in found:
            raise Exists(f"{path} has {name} already")
        if exists and name not in found:
            raise NoAttribute(f"{path} has no {name}")
        self._change_meta(path, lambda meta: attributes.set_xattr(meta, name, value))

    def remove_xattr(self, path: str, name: str) -> None:
        """Remove one extended attribute."""
        if name not in self.xattrs(path):
            raise NoAttribute(f"{path} has no {name}")
        self._change_meta(path, lambda meta: attributes.remove_xattr(meta, name))

    def _meta(self, node: Node) -> dict[str, str]:
        file = self.files.find(node.ref)
        if file is None:
            if not node.exists or not node.ref.name:
                return {}
            file = OpenFile(self._services, node.ref, node, node.attributes)
        return file.meta()

    def _change_meta(self, path: str, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        self._writable(path)
        node = self.namespace.find(path)
        if node.is_directory and not node.exists:
            raise NotSupported(f"{path} has no object of its own that could keep attributes")
        if not node.ref.name:
            raise NotSupported("a container keeps no attributes")
        with self._in_use(path) as file:
            file.set_meta(change(dict(file.meta())))
            if not file.content_changed:
                self.files.hold(file)

    # -- names -------------------------------------------------------------------------------------

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        self._writable(path)
        directory, component = self.namespace.find_parent(path)
        if component in self.namespace.children(directory):
            raise Exists(f"{path} is there already")
        ref = self._new_ref(directory, component, path)
        if not ref.name:
            self._client_of(ref).create_container(ref.container)
            self.namespace.forget(directory.ref)
            return
        try:
            self.files.removals.finish(ref)
            made = self.namespace.make_marker(
                ref, directory_attributes(mode & 0o7777, time.time_ns()), only_new=True
            )
        except Stale as error:
            self.namespace.forget(directory.ref)
            raise Exists(f"{path} is there already") from error
        self._services.store.remember_meta(made.version, {})
        self.namespace.put(directory.ref, component, made)
        self.namespace.made_directory(ref)
        self._touch(directory.ref)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        self._writable(path)
        directory, component = self.namespace.find_parent(path)
        if component in self.namespace.children(directory):
            raise Exists(f"{path} is there already")
        ref = self._new_ref(directory, component, path)
        kept = Attributes(attributes.SYMLINK_TYPE, time.time_ns(), 0o777)
        file = self.files.create(ref, kept, directory.ref, component)
        self.files.opened(file)
        try:
            file.write(0, target.encode("utf-8", "surrogateescape"))
            file.set_attributes(mtime_ns=kept.mtime_ns)
            self.files.sync(file)
        finally:
            self.files.closed(file)
        self._touch(directory.ref)

    def unlink(self, path: str) -> None:
        """Remove a file; who has it open goes on with it."""
        self._writable(path)
        directory, component = self.namespace.find_parent(path)
        node = self.namespace.child(directory, component)
        if node.is_directory:
            raise IsADirectory(f"{path} is a directory")
        with self._using(node, directory.ref, component) as file, self.files.still(file):
            if file.node is not None:
                self._delete(node.ref)
            self.files.removed(node.ref)
            self.namespace.drop(directory.ref, component)
        self._left(directory)

    def hide(self, path: str, hidden: str) -> bool:
        """Remove a file that is or just was open; ``hidden`` still leads to it, which nobody sees.

        False if it is no file: then it is an ordinary rename.
        """
        self._writable(path)
        directory, component = self.namespace.find_parent(path)
        node = self.namespace.child(directory, component)
        if node.is_directory:
            return False
        with self._using(node, directory.ref, component) as file, self.files.still(file):
            self.files.hide(file, directory.ref, component)
            self.namespace.drop(directory.ref, component)
            self._hidden[names.split(hidden)[-1]] = file
        self._left(directory)
        return True

    def forget_hidden(self, path: str) -> bool:
        """The last handle of a hidden file is gone; who looked its old name up may still come."""
        name = names.split(path)[-1]
        now = time.monotonic()
        while self._forgotten and self._forgotten[0][0] < now - _LINGER:
            self._hidden.pop(self._forgotten.popleft()[1], None)
        if name not in self._hidden:
            return False
        self._forgotten.append((now, name))
        return True

    def _hidden_file(self, path: str) -> OpenFile | None:
        return self._hidden.get(path.rpartition("/")[2]) if self._hidden else None

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._writable(path)
        if not names.split(path):
            raise NotSupported("the top of the mount cannot be removed")
        directory, component = self.namespace.find_parent(path)
        node = self.namespace.child(directory, component)
        if not node.is_directory:
            raise NotADirectory(f"{path} is no directory")
        if self.namespace.children(node):
            raise NotEmpty(f"{path} is not empty")
        if not node.ref.name:
            try:
                self._client_of(node.ref).delete_container(node.ref.container)
            except Conflict as error:
                raise NotEmpty(f"{path} is not empty") from error
        with self.files.still(self.files.find(node.ref)):
            if node.ref.name and node.exists:
                self._delete(node.ref)
            self.files.removed(node.ref)
            self.namespace.drop(directory.ref, component)
        self._left(directory)

    def _delete(self, ref: ObjectRef) -> None:
        delete(self._client_of(ref), ref)

    def rename(self, old: str, new: str, *, overwrite: bool = True) -> None:
        """Move a file or a directory; one request, whatever is below it."""
        self._writable(old, new)
        if not names.split(old) or not names.split(new):
            raise NotSupported("the top of the mount cannot be moved")
        from_, old_name = self.namespace.find_parent(old)
        node = self.namespace.child(from_, old_name)
        into, new_name = self.namespace.find_parent(new)
        target = self.namespace.children(into).get(new_name)
        if target is not None and target.ref == node.ref:
            return
        if target is not None and not overwrite:
            raise Exists(f"{new} is there already")
        ref = target.ref if target is not None else self._new_ref(into, new_name, new)
        if not node.ref.name or not ref.name:
            raise NotSupported("a container cannot be renamed")
        if node.is_directory:
            moved = self._rename_directory(node, target, ref, (into.ref, new_name))
        else:
            with self._using(node, from_.ref, old_name) as file:
                moved = self._rename_file(file, target, ref, into.ref, new_name)
        self.namespace.drop(from_.ref, old_name)
        self.namespace.put(into.ref, new_name, replace(moved, changed_ns=time.time_ns()))
        self._touch(into.ref)
        self._left(from_)

    def _rename_file(
        self, file: OpenFile, target: Node | None, ref: ObjectRef, directory: ObjectRef, component: str
    ) -> Node:
        if target is not None and target.is_directory:
            raise IsADirectory(f"{target.ref} is a directory")
        replaced = self.files.find(ref)
        with self.files.still(file, replaced), self.files.removals.taken_over(ref) as removed:
            if replaced is not None:
                target = replaced.node  # None: it was never sent
            there = self._move_file(file, removed or target, ref)
            displaced = self.files.displaced(ref)
            self.files.renamed(file, ref, there, directory, component)
            self.files.forget(displaced)  # not before the journal has what takes its place
            shown = file.view() if file.dirty or there is None else there
            self.namespace.put(directory, component, shown)
            return shown

    def _move_file(self, file: OpenFile, target: Node | None, ref: ObjectRef) -> Node | None:
        """Move a file's object, and a change of its attributes with it; returns what is at ``ref`` now.

        A file that was never sent has none: it will replace ``target``.
        """
        base, kept = file.node, file.attributes
        if base is None:
            if target is not None:
                file.supersede(target)
            return target
        if kept == base.attributes or file.content_changed:
            self._move(base, ref, None)
            return base.at(ref)
        self._move(base, ref, kept)
        file.settled(kept)
        return _as_attributes(base.at(ref), kept)

    def _rename_directory(
        self, node: Node, target: Node | None, ref: ObjectRef, place: tuple[ObjectRef, str]
    ) -> Node:
        if target is not None and not target.is_directory:
            raise NotADirectory(f"{target.ref} is no directory")
        if is_below(ref, node.ref):
            raise InvalidArgument("a directory cannot be moved below itself")
        if target is not None:
            self.namespace.forget(target.ref)  # what others put there since must not be mixed with this
            if self.namespace.children(target):
                raise NotEmpty(f"{target.ref} is not empty")
        # What is about to be deleted must not come along and so come back.
        self.files.removals.finish_all(lambda each: is_below(each, node.ref))
        with self.files.still(*self.files.below(node.ref)), self.files.removals.taken_over(ref):
            if not node.exists:
                made = self.namespace.make_marker(node.ref, node.attributes, only_new=False)
                node = _as(made, node)
            self._move(node, ref, None, recursive=True)
            self.files.directory_renamed(node.ref, ref, place)
            self.namespace.moved(node.ref, ref)
        touched = self._touched.pop(node.ref, None)
        if touched is not None:
            self._touched[ref] = touched
        return node.at(ref)

    def _move(
        self, node: Node, ref: ObjectRef, changed: Attributes | None, *, recursive: bool = False
    ) -> None:
        client = self._client_of(node.ref)
        try:
            client.move(
                node.ref.container,
                node.ref.name,
                ref.container,
                ref.name,
                content_type=changed.content_type if changed else None,
                meta=attributes.meta_for(changed, {}) if changed else None,
                recursive=recursive,
                uuid=node.uuid or None,
            )
        except StoreError as error:
            if not error.maybe_done or not self._has_moved(node, ref):
                raise
            log.info("%s was moved; only the answer was lost", node.ref)
        if node.sharing:  # a move drops it
            client.update(ref.container, ref.name, sharing=node.sharing)
        if node.public:
            client.update(ref.container, ref.name, public=True)
            log.warning("%s is public: its link changed with the move", ref)

    def _has_moved(self, node: Node, ref: ObjectRef) -> bool:
        """Whether ``node``'s object is at ``ref`` now, and no longer where it was."""
        client = self._client_of(node.ref)
        try:
            client.head(node.ref.container, node.ref.name)
        except NotFound:
            pass
        else:
            return False
        try:
            entry = client.head(ref.container, ref.name).entry
        except NotFound:
            return False
        if node.uuid:
            return entry.uuid == node.uuid
        return entry.size == node.size and node.hash in ("", entry.hash)

    # -- common ------------------------------------------------------------------------------------

    def _writable(self, *paths: str) -> None:  # noqa: ARG002 - a part of the tree may be read-only
        if self.read_only:
            raise ReadOnly("the mount is read-only")

    def _new_ref(self, directory: Node, component: str, path: str) -> ObjectRef:
        ref = self.namespace.new_ref(directory, component)
        if not ref.name and (directory.ref.container or not ref.container):
            raise InvalidArgument(f"{path}: the store has no object with an empty name")
        names.check_length(component)
        if not names.storable(ref):
            raise NameTooLong(f"{path[:60]}…: the name is too long for the store")
        return ref

    def _touch(self, directory: ObjectRef) -> None:
        self._touched[directory] = time.time_ns()
        if len(self._touched) > 10_000:
            self._touched.pop(next(iter(self._touched)))

    def _left(self, directory: Node) -> None:
        """Something went out of a directory; one that nobody made must not vanish with it."""
        self._touch(directory.ref)
        if directory.exists or not directory.ref.name or directory.ref == self.namespace.top.ref:
            return
        if not self.namespace.children(directory):
            made = self.namespace.make_marker(directory.ref, directory.attributes, only_new=False)
            parent = parent_of(directory.ref)
            self.namespace.put(parent, names.to_path(directory.ref.name.rpartition("/")[2]), made)

    @contextlib.contextmanager
    def _in_use(self, path: str) -> Iterator[OpenFile]:
        """The file at ``path``, in use for the length of one operation."""
        hidden = self._hidden_file(path)
        if hidden is not None:
            yield hidden
            return
        directory, component = self.namespace.find_parent(path)
        with self._using(self.namespace.child(directory, component), directory.ref, component) as file:
            yield file

    @contextlib.contextmanager
    def _using(self, node: Node, directory: ObjectRef, component: str) -> Iterator[OpenFile]:
        """The file of ``node``; whoever opens it meanwhile gets the same one."""
        file = self.files.use(node, directory, component)
        try:
            yield file
        finally:
            self.files.done(file)


def _with_time(node: Node, mtime_ns: int) -> Node:
    return _as_attributes(node, node.attributes.with_changes(mtime_ns=mtime_ns))


def _as(made: Node, node: Node) -> Node:
    """A directory's new object, with the inode number the directory has."""
    return replace(made, ino=inode_number(node), uuid=node.uuid)


def _as_attributes(node: Node, kept: Attributes) -> Node:
    return replace(node, attributes=kept)


def delete(client: Client, ref: ObjectRef) -> None:
    """Delete one object; one that is gone already is no error."""
    try:
        client.delete(ref.container, ref.name)
    except NotFound:
        log.info("%s was deleted by somebody else meanwhile", ref)
