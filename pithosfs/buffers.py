"""Memory for blocks: page-aligned, and used again.

A block of 4 MiB in fresh memory is a thousand page faults, which cost as much
as hashing it; there are none in memory that was used before.  And what begins
at a page may go to a disk without a copy (see ``directio``).
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable

#: Shorter ones come from ``bytearray``.
_WORTH_IT = 1024 * 1024
#: So many are looked at for a free one: a look costs a microsecond, fresh memory a thousand times that.
_LOOK_AT = 64
#: So often room is asked for: what is given up for it may be in use elsewhere, and then frees nothing.
_ASK = 2


class Buffers:
    """Buffers of one length, of which at most ``keep`` are kept for another use.

    A buffer is free again when nobody has a view of it any more; nobody has to
    give it back.  When all that are kept are in use, ``make_room`` is asked to
    drop a view (False: it has none).  Thread-safe.
    """

    def __init__(self, length: int, keep: int, make_room: Callable[[], bool] = lambda: False) -> None:
        self.length = length
        self._keep = keep
        self._make_room = make_room
        self._lock = threading.Lock()
        self._all: deque[mmap.mmap] = deque()  # the one used longest ago first

    def new(self) -> memoryview:
        """A buffer whose bytes are to be written before they are read."""
        view = self._kept()
        for _ in range(_ASK):
            if view is not None or not self._make_room():
                break
            view = self._kept()
        return memoryview(self._map()) if view is None else view

    def _kept(self) -> memoryview | None:
        with self._lock:
            memory = self._free()
            if memory is None:
                if len(self._all) >= self._keep:
                    return None
                memory = self._map()
            self._all.append(memory)
            return memoryview(memory)

    def _free(self) -> mmap.mmap | None:
        for _ in range(min(_LOOK_AT, len(self._all))):
            memory = self._all.popleft()
            try:
                memory.resize(self.length)  # as long as it is; refused while there are views
            except BufferError:
                self._all.append(memory)
            else:
                return memory
        return None

    def _map(self) -> mmap.mmap:
        # No huge pages: on a machine whose memory is in use, making one costs more than it saves.
        return mmap.mmap(-1, self.length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def new_buffer(length: int) -> memoryview:
    """``length`` bytes, to be written before they are read."""
    return memoryview(bytearray(length)) if length < _WORTH_IT else Buffers(length, 0).new()
