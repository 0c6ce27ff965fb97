"""Paths and object names: one-to-one in both directions."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pithosfs import names
from pithosfs.names import ESCAPE, ObjectRef

ODD = ["‛", "\n", "\r", "0A", "0D", "80", "E9", "FF", ".", "..", "a", "é", "\U0001f600", "7F", "0B"]

#: What the operating system can give: no slash, no NUL, undecodable bytes as lone surrogates.
components = st.one_of(
    st.lists(st.sampled_from([*ODD, "\udc80", "\udcff"]), min_size=1, max_size=6).map("".join),
    st.binary(min_size=1, max_size=20)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .map(lambda raw: raw.decode("utf-8", "surrogateescape")),
).filter(lambda each: each not in (".", ".."))

#: What the store can hold between two slashes; it may be nothing.
stored = st.one_of(
    st.lists(st.sampled_from([each for each in ODD if each not in "\n\r"]), max_size=6).map("".join),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\n\r\0"), max_size=12),
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("plain name.txt", "plain name.txt"),
        ("naïve", "naïve"),
        ("a\nb", "a‛0Ab"),
        ("a\rb", "a‛0Db"),
        ("\udce9t\udce9", "‛E9t‛E9"),
        ("a‛0A", "a‛‛0A"),
        ("a‛‛0A", "a‛‛‛‛0A"),
        ("‛\n", "‛‛‛0A"),
        ("‛7F", "‛7F"),
        ("‛x", "‛x"),
        ("‛", ""),
        ("‛.", "."),
        ("‛..", ".."),
        ("‛‛", "‛"),
        ("‛‛.", "‛."),
    ],
)
def test_known_pairs(path: str, name: str) -> None:
    assert names.to_object(path) == name
    assert names.to_path(name) == path


@given(components)
@example("‛" * 3 + "\n")
def test_every_path_component_comes_back(component: str) -> None:
    name = names.to_object(component)
    name.encode("utf-8")
    assert "\n" not in name and "\r" not in name and "/" not in name
    assert names.to_path(name) == component


@given(stored)
@example("‛" * 3 + "0A")
def test_every_object_component_comes_back(name: str) -> None:
    component = names.to_path(name)
    assert component not in ("", ".", "..")
    assert "/" not in component and "\0" not in component
    assert names.to_object(component) == name


@given(st.sets(stored, max_size=8))
def test_no_two_objects_share_a_path(found: set[str]) -> None:
    assert len({names.to_path(each) for each in found}) == len(found)


@given(stored, st.sets(stored, max_size=8))
def test_a_taken_name_gets_another(component: str, taken: set[str]) -> None:
    found = names.distinct(component, taken)
    assert found not in taken
    assert found.rstrip(ESCAPE) == component.rstrip(ESCAPE)


def test_references() -> None:
    top = ObjectRef("box", "")
    assert top.prefix == ""
    assert top.child("a") == ObjectRef("box", "a")
    assert top.child("a").child("b") == ObjectRef("box", "a/b")
    assert top.child("a").prefix == "a/"
    assert str(ObjectRef("box", "a/b", "me")) == "me/box/a/b"
    assert names.split("/") == []
    assert names.split("/a/b") == ["a", "b"]


def test_what_a_request_can_carry() -> None:
    assert names.storable(ObjectRef("box", "a/" * 512))
    assert not names.storable(ObjectRef("box", "a" * 1025))
    assert names.storable(ObjectRef("box", "é" * 600))
    assert not names.storable(ObjectRef("box", "é" * 700)), "3 characters a byte in the request line"
