"""Which small files to fetch ahead."""

from __future__ import annotations

from pithosfs.attributes import Attributes
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node
from pithosfs.siblings import Siblings

DIRECTORY = ObjectRef("c", "d")


def children(count: int) -> dict[str, Node]:
    return {f"f{each:03d}": Node(DIRECTORY.child(f"f{each:03d}"), Attributes()) for each in range(count)}


def test_one_file_is_no_sign() -> None:
    assert Siblings().opened(DIRECTORY, "f005", children(100)) == []


def test_two_in_a_row_are_a_sign_and_the_window_grows() -> None:
    siblings, files = Siblings(), children(200)
    asked: list[str] = []
    largest = 0
    for name in files:
        ahead = siblings.opened(DIRECTORY, name, files)
        assert name not in ahead
        largest = max(largest, len(ahead))
        asked += ahead
    assert len(asked) == len(set(asked)), "nothing is asked for twice"
    assert set(asked) >= set(list(files)[3:])
    assert 16 <= largest <= 64


def test_a_jump_starts_small_again() -> None:
    siblings, files = Siblings(), children(100)
    for name in list(files)[:5]:
        siblings.opened(DIRECTORY, name, files)
    assert siblings.opened(DIRECTORY, "f080", files) == []
    assert siblings.opened(DIRECTORY, "f020", files) == []


def test_skipping_a_file_still_goes_on() -> None:
    siblings, files = Siblings(), children(100)
    siblings.opened(DIRECTORY, "f000", files)
    assert siblings.opened(DIRECTORY, "f002", files)[0] == "f003"


def test_directories_do_not_disturb_each_other() -> None:
    siblings, files = Siblings(), children(100)
    other = ObjectRef("c", "e")
    siblings.opened(DIRECTORY, "f000", files)
    siblings.opened(other, "f050", files)
    assert siblings.opened(DIRECTORY, "f001", files)


def test_who_walks_on_into_the_next_directory_need_not_show_it_again() -> None:
    siblings, files = Siblings(), children(30)
    for name in files:
        siblings.opened(DIRECTORY, name, files)
    assert len(siblings.opened(ObjectRef("c", "e"), "f000", files)) >= 16
    assert siblings.opened(ObjectRef("c", "f"), "f020", files) == [], "no walk begins there"


def test_the_first_files_of_many_directories_are_no_walk() -> None:
    siblings, files = Siblings(), children(30)
    for number in range(20):
        assert siblings.opened(ObjectRef("c", str(number)), "f000", files) == []
