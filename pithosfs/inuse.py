"""Which files are in use, by name, and where in the tree each of them is shown."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from cachetools import LRUCache

from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace, Place
from pithosfs.nodes import Node
from pithosfs.openfile import OpenFile

#: Files whose last commit is remembered when they are not in use any more.
_SENT = 1000


class InUse:
    """One file a name; a file that lost its name is no longer here, but may have handles.

    One that others have replaced, and somebody has opened again since, leaves its name to that; what it
    has not sent is kept and sent as before.  Where the name is changed here, it goes along: both versions
    are to be beside each other.

    ``lock`` is reentrant, for who does several of these things at one moment.
    Order: before a file's own lock, and before the tree's.
    """

    def __init__(self, namespace: Namespace) -> None:
        self.lock = threading.RLock()
        self._namespace = namespace
        self._files: dict[ObjectRef, OpenFile] = {}
        self._places: dict[OpenFile, Place] = {}
        self._former: WeakKeyDictionary[OpenFile, ObjectRef] = WeakKeyDictionary()  # copies: names before
        self._sent: LRUCache[ObjectRef, Node] = LRUCache(_SENT)

    def find(self, ref: ObjectRef) -> OpenFile | None:
        """The file of this name."""
        with self.lock:
            return self._files.get(ref)

    def latest(self, node: Node) -> Node:
        """``node``, or what this mount has sent since somebody found that in the tree."""
        with self.lock:
            sent = self._sent.get(node.ref)
        return sent if sent is not None and is_older(node, sent) else node

    def all(self) -> list[OpenFile]:
        """Every file that has a name, and those whose names lead to what others made of them by now."""
        with self.lock:
            return list(self._places)

    def below(self, ref: ObjectRef) -> list[OpenFile]:
        """The files below a directory, as :meth:`all` has them, in the order of their names."""
        with self.lock:
            found = [each for each in self._places if each.ref.is_below(ref)]
        return sorted(found, key=lambda each: each.ref)

    def replaced(self, ref: ObjectRef) -> list[OpenFile]:
        """Those of this name that others have replaced."""
        with self.lock:
            if len(self._places) == len(self._files):
                return []  # all that have a place are led to
            return [each for each in self._places if each.ref == ref and not self.is_led_to(each)]

    def others_open(self, ref: ObjectRef) -> bool:
        """Whether another file is open that had this name when it was opened: to the kernel both are one."""
        with self.lock:
            copies = [each for each, name in self._former.items() if name == ref]
            return any(each.users.handles for each in (*self.replaced(ref), *copies))

    def is_led_to(self, file: OpenFile) -> bool:
        """Whether its name leads to the file."""
        with self.lock:
            return self._files.get(file.ref) is file

    def place(self, file: OpenFile) -> Place | None:
        """Where it is shown."""
        with self.lock:
            return self._places.get(file)

    # -- names come and go ------------------------------------------------------------------------

    def put(self, file: OpenFile, place: Place) -> None:
        """Its name leads to ``file`` from here on."""
        with self.lock:
            self._files[file.ref] = file
            self._places[file] = place

    def put_copy(self, file: OpenFile, former: ObjectRef, place: Place) -> None:
        """``file`` is a conflict copy from here on; ``former`` is the name its handles were opened by."""
        with self.lock:
            self.put(file, place)
            self._former[file] = former

    def put_beside(self, file: OpenFile, place: Place) -> None:
        """``file`` is kept, though its name leads to what others made of it."""
        with self.lock:
            self._places[file] = place

    def drop(self, file: OpenFile, ref: ObjectRef) -> Place | None:
        """``ref`` leads to ``file`` no more; returns where it was shown."""
        with self.lock:
            if self._files.get(ref) is file:
                del self._files[ref]
            return self._places.pop(file, None)

    def displace(self, ref: ObjectRef) -> OpenFile | None:
        """The object is deleted or replaced: its file lives on without a name."""
        with self.lock:
            file = self._files.get(ref)
            if file is not None:
                self.take_name(file, ref)
            return file

    def take_name(self, file: OpenFile, ref: ObjectRef) -> None:
        """The same of ``file``, whether its name ``ref`` leads to it or to what others made of it."""
        with self.lock:
            place = self.drop(file, ref)
            if place is not None:
                self.unpin(ref, place)
            file.gone = True

    def forget_sent(self, ref: ObjectRef) -> None:
        """Something else has this name now."""
        with self.lock:
            self._sent.pop(ref, None)

    def forget_sent_below(self, ref: ObjectRef) -> None:
        """The same of a directory: of it and all names below it."""
        with self.lock:
            for each in [each for each in self._sent if each.is_below(ref)]:
                del self._sent[each]

    # -- what the tree shows ------------------------------------------------------------------------

    def show(self, file: OpenFile) -> None:
        """The file as it is here, whatever listings say."""
        with self.lock:
            self.pin(file)
            self._namespace.put(*self._places[file], file.view())

    def pin(self, file: OpenFile) -> None:
        """What is shown now stays, whatever listings say, until the file is sent; maybe it is by now."""
        with self.lock:
            place = self._places.get(file)
            if place is not None and file.dirty:
                self._namespace.pin(*place)

    def unpin(self, ref: ObjectRef, place: Place) -> None:
        """Listings are believed again, but for a file that has the name by now and is not sent."""
        with self.lock:
            if not self._has_news(ref):
                self._namespace.unpin(*place)

    def show_sent(self, file: OpenFile) -> None:
        """What the server has; listings are believed again if that is all."""
        with self.lock:
            place = self._places.get(file)
            if place is not None and file.node is not None and not file.gone:
                self._namespace.put(*place, file.node)
                self._sent[file.ref] = file.node
                self._files.setdefault(file.ref, file)
                if not file.dirty:
                    self._namespace.unpin(*place)

    def show_instead(self, file: OpenFile, node: Node) -> None:
        """``file`` is no longer what its name leads to: that is ``node``.

        It is kept beside that as long as somebody uses it, and may write on.
        """
        with self.lock:
            place = self._places.get(file)
            if self._files.get(node.ref) is file:
                del self._files[node.ref]
            if place is not None and not self._has_news(node.ref):
                self._namespace.put(*place, node)
                self._namespace.unpin(*place)

    def show_nothing(self, file: OpenFile) -> None:
        """The object of ``file`` is gone; nor does its name lead to another file that is not sent."""
        with self.lock:
            place = self._places.get(file)
            if place is not None:
                self.unpin(file.ref, place)
                if self.is_led_to(file) or not self._has_news(file.ref):
                    self._namespace.drop(*place)

    def _has_news(self, ref: ObjectRef) -> bool:
        """Whether the name leads to a file of which anything is not sent."""
        file = self._files.get(ref)
        return file is not None and file.dirty


def is_older(node: Node, sent: Node) -> bool:
    """Whether ``node``, of the tree, is from before ``sent`` was."""
    # Without a version it is what was made or moved here, and not sent then, or a directory nobody made.
    return node.exists and node.version < sent.version
