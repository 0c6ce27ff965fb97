"""What a program can ask of the tree, by path; what it does with an open file is in ``handles``.

Knows no FUSE and no errno.  Each method is one thing a program asks for; it
raises :mod:`pithosfs.errors`, among them ReadOnly where nothing may be
changed, and leaves the work to the part that knows how.
"""

from __future__ import annotations

from collections.abc import Callable

from pithosfs.api import Client
from pithosfs.attributes import Kind
from pithosfs.errors import Exists, IsADirectory, NoLink, NotFound, ReadOnly
from pithosfs.files import Files
from pithosfs.foreign import Times
from pithosfs.handles import Handle, Handles
from pithosfs.metadata import Metadata
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace
from pithosfs.naming import Naming
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile
from pithosfs.paths import Paths
from pithosfs.ranges import Address
from pithosfs.readahead import Readahead
from pithosfs.renames import Renames
from pithosfs.services import Services
from pithosfs.siblings import Siblings
from pithosfs.space import Space, Usage

_MAX_LINK = 4096


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
        self._times = Times(client_of, namespace, services.store)
        self._paths = Paths(namespace, files, self._times)
        self.handles = Handles(files, self._paths.hidden.left)
        self._metadata = Metadata(services, namespace, files, self._paths)
        self._naming = Naming(namespace, files, self._paths, client_of)
        self._renames = Renames(namespace, files, self._paths, client_of)
        self._usage = Usage(lambda: client_of(namespace.top.ref).account())
        self._siblings = Siblings()

    def close(self) -> None:
        """Stop what works behind the callers' backs."""
        self._times.close()

    def _writable(self, *paths: str) -> None:  # noqa: ARG002 - a part of the tree may be read-only
        if self.read_only:
            raise ReadOnly("the mount is read-only")

    # -- looking -------------------------------------------------------------------------------

    def node(self, path: str) -> Node:
        """What is at ``path``."""
        return self._paths.node(path)

    def entries(self, path: str) -> dict[str, Node]:
        """The entries of a directory, by name."""
        return self._paths.entries(path)

    def known(self, path: str) -> Callable[[str], Node | None]:
        """A look at single entries of a directory as :meth:`node` shows them, without asking the store.

        None of what is not known that well; never raises.
        """
        return self._paths.known(path)

    def stored_size(self, node: Node) -> int:
        """How many bytes of a file take room: not its holes, as far as they are known here."""
        return self._services.store.stored_size(node.hash, node.size) if node.hash else node.size

    def readlink(self, path: str) -> str:
        """The target of a symbolic link."""
        node = self.node(path)
        if node.kind is not Kind.SYMLINK:
            raise NoLink(f"{path} is no symbolic link")
        file = self.files.find(node.ref) or OpenFile(self._services, node.ref, node, node.attributes)
        view = memoryview(bytearray(min(node.size, _MAX_LINK)))
        file.read_into(0, view, Readahead(self._services.block_size))
        return bytes(view).decode("utf-8", "surrogateescape")

    def space(self) -> Space:
        """The account's quota and usage, as last heard; waits a moment at most, the first time."""
        return self._usage.now()

    # -- opening ---------------------------------------------------------------------------------

    def open(
        self,
        path: str,
        *,
        read: bool = True,
        write: bool = False,
        truncate: bool = False,
    ) -> Handle:
        """Open a file."""
        if write or truncate:
            self._writable(path)
        file, private = self._take(path, write=write or truncate)
        try:
            if truncate:
                file.truncate(0)
        except BaseException:
            self.files.done(file)
            raise
        handle = self.handles.add(file, read=read, write=write)
        handle.private = private
        handle.unchanged = self.handles.pages.still_right(file, alone=not private)
        return handle

    def _take(self, path: str, *, write: bool) -> tuple[OpenFile, bool]:
        """The file at ``path``, in use; and whether another version of it is open, too."""
        hidden = self._paths.hidden.find(path)
        if hidden is not None:  # the name was replaced between the kernel's lookup and its open
            if not self.files.again(hidden):
                raise NotFound(f"{path} is gone", 404)
            return hidden, False
        if self._paths.find(path).is_directory:
            raise IsADirectory(f"{path} is a directory")
        directory, component = self.namespace.find_parent(path)
        node = self.namespace.child(directory, component)
        file = self.files.use(node, directory.ref, component)
        if not write:
            self._fetch_siblings(directory, component, node)
        return file, self.files.others_open(file.ref)

    def _fetch_siblings(self, directory: Node, component: str, node: Node) -> None:
        """When small files are read one after the other, begin on the next ones."""
        size = self._services.block_size
        if node.size > size:
            return
        children = self.namespace.listed(directory.ref)
        ahead = (children.get(each) for each in self._siblings.opened(directory.ref, component, children))
        self._services.fetcher.prefetch(
            Address(each.readable_at, 0, each.hash, each.size, size)
            for each in ahead
            if each is not None and each.kind is Kind.FILE and each.hash and 0 < each.size <= size
        )

    def create(
        self,
        path: str,
        mode: int,
        *,
        read: bool = True,
        truncate: bool = False,
        exclusive: bool = False,
    ) -> Handle:
        """Make a new file and open it; one that is there is opened, unless ``exclusive``."""
        self._writable(path)
        try:
            file = self._naming.create(path, mode)
        except Exists:
            if exclusive:
                raise
            return self.open(path, read=read, write=True, truncate=truncate)
        return self.handles.add(file, read=read, write=True)

    # -- changing --------------------------------------------------------------------------------

    def truncate(self, path: str, size: int) -> None:
        """Change a file's size by name; it is sent now, unless by who closes it when it is written."""
        self._writable(path)
        with self._paths.in_use(path) as file:
            file.truncate(size)
            if not file.gone and not self.handles.write_to(file):
                self.files.sending.sync(file)

    def set_attributes(self, path: str, mtime_ns: int | None = None, mode: int | None = None) -> None:
        """Change times or mode; goes out in a moment, or with a rename."""
        self._writable(path)
        self._metadata.set_attributes(path, mtime_ns, mode)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """The user's extended attributes by full name (``user.…``)."""
        return self._metadata.xattrs(path)

    def xattr(self, path: str, name: str) -> bytes | None:
        """One extended attribute, None if there is none of this name."""
        return self.xattrs(path).get(name)

    def set_xattr(self, path: str, name: str, value: bytes, *, create: bool, exists: bool) -> None:
        """Set one extended attribute: only a new one (``create``), only one there is (``exists``)."""
        self._writable(path)
        self._metadata.set_xattr(path, name, value, create=create, exists=exists)

    def remove_xattr(self, path: str, name: str) -> None:
        """Remove one extended attribute."""
        self._writable(path)
        self._metadata.remove_xattr(path, name)

    # -- names -------------------------------------------------------------------------------------

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        self._writable(path)
        self._naming.mkdir(path, mode)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        self._writable(path)
        self._naming.symlink(target, path)

    def unlink(self, path: str) -> None:
        """Remove a file; who has it open goes on with it."""
        self._writable(path)
        self._naming.unlink(path)

    def hide(self, path: str, hidden: str) -> bool:
        """Remove an open file, to which ``hidden`` still leads; False if it is none."""
        self._writable(path)
        return self._naming.hide(path, hidden)

    def forget_hidden(self, path: str) -> bool:
        """The last handle of a hidden file is gone; False if there is none at ``path``."""
        return self._paths.hidden.forget(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._writable(path)
        self._naming.rmdir(path)

    def sync_directory(self, path: str) -> None:
        """Return when the store has what was done to names in a directory."""
        self._naming.sync(path)

    def rename(self, old: str, new: str, *, overwrite: bool = True) -> None:
        """Move a file or a directory; one request, whatever is below it."""
        self._writable(old, new)
        sent = self._renames.rename(old, new, overwrite=overwrite)
        if sent is not None:
            self.handles.pages.written(sent)
