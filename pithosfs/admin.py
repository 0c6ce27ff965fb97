"""What commands ask of a mount that runs, and have it do: the calls of its control socket.

All of it is answered beside the operations of programs, by other threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pithosfs.api import Client
from pithosfs.errors import PithosError
from pithosfs.files import Files
from pithosfs.namespace import Namespace
from pithosfs.openfile import OpenFile
from pithosfs.operations import Operations
from pithosfs.options import MountOptions
from pithosfs.pending import Pending
from pithosfs.services import Services
from pithosfs.source import Source

#: How many names the kernel is told to forget; it forgets all others in a second.
_TOLD = 50_000


class Admin:
    """Figures of a mount of ``source``, what of it is not sent, and what a command can have done about that.

    ``operations`` is what the kernel talks to, None until it does.
    """

    def __init__(
        self,
        client: Client,
        source: Source,
        options: MountOptions,
        services: Services,
        namespace: Namespace,
        files: Files,
    ) -> None:
        self._client = client
        self._source = source
        self._options = options
        self._services = services
        self._namespace = namespace
        self._files = files
        self._started = time.time()
        self.operations: Operations | None = None

    # -- what waits --------------------------------------------------------------------------------

    def pending(self) -> list[Pending]:
        """What is not on the server yet."""
        return self._files.outbox.waiting() + self._files.removals.waiting()

    def drain(self, timeout: float | None) -> list[Pending]:
        """Send and delete everything now; returns what could not be."""
        # At once: neither waits for the other, and what the store is stuck with must not cost all the time.
        deleting = threading.Thread(target=self._files.removals.drain, args=(timeout,), daemon=True)
        deleting.start()
        left = self._files.outbox.drain(timeout)
        deleting.join()
        return left + self._files.removals.waiting()

    def export(self, name: str, folder: str) -> dict[str, Any] | None:
        """Make what is pending of the object ``name`` a file below ``folder``; where, and what it lacks.

        None if nothing of it is pending any more.
        """
        exported = self._files.export(name, Path(folder))
        if exported is None:
            return None
        path, missing = exported
        return {"path": str(path), "missing": list(missing)}

    # -- what is shown -----------------------------------------------------------------------------

    def refresh(self, path: str | None = None) -> float:
        """Forget listings: of everything, or of ``path`` and all below it.

        Returns for how many seconds the kernel may still show what was.
        """
        known = self._namespace.known(path or "", _TOLD)
        self._namespace.forget(self._namespace.find(path).ref if path else None)
        return self.operations.changed_elsewhere(known) if self.operations else 0.0

    def resolve(self, path: str) -> dict[str, Any]:
        """Which object ``path`` is or would be, and at which endpoint; what waits of it is done now.

        ``past``: what is shown there is not that object, but what it was; ``read_only``: nobody is to
        change it through this mount; ``own_account`` is whose mount it is.
        """
        node, left = self._namespace.resolve(path)
        ref = node.ref
        for component in left:
            ref = self._namespace.new_ref(dataclasses.replace(node, ref=ref), component)
        with contextlib.suppress(PithosError):  # of which the removal itself tells, or status
            self._files.removals.finish_all(lambda each: each.is_below(ref))
            self._files.sending.send(ref)
        return {
            "endpoint": self._client.endpoint,
            "account": ref.account or self._client.account_id,
            "own_account": self._client.account_id,
            "container": ref.container,
            "name": ref.name,
            "past": self._source.until is not None,
            "read_only": self._options.read_only,
        }

    # -- figures -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Figures for a person or a program; sizes in bytes, times in seconds."""
        cache, sent = self._services.fetcher.cache, self._services.uploader.counts
        counts, disk = cache.counts, cache.disk
        stats = self._client.transport.stats.snapshot()
        files = self._files.all()
        return {
            "source": str(self._source),
            "server": self._client.endpoint,
            "server_answered": stats.answered,
            "account": self._client.account_id,
            "read_only": self._options.read_only,
            "started": self._started,
            "open_files": sum(1 for each in files if each.users.handles),
            "dirty_files": sum(1 for each in files if each.dirty),
            "pending": [each.pack() for each in self.pending()],
            "uploads": list(self._uploads(files)),
            "conflicts": list(self._files.conflicts.seen),
            "cache": {
                "memory_bytes": cache.memory_used,
                "disk_bytes": disk.total if disk else 0,
                "disk_limit": self._options.cache_size,
                "disk_blocks": disk.count if disk else 0,
                "memory_hits": counts.memory,
                "disk_hits": counts.disk,
                "misses": counts.missed,
            },
            "upload": {
                "blocks_sent": sent.sent,
                "bytes_sent": sent.sent_bytes,
                "blocks_spared": sent.spared,
                "bytes_spared": sent.spared_bytes,
            },
            "requests": dict(stats.requests),
            "bytes_up": stats.bytes_up,
            "bytes_down": stats.bytes_down,
            "retries": stats.retries,
            "errors": dict(self.operations.errors) if self.operations else {},
        }

    def _uploads(self, files: Iterable[OpenFile]) -> Iterator[dict[str, Any]]:
        """What is being sent: bytes, bytes a second, seconds left at the most."""
        for file in files:
            progress = self._services.uploader.under_way.of(file.ref)
            if progress is not None:
                left = max(0, file.unsent - progress.sent)
                yield {
                    "object": str(file.ref),
                    "size": file.size,
                    "sent": progress.sent,
                    "unsent": left,
                    "speed": progress.speed,
                    "seconds_left": left / progress.speed if progress.sent else None,
                }
