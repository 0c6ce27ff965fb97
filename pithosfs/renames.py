"""Renames: one request, whatever is below the name; files in use and changes not sent yet go along."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pithosfs import attributes, names
from pithosfs.api import Client, Entry
from pithosfs.attributes import Attributes
from pithosfs.errors import (
    Exists,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotSupported,
)
from pithosfs.files import Files
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, Place
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile
from pithosfs.paths import Paths

log = logging.getLogger(__name__)


class Renames:
    """Renames within one mount."""

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

    def rename(self, old: str, new: str, *, overwrite: bool) -> OpenFile | None:
        """Move a file or a directory; returns the file whose content was left to that, if it was.

        Such a file has its new name even if it could not be sent; the error says so.
        """
        with self._files.departures.replacing(new):
            return self._rename(old, new, overwrite=overwrite)

    def _rename(self, old: str, new: str, *, overwrite: bool) -> OpenFile | None:
        if not names.split(old) or not names.split(new):
            raise NotSupported("the top of the mount cannot be moved")
        from_, old_name = self._namespace.find_parent(old)
        node = self._namespace.child(from_, old_name)
        into, new_name = self._namespace.find_parent(new)
        target = self._namespace.children(into).get(new_name)
        if target is not None and target.ref == node.ref:
            return None
        if target is not None and not overwrite:
            raise Exists(f"{new} is there already")
        ref = target.ref if target is not None else self._paths.new_ref(into, new_name, new)
        if not node.ref.name or not ref.name:
            raise NotSupported("a container cannot be renamed")
        place = (into.ref, new_name)
        if node.is_directory:
            moved = self._directory(node, target, ref, place)
            self._show(moved, from_, old_name, into, new_name)
            return None
        with self._paths.using(node, from_, old_name) as file:
            sends = self._files.sending.awaits_rename(file)
            moved = self._file(file, (from_.ref, old_name), target, ref, place)
            self._show(moved, from_, old_name, into, new_name)
            if sends:
                self._files.sending.sync(file)
            return file if sends else None

    def _show(self, moved: Node, from_: Node, old_name: str, into: Node, new_name: str) -> None:
        """Show a node at its new place, and there only."""
        self._namespace.drop(from_.ref, old_name)
        self._namespace.put(into.ref, new_name, replace(moved, changed_ns=time.time_ns()))
        self._paths.came(into)
        self._paths.left(from_)

    # -- a file ---------------------------------------------------------------------------------

    def _file(self, file: OpenFile, from_: Place, target: Node | None, ref: ObjectRef, place: Place) -> Node:
        if target is not None and target.is_directory:
            raise IsADirectory(f"{target.ref} is a directory")
        replaced, beside = self._files.find(ref), self._files.replaced(file.ref)
        with (
            self._files.still(file, replaced, *beside),
            self._files.removals.taken_over(ref) as removed,
        ):
            before = self._files.departures.may_have(ref)
            if before:
                removed = None  # what may be there is what this file is going to overwrite
            if replaced is not None:
                target = replaced.node  # None: it was never sent
            elif target is not None:
                target = self._files.view(target)  # it may have been sent since it was looked up
            unsure = file.maybe_there()
            there = self._move_file(file, removed or target, ref)
            if replaced is not None:  # not before: a crash after a failure must leave both
                file.take_place_of(replaced)
            self._files.departures.replace_leaving(file, ref)
            file.inherit(before)
            displaced = self._files.departures.displaced(ref)
            self._files.renamed(file, ref, there, *place)
            for each in beside:  # with what others had replaced, which is still written
                self._files.renamed(each, ref, None if each.node is None else each.node.at(ref), *place)
            self._files.departures.forget(displaced)  # not before the journal has what takes its place
            self._files.departures.left_behind(unsure, from_)
            shown = file.view() if file.dirty or there is None else there
            self._namespace.put(*place, shown)
            return shown

    def _move_file(self, file: OpenFile, target: Node | None, ref: ObjectRef) -> Node | None:
        """Move a file's object, and a change of its attributes with it; returns what is at ``ref`` now.

        A file that was never sent has none: it will replace ``target``.
        """
        changed = (file.journalled and file.content_changed) or file.content_unsure
        if file.node is not None and changed:
            self._files.sending.sync(file)  # what it was before must not take the place of something else
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
        return replace(base.at(ref), attributes=kept)

    # -- a directory ------------------------------------------------------------------------------

    def _directory(self, node: Node, target: Node | None, ref: ObjectRef, place: Place) -> Node:
        if target is not None and not target.is_directory:
            raise NotADirectory(f"{target.ref} is no directory")
        if ref.is_below(node.ref):
            raise InvalidArgument("a directory cannot be moved below itself")
        if target is not None:
            self._namespace.forget(target.ref)  # what others put there since must not be mixed with this
            if self._namespace.children(target):
                raise NotEmpty(f"{target.ref} is not empty")
            if not target.exists:
                # It is what is replaced, not a file of its name.
                self._namespace.have_marker(target, target.attributes)
        # What is about to be deleted must not come along and so come back, nor be what has its name then.
        self._files.removals.finish_all(
            lambda each: each.is_below(node.ref) or (each != ref and each.is_below(ref))
        )
        with (
            self._files.still(*self._files.below(node.ref), self._files.find(ref)),
            self._files.removals.taken_over(ref),
        ):
            unsent = self._files.unsent(node.ref)
            if unsent is not None:
                self._files.sending.sync(unsent)
                node = unsent.view()
            elif not node.exists:
                node = self._namespace.have_marker(node, node.attributes)
            self._move(node, ref, None, recursive=True)
            self._files.departures.removed(ref)
            self._files.directory_renamed(node.ref, ref, place)
            self._namespace.moved(node.ref, ref)
        self._paths.changed.renamed(node.ref, ref)
        return node.at(ref)

    # -- on the server ----------------------------------------------------------------------------

    def _move(
        self, node: Node, ref: ObjectRef, changed: Attributes | None, *, recursive: bool = False
    ) -> None:
        client = self._client_of(node.ref)
        client.move(
            node.ref.container,
            node.ref.name,
            ref.container,
            ref.name,
            content_type=changed.content_type if changed else None,
            meta=attributes.meta_for(changed, {}) if changed else None,
            recursive=recursive,
            is_it=partial(self._has_moved, node),
        )
        if node.sharing:  # a move drops it
            client.update(ref.container, ref.name, sharing=node.sharing)
        if node.public:
            client.update(ref.container, ref.name, public=True)
            log.warning("%s is public: its link changed with the move", ref)

    def _has_moved(self, node: Node, found: Entry) -> bool:
        """Whether ``found`` is ``node``'s object; one whose uuid is not known must be gone where it was."""
        if node.uuid:
            return found.uuid == node.uuid
        if found.size != node.size or node.hash not in ("", found.hash):
            return False
        try:
            self._client_of(node.ref).head(node.ref.container, node.ref.name)
        except NotFound:
            return True
        return False
