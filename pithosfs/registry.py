"""The user's running mounts: one small file and one control socket each.

They lie in a private directory, ``$XDG_RUNTIME_DIR/pithosfs`` where there is
one, else ``/run/pithosfs`` for root or ``/run/user/UID/pithosfs`` for others,
else ``/tmp/pithosfs-UID``.  A mount started by cron or at boot may have chosen
another of these than the shell that asks, so all of them are read.  An entry
names its process with its start time, so that a number used again is not
taken for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pithosfs.errors import PithosError


class RegistryError(PithosError):
    """The private directory for running mounts cannot be made or is not private."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A mount as its process announced it.

    ``device`` is the minor number the kernel lists the mount under, ``born``
    the process's start in clock ticks since boot, ``since`` seconds since 1970.
    """

    mountpoint: str
    source: str
    pid: int
    born: int
    device: int
    since: float
    file: Path

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.file.with_suffix(".sock")

    def is_running(self) -> bool:
        """Whether the process that announced it still lives."""
        return birth(self.pid) == self.born

    def forget(self) -> None:
        """Take the entry and its socket away."""
        self.file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)


def birth(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot; None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


# -- the directory ------------------------------------------------------------------------


def directory() -> Path:
    """The private directory for new entries, made if missing."""
    for candidate in _candidates():
        with contextlib.suppress(OSError):
            candidate.mkdir(mode=0o700, exist_ok=True)
        if _is_private(candidate):
            return candidate
    tried = ", ".join(map(str, _candidates()))
    raise RegistryError(
        f"no private directory for running mounts (tried {tried}): set XDG_RUNTIME_DIR to one"
    )


def _candidates() -> list[Path]:
    chosen = os.environ.get("XDG_RUNTIME_DIR", "")
    uid = os.geteuid()
    found = [Path(chosen) / "pithosfs"] if chosen.startswith("/") else []
    found.append(Path("/run/pithosfs") if uid == 0 else Path(f"/run/user/{uid}/pithosfs"))
    found.append(Path(tempfile.gettempdir()) / f"pithosfs-{uid}")
    return list(dict.fromkeys(found))


def _is_private(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


# -- entries --------------------------------------------------------------------------------


def entry_for(mountpoint: str, source: str, device: int) -> Entry:
    """The entry this process would announce; nothing is written yet."""
    pid = os.getpid()
    return Entry(mountpoint, source, pid, birth(pid) or 0, device, time.time(), own_file())


def own_file() -> Path:
    """Where this process announces its mount.  Raises RegistryError."""
    return directory() / f"{os.getpid()}.json"


def announce(entry: Entry) -> None:
    """Write ``entry`` so that others find it, whole or not at all."""
    fields = {k: v for k, v in dataclasses.asdict(entry).items() if k != "file"}
    temporary = entry.file.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(fields))
    temporary.replace(entry.file)


def entries() -> list[Entry]:
    """All announced mounts, by mount point; their processes may be gone."""
    return sorted(_read_all(), key=lambda entry: entry.mountpoint)


def find(mountpoint: str) -> Entry | None:
    """The entry announced for exactly this path (the running one, if several)."""
    found = [entry for entry in _read_all() if entry.mountpoint == mountpoint]
    return max(found, key=lambda entry: (entry.is_running(), entry.since), default=None)


def _read_all() -> Iterator[Entry]:
    for folder in _candidates():
        if not _is_private(folder):
            continue
        for file in folder.glob("*.json"):
            entry = _read(file)
            if entry is not None:
                yield entry


def _read(file: Path) -> Entry | None:
    try:
        fields: dict[str, Any] = json.loads(file.read_text())
        return Entry(file=file, **fields)
    except (OSError, ValueError, TypeError):
        return None  # just being removed, or not ours
