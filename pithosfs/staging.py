"""Bytes that are not on the server yet: scratch files and a crash-safe journal.

Each mount process has a directory of its own below the site's staging
directory, held by a lock as long as it lives.  A directory nobody holds was
left by a process that died: the next mount takes it over.

* A *scratch* holds the changed bytes of one open file (see ``scratch``).
* The *journal* has an entry for each file whose bytes were promised to be
  kept: written and made durable, scratch first, before it counts.  It names
  its scratch, so that one rename replaces a promise by the next.  The first of
  a file has nothing to replace: it is written under its own name, which costs
  the disk half as much; one that is empty was never promised.

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

from pithosfs.directio import write_at
from pithosfs.errors import NoSpace
from pithosfs.scratch import NEW, Memory, Room, Scratch, remove, unpack_bytes

log = logging.getLogger(__name__)

FORMAT = 2
#: Entries that can be read: the first had no bytes of their own.
_READABLE = (1, FORMAT)
#: Bytes of all small scratches together, and of the blocks of others, that may be in memory.
SMALL_ROOM, BLOCK_ROOM = 32 * 1024 * 1024, 128 * 1024 * 1024


class Staging:
    """The staging directory of one mount process; scratches are in ``memory`` as far as it goes."""

    def __init__(self, root: Path, memory: Memory | None = None) -> None:
        self.root = root
        self.memory = memory or Memory(Room(SMALL_ROOM), Room(BLOCK_ROOM))
        self.directory = root / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._held, self._names = self._make_directory()
        self._making = threading.Lock()
        self._tried: set[str] = set()  # keys of entries that something is kept beside

    def _make_directory(self) -> tuple[int | None, int]:
        """Its lock, and itself opened."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Held before others can see it: they take over what nobody holds.
        unseen = self.root / f".{self.directory.name}"
        unseen.mkdir(mode=0o700)
        held = _hold(unseen)
        unseen.rename(self.directory)
        return held, os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _make_again_if_removed(self) -> None:
        """It lies below a cache, which people remove: what is to be kept from now on needs it again."""
        with self._making:
            if self._held is None or os.fstat(self._held).st_nlink:
                return
            try:
                held, names = self._make_directory()
            except OSError:
                return  # who needs it says why
            log.warning("%s was removed while it was in use: beginning it anew", self.directory)
            for new, old in ((held, self._held), (names, self._names)):
                if new is not None:
                    os.dup2(new, old, inheritable=False)  # whoever uses it goes on with the new one
                    os.close(new)

    def scratch(self) -> Scratch:
        """An empty scratch."""
        self._make_again_if_removed()
        return Scratch(self.directory, self.memory)

    def close(self) -> None:
        """Remove the directory if nothing promised is left in it."""
        with self._making:
            held, self._held = self._held, None  # it is not made again from here on
        if held is None:
            return
        with contextlib.suppress(FileNotFoundError):  # somebody has removed all of it
            if not any(each.suffix in (".json", ".damaged") for each in self.directory.iterdir()):
                shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._names)
        os.close(held)

    # -- the journal ---------------------------------------------------------------------

    def record(self, key: str, entry: dict[str, Any]) -> None:
        """Make ``entry`` durable under ``key``; it counts when this returns.  NoSpace if it cannot be."""
        self._write(key, entry, durable=True)

    def note(self, key: str, entry: dict[str, Any]) -> None:
        """As :meth:`record`, at once: it survives the process, but not a power loss."""
        self._write(key, entry, durable=False)

    def _write(self, key: str, entry: dict[str, Any], *, durable: bool) -> None:
        path, new = self._path(key, "json"), False
        self._make_again_if_removed()
        try:
            new = _put(path, {"format": FORMAT, **entry}, durable=durable)
            if durable:
                os.fsync(self._names)
        except OSError as error:
            if new:
                remove(path)  # it is not promised
            raise NoSpace(f"cannot write the journal in {self.directory}: {error.strerror}") from error

    def forget(self, key: str) -> None:
        """The entry's bytes are on the server, or no longer wanted."""
        remove(self._path(key, "json"))
        if key in self._tried:
            self._tried.discard(key)
            remove(self._path(key, "tried"))

    def tried(self, key: str, attempts: list[tuple[str, int]]) -> None:
        """Keep ``attempts`` beside an entry, at once: they survive the process, but not a power loss."""
        path = self._path(key, "tried")
        self._tried.add(key)
        try:
            _put(path, attempts, durable=False)
        except OSError as error:
            log.warning("cannot write %s: %s", path, error.strerror)

    def _path(self, key: str, kind: str) -> str:
        return f"{self.directory}/{key}.{kind}"

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
            text = path.read_text(encoding="utf-8")
            if not text:
                path.unlink()  # who began it has died before anybody was told
                return None
            entry = _parse(text)
            name, small = unpack_bytes(entry)
            if name is not None:
                _bring(path.with_name(f"{name}.data"), self.directory)
            entry["attempts"] = entry.get("attempts", []) + self._bring_tried(path)
            path.rename(self.directory / path.name)
            os.fsync(self._names)
            return path.stem, entry, Scratch(self.directory, self.memory, name, small)
        except (FileNotFoundError, RecursionError, TypeError, ValueError) as error:
            log.warning("journal entry %s cannot be used (%s): set aside", path, error)
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".damaged"))
        except OSError as error:
            log.warning("journal entry %s is left to the next mount: %s", path, error)
        return None

    def _bring_tried(self, entry: Path) -> list[Any]:
        """What was kept beside an entry; nothing if it did not survive."""
        path = entry.with_suffix(".tried")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            _bring(path, self.directory)
            self._tried.add(entry.stem)
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []


def _put(path: str, value: object, *, durable: bool) -> bool:
    """Write ``value`` as JSON in place of what is there, all of it or nothing; whether nothing was.

    Raises OSError.

    Where nothing is there, an empty file may be left by who dies meanwhile.
    ``durable`` is the content, not the name: that is the directory's.
    """
    data = json.dumps(value).encode()
    try:
        _make(path, data, durable=durable)
    except FileExistsError:
        part = f"{path}.part"
        remove(part)  # left by a failure before
        _make(part, data, durable=durable)
        try:
            Path(part).rename(path)
        except OSError:
            remove(part)
            raise
        return False
    return True


def _make(path: str, data: bytes, *, durable: bool) -> None:
    """A new file with all of ``data``, or none."""
    handle = os.open(path, NEW, 0o600)
    try:
        write_at(handle, memoryview(data), 0)
        if durable:
            os.fsync(handle)
    except OSError:
        remove(path)
        raise
    finally:
        os.close(handle)


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
        text = path.read_text(encoding="utf-8")
        if not text and path.suffix == ".json":
            raise FileNotFoundError(path)  # it is being made, or never was
        entry = _parse(text)
    except FileNotFoundError:
        raise
    except (OSError, RecursionError, ValueError) as error:
        return Entry(path, pid, held, since, None, str(error))
    return Entry(path, pid, held, since, entry)


def _parse(text: str) -> dict[str, Any]:
    entry = json.loads(text)
    if not isinstance(entry, dict) or entry.get("format") not in _READABLE:
        raise ValueError("not an entry of this version")
    return entry


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
