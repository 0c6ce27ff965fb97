"""From a changed file to the server: at once, behind the program, or again where it failed.

What becomes of a commit is settled here: the tree learns of it, a conflict
keeps both versions, a failure is journalled and tried again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary, WeakSet

from pithosfs.commit import Changed
from pithosfs.conflicts import Conflicts
from pithosfs.errors import NoSpace, PithosError, Stale
from pithosfs.guard import Guard
from pithosfs.inuse import InUse
from pithosfs.names import ObjectRef
from pithosfs.openfile import OpenFile
from pithosfs.outbox import Outbox
from pithosfs.temporaries import is_temporary

log = logging.getLogger(__name__)

#: How long a change of attributes, or a temporary file, waits for a rename that could carry it.
HOLD_SECONDS = 1.0
#: Bytes up to which a file is left to a rename: who renames holds the directory, and others wait for it.
_SOON_SENT = 256 * 1024
#: Seconds until it is looked at again whether a program is done with a file.
_LOOK_AGAIN = 0.2
#: Seconds at the end to look what the last commits replaced.
_LAST_LOOK = 5.0
#: How often a commit begins anew because the object is another one each time.
_ROUNDS = 5


class Sending:
    """Sends the changes of files in use; ``done`` is told of each commit that has ended.

    ``write_back`` in seconds, None to send before close returns.
    """

    def __init__(
        self,
        in_use: InUse,
        conflicts: Conflicts,
        guard_for: Callable[[Callable[[ObjectRef, ObjectRef], None]], Guard],
        done: Callable[[OpenFile], None],
        *,
        write_back: float | None,
    ) -> None:
        self.outbox = Outbox(self._send)
        self._in_use = in_use
        self._conflicts = conflicts
        self._guard = guard_for(conflicts.note)
        self._done = done
        self._write_back = write_back
        self._lock = threading.Lock()
        self._left: WeakSet[OpenFile] = WeakSet()  # left to a rename: nobody was told what became of them
        self._untold: WeakKeyDictionary[OpenFile, Stale] = WeakKeyDictionary()  # what is to be told

    @property
    def writes_back(self) -> bool:
        """Whether a file that is closed is sent behind the program."""
        return self._write_back is not None

    def adopt_open(self) -> None:
        """No program will write or close any more: what was never closed is kept and sent, too."""
        for file in self._in_use.all():
            if file.content_changed and file not in self.outbox:
                persist(file)
                self.outbox.queue(file, 0.0)

    def stop(self) -> None:
        """Stop the threads; what is not sent stays in the journal."""
        for file in self._in_use.all():
            if file.dirty:  # maybe just in its times or mode, or in those since it was journalled
                persist(file)
        self.outbox.stop()
        self._guard.drain(_LAST_LOOK)
        self._guard.stop()

    # -- what programs ask for ------------------------------------------------------------------

    def flush(self, file: OpenFile) -> None:
        """The file is closed: send it, or promise to (write-back, or a rename is about to send it)."""
        if self._write_back is not None and file.dirty:
            try:
                file.persist()
            except NoSpace:
                self.sync(file)  # where the local disk has no room, it is waited for
            else:
                self.outbox.queue(file, self._write_back)
        elif self._write_back is None and not self._left_to_rename(file):
            self.sync(file)

    def _left_to_rename(self, file: OpenFile) -> bool:
        """Whether a new file of a temporary name is in the journal now, for a moment.

        One PUT under the name it gets, for one under each and a MOVE, which
        takes a server as long as two of them.  Only what the local disk is done
        with sooner than that.
        """
        small = file.size <= min(_SOON_SENT, file.block_size)
        if file.node is not None or not small or not _has_temporary_name(file):
            return False
        if file in self.outbox and not self.outbox.holds(file):
            return False  # it could not be sent before, and who closes it is to hear whether it can now
        try:
            file.persist()
        except NoSpace:
            return False
        with self._lock:
            self._left.add(file)
        self._hold(file)
        return True

    def awaits_rename(self, file: OpenFile) -> bool:
        """Whether a rename has to send the file, or to tell why it cannot be: closing it was left to that."""
        with self._lock:
            return file in self._left

    def sync_directory(self, directory: ObjectRef) -> None:
        """Send a directory, and what in it was left to a rename or is not on the server at all."""
        for file in self._in_use.all():
            new = file.node is None and file in self.outbox
            if directory in (file.ref, file.ref.parent) and (new or self.awaits_rename(file)):
                self.sync(file)

    def sync(self, file: OpenFile) -> None:
        """Returns when the server has the file; else it is kept, retried, and the reason raised."""
        try:
            self._commit_as_it_is(file)
        except Exception as error:  # one that nobody expected must not cost the data either
            if file.dirty:  # else both versions are kept, and the error says so
                self._keep(file, error)
            raise
        finally:
            with self._lock:
                self._left.discard(file)
                untold = self._untold.pop(file, None)
        if untold is not None:
            raise untold

    def send(self, ref: ObjectRef) -> None:
        """Send what waits of an object and of all below it; raises why one of them could not be sent."""
        failed: PithosError | None = None
        for file in self._in_use.below(ref):
            if file in self.outbox:
                try:
                    self.sync(file)
                except PithosError as error:
                    failed = error
        if failed is not None:
            raise failed

    def hold(self, file: OpenFile) -> None:
        """Attributes changed: they go out soon, by themselves, or with the content if that changed, too."""
        if file.dirty and not file.content_changed:
            self._hold(file)

    def _hold(self, file: OpenFile) -> None:
        self._in_use.pin(file)
        self.outbox.hold(file, HOLD_SECONDS)

    # -- commits --------------------------------------------------------------------------------

    def _send(self, file: OpenFile) -> None:
        if file.in_the_middle:
            self.outbox.postpone(file, _LOOK_AGAIN)
            return
        try:
            self._commit(file)
        except Changed:  # it was cut: a program writes it anew, and soon may close it
            self.outbox.postpone(file, _LOOK_AGAIN)
        except Stale as error:
            if file.dirty:
                raise
            with self._lock:  # both versions are kept; who closed it is told by the rename
                if file in self._left:
                    self._untold[file] = error.with_traceback(None)  # which would keep the file
        else:
            with self._lock:
                self._left.discard(file)

    def _commit_as_it_is(self, file: OpenFile) -> None:
        """Send the file; anew as it is by then, if a part is cut off meanwhile."""
        for _ in range(_ROUNDS):
            with contextlib.suppress(Changed):
                return self._commit(file)
        return self._commit(file)

    def _keep(self, file: OpenFile, error: Exception) -> None:
        log.warning("%s could not be sent: %s; it is kept and tried again", file.ref, error)
        self._in_use.pin(file)
        persist(file)
        self.outbox.keep(file, error)

    def _commit(self, file: OpenFile) -> None:
        """Send the file; Stale if others changed it meanwhile (both versions are kept then)."""
        with self._in_use.lock:
            file.users.begin()  # who closes it meanwhile must not forget it: the tree is not told yet
        try:
            self._commit_used(file)
        finally:
            self._done(file)

    def _commit_used(self, file: OpenFile) -> None:
        with file.committing:
            before = file.node
            conflict = self._commit_or_give_way(file)
            if file.forget_journal_if_sent():
                self.outbox.forget(file)
            if file.dirty and file.journalled:
                # Changed while it was sent: the entry may be of a version that is no more. And who closed
                # it just now may have put it into the outbox before it was forgotten there.
                persist(file)
                if not file.users.handles and file not in self.outbox:
                    self.outbox.queue(file, self._write_back or 0.0)
            else:
                self.hold(file)  # if times or mode were changed while it was sent
            if file.node is not before:  # else it was nothing but attributes, which gave way to others
                self._in_use.show_sent(file)
        if conflict is not None:
            raise conflict

    def _commit_or_give_way(self, file: OpenFile) -> Stale | None:
        for _ in range(_ROUNDS):
            before, base = self._guard.mark(), file.node
            try:
                done = file.commit()
            except Stale as error:
                ref, copy = file.ref, self._conflicts.give_way(file)
                if copy is not None:
                    text = f"{ref} was changed by somebody else; your version is {copy.name}"
                    return Stale(text, error.status)
            else:
                if done and file.node is not None:
                    self._guard.committed(file.node, base, before)
                return None
        raise Stale(f"{file.ref} changes faster than it can be written", 412)


def persist(file: OpenFile) -> None:
    """Have a file in the journal if the local disk takes it; it is in memory, at least."""
    try:
        file.persist()
    except PithosError as trouble:
        log.error(  # noqa: TRY400 - a full disk is no bug of ours
            "%s is only in memory: %s", file.ref, trouble
        )


def _has_temporary_name(file: OpenFile) -> bool:
    return is_temporary(file.ref.name.rpartition("/")[2])
