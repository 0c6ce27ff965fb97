"""One directory to test, on a local file system or on a mounted container."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from pithosfs import control
from tests.support.mounts import Mount
from tests.support.server import Request, Server, Store, environment
from tests.support.waiting import eventually

#: Seconds until a mount is killed under a test that hangs in it.
PATIENCE = 240.0
#: Seconds a second mount trusts its listings: tests wait this long for foreign changes.
SHORT_TTL = "0.5"


class Disk:
    """An empty directory of a test's own; on a local file system, where a remount is nothing."""

    is_mount = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, *, fresh_cache: bool = False) -> None:
        """Unmount and mount again, if asked with nothing left in the caches."""


class Site:
    """A server (with ``options``), the mounts on it and where all their files lie."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._mounts: list[Mount] = []
        self.server = Server(folder / "server", *options)

    def open(self) -> None:
        self.server.start()

    def close(self) -> None:
        for mount in self._mounts:
            mount.destroy()
        self.server.stop()

    def mount(self, source: str = "pithos", *options: str, config: Path | None = None) -> Mount:
        """A new mount with a cache and a home of its own, as if on another machine.

        ``config`` is read instead of the server's own configuration.
        """
        number = next(self._numbers)
        home = environment(self.server, self._folder / f"home{number}")
        if config is not None:
            home["KAMAKI_CONFIG"] = str(config)
        mount = Mount(source, self._folder / f"mnt{number}", home, options)
        self._mounts.append(mount)
        mount.start()
        return mount

    def discard(self, mount: Mount) -> None:
        mount.destroy()
        self._mounts.remove(mount)


class MountedDisk(Disk):
    """A directory in a mounted container, and means to look behind it."""

    is_mount = True

    def __init__(self, site: Site, mount: Mount, name: str) -> None:
        super().__init__(mount.mountpoint / name)
        self.site = site
        self.mount = mount
        self.name = name
        self.store: Store = site.server.store()
        self._expected: list[str] = []
        self._log_start = mount.log.stat().st_size
        self._others: list[Mount] = []

    def remount(self, *, fresh_cache: bool = False) -> None:
        self.mount.unmount()
        if fresh_cache:
            self.mount.forget_cache()
        self.mount.start()

    def object(self, path: Path) -> str:
        """The name of the object that is the file ``path``."""
        return str(path.relative_to(self.mount.mountpoint))

    def settle(self) -> None:
        """Wait until the store has everything, attributes too, which go out a moment later."""
        runtime = Path(self.mount.environment["XDG_RUNTIME_DIR"])
        socket = runtime / "pithosfs" / f"{self.mount.process.pid}.sock"
        eventually(lambda: not control.ask(socket, "pending", timeout=30), what="the end of sending")

    def second(self, *options: str) -> Path:
        """This same directory on another machine, which soon sees what happens elsewhere."""
        return self.second_mount(*options).mountpoint / self.name

    def second_mount(self, *options: str) -> Mount:
        """The mount behind :meth:`second`, itself."""
        other = self.site.mount("pithos", "--dir-cache-time", SHORT_TTL, *options)
        self._others.append(other)
        return other

    @contextmanager
    def requests(self) -> Iterator[list[Request]]:
        """Collects what is asked of the server while the body runs; complete after it.

        But not what a mount asks to find out what its commits have replaced: it does so some time after each.
        """
        time.sleep(0.1)  # what goes on behind programs may ask once more
        before = self.site.server.log_size()
        seen: list[Request] = []
        yield seen
        time.sleep(0.1)
        asked = self.site.server.requests(before)
        seen.extend(each for each in asked if each.query != "version=list&format=json")

    def expect_in_log(self, pattern: str) -> None:
        """A warning this test causes on purpose."""
        self._expected.append(pattern)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Kills the mounts if the body hangs; afterwards their logs must have no surprise."""
        watchdog = Timer(PATIENCE, self._abort)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()
        surprises = self.mount.complaints(self._log_start)
        for other in self._others:
            surprises += other.complaints()
            self.site.discard(other)
        surprises = [line for line in surprises if not any(re.search(p, line) for p in self._expected)]
        assert not surprises, "the mount's log:\n" + "\n".join(surprises)

    def _abort(self) -> None:
        for mount in [self.mount, *self._others]:
            mount.abort()
