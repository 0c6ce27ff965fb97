"""The workloads a to n: what is there before, what is done and timed, what must hold afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .corpus import OLD, SMALL, Corpus
from .processes import Failed
from .store import Content, Store

BIG, COPY, RENAMED, INSIDE = "big.bin", "copy.bin", "renamed.bin", "inside.bin"
OLD_TEXT = f"{OLD}.000000000"
Expected = Mapping[str, Content | None]


@dataclass
class Case:
    """One system on one network, with a container, files and a direct view of the server."""

    system: Any
    store: Store
    corpus: Corpus
    big: str = ""  # what the big file is called on the server now; "": it is not there
    moving: str = ""  # the same of the directory of k and l
    done: set[str] = field(default_factory=set)  # what was put there for the workloads

    # Each makes sure that something is there; whether it had to be put there behind the system's back.

    def need_big(self) -> bool:
        """The big file."""
        self.corpus.content()  # hashed now, not between workloads that belong together
        if self.big:
            return False
        self.store.upload(BIG, self.corpus.big, **self._file())
        self.big = BIG
        return True

    def need_small(self) -> bool:
        """The small files."""
        return self._need("small", self._put_small)

    def need_listed(self) -> bool:
        """The tree to list."""
        return self._need("listed", lambda: self._plant(self.corpus.listed))

    def need_moving(self) -> bool:
        """The directory to rename and delete, with its marker; anew if a rename of it stopped half way."""
        if self.moving and not self.store.differences(planted(self.corpus.moved, "moving", self.moving)):
            return False
        self.moving = "moving"
        self._plant(self.corpus.moved)
        return True

    def _need(self, what: str, put: Callable[[], None]) -> bool:
        missing = what not in self.done
        if missing:
            self.done.add(what)
            put()
        return missing

    def _put_small(self) -> None:
        def put(path: Path) -> None:
            name = f"small/{path.relative_to(self.corpus.small)}"
            self.store.put(name, path.read_bytes(), **self._file())

        self.store.each(put, self.corpus.small_files())

    def _plant(self, names: list[str]) -> None:
        plant(self.store, names, times_in_types=self._times_in_types())

    def _file(self) -> dict[str, str]:
        return old_file(times_in_types=self._times_in_types())

    def _times_in_types(self) -> bool:
        return getattr(self.system, "times_in_types", False)


def old_file(*, times_in_types: bool) -> dict[str, str]:
    """What the system would have sent with a file of an old time.

    The time is in X-Object-Meta-Mtime, where rclone looks for it, and with
    ``times_in_types`` in the content type too, as pithosfs writes it.
    """
    words = f"; mtime={OLD_TEXT}; mode=0644" if times_in_types else ""
    return {"Content_Type": f"application/octet-stream{words}", "X_Object_Meta_Mtime": OLD_TEXT}


def plant(store: Store, names: list[str], *, times_in_types: bool) -> None:
    """Put small files with an old time, and their directories' markers, as the system would have done.

    ``times_in_types`` is as in :func:`old_file`.
    """
    words = f"; mtime={OLD_TEXT}; mode=0755" if times_in_types else ""
    for folder in sorted(
        {name.rpartition("/")[0] for name in names} | {name.partition("/")[0] for name in names}
    ):
        store.put(folder, b"", Content_Type=f"application/directory{words}")

    def put(name: str) -> None:
        store.put(name, name.encode().ljust(SMALL), **old_file(times_in_types=times_in_types))

    store.each(put, names)


def planted(names: list[str], old: str, new: str) -> dict[str, Content | None]:
    """What is expected of planted files after their top directory ``old`` became ``new``."""
    gone: dict[str, Content | None] = dict.fromkeys(names)
    return gone | {name.replace(old, new, 1): Content.of(name.encode().ljust(SMALL)) for name in names}


@dataclass(frozen=True, slots=True)
class Workload:
    """One line of the table.

    ``run`` is timed; ``expect`` says, before that, what the server must hold
    afterwards; ``after`` checks more and keeps the books.  With ``fresh`` the
    system begins with nothing cached; also where ``needs`` had to put
    something on the server that it cannot know of.

    ``follows`` names the first of the workloads that belong together, in
    order: what somebody does in one go.  A system does them one right after
    the other, for what it may do at once depends on how long ago it asked the
    server: if the other systems came between, that would be their time.  So
    ``after`` must not take long, nor make the system ask, where one follows.
    ``goes_on`` names one that need not be done right before, but by the same system: what it left is needed.
    """

    key: str
    title: str
    action: str  # the method a system must have
    run: Callable[[Case], Any]
    follows: str = ""
    goes_on: str = ""
    fresh: bool = False
    needs: Callable[[Case], bool] = lambda _: False
    expect: Callable[[Case], Expected] = lambda _: {}
    after: Callable[[Case, Any], None] = lambda *_: None


def _have_big(case: Case, _answer: Any) -> None:
    case.big = BIG


def _same_bytes(case: Case, sha256: Callable[[], str]) -> None:
    if sha256() != case.corpus.content().sha256:
        raise Failed(f"{case.big}: other bytes were read than are there")


def _have_small(case: Case, _answer: Any) -> None:
    case.done.add("small")


def _expect_changed(case: Case) -> Expected:
    case.corpus.change(case.corpus.big)
    return case.corpus.expect_big(case.big)


def _expect_appended(case: Case) -> Expected:
    case.corpus.append(case.corpus.big)
    return case.corpus.expect_big(case.big)


def _listed_times(case: Case, _answer: Any) -> None:
    check = getattr(case.system, "times_are_kept", None)
    if check and not check(dict.fromkeys(case.corpus.listed[:50], OLD)):
        raise Failed("the times shown are the server's, not the files'")


def _expect_renamed_tree(case: Case) -> Expected:
    return planted(case.corpus.moved, "moving", "moved")


def _renamed_tree(case: Case, _answer: Any) -> None:
    case.moving = "moved"


def _expect_renamed_big(case: Case) -> Expected:
    return {case.big: None, **case.corpus.expect_big(RENAMED)}


def _renamed_big(case: Case, _answer: Any) -> None:
    case.big = RENAMED


def _expect_deleted(case: Case) -> Expected:
    # Not the markers: rclone does not see them, so it cannot delete them.
    return dict.fromkeys(name.replace("moving", case.moving, 1) for name in case.corpus.moved)


def _deleted(case: Case, _answer: Any) -> None:
    case.moving = ""


def _nothing_to_do(_case: Case, answer: str) -> None:
    changed = [line for line in answer.splitlines() if line.startswith((">", "<", "c"))]
    if changed:
        raise Failed(f"rsync copied again: {changed[0]} ({len(changed)} in all)")


WORKLOADS = [
    Workload(
        "a",
        "cp a new big file in",
        "upload",
        lambda c: c.system.upload(BIG),
        expect=lambda c: c.corpus.expect_big(BIG),
        after=_have_big,
    ),
    Workload(
        "b",
        "fresh mount, read it",
        "read",
        lambda c: c.system.read(c.big),
        fresh=True,
        needs=Case.need_big,
        after=_same_bytes,
    ),
    Workload(
        "c",
        "read it again",
        "reread",
        lambda c: c.system.reread(c.big),
        follows="b",
        needs=Case.need_big,
        after=_same_bytes,
    ),
    Workload(
        "d",
        "fresh mount, random 4 KiB reads",
        "random_reads",
        lambda c: c.system.random_reads(c.big),
        fresh=True,
        needs=Case.need_big,
    ),
    Workload(
        "e",
        "the same file under another name",
        "upload",
        lambda c: c.system.upload(COPY),
        needs=Case.need_big,
        expect=lambda c: c.corpus.expect_big(COPY),
    ),
    Workload(
        "f",
        "fresh mount, 4 KiB changed in the middle",
        "change",
        lambda c: c.system.change(c.big),
        fresh=True,
        needs=Case.need_big,
        expect=_expect_changed,
    ),
    Workload(
        "g",
        "fresh mount, 4 KiB appended",
        "append",
        lambda c: c.system.append(c.big),
        fresh=True,
        needs=Case.need_big,
        expect=_expect_appended,
    ),
    Workload(
        "h",
        "cp -r of the small files",
        "copy_tree",
        lambda c: c.system.copy_tree("small"),
        expect=lambda c: c.corpus.expect_small("small"),
        after=_have_small,
    ),
    Workload(
        "i",
        "fresh mount, ls -lR of the large tree",
        "list_tree",
        lambda c: c.system.list_tree("listed"),
        fresh=True,
        needs=Case.need_listed,
        after=_listed_times,
    ),
    Workload(
        "j",
        "fresh mount, read the small files one by one",
        "read_small",
        lambda c: c.system.read_small("small"),
        fresh=True,
        needs=Case.need_small,
    ),
    Workload(
        "k1",
        "mv a directory",
        "rename",
        lambda c: c.system.rename("moving", "moved"),
        needs=Case.need_moving,
        expect=_expect_renamed_tree,
        after=_renamed_tree,
    ),
    Workload(
        "k2",
        "mv the big file",
        "rename",
        lambda c: c.system.rename(c.big, RENAMED),
        follows="k1",
        needs=Case.need_big,
        expect=_expect_renamed_big,
        after=_renamed_big,
    ),
    Workload(
        "l",
        "rm -r of that directory",
        "delete_tree",
        lambda c: c.system.delete_tree(c.moving),
        follows="k1",
        needs=Case.need_moving,
        expect=_expect_deleted,
        after=_deleted,
    ),
    Workload(
        "m",
        "fresh mount, cp the big file inside the mount",
        "copy_inside",
        lambda c: c.system.copy_inside(c.big, INSIDE),
        fresh=True,
        needs=Case.need_big,
        expect=lambda c: c.corpus.expect_big(INSIDE),
    ),
    Workload(
        "n1",
        "rsync -a of the small files",
        "sync",
        lambda c: c.system.sync("synced"),
        expect=lambda c: c.corpus.expect_small("synced"),
    ),
    Workload(
        "n2",
        "the same again",
        "sync",
        lambda c: c.system.sync("synced"),
        follows="n1",
        after=_nothing_to_do,
    ),
    Workload(
        "n3",
        "the same after a fresh mount",
        "sync",
        lambda c: c.system.sync("synced"),
        goes_on="n1",
        fresh=True,
        after=_nothing_to_do,
    ),
]


def sequences(workloads: Iterable[Workload]) -> list[list[Workload]]:
    """``workloads`` in their order, those that belong together in one list."""
    found = itertools.groupby(workloads, lambda each: each.follows or each.key)
    return [list(together) for _, together in found]
