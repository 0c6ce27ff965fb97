"""The tree on a real server: what is asked when, what is remembered, what our own changes undo."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace

import pytest

from pithosfs.attributes import Attributes
from pithosfs.errors import NotADirectory, NotFound, TimedOut, Unavailable
from pithosfs.lister import Arrival
from pithosfs.nodes import Node
from pithosfs.transport import Request
from pithosfs.walks import Subtree
from tests.core.conftest import Build
from tests.core.stack import Stack
from tests.core.threads import InThread
from tests.support.waiting import eventually


class Clock:
    """Time as the tree sees it: what it says goes on when it is told to.

    How long a busy machine takes between two steps of a test makes no listing old.
    """

    def __init__(self) -> None:
        self._now = time.monotonic()
        self._lock = threading.Lock()
        self.time_ns = time.time_ns

    def monotonic(self) -> float:
        """A little later each time, as by any clock."""
        with self._lock:
            self._now += 1e-6
            return self._now

    def goes_on(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For all that knows the age of listings."""
    found = Clock()
    for module in ("namespace", "lister", "unlisted", "walks"):
        monkeypatch.setattr(f"pithosfs.{module}.time", found)
    return found


def listings(stack: Stack) -> int:
    asked = [url for method, url in stack.wire.requests if method == "GET" and "format=json" in url]
    return sum("meta=" not in url for url in asked)


def test_one_listing_answers_everything_in_a_directory(stack: Stack) -> None:
    for number in range(20):
        stack.put(f"file{number}", b"x")
    stack.wire.reset()
    assert len(stack.ls()) == 20
    for number in range(20):
        assert stack.fs.node(f"/file{number}").size == 1
        with pytest.raises(NotFound):
            stack.fs.node(f"/absent{number}")
    with pytest.raises(NotADirectory):
        stack.fs.node("/file1/below")
    assert stack.wire.count(within="delimiter=") == 1
    assert len(stack.wire.requests) == 1 + 1  # whether other programs keep times in their metadata


def test_many_who_look_at_once_make_one_request(stack: Stack) -> None:
    stack.put("file", b"x")
    held = stack.wire.hold("GET")
    lookers = [InThread(lambda: stack.fs.node("/file")) for _ in range(8)]
    held.wait()
    held.release()
    for each in lookers:
        each.result()
    assert listings(stack) == 1


def test_what_others_do_is_seen_after_the_time_to_live(build: Build, clock: Clock) -> None:
    stack = build(ttl=0.3)
    stack.put("file", b"x")
    assert stack.ls() == ["file"]
    stack.put("new", b"x")
    assert stack.ls() == ["file"]
    clock.goes_on(0.35)
    assert stack.ls() == ["file", "new"]


def test_an_old_listing_is_revalidated_for_the_whole_container_at_once(build: Build, clock: Clock) -> None:
    stack = build(ttl=0.2)
    for name in ("a/file", "b/file", "c/file"):
        stack.put(name, b"x")
    time.sleep(1.1)  # the store's stamp has a resolution of a second
    for path in ("/", "/a", "/b", "/c"):
        stack.namespace.children(stack.namespace.find(path))
    clock.goes_on(0.25)
    stack.wire.reset()
    for path in ("/", "/a", "/b", "/c"):
        stack.namespace.children(stack.namespace.find(path))
    assert len(stack.wire.requests) == 1
    stack.put("b/new", b"x")
    clock.goes_on(0.25)
    assert sorted(stack.namespace.children(stack.namespace.find("/b"))) == ["file", "new"]


def test_to_ask_whether_anything_changed_is_to_ask_what(build: Build, clock: Clock) -> None:
    stack = build(ttl=0.2)
    stack.put("file", b"x")
    time.sleep(1.1)  # the store's stamp has a resolution of a second
    assert stack.ls() == ["file"]
    stack.put("new", b"x")
    clock.goes_on(0.25)
    stack.wire.reset()
    assert stack.ls() == ["file", "new"]
    assert listings(stack) == 1


def test_a_small_tree_in_use_is_listed_anew_as_a_whole(build: Build, clock: Clock) -> None:
    stack = build(ttl=0.2)
    for directory in range(5):
        stack.put(f"top/d{directory}/below/file", b"x")
    directories = [path for n in range(5) for path in (f"/top/d{n}", f"/top/d{n}/below")]
    for path in directories:
        stack.ls(path)
    stack.put("top/d4/below/new", b"x")
    clock.goes_on(0.25)
    stack.wire.reset()
    for path in directories:
        stack.ls(path)
    assert stack.ls("/top/d4/below") == ["file", "new"]
    assert listings(stack) == 1


def test_who_looked_at_several_directories_and_goes_into_one_gets_all_in_one_listing(
    stack: Stack, clock: Clock
) -> None:
    for directory in range(5):
        stack.put(f"top/d{directory}/file", b"x")
    stack.ls()
    for directory in range(5):
        stack.fs.node(f"/top/d{directory}")
    stack.wire.reset()
    for directory in range(5):
        assert stack.fs.node(f"/top/d{directory}/file").size == 1
    assert listings(stack) == 1


def test_who_goes_straight_down_lists_only_what_is_on_the_way(stack: Stack, clock: Clock) -> None:
    for directory in range(5):
        stack.put(f"top/d{directory}/file", b"x")
    stack.wire.reset()
    assert stack.fs.node("/top/d3/file").size == 1
    assert listings(stack) == stack.wire.count(within="delimiter=") == 3


def test_a_change_within_the_second_is_not_missed(build: Build, clock: Clock) -> None:
    stack = build(ttl=0.1)
    for number in range(8):
        stack.put(f"file{number}", b"x")
        assert len(stack.ls()) == number + 1
        time.sleep(0.12)  # of the store's seconds
        clock.goes_on(0.12)


def test_a_walk_becomes_one_listing(stack: Stack, clock: Clock) -> None:
    for directory in range(20):
        for number in range(5):
            stack.put(f"top/d{directory:02}/file{number}", b"x")
    stack.wire.reset()
    assert len(stack.ls("/")) == 1
    for name in stack.ls("/top"):
        assert stack.ls(f"/top/{name}") == [f"file{number}" for number in range(5)]
    assert listings(stack) <= 4
    assert len(stack.wire.requests) <= 4


def tree_of_many_pages(build: Build, **options: float) -> Stack:
    """Ten directories of ten files, listed twenty objects at a time."""
    stack = build(page=20, **options)
    for number in range(100):
        stack.put(f"top/d{number // 10}/file{number % 10}", b"x")
    return stack


def test_directories_not_looked_at_for_long_are_forgotten(build: Build) -> None:
    stack = tree_of_many_pages(build, ttl=600, kept=40)
    names = [f"file{number}" for number in range(10)]
    for number in range(10):
        assert stack.ls(f"/top/d{number}") == names
    assert sum(len(stack.namespace.known(f"top/d{number}", 100)) for number in range(10)) < 60
    stack.wire.reset()
    assert stack.ls("/top/d9") == names
    assert not stack.wire.requests
    assert stack.ls("/top/d0") == names
    assert stack.wire.requests


def test_a_listing_of_many_pages_is_revalidated_like_any_other(build: Build, clock: Clock) -> None:
    stack = tree_of_many_pages(build, ttl=0.1)
    time.sleep(1.1)  # the store's stamp has a resolution of a second
    assert len(stack.ls("/top")) == 10
    assert len(stack.ls("/top/d0")) == len(stack.ls("/top/d1")) == 10
    stack.wire.reset()
    for number in range(2, 10):
        clock.goes_on(0.15)
        assert len(stack.ls(f"/top/d{number}")) == 10
    assert listings(stack) <= 3 * 8  # for each directory on the way; a listing of all takes six
    assert stack.wire.count(within="marker=") == 0


def test_a_directory_that_got_another_name_is_not_two_that_were_looked_at(stack: Stack) -> None:
    for name in ("old/file", "other/file"):
        stack.put(name, b"x")
    stack.fs.node("/old")
    stack.fs.rename("/old", "/new")
    stack.fs.node("/new")
    stack.wire.reset()
    assert stack.ls("/new") == ["file"]
    assert stack.wire.count(within="prefix=new/") == listings(stack) == 1


def test_a_walk_ends_though_its_listing_takes_longer_than_it_is_trusted(build: Build, clock: Clock) -> None:
    """And somebody else goes on writing all the time, so that nothing can be revalidated."""
    stack = tree_of_many_pages(build, ttl=0.05)
    stack.wire.reset()
    stack.wire.before = lambda request: clock.goes_on(0.1)
    for number in range(10):
        assert len(stack.ls(f"/top/d{number}")) == 10
        stack.put(f"elsewhere/{number}", b"x")
    pages = [url for _, url in stack.wire.requests if "limit=20" in url and "delimiter" not in url]
    assert len(pages) <= 5 * 6  # not once for each directory


def test_a_listing_may_take_longer_than_the_timeout_while_its_pages_come(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = tree_of_many_pages(build)
    over = []

    def wait(future: Future[None], timeout: float) -> None:
        """The time is over whenever a page has come, but not the last."""
        before = stack.wire.count("GET")
        eventually(lambda: future.done() or stack.wire.count("GET") > before + 1)
        if not future.done():
            over.append(timeout)
            raise TimedOut("the time is over")
        future.result()

    stack.wire.before = lambda request: time.sleep(0.1)
    monkeypatch.setattr("pithosfs.namespace.wait", wait)
    assert len(stack.ls("/top/d0")) == len(stack.ls("/top/d1")) == 10
    assert over


def test_a_walk_over_a_directory_that_vanished_ends(stack: Stack) -> None:
    for name in ("top/a/file", "top/b/file", "top/c/file"):
        stack.put(name, b"x")
    assert stack.ls("/top") == ["a", "b", "c"]
    stack.client.delete(stack.container, "top/b/file")
    stack.wire.reset()
    looking = InThread(lambda: stack.ls("/top/b"))
    assert looking.result() == []
    assert len(stack.wire.requests) <= 2


def test_what_we_change_is_not_undone_by_an_answer_that_was_on_its_way(build: Build) -> None:
    stack = build()
    stack.put("gone", b"x")
    node = stack.fs.node("/gone")
    stack.namespace.forget()
    stack.put("others", b"x")
    changed = []

    def after(request: Request) -> None:
        """The server has answered; before the answer is looked at, we change something."""
        if request.method == "GET" and not changed:
            changed.append(request)
            stack.client.delete(stack.container, "gone")
            stack.namespace.drop(stack.top, "gone")
            stack.put("new", b"x")
            stack.namespace.put(stack.top, "new", replace(node, ref=stack.ref("new")))

    stack.wire.after = after
    assert stack.ls() == ["new", "others"]
    assert changed
    stack.namespace.forget()
    assert stack.ls() == ["new", "others"]


def test_a_pinned_entry_is_not_changed_by_listings(build: Build) -> None:
    stack = build(ttl=0.0)
    stack.put("file", b"x")
    node = stack.fs.node("/file")
    stack.namespace.pin(stack.top, "file")
    stack.put("file", b"theirs")
    assert stack.namespace.find("/file") == node
    stack.namespace.unpin(stack.top, "file")
    time.sleep(0.01)
    assert stack.namespace.find("/file").size == 6


def test_a_file_that_is_not_sent_yet_is_in_every_listing(build: Build) -> None:
    stack = build(ttl=0.0)
    handle = stack.fs.create("/new", 0o644)
    stack.fs.handles.write(handle.number, 0, b"content")
    assert stack.ls() == ["new"]
    assert stack.fs.node("/new").size == 7
    stack.namespace.forget()
    assert stack.ls() == ["new"]
    stack.fs.handles.release(handle.number)
    assert stack.ls() == ["new"]


def test_known_listings_stay_readable_without_a_network(build: Build) -> None:
    stack = build(ttl=0.0)
    stack.put("d/file", b"x")
    assert stack.ls("/d") == ["file"]
    stack.wire.refuse()
    assert stack.ls("/d") == ["file"]
    assert stack.fs.node("/d/file").size == 1
    with pytest.raises(NotFound):
        stack.fs.node("/d/absent")
    stack.wire.reset()
    stack.put("d/new", b"x")
    assert stack.ls("/d") == ["file", "new"]


def test_an_unknown_directory_without_a_network_is_an_error_not_empty(stack: Stack) -> None:
    stack.put("d/file", b"x")
    stack.ls("/")
    stack.wire.refuse()
    with pytest.raises(Unavailable):
        stack.ls("/d")


def test_odd_objects_hide_nothing_else(stack: Stack) -> None:
    for name in ("/leading", "a//b", "a/", "c/.", "c/..", "c/./d", "plain", "plain/below"):
        stack.put(name, name.encode())
    stack.put("dir", content_type="application/directory")
    stack.put("dir/", content_type="application/folder")
    stack.put("dir/file", b"f")
    assert stack.ls("/") == ["a", "c", "dir", "plain", "plain‛"]
    assert stack.read("/plain‛") == b"plain"
    assert stack.ls("/plain") == ["below"]
    assert stack.ls("/a") == ["‛", "‛‛"]
    contents = {
        stack.read(f"/a/{name}") for name in stack.ls("/a") if not stack.fs.node(f"/a/{name}").is_directory
    }
    assert contents == {b"a/"}
    assert stack.ls("/c") == ["‛.", "‛..", "‛.‛"]
    assert stack.ls("/dir") == ["file"]


def test_a_directory_seen_by_a_walk_is_what_a_listing_of_its_own_shows(build: Build) -> None:
    first = build()
    for name in ("t/a/x", "t/b/y/z", "t/b//w", "t/b/q/", "t/c", "t/c/d", "t/e/.", "t/e/../f"):
        first.put(name, name.encode())
    first.put("t/b", content_type="application/directory")
    paths = ["/t", "/t/a", "/t/b", "/t/c", "/t/e", "/t/b/y", "/t/b/‛", "/t/b/q", "/t/e/‛.."]
    single = {path: sorted(first.namespace.children(first.namespace.find(path))) for path in paths}
    second = build(container=first.container)
    second.namespace._refresh(first.ref("t/a"), Subtree(first.ref("t"), 10_000), Arrival())
    walked = {path: sorted(second.namespace.children(second.namespace.find(path))) for path in paths}
    assert walked == single


def test_the_memory_of_confirmations_does_not_grow(build: Build) -> None:
    stack = build(ttl=0.0)
    stack.put("d/file", b"x")
    for number in range(300):
        stack.namespace._confirm(stack.top, f"stamp {number}", time.monotonic())
    assert len(stack.namespace._confirmed) <= 100


def test_what_changes_in_a_directory_while_it_is_listed_for_the_first_time_is_seen(stack: Stack) -> None:
    """As after a crash: files of the mount before arrive while the tree is looked at."""
    stack.put("old", b"x")
    top = stack.top
    answered, go_on = threading.Event(), threading.Event()

    def late(request: Request) -> None:
        if request.method == "GET":
            answered.set()
            assert go_on.wait(20)

    stack.wire.after = late
    listing = InThread(stack.ls)
    assert answered.wait(20)
    stack.namespace.pin(top, "new")
    new = Node(stack.ref("new"), Attributes(), version=10**6)
    stack.namespace.put(top, "new", new)
    stack.namespace.unpin(top, "new")
    stack.namespace.put(top, "other", Node(stack.ref("other"), Attributes(), version=10**6))
    stack.namespace.drop(top, "old")
    go_on.set()
    assert listing.result() == ["new", "other"]
