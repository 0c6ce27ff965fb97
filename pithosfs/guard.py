"""After each commit: did somebody else's version slip in between?

The store checks conditions before it takes its lock, so two writers can both
be told 201; the later one has then replaced a version it never saw.  The
ledger of version numbers tells most often that nothing can have come in
between.  Where it cannot, the object's history is asked for, and every foreign
version in the gap is kept beside the object, by a copy on the server.

Nothing waits for this: the version replaced is in the history anyway.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pithosfs.api import Client
from pithosfs.errors import NotFound, PithosError, Stale
from pithosfs.late import Late
from pithosfs.ledger import Ledger, Mark
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node

log = logging.getLogger(__name__)

#: How long to wait for requests under way before the numbers are looked at, and how much longer the
#: first of several commits may wait for the others, to be looked at together.
_MOMENT, _TOGETHER = 0.5, 0.1
#: How long in all to wait for those that may have taken the numbers that are missing: on a slow server a
#: dozen files sent at once take longer than a moment, and to ask about each of them makes it slower still.
_PATIENCE = 10.0
_RETRY = 10.0
_CLOCK_GRAIN = 0.1
_ATTEMPTS = 30


@dataclass(slots=True, eq=False)
class _Commit:
    ref: ObjectRef
    hash: str
    version: int
    base: int  # the version it was made from, 0 for none (or not known)
    base_hash: str
    seconds: float  # how long it took
    before: Mark
    after: Mark
    due: float = field(default_factory=lambda: time.monotonic() + _MOMENT)
    patience: float = field(default_factory=lambda: time.monotonic() + _PATIENCE)
    attempts: int = 0


class Guard:
    """Looks after commits; ``quiet(began, until)`` is told of times nobody else wrote in (monotonic)."""

    def __init__(
        self,
        client_of: Callable[[ObjectRef], Client],
        ledger: Ledger,
        *,
        conflict_name: Callable[[ObjectRef, int], ObjectRef],
        found: Callable[[ObjectRef, ObjectRef], None],
        quiet: Callable[[float, float], None],
        ours: Sequence[Late] = (),
    ) -> None:
        """``ours`` are contents by name that are nobody else's, whatever the number of their version."""
        self._client_of = client_of
        self._ledger = ledger
        self._conflict_name = conflict_name
        self._found = found
        self._quiet = quiet
        self._ours = ours
        self._lock = threading.Condition()
        self._waiting: list[_Commit] = []
        self._looks_at = 0.0  # when the thread looks by itself if nobody wakes it, monotonic
        self._chain: Mark | None = None  # since when every number is accounted for ...
        self._chain_began = 0.0  # ... in monotonic seconds
        self._stopped = False
        self._thread: threading.Thread | None = None

    def mark(self) -> Mark:
        """To be taken before a commit."""
        return self._ledger.mark()

    def committed(self, node: Node, base: Node | None, before: Mark) -> None:
        """A commit made ``node`` from ``base``; look later what was replaced."""
        after = self._ledger.mark()
        commit = _Commit(
            node.ref,
            node.hash,
            node.version,
            base.version if base else 0,
            base.hash if base else "",
            after.at - before.at,
            before,
            after,
        )
        with self._lock:
            self._waiting.append(commit)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
                self._thread.start()
            if commit.due + _TOGETHER < self._looks_at:
                self._lock.notify_all()

    def drain(self, timeout: float) -> None:
        """Look at everything now, as far as time allows."""
        deadline = time.monotonic() + timeout
        with self._lock:
            for each in self._waiting:
                each.due = each.patience = 0.0
            self._lock.notify_all()
            while self._waiting and (left := deadline - time.monotonic()) > 0:
                self._lock.wait(left)

    def stop(self) -> None:
        """Stop."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def _run(self) -> None:
        while commits := self._due():
            for commit in commits:
                self._look_after(commit)

    def _due(self) -> list[_Commit]:
        """The commits to look at now, once there are any; none at the end."""
        with self._lock:
            while not self._stopped:
                now = time.monotonic()
                due = [each for each in self._waiting if each.due <= now]
                if due:
                    return due
                self._looks_at = min((each.due for each in self._waiting), default=math.inf) + _TOGETHER
                self._lock.wait(None if self._looks_at == math.inf else self._looks_at - now)
                self._looks_at = 0.0  # from here on it looks again without being told
            return []

    def _look_after(self, commit: _Commit) -> None:
        later = 0.0
        try:
            later = self._look(commit)
        except PithosError as error:
            later = self._tried_again(commit, error)
        except Exception:
            log.exception("looking after %s failed", commit.ref)
        with self._lock:
            if later:
                commit.due = time.monotonic() + later
            else:
                self._waiting.remove(commit)
                if not self._waiting:
                    self._lock.notify_all()

    @staticmethod
    def _tried_again(commit: _Commit, error: PithosError) -> float:
        commit.attempts += 1
        if commit.attempts < _ATTEMPTS:
            return _RETRY
        log.warning("whether somebody else wrote %s meanwhile is not known: %s", commit.ref, error)
        return 0.0

    def _may_be_told_yet(self, commit: _Commit) -> bool:
        """Whether the numbers that are missing may be those of our requests that are still under way."""
        return time.monotonic() < commit.patience and not self._ledger.settled(commit.after)

    def _look(self, commit: _Commit) -> float:
        """Find out what was replaced; returns in how many seconds to look again, 0.0 if all is known."""
        foreign = self._ledger.foreign(commit.before, commit.version)
        log.debug(
            "version %d of %s: %d numbers since %d are not ours",
            commit.version,
            commit.ref,
            foreign,
            commit.before.top,
        )
        if not foreign:
            self._tell_quiet(commit)
            return 0.0
        if self._may_be_told_yet(commit):
            return _MOMENT
        self._ask(commit)
        return 0.0

    def _tell_quiet(self, commit: _Commit) -> None:
        """The numbers show that nobody else wrote since before the commit, and maybe for longer."""
        chain = self._chain
        if chain is None or self._ledger.foreign(chain, commit.version):
            chain = self._chain = commit.before
            self._chain_began = self._ledger.unbroken_since(chain.top)
        self._quiet(self._chain_began, self._ledger.began(commit.version))

    def _ask(self, commit: _Commit) -> None:
        """Ask what was replaced, and keep what was somebody else's."""
        client = self._client_of(commit.ref)
        try:
            history = client.versions(commit.ref.container, commit.ref.name)
        except NotFound:
            return  # its name, and so its history, is somewhere else by now
        mine = next((each for each in history if each.serial == commit.version), None)
        if mine is None:
            return
        # By the server's own clock: what came before the commit began was no competitor.
        began = mine.time_ns - int((commit.seconds + _CLOCK_GRAIN) * 1e9)
        floor = max(commit.base, commit.before.top)
        for each in history:
            if (
                floor < each.serial < commit.version
                and each.time_ns >= began
                and not self._ledger.is_ours(each.serial)
            ):
                self._keep(client, commit, each.serial)

    def _keep(self, client: Client, commit: _Commit, serial: int) -> None:
        """Keep a version somebody else wrote and we replaced unseen."""
        ref = commit.ref
        entry = client.head(ref.container, ref.name, serial).entry
        if entry.hash in (commit.hash, commit.base_hash):
            return  # the same content
        if any(each.has(ref, entry.hash, entry.size) for each in self._ours):
            return  # our own: nothing of anybody's was replaced
        for attempt in range(100):
            copy = self._conflict_name(ref, attempt)
            try:
                client.copy(
                    ref.container, ref.name, copy.container, copy.name, version=serial, if_none_match="*"
                )
            except Stale:
                continue
            log.warning("%s was written by somebody else at the same time: kept as %s", ref, copy)
            self._found(ref, copy)
            return
