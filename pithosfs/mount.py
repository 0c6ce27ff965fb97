"""A mount, built bottom to top: the only module that knows all parts."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pithosfs import binding, mountpoints
from pithosfs.accounting import AccountedClient
from pithosfs.admin import Admin
from pithosfs.api import Client
from pithosfs.cache import BlockCache
from pithosfs.config import Connection
from pithosfs.conflicts import conflict_ref
from pithosfs.disk import DiskCache
from pithosfs.fetch import Fetcher
from pithosfs.files import Files
from pithosfs.guard import Guard
from pithosfs.hashing import Hasher
from pithosfs.identity import directory_name, resolve
from pithosfs.inodes import Inodes
from pithosfs.ledger import Ledger
from pithosfs.metastore import MetaStore
from pithosfs.mounted import MountedTree
from pithosfs.names import ObjectRef
from pithosfs.namespace import Namespace
from pithosfs.operations import READ_AHEAD, Operations, Owner
from pithosfs.options import MountOptions
from pithosfs.past import Past
from pithosfs.pending import Pending
from pithosfs.removals import delete
from pithosfs.rights import Rights
from pithosfs.scratch import Memory, Room
from pithosfs.services import Services
from pithosfs.source import Source, find_source
from pithosfs.staging import BLOCK_ROOM, SMALL_ROOM, Staging
from pithosfs.transport import Transport
from pithosfs.upload import Uploader

log = logging.getLogger(__name__)

_CONNECTIONS = 32
_DOWNLOADS, _UPLOADS = 12, 8
#: Seconds to send what came while a mount was being ended, though its time is up.
_LAST_TRY = 1.0
#: Seconds for all that comes after that: to note what is not sent, and to stop the threads.
_REST = 15.0
#: Seconds between looks whether the time to send has become less.
_LOOK_EVERY = 0.1


class Mount:
    """One container, part of one, or account, ready to be mounted.

    ``build`` checks all that can be checked; ``run`` returns when the mount is gone.
    """

    def __init__(
        self,
        client: AccountedClient,
        source: Source,
        options: MountOptions,
        *,
        user: str = "",
        post_to: str | None = None,
    ) -> None:
        """A mount of ``source``, which is of ``client``'s account, for ``user`` ("": the same).

        Blocks of others' objects go to the user's own container ``post_to``.
        """
        self.client = client
        self.options = options
        self._source = source
        self._stop_lock = threading.Lock()
        self._stopped = False
        self._ended = threading.Event()
        self._end_at: float | None = None  # monotonic
        own = Client(client.transport, client.endpoint, user or client.account_id)
        others = options.shared or own.account_id != client.account_id

        options.cache_path().mkdir(parents=True, exist_ok=True, mode=0o700)  # as a parent it would be open
        site = options.cache_path() / directory_name(client.endpoint, client.account_id)
        self._store = MetaStore(site / "meta.sqlite3")
        self._cache = self._make_cache(site / "blocks")
        self._hasher = Hasher()
        self._fetcher = self._make_fetcher()
        self._uploader = self._make_uploader(own, post_to if others else None)
        self._staging = self._make_staging(site / "staging")
        services = self._make_services()
        self._ours = (services.late, services.removed)
        self._namespace = self._make_namespace()
        self.files = Files(
            services, self._namespace, self._delete, self._guard_for, write_back=options.write_back
        )
        self._past = Past(self._client_of, self._namespace, of_others=others, timeout=options.timeout)
        self.filesystem = MountedTree(
            services,
            self._namespace,
            self.files,
            self._client_of,
            self._past,
            rights=Rights(self._client_of) if others else None,
            read_only=options.read_only,
        )
        self.admin = Admin(client, source, options, services, self._namespace, self.files)

    @classmethod
    def build(cls, connection: Connection, source: str, options: MountOptions) -> Mount:
        """Find the account, check the token and the container.  Raises PithosError."""
        site = resolve(connection, timeout=options.timeout)
        transport = Transport(
            connection.token,
            token=site.token,
            timeout=options.timeout,
            pool=_CONNECTIONS,
            ca_certs=connection.ca_certs,
            verify=connection.verify,
        )
        client = AccountedClient(transport, site.endpoint, site.account, Ledger())
        found = find_source(client, source, options)
        return cls(
            client,
            found,
            options if found.until is None else dataclasses.replace(options, read_only=True),
            user=site.user,
            post_to=connection.container,
        )

    # -- life -----------------------------------------------------------------------------------

    def run(self, mountpoint: Path, ready: Callable[[], None]) -> None:
        """Mount, call ``ready`` once the kernel has it, serve until it is gone.

        Threads are started inside; raises OSError if it cannot be mounted.
        """
        options = self.options
        owner = Owner(
            os.getuid() if options.uid is None else options.uid,
            os.getgid() if options.gid is None else options.gid,
            options.umask,
        )

        def started() -> None:
            self._start()
            # Now: the kernel compares it with what it is answered.  Fewer, larger reads cost much less.
            mountpoints.set_read_ahead(mountpoint, READ_AHEAD)
            ready()

        self.admin.operations = operations = Operations(self.filesystem, owner, started=started)
        try:
            binding.Binding(operations, str(mountpoint), foreground=True, **self._fuse_options(options))
        except RuntimeError as error:
            raise OSError(f"cannot mount on {mountpoint} (libfuse says {error})") from error
        finally:
            self.stop()

    def _fuse_options(self, options: MountOptions) -> dict[str, Any]:
        chosen: dict[str, Any] = {
            "fsname": f"pithos:{self._source}".replace(",", "\\,"),
            "subtype": "pithosfs",
            "default_permissions": True,
            "ro": options.read_only,
            "allow_other": options.allow_other,
        }
        if binding.KEEPS_THREADS:
            chosen["max_threads"] = chosen["max_idle_threads"] = options.max_threads
        if not binding.IS_3:
            chosen |= {"big_writes": True, "use_ino": True}
        for each in options.fuse:
            key, equals, value = each.partition("=")
            chosen[key] = value if equals else True
        return {key: value for key, value in chosen.items() if value is not False}

    def _start(self) -> None:
        self._cache.start()
        if not self.options.read_only:
            self.files.recover()  # asks nobody; who looks or drains from here on finds all of it
        self.files.start()

    def end_within(self, seconds: float) -> None:
        """The mount is being ended: :meth:`stop` sends no longer than until then."""
        self._end_at = time.monotonic() + seconds

    def stop(self) -> None:
        """Send what can be sent, stop everything; what is left stays in the journal.

        Returns when that is done, whoever began with it.
        """
        with self._stop_lock:
            began, self._stopped = self._stopped, True
        if began:  # and who comes now may be about to end the process
            self._ended.wait(self._time_to_send() + _REST)
            return
        try:
            self._stop()
        finally:
            self._ended.set()

    def _stop(self) -> None:
        self.files.sending.adopt_open()
        for each in self._send_last():
            later = "the next mount " + ("deletes it" if each.is_removal else "sends it")
            log.warning("%s: %s; %s", each.object, each.error or each.state, later)
        self.files.stop()
        for part in (
            self.filesystem,
            self._past,
            self._namespace,
            self._fetcher,
            self._uploader,
            self._hasher,
            self._cache,
        ):
            part.close()
        self._staging.close()
        self._store.close()
        self.client.transport.close()

    def _send_last(self) -> list[Pending]:
        """Send what can be sent in time, which may become less meanwhile; returns what is left."""
        at_least = time.monotonic() + _LAST_TRY
        sending = threading.Thread(
            target=self.admin.drain, args=(self._time_to_send(),), name="last", daemon=True
        )
        sending.start()
        while sending.is_alive() and (self._end_at is None or time.monotonic() < max(at_least, self._end_at)):
            sending.join(_LOOK_EVERY)
        return self.admin.pending()

    def _time_to_send(self) -> float:
        if self._end_at is None:
            return self.options.timeout
        return max(_LAST_TRY, self._end_at - time.monotonic())

    # -- parts ---------------------------------------------------------------------------------------

    def _make_cache(self, blocks: Path) -> BlockCache:
        disk = DiskCache(blocks, self.options.cache_size) if self.options.cache_size else None
        return BlockCache(self.options.memory // 2, disk, self._source.block_size)

    def _make_fetcher(self) -> Fetcher:
        return Fetcher(
            self._client_of,
            self._cache,
            hasher=self._hasher,
            threads=_DOWNLOADS,
            timeout=self.options.timeout,
            protected=self.client.endpoint.startswith("https:"),
        )

    def _make_uploader(self, own: Client, container: str | None) -> Uploader:
        return Uploader(
            self._client_of,
            own,
            self._cache,
            hasher=self._hasher,
            container=container,
            threads=_UPLOADS,
            block_size=self._source.block_size,
        )

    def _make_staging(self, root: Path) -> Staging:
        large = Room(min(BLOCK_ROOM, self.options.memory // 2))
        memory = Memory(Room(SMALL_ROOM), large, self._cache.new_buffer, self._source.block_size)
        return Staging(root, memory)

    def _make_services(self) -> Services:
        block_size = self._source.block_size
        window_limit = max(1, min(32, self.options.memory // 4 // block_size))
        return Services(self._fetcher, self._uploader, self._staging, self._store, block_size, window_limit)

    def _make_namespace(self) -> Namespace:
        return Namespace(
            self._client_of,
            self._source.top,
            ttl=self.options.dir_cache_time,
            until=self._source.until,
            accounts=self.client.sharing_accounts if self.options.shared else None,
            timeout=self.options.timeout,
            inodes=Inodes(self._store),
            saw=self.client.ledger.saw,
        )

    def _client_of(self, ref: ObjectRef) -> Client:
        if not ref.account or ref.account == self.client.account_id:
            return self.client
        client = self.client
        return AccountedClient(client.transport, client.endpoint, ref.account, client.ledger)

    def _guard_for(self, found: Callable[[ObjectRef, ObjectRef], None]) -> Guard:
        return Guard(
            self._client_of,
            self.client.ledger,
            conflict_name=conflict_ref,
            found=found,
            quiet=self._namespace.quiet,
            ours=self._ours,
        )

    def _delete(self, ref: ObjectRef) -> None:
        delete(self._client_of(ref), ref)
