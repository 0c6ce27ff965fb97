"""Bytes that are not on the server yet: scratch files and a crash-safe journal.

Each mount process has a directory of its own below the site's staging
directory, held by a lock as long as it lives.  A directory nobody holds was
left by a process that died: the next mount takes it over.

* A *scratch* holds the changed bytes of one open file, sparse, at their own
  offsets: in memory while it is small, then in a file (which the page cache
  keeps in memory as long as there is room, and which no budget has to count).
* The *journal* has an entry for each file whose bytes were promised to be
  kept: written and made durable, scratch first, before it counts.  It names
  its scratch, so that one rename replaces a promise by the next.

Files are 0600 in directories 0700.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pithosfs.blocks import Buffer
from pithosfs.errors import NoSpace

log = logging.getLogger(__name__)

FORMAT = 1
#: A scratch moves from memory to a file beyond so many bytes ...
_SMALL = 256 * 1024
#: ... or when all small ones together have this many.
_SMALL_TOTAL = 32 * 1024 * 1024
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """The staging directory of one mount process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._small = 0
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Held before others can see it: they take over what nobody holds.
        unseen = root / f".{self.directory.name}"
        unseen.mkdir(mode=0o700)
        self._held = _hold(unseen)
        unseen.rename(self.directory)

    def scratch(self) -> Scratch:
        """An empty scratch."""
        return Scratch(self)

    def close(self) -> None:
        """Remove the directory if nothing promised is left in it."""
        if self._held is None:
            return
        if not any(each.suffix in (".json", ".damaged") for each in self.directory.iterdir()):
            shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._held)
        self._held = None

    # -- memory for small ones ---------------------------------------------------------

    def take(self, size: int) -> bool:
        """Whether ``size`` more bytes may stay in memory; counts them if so."""
        with self._lock:
            if self._small + size > _SMALL_TOTAL:
                return False
            self._small += size
            return True

    def give_back(self, size: int) -> None:
        """``size`` bytes are no longer in memory."""
        with self._lock:
            self._small -= size

    # -- the journal ---------------------------------------------------------------------

    def record(self, key: str, entry: dict[str, Any]) -> None:
        """Make ``entry`` durable under ``key``; it counts when this returns.  NoSpace if it cannot be."""
        self._write(key, entry, durable=True)

    def note(self, key: str, entry: dict[str, Any]) -> None:
        """As :meth:`record`, at once: it survives the process, but not a power loss."""
        self._write(key, entry, durable=False)

    def _write(self, key: str, entry: dict[str, Any], *, durable: bool) -> None:
        path = self.directory / f"{key}.json"
        part = path.with_suffix(".part")
        try:
            part.unlink(missing_ok=True)  # left by a failure before
            with os.fdopen(os.open(part, _NEW, 0o600), "w", encoding="utf-8") as out:
                json.dump({"format": FORMAT, **entry}, out)
                out.flush()
                if durable:
                    os.fsync(out.fileno())
            part.rename(path)
            if durable:
                _sync_directory(self.directory)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise NoSpace(f"cannot write the journal in {self.directory}: {error.strerror}") from error

    def forget(self, key: str) -> None:
        """The entry's bytes are on the server, or no longer wanted."""
        (self.directory / f"{key}.json").unlink(missing_ok=True)

    def set_aside(self, key: str) -> None:
        """The entry cannot be used; keep it where a person can find it."""
        path = self.directory / f"{key}.json"
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".damaged"))

    def adopt(self) -> Iterator[tuple[str, dict[str, Any], Scratch]]:
        """Entries left by processes that died, moved into this one's directory.

        A damaged entry is set aside with a message; the others are not affected.
        """
        for left in sorted(self.root.iterdir()):
            if left == self.directory or left.name.startswith("."):
                continue
            held = _hold(left, tries=2)  # somebody may just be looking at it
            if held is None:
                continue
            try:
                for path in sorted(left.glob("*.json")):
                    found = self._adopt_entry(path)
                    if found:
                        yield found
                if not any(each.suffix in (".json", ".damaged") for each in left.iterdir()):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(held)

    def _adopt_entry(self, path: Path) -> tuple[str, dict[str, Any], Scratch] | None:
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(entry, dict) or entry.get("format") != FORMAT:
                raise ValueError("not an entry of this version")
            name = entry.get("scratch")
            if name is not None and not re.fullmatch("[0-9a-f]{32}", name):
                raise ValueError("its data has no proper name")
            if name is not None:
                _bring(path.with_name(f"{name}.data"), self.directory)
            path.rename(self.directory / path.name)
            _sync_directory(self.directory)
            return path.stem, entry, Scratch(self, name)
        except (FileNotFoundError, RecursionError, TypeError, ValueError) as error:
            log.warning("journal entry %s cannot be used (%s): set aside", path, error)
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".damaged"))
        except OSError as error:
            log.warning("journal entry %s is left to the next mount: %s", path, error)
        return None


class Scratch:
    """Changed bytes of one open file at their offsets; zeros where nothing was written.

    The caller holds the file's lock around every call.
    """

    def __init__(self, staging: Staging, key: str | None = None) -> None:
        self.key = key or uuid.uuid4().hex
        self._staging = staging
        self._path = staging.directory / f"{self.key}.data"
        self._memory: bytearray | None = bytearray()
        self._handle: int | None = None
        if key is not None and self._path.exists():
            self._memory = None
            self._handle = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW)

    def write(self, offset: int, data: Buffer) -> None:
        """Keep ``data``; NoSpace if the local disk cannot."""
        stop = offset + len(data)
        if self._memory is not None and stop <= _SMALL:
            grow = stop - len(self._memory)
            if grow <= 0 or self._staging.take(grow):
                if grow > 0:
                    self._memory.extend(bytes(grow))
                self._memory[offset:stop] = data
                return
        self._write_file(self._file(), offset, data)

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill ``view`` with what is at ``start``."""
        if self._memory is not None:
            piece = self._memory[start : start + len(view)]
            view[: len(piece)] = piece
            got = len(piece)
        else:
            got = 0
            while got < len(view):
                step = os.preadv(self._file(), [view[got:]], start + got)
                if not step:
                    break
                got += step
        if got < len(view):
            view[got:] = bytes(len(view) - got)

    def truncate(self, size: int) -> None:
        """Forget what is at ``size`` and beyond."""
        if self._memory is not None:
            if size < len(self._memory):
                self._staging.give_back(len(self._memory) - size)
                del self._memory[size:]
        elif self._handle is not None and os.fstat(self._handle).st_size > size:
            os.ftruncate(self._handle, size)

    def persist(self) -> None:
        """Make everything written so far survive a power loss.  NoSpace if it cannot."""
        handle = self._file()
        try:
            os.fsync(handle)
            _sync_directory(self._staging.directory)
        except OSError as error:
            raise NoSpace(f"cannot keep unsent data in {self._path}: {error.strerror}") from error

    def discard(self) -> None:
        """Forget everything; the scratch can be used again."""
        if self._memory is not None:
            self._staging.give_back(len(self._memory))
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            self._path.unlink(missing_ok=True)
        self._memory = bytearray()

    def _file(self) -> int:
        if self._handle is None:
            try:
                self._handle = os.open(self._path, _NEW, 0o600)
            except OSError as error:
                raise NoSpace(f"cannot create {self._path}: {error.strerror}") from error
        if self._memory is not None:
            self._write_file(self._handle, 0, self._memory)
            self._staging.give_back(len(self._memory))
            self._memory = None
        return self._handle

    def _write_file(self, handle: int, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        try:
            while view:
                step = os.pwrite(handle, view, offset)
                view, offset = view[step:], offset + step
        except OSError as error:
            raise NoSpace(f"no room for unsent data in {self._path.parent}: {error.strerror}") from error


def _bring(data: Path, directory: Path) -> None:
    """Have ``data`` in ``directory`` as well, so that it is beside its entry before and after that moves."""
    try:
        os.link(data, directory / data.name)
    except FileExistsError:
        raise
    except OSError:  # not there, or a file system without hard links
        data.rename(directory / data.name)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a journal as somebody else sees it; ``entry`` is None if it cannot be read (``trouble``).

    ``pid`` is the process that had the directory, ``held`` whether it still has; ``since`` in seconds
    since 1970.
    """

    path: Path
    pid: int
    held: bool
    since: float
    entry: dict[str, Any] | None
    trouble: str = ""


def entries(root: Path) -> Iterator[Entry]:
    """What is in all journals below a site's staging directory; changes nothing."""
    for directory in sorted(root.glob("[0-9]*-*")):
        pid = int(re.match("[0-9]+", directory.name).group())  # type: ignore[union-attr] # see glob
        held = _is_held(directory)
        for path in sorted(directory.glob("*.json")) + sorted(directory.glob("*.damaged")):
            with contextlib.suppress(FileNotFoundError):  # just sent, or taken over
                yield _look(path, pid, held)


def _look(path: Path, pid: int, held: bool) -> Entry:
    since = path.stat().st_mtime
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entry, dict) or entry.get("format") != FORMAT:
            raise ValueError("not an entry of this version")
    except FileNotFoundError:
        raise
    except (OSError, RecursionError, ValueError) as error:
        return Entry(path, pid, held, since, None, str(error))
    return Entry(path, pid, held, since, entry)


def _is_held(directory: Path) -> bool:
    """Whether a process has the directory's lock.  Asking takes a shared one for a moment."""
    try:
        handle = os.open(directory / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _hold(directory: Path, tries: int = 1) -> int | None:
    """Take the directory's lock; None if somebody has it, or it is gone or no directory of ours."""
    while (held := _try_to_hold(directory)) is None and tries > 1:
        tries -= 1
        time.sleep(0.02)
    return held


def _try_to_hold(directory: Path) -> int | None:
    try:
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:  # else it was removed, with its directory, while we came
            return handle
    os.close(handle)
    return None


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
