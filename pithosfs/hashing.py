"""Hashing of large blocks: by few threads, which give way to all others.

Who writes to a mount or reads from it waits for this process with each call,
and hashing keeps a core busy for milliseconds at a time.  Where it has all of
them, or comes before a thread that is to answer the kernel, a program waits
for that each time: a copy that was hashed by several threads of ordinary
priority took half as long again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from pithosfs import blocks
from pithosfs.blocks import Buffer
from pithosfs.errors import Unavailable
from pithosfs.waiting import ENDING, wait

#: Bytes of a block that are worth telling another thread of.
WORTH_A_THREAD = 256 * 1024
_NICENESS = 5


class Hasher:
    """Computes hashes in ``threads`` threads; by default one for every two cores this process may use."""

    def __init__(self, threads: int | None = None) -> None:
        count = threads or max(1, len(os.sched_getaffinity(0)) // 2)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="hash", initializer=_give_way)

    def close(self) -> None:
        """Stop; what waits is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def hash(self, data: Buffer) -> str:
        """The hash of a block (:func:`pithosfs.blocks.block_hash`); Unavailable after :meth:`close`."""
        if len(data) < WORTH_A_THREAD:
            return blocks.block_hash(data)
        try:
            return wait(self._pool.submit(blocks.block_hash, data))
        except RuntimeError as error:
            raise Unavailable(ENDING) from error


def _give_way() -> None:
    """Lower this thread's priority; on Linux that is each thread's own."""
    me = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, me, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, me)))
