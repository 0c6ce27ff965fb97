"""A mount with one file in it: a session's life without a server.

Run as a program; ``--help`` lists what can be made to go wrong.
Its unsent files are the lines of FILE, read anew each time.
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mfusepy

from pithosfs import daemon
from pithosfs.cli import exits
from pithosfs.cli.session import Session
from pithosfs.errors import Unavailable
from pithosfs.options import MountOptions
from pithosfs.pending import Pending

CONTENT = b"hello\n"


class OneFile(mfusepy.Operations):
    use_ns = True

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        self._ready()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == "/file":
            return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": len(CONTENT)}
        raise mfusepy.FuseOSError(errno.ENOENT)

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", "file"]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return CONTENT[offset : offset + size]


class TinyMount:
    """A mount, and all that is asked of it."""

    def __init__(self, unsent: Path | None, reason: str, drain_takes: float, mount_takes: float) -> None:
        self._reason = reason
        self._mount_takes = mount_takes
        self._unsent = unsent
        self._drain_takes = drain_takes
        self._refreshed = 0

    @property
    def admin(self) -> TinyMount:
        return self

    def run(self, mountpoint: Path, ready: Callable[[], None]) -> None:
        time.sleep(self._mount_takes)
        options = {"fsname": "tiny", "subtype": "pithosfs", "max_idle_threads": 4}
        mfusepy.FUSE(OneFile(ready), str(mountpoint), foreground=True, **options)

    def status(self) -> dict[str, Any]:
        return {
            "open_files": 0,
            "refreshed": self._refreshed,
            "pending": [each.pack() for each in self.pending()],
        }

    def pending(self) -> list[Pending]:
        if self._unsent is None or not self._unsent.exists():
            return []
        return [
            Pending(object=line, size=1536, unsent=1536, state="failed", error=self._reason)
            for line in self._unsent.read_text().splitlines()
        ]

    def export(self, name: str, folder: str) -> dict[str, Any]:
        raise Unavailable("nothing to export")

    def end_within(self, seconds: float) -> None:
        pass

    def stop(self) -> None:
        pass

    def drain(self, timeout: float | None) -> list[Pending]:
        time.sleep(self._drain_takes)
        end = time.monotonic() + (timeout or 0)
        while self.pending() and time.monotonic() < end:
            time.sleep(0.05)
        return self.pending()

    def refresh(self, path: str | None) -> float:
        self._refreshed += 1
        return 0.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mountpoint")
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--unsent", type=Path)
    parser.add_argument("--reason", default="no answer")
    parser.add_argument("--fail")
    parser.add_argument("--die-in-build", action="store_true")
    parser.add_argument("--build-takes", type=float, default=0)
    parser.add_argument("--drain-takes", type=float, default=0)
    parser.add_argument("--mount-takes", type=float, default=0)
    args = parser.parse_args()

    def build() -> TinyMount:
        time.sleep(args.build_takes)
        if args.fail:
            raise Unavailable(args.fail)
        if args.die_in_build:
            os.kill(os.getpid(), 9)
        return TinyMount(args.unsent, args.reason, args.drain_takes, args.mount_takes)

    def work(ready: daemon.Ready) -> int:
        def serve() -> int:
            Session(args.mountpoint, "tiny", MountOptions()).run(build, ready)
            return 0

        return exits.guarded("mount", serve)

    return work(lambda: None) if args.foreground else daemon.background(work)


if __name__ == "__main__":
    sys.exit(main())
