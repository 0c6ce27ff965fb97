"""Listings become trees, whatever the objects are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithosfs import names
from pithosfs.api import Entry
from pithosfs.attributes import Attributes
from pithosfs.names import ObjectRef
from pithosfs.nodes import Node, TreeBuilder, inode_number, of_entry, virtual_directory
from pithosfs.ranges import Origin
from pithosfs.wire import entry_of

TOP = ObjectRef("box", "")
DIRECTORY = "application/directory"


def entry(name: str, content_type: str = "text/plain", size: int = 1) -> Entry:
    return entry_of(
        {
            "name": name,
            "bytes": size,
            "content_type": content_type,
            "hash": "",
            "x_object_hash": "ab" * 32,
            "x_object_uuid": f"uuid of {name}",
            "x_object_version": 7,
            "x_object_version_timestamp": "1795333707.724022",
            "last_modified": "2026-11-22T07:48:27.724022+00:00",
        }
    )


def tree(*entries: Entry, top: ObjectRef = TOP) -> dict[str, dict[str, str]]:
    """Directory -> name -> what: an object's name, or its name with a slash for a directory."""
    builder = TreeBuilder(top)
    builder.add_entries(entries)
    return {
        ref.name: {
            name: node.ref.name + ("/" if node.is_directory else "") + ("" if node.exists else "?")
            for name, node in children.items()
        }
        for ref, children in builder.directories.items()
    }


def test_directories_made_and_not_made() -> None:
    assert tree(entry("a", DIRECTORY, 0), entry("a/b"), entry("c/d/e"), entry("f")) == {
        "": {"a": "a/", "c": "c/?", "f": "f"},
        "a": {"b": "a/b"},
        "c": {"d": "c/d/?"},
        "c/d": {"e": "c/d/e"},
    }


def test_a_marker_that_comes_after_what_is_below_it() -> None:
    """Byte order puts ``a!b/…`` between ``a`` and ``a/…``; pages may come in any order."""
    assert tree(entry("a/b"), entry("a", DIRECTORY, 0))[""] == {"a": "a/"}


def test_a_file_beside_a_directory_of_its_name() -> None:
    expected = {"a": "a/?", "a‛": "a"}
    assert tree(entry("a"), entry("a/b"))[""] == expected
    assert tree(entry("a/b"), entry("a"))[""] == expected


def test_a_file_beside_a_marker_and_a_name_that_looks_like_its_substitute() -> None:
    found = tree(entry("a‛"), entry("a"), entry("a/b"))[""]
    assert sorted(found.values()) == ["a", "a/?", "a‛"]
    assert found["a"] == "a/?"
    assert found["a‛"] == "a‛"


def test_odd_components() -> None:
    assert tree(entry("a//b"), entry("a/./b"), entry("a/../b"))["a"] == {
        "‛": "a//?",
        "‛.": "a/./?",
        "‛..": "a/../?",
    }


def test_a_trailing_slash_is_a_marker_or_an_object_of_its_own() -> None:
    assert tree(entry("a/", DIRECTORY, 0)) == {"": {"a": "a/?"}, "a": {}}
    assert tree(entry("a/", "text/plain", 3)) == {"": {"a": "a/?"}, "a": {"‛": "a/"}}


def test_a_leading_slash_hides_nothing_else() -> None:
    assert tree(entry("/a"), entry("//b"), entry("c")) == {"": {"c": "c"}}


def test_what_no_path_can_hold_hides_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """One such name in a directory, and the kernel shows nothing of it."""
    long = "\U0001f600" * 300
    odd = [f"{long}/b", f"{long}/c/d", "a\0b", "\0", "a\0/b"]
    assert tree(entry("a"), *map(entry, odd), entry("d", DIRECTORY, 0))[""] == {"a": "a", "d": "d/"}
    assert tree(entry(long, DIRECTORY, 0), entry("a"))[""] == {"a": "a"}
    assert "cannot be shown" in caplog.text


def test_a_file_that_has_no_room_beside_a_directory_of_its_name_hides_nothing_else() -> None:
    name = "x" * names.MAX_SHOWN
    assert tree(entry(name), entry(f"{name}/a"), entry("b"))[""] == {name: f"{name}/?", "b": "b"}


def test_one_level_of_a_listing() -> None:
    builder = TreeBuilder(ObjectRef("box", "top"))
    builder.add_entries([entry("top/a"), entry("top/d", DIRECTORY, 0)])
    builder.add_subdirs(["top/a/", "top/d/", "top/e/", "top//", f"top/{'x' * 1025}/"])
    children = builder.directories[builder.top]
    assert set(children) == {"a", "a‛", "d", "e", "‛"}
    assert children["d"].exists and not children["e"].exists
    assert children["a"].is_directory and not children["a‛"].is_directory


parts = st.sampled_from(["", "a", "b", ".", "..", "‛", "a‛", "é"])
object_names = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda each: each)


@given(st.lists(st.tuples(object_names, st.booleans()), unique_by=lambda each: each[0], max_size=12))
def test_every_object_is_somewhere_once_and_every_path_leads_somewhere(
    objects: list[tuple[str, bool]],
) -> None:
    builder = TreeBuilder(TOP)
    builder.add_entries(
        entry(name, DIRECTORY if marker else "text/plain", 0 if marker else 1) for name, marker in objects
    )
    shown: list[str] = []
    for ref, children in builder.directories.items():
        for name, node in children.items():
            assert name not in ("", ".", "..") and "/" not in name
            if node.is_directory and node.ref.name not in (ref.name + "/",):
                assert node.ref in builder.directories
            if node.exists:
                shown.append(node.ref.name)
    assert len(shown) == len(set(shown))
    expected = {
        name for name, marker in objects if not name.startswith("/") and not (marker and name.endswith("/"))
    }
    assert set(shown) == expected


def test_inode_numbers() -> None:
    one, two = of_entry(TOP.child("a"), entry("a")), of_entry(TOP.child("b"), entry("a"))
    assert inode_number(one) == inode_number(two), "the uuid goes along with a move"
    assert inode_number(virtual_directory(TOP.child("a"))) != inode_number(virtual_directory(TOP.child("b")))
    assert inode_number(Node(TOP, Attributes(), ino=77)) == 77
    for node in (one, virtual_directory(TOP)):
        assert 1 < inode_number(node) < 1 << 63


def test_after_a_move_the_bytes_are_where_they_were() -> None:
    node = of_entry(TOP.child("a"), entry("a"))
    moved = node.at(TOP.child("b")).at(TOP.child("c"))
    assert moved.ref.name == "c"
    assert moved.version == 0
    assert moved.readable_at == Origin(TOP.child("a"), 7)
    assert moved.hash == node.hash and moved.uuid == node.uuid
    unknown = virtual_directory(TOP.child("x")).at(TOP.child("y"))
    assert unknown.readable_at == Origin(TOP.child("y"), 0)


@pytest.mark.parametrize("name", ["a", "é‛0A", "‛.."])
def test_a_path_component_is_made_of_the_objects(name: str) -> None:
    assert list(tree(entry(name))[""]) == [names.to_path(name)]
