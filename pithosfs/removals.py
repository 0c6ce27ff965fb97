"""Objects of files that were removed: deleted on the server behind the program, several at a time.

Who removes many files one after the other would wait for the server once for
each.  So only the first one waits; while the store deletes what it is asked to,
the others are carried out behind the program.  Meanwhile the tree shows no such
name, whatever listings say; a new file of the name waits for the deletion, and
so does who removes or renames a directory above it.  What is not done at once
is in the journal, and the next mount goes on with it.

libfuse removes an *open* file, and replaces one by a rename, in the same way at
first: it asks to move the name out of the way.  Only what comes next tells
which it is, so such a deletion waits a moment: a rename onto the name takes
its place (the object is overwritten in one request, never missing).  The
journal does not have it before that: a process that dies in the moment of a
replacement must leave the old file.

Lock order: ``Removals._lock`` is a leaf; nothing is deleted or written under it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pithosfs.api import Client
from pithosfs.due import next_due
from pithosfs.errors import REFUSALS, NoSpace, NotFound, PithosError
from pithosfs.journal import pack_removal
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node
from pithosfs.pending import TO_BE_DELETED, Pending
from pithosfs.waiting import wait_in

log = logging.getLogger(__name__)

_MOMENT = 0.05
#: Deletions under way at once, and how many wait before who removes more waits itself: enough for the threads
#: to have work while it does, and so few that a slow store (20 a second) has done them before they are old.
_AT_ONCE, _BEHIND = 8, 32
#: For so many seconds a deletion that worked is taken as a sign that the next one will; and one that takes
#: longer is a sign that it may not.
_SOON = 1.0
_PATIENCE = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: After so many seconds it is asked what there is before it is deleted: others may have written there.
#: A slow store has done sooner what waits behind a program: by one request each.
_FRESH = 3.0


class Journal(Protocol):
    """Where removals are kept for the next mount (:class:`pithosfs.staging.Staging`)."""

    def record(self, key: str, entry: dict[str, Any]) -> None: ...  # noqa: D102
    def note(self, key: str, entry: dict[str, Any]) -> None: ...  # noqa: D102
    def forget(self, key: str) -> None: ...  # noqa: D102


@dataclass(slots=True)
class _Removal:
    node: Node
    delete: Callable[[], None]
    freed: Callable[[], None]
    due: float
    certain: bool = False  # no rename can still take its place
    again: Callable[[], None] | None = None  # instead of ``delete`` if something else may be there by now
    sure: bool = True  # that cannot be: nothing was tried yet
    nodes: list[Node] = field(default_factory=list)  # what may be there, if it is not sure to be the node
    unheard: list[Node] = field(default_factory=list)  # what else may be, though it is sure that something is
    nothing: bool = False  # it was never sent: there is nothing to delete
    claimed_by: int = 0  # the thread that may replace it, for as long as it is busy with that
    key: str = field(default_factory=lambda: uuid.uuid4().hex)  # of its entry in the journal
    noted: bool = False  # the journal has it
    replaces: tuple[str, ...] = ()  # keys of entries that are void when the journal has it
    settled: Callable[[], None] = lambda: None
    since: float = field(default_factory=time.time)
    asked: float = field(default_factory=time.monotonic)
    failures: int = 0
    begun: int = 0  # attempts so far: all of them have failed but the one under way, if one is
    wanted: int = 0  # which of them a drain waits for
    pause: float = field(default_factory=lambda: _FIRST_PAUSE)
    error: PithosError | None = None
    busy: bool = False
    ended: bool = False

    def carry_out(self) -> None:
        """Delete it."""
        sure, self.sure = self.sure and time.monotonic() - self.asked <= _FRESH, False
        delete = self.delete if sure or self.again is None else self.again
        delete()

    def entry(self) -> dict[str, Any]:
        """What the journal has of it."""
        return {**pack_removal(self.nodes or [*self.unheard, self.node]), "replaces": list(self.replaces)}


class Removals:
    """Deletes objects, at once or a moment after :meth:`add`, until it worked."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        mutex = threading.Lock()
        self._lock = threading.Condition(mutex)  # for who waits for something to end
        self._changed = threading.Condition(mutex)  # for the threads: something may be due earlier
        self._looks: list[float] = []
        self._waiting: dict[ObjectRef, _Removal] = {}
        self._threads: list[threading.Thread] = []
        self._worked = float("-inf")  # when an object was deleted last, monotonic
        self._stopped = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def keeps_up(self) -> bool:
        """Whether the store deletes what it is asked to, just now and in time: more may be left to this."""
        soon = time.monotonic() - _SOON
        with self._lock:
            waiting = self._waiting.values()
            late = any(each.error or each.asked < soon for each in waiting)
            return self._worked > soon and len(waiting) < _BEHIND and not late

    def now(self, delete: Callable[[], None]) -> None:
        """Delete something for who waits for it; raises what the store raised."""
        delete()
        self._worked = time.monotonic()

    def add(
        self,
        node: Node,
        delete: Callable[[], None],
        ended: Callable[[], None],
        *,
        again: Callable[[], None] | None = None,
        certain: bool = False,
        unheard: Sequence[Node] = (),
        nodes: Sequence[Node] | None = None,
        replaces: tuple[str, ...] = (),
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        """Delete ``node``'s object by ``delete``; ``ended`` is called when the name is free or taken over.

        By ``again`` if that comes late, was tried before, or something that was to replace it may be there.
        At once if it is ``certain`` that it is a removal, or else a moment after :meth:`begin`.
        ``unheard`` is what may have been sent over it; ``nodes`` what may be there of one that the
        store is not known to have, maybe nothing.
        ``settled`` is called when a crash would not bring the object back any
        more; entries of the journal named in ``replaces`` are void from then on.
        """
        self._add(
            _Removal(
                node,
                delete,
                ended,
                time.monotonic() if certain else math.inf,
                certain,
                again,
                nodes=list(nodes or ()),
                unheard=list(unheard),
                nothing=nodes is not None and not nodes,
                replaces=replaces,
                settled=settled,
            )
        )

    def begin(self, ref: ObjectRef) -> None:
        """The moment begins after which an object is deleted, if nobody has claimed it by then."""
        with self._lock:
            found = self._waiting.get(ref)
            if found is not None and found.due == math.inf:
                found.due = time.monotonic() + _MOMENT
                self._changed.notify()

    def claim(self, ref: ObjectRef) -> bool:
        """Keep an object in its moment, if there is one, from being deleted: this thread may replace it.

        It ends by :meth:`taken_over`, :meth:`call_off` or :meth:`unclaim`.
        """
        with self._lock:
            found = self._waiting.get(ref)
            if found is None or found.busy or found.certain or found.failures:
                return False
            found.busy, found.claimed_by = True, threading.get_ident()
            return True

    def unclaim(self, ref: ObjectRef) -> None:
        """What this thread has claimed is not replaced: it is deleted."""
        with self._lock:
            found = self._waiting.get(ref)
            if found is not None and found.claimed_by == threading.get_ident():
                self._let_go(found)

    def add_unsure(self, nodes: list[Node], delete: Callable[[], None], ended: Callable[[], None]) -> None:
        """Delete, by ``delete``, which of ``nodes`` is there, if one is; :meth:`withdraw` can undo it."""
        removal = _Removal(nodes[-1], delete, ended, time.monotonic(), nodes=nodes)
        self._note(removal)
        self._add(removal)

    def withdraw(self, ref: ObjectRef) -> bool:
        """Whether there was such a deletion, which need not be any more."""
        return self._call_off(ref, lambda each: bool(each.nodes))

    def call_off(self, ref: ObjectRef) -> bool:
        """What this thread has claimed is not to be deleted; False if it has taken it over already."""
        return self._call_off(ref, lambda each: each.claimed_by == threading.get_ident())

    def _call_off(self, ref: ObjectRef, which: Callable[[_Removal], bool]) -> bool:
        with self._lock:
            found = self._idle(ref)
            if found is None or not which(found):
                return False
            found.busy = True
        self._end(ref, found)
        return True

    def resume(
        self, key: str, nodes: list[Node], delete: Callable[[], None], ended: Callable[[], None]
    ) -> None:
        """Go on with what a mount that died had in the journal, by ``delete``."""
        due = time.monotonic()
        self._add(_Removal(nodes[-1], delete, ended, due, nodes=nodes, key=key, noted=True))

    def _add(self, removal: _Removal) -> None:
        with self._lock:
            self._waiting[removal.node.ref] = removal
            if len(self._threads) < min(_AT_ONCE, len(self._waiting)):
                number = len(self._threads)
                self._threads.append(
                    threading.Thread(target=self._run, name=f"removals-{number}", daemon=True)
                )
                self._threads[-1].start()
            self._changed.notify()

    @contextlib.contextmanager
    def taken_over(self, ref: ObjectRef) -> Iterator[Node | None]:
        """Within this context something replaces the object: it is deleted only if that fails.

        Gives what is there, if it was to be deleted.
        """
        with self._lock:
            found = self._idle(ref)
            if found is not None:
                found.busy = True
        try:
            yield found.node if found is not None and not found.nothing else None
        except BaseException:
            if found is not None:
                found.sure = False
                if not found.claimed_by:
                    with self._lock:
                        self._let_go(found)
            raise
        if found is not None:
            self._end(ref, found)

    def _let_go(self, found: _Removal) -> None:
        found.busy, found.claimed_by = False, 0
        self._lock.notify_all()
        self._changed.notify()

    def _end(self, ref: ObjectRef, removal: _Removal) -> None:
        if removal.noted:
            self._journal.forget(removal.key)
        try:  # before anybody goes on: what is noted of the name is of this removal
            removal.settled()
            removal.freed()
        finally:
            with self._lock:
                removal.ended = True
                self._waiting.pop(ref, None)
                self._lock.notify_all()

    def outcome(self, ref: ObjectRef) -> bool:
        """Wait until it is known what becomes of a removed name; False if that is certain."""
        with self._lock:
            found = self._waiting.get(ref)
            if found is None or found.certain:
                return False
            self._lock.wait_for(lambda: ref not in self._waiting, _PATIENCE)
            return True

    def finish(self, ref: ObjectRef) -> None:
        """Return when the object is deleted; raises why it could not be (it is tried again)."""
        with self._lock:
            found = self._idle(ref)
            if found is None:
                return
            found.busy = True
        self._attempt(found)
        if found.error is not None:
            raise found.error

    def finish_all(self, concerned: Callable[[ObjectRef], bool]) -> None:
        """:meth:`finish` of every object that is ``concerned``."""
        with self._lock:
            refs = [each for each in self._waiting if concerned(each)]
        for each in refs:
            self.finish(each)

    def _idle(self, ref: ObjectRef) -> _Removal | None:
        """The removal of ``ref``, once nobody else is at it, and it may begin.  ``_lock`` is held."""
        mine = threading.get_ident()
        while (found := self._waiting.get(ref)) is not None and found.claimed_by != mine:
            if not found.busy and found.due != math.inf:
                break
            wait_in(self._lock)
        return found

    def waiting(self) -> list[Pending]:
        """What is not deleted yet."""
        with self._lock:
            return [
                Pending(
                    object=str(ref),
                    size=each.node.size,
                    state=TO_BE_DELETED,
                    since=each.since,
                    attempts=each.failures,
                    error=None if each.error is None else str(each.error),
                    refused=isinstance(each.error, REFUSALS),
                )
                for ref, each in self._waiting.items()
            ]

    def drain(self, timeout: float | None = None) -> None:
        """Delete everything now; returns when each was tried once, or after ``timeout`` seconds."""
        with self._lock:
            asked = list(self._waiting.values())
            for each in asked:
                each.wanted = each.begun + 1  # one that is under way may have begun before things got better
                if each.due != math.inf:  # else something may be about to take its place
                    each.due = 0.0
            self._changed.notify_all()
            self._lock.wait_for(
                lambda: all(each.ended or each.failures >= each.wanted for each in asked), timeout
            )

    def stop(self) -> None:
        """Stop the threads; what is not deleted is left to the next mount."""
        with self._lock:
            self._stopped = True
            self._changed.notify_all()
            left = list(self._waiting.values())
        for each in left:
            try:
                if not each.nothing:
                    self._journal.record(each.key, each.entry())
                each.noted = True  # not again, by one that still tries: the next mount may have it by then
                each.settled()
            except NoSpace as error:
                log.warning("%s stays on the server: %s", each.node.ref, error)

    def _run(self) -> None:
        while (found := self._next()) is not None:
            self._attempt(found)

    def _next(self) -> _Removal | None:
        with self._lock:
            return next_due(self._changed, self._waiting.values, lambda: self._stopped, self._looks)

    def _attempt(self, found: _Removal) -> None:
        """Delete once, and note how it went.  The caller has made it ``busy``."""
        ref = found.node.ref
        found.begun += 1
        error: PithosError | None = None
        try:
            self._note_unless_soon_done(found)
            found.carry_out()
        except PithosError as caught:
            error = caught
            log.warning("%s is not deleted yet: %s", ref, error)
        except Exception as caught:
            log.exception("deleting %s failed", ref)
            error = PithosError(f"internal error: {caught}")
        if error is None:
            found.error = None
            if not found.nothing:
                self._worked = time.monotonic()
            self._end(ref, found)
            return
        self._note(found)
        with self._lock:  # at once: who has seen the error asks for another attempt, which is not this one
            found.busy, found.failures, found.error = False, found.failures + 1, error
            found.due = time.monotonic() + (found.pause if found.failures >= found.wanted else 0.0)
            found.pause = min(_LONGEST_PAUSE, found.pause * 2)
            self._lock.notify_all()
            self._changed.notify()

    def _note_unless_soon_done(self, removal: _Removal) -> None:
        """An entry of the journal may take as long as a deletion, where the store works."""
        if not removal.certain or removal.replaces or time.monotonic() - self._worked > _SOON:
            self._note(removal)

    def _note(self, removal: _Removal) -> None:
        """From here on the next mount would know of it."""
        if not removal.noted:
            with contextlib.suppress(NoSpace):  # then it is as safe as it was
                if not removal.nothing:
                    self._journal.note(removal.key, removal.entry())
                removal.noted = True
                removal.settled()


def delete(client: Client, ref: ObjectRef) -> None:
    """Delete one object; one that is gone already is no error.

    Where that failed at first, what is there may be somebody else's by now: then it is not deleted unseen
    (TooLate; after a lost answer also any other error that is ``maybe_done``).
    """
    try:
        client.delete(ref.container, ref.name, repeat_within=_FRESH)
    except NotFound:
        log.info("%s was deleted by somebody else meanwhile", ref)
