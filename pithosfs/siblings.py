"""Small files read one after the other: which ones to fetch ahead.  No I/O.

``cp -r``, ``tar``, ``grep -r`` open the files of a directory in the order they
were listed.  Two in a row are taken as a sign, and the window doubles with
each further one, as for the blocks of a large file.  Who then goes on with the
first files of another directory is walking through a tree: there is nothing to
be learned anew.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from pithosfs.names import ObjectRef
from pithosfs.nodes import Node

_FIRST_WINDOW, _LARGEST_WINDOW = 4, 64
#: Files further ahead than this in the directory still count as the next one (others were not wanted).
_SKIP = 3
_DIRECTORIES = 64
_NO_FILE_YET = -1000
_ORDER_SECONDS = 5.0


@dataclass(slots=True)
class _Progress:
    order: list[str]
    positions: dict[str, int]
    made: float
    last: int = _NO_FILE_YET
    window: int = 0
    asked: int = 0


class Siblings:
    """Remembers the last opens in each of the directories in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directories: OrderedDict[ObjectRef, _Progress] = OrderedDict()
        self._walking = (0.0, 0)  # until when, in monotonic seconds, and with which window

    def opened(self, directory: ObjectRef, component: str, children: Mapping[str, Node]) -> list[str]:
        """A program opened ``component`` to read it; the entries to fetch ahead, in order."""
        with self._lock:
            progress = self._progress(directory, component, children)
            here = progress.positions.get(component)
            if here is None:
                return []
            goes_on = 0 < here - progress.last <= _SKIP
            until, window = self._walking
            if progress.last == _NO_FILE_YET and here < _SKIP and time.monotonic() < until:
                goes_on, progress.window = True, window // 4  # doubled below: half of what it was
            progress.last = here
            if not goes_on:
                progress.window, progress.asked = 0, here + 1
                return []
            progress.window = min(_LARGEST_WINDOW, max(_FIRST_WINDOW, progress.window * 2))
            self._walking = (time.monotonic() + _ORDER_SECONDS, progress.window)
            start = max(here + 1, progress.asked)
            stop = min(len(progress.order), here + 1 + progress.window)
            # Few at a time would be as good as none: ask again when half are used up.
            if stop - start < progress.window // 2 and stop < len(progress.order):
                return []
            progress.asked = max(progress.asked, stop)
            return progress.order[start:stop]

    def _progress(self, directory: ObjectRef, component: str, children: Mapping[str, Node]) -> _Progress:
        found = self._directories.pop(directory, None)
        fresh = found is not None and time.monotonic() - found.made < _ORDER_SECONDS
        if found is None or (not fresh and component not in found.positions):
            order = list(children)
            found = _Progress(order, {name: at for at, name in enumerate(order)}, time.monotonic())
        self._directories[directory] = found
        if len(self._directories) > _DIRECTORIES:
            self._directories.popitem(last=False)
        return found
