"""What to do when the object is not what a file was based on: overwrite nothing, lose nothing."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from typing import Any

from pithosfs.errors import NotFound, Stale
from pithosfs.fetch import Fetcher
from pithosfs.inuse import InUse
from pithosfs.names import MAX_COMPONENT, ObjectRef
from pithosfs.namespace import Namespace, place_of
from pithosfs.nodes import Node, of_entry
from pithosfs.openfile import OpenFile
from pithosfs.ranges import Origin

log = logging.getLogger(__name__)

#: Conflicts that are remembered, to be shown.
_SHOWN = 100
#: Names tried for a copy.
_ATTEMPTS = 100
#: A conflict copy keeps endings of so many characters.
_LONGEST_EXTENSION = 32


class Conflicts:
    """Gives way to others; ``seen`` are the last objects of which both versions were kept."""

    def __init__(self, fetcher: Fetcher, namespace: Namespace, in_use: InUse) -> None:
        self.seen: deque[dict[str, Any]] = deque(maxlen=_SHOWN)
        self._fetcher = fetcher
        self._namespace = namespace
        self._in_use = in_use

    def give_way(self, file: OpenFile) -> ObjectRef | None:
        """Bring a file into line with what is there; ``file.committing`` is held.

        Returns the name our version got; None if it did not need one, and the
        file can be committed on top of what is there.
        """
        try:
            info = self._fetcher.info(Origin(file.ref, 0))
        except NotFound:
            self._deleted_by_others(file)
            return None
        current = of_entry(file.ref, info.entry)
        if file.drop_attributes():
            log.info("%s was replaced by somebody else; times and mode are theirs", file.ref)
            self._in_use.show_instead(file, current)
        elif file.recognise(current):
            log.info("%s had been sent already, its answer was lost", file.ref)
        elif file.was_sent(current):
            log.info("%s had been sent before its last changes, and the answer was lost", file.ref)
            file.base_on(current)
        else:
            return self._keep_both(file, current)
        return None

    def note(self, ref: ObjectRef, copy: ObjectRef) -> None:
        """Both versions of an object are there now."""
        self.seen.append({"object": str(ref), "copy": str(copy), "time": time.time()})
        self._namespace.forget(ref.parent)

    def _deleted_by_others(self, file: OpenFile) -> None:
        given_up = file.drop_attributes()
        if not given_up and file.content_changed:
            log.info("%s was deleted by somebody else; it is made anew", file.ref)
            file.supersede_nothing()
            return
        log.info("%s was deleted by somebody else", file.ref)
        self._in_use.show_nothing(file)
        if not given_up:  # else there is nothing to send, unless somebody writes on: then it is made anew
            self._in_use.take_name(file, file.ref)
            file.forget_journal()

    def _keep_both(self, file: OpenFile, current: Node) -> ObjectRef:
        """The file becomes another object beside ``current``, and its handles go on with that."""
        ref = file.ref
        for attempt in range(_ATTEMPTS):
            copy = conflict_ref(ref, attempt)
            try:
                file.commit_as(copy)
            except Stale:
                continue
            log.warning("%s was changed by somebody else: this mount's version is kept as %s", ref, copy)
            self._in_use.show_instead(file, current)
            self._in_use.put_copy(file, ref, place_of(copy))
            self.note(ref, copy)
            return copy
        raise Stale(f"no free name for a conflict copy of {ref}", 412)


def conflict_ref(ref: ObjectRef, attempt: int) -> ObjectRef:
    """``name (conflict YYYY-MM-DD HH.MM.SS HOST).ext``, beside the object.

    A long name is cut so that the new one is still a path component.
    """
    directory, slash, last = ref.name.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not stem or len(extension) > _LONGEST_EXTENSION:
        stem, dot, extension = last, "", ""
    when = time.strftime("%Y-%m-%d %H.%M.%S")
    number = f" {attempt + 1}" if attempt else ""
    host = socket.gethostname().partition(".")[0]
    ending = f" (conflict {when} {host}{number}){dot}{extension}"
    room = MAX_COMPONENT - len(ending.encode("utf-8", "surrogateescape"))
    stem = stem.encode("utf-8", "surrogateescape")[:room].decode("utf-8", "ignore")
    return ref._replace(name=f"{directory}{slash}{stem}{ending}")
