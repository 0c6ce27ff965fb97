"""Times, modes and extended attributes: what is written is read again, within the store's limits."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pithosfs import attributes
from pithosfs.attributes import Attributes, Kind
from pithosfs.errors import AttributeTooBig

times = st.integers(-(10**12) * 10**9 + 1, 10**12 * 10**9 - 1)
plain_types = st.from_regex(
    r"[a-z]{1,8}/[a-z.+-]{1,12}(; [a-z]{1,6}=[A-Za-z0-9-]{1,8})?", fullmatch=True
).filter(lambda each: "mtime=" not in each and "mode=" not in each)


@given(plain_types, st.none() | times, st.none() | st.integers(0, 0o7777))
def test_a_content_type_tells_all(base: str, mtime_ns: int | None, mode: int | None) -> None:
    kept = Attributes(base, mtime_ns, mode)
    assert attributes.parse(kept.content_type) == kept


@given(st.text(max_size=60))
def test_any_content_type_can_be_read(text: str) -> None:
    found = attributes.parse(text)
    assert found.base_type
    assert attributes.parse(found.content_type).mtime_ns == found.mtime_ns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text/plain", Attributes("text/plain")),
        ("", Attributes("application/octet-stream")),
        (
            "text/plain; mtime=1795334389.539240123; mode=0644",
            Attributes("text/plain", 1_795_334_389_539_240_123, 0o644),
        ),
        ("text/plain;mode=644;mtime=5", Attributes("text/plain", 5 * 10**9, 0o644)),
        ("text/plain; mtime=-1.5", Attributes("text/plain", -1_500_000_000)),
        ("text/plain; mtime=soon; mode=9", Attributes("text/plain; mtime=soon; mode=9")),
        ("text/html; charset=utf-8; mode=0755", Attributes("text/html; charset=utf-8", None, 0o755)),
    ],
)
def test_known_content_types(text: str, expected: Attributes) -> None:
    assert attributes.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("application/directory", Kind.DIRECTORY),
        ("Application/Folder; mode=0755", Kind.DIRECTORY),
        ("inode/symlink", Kind.SYMLINK),
        ("text/plain", Kind.FILE),
        ("application/directory-listing", Kind.FILE),
    ],
)
def test_kinds(text: str, kind: Kind) -> None:
    assert attributes.parse(text).kind is kind


@given(times)
def test_times_keep_their_nanoseconds(time_ns: int) -> None:
    assert attributes.parse_time(attributes.format_time(time_ns)) == time_ns


@pytest.mark.parametrize("text", ["", "x", "1e5", "1.2.3", "--1", "1.", " ", "9" * 13])
def test_what_is_no_time(text: str) -> None:
    assert attributes.parse_time(text) is None


def test_what_other_programs_write_is_read() -> None:
    assert attributes.parse_time("1795334389.5392401234") == 1_795_334_389_539_240_123
    assert attributes.parse_time("7") == 7 * 10**9


def test_a_type_is_guessed_from_the_name() -> None:
    assert attributes.guess_type("a.txt") == "text/plain"
    assert attributes.guess_type("a.tar.gz") == attributes.DEFAULT_TYPE
    assert attributes.guess_type("a") == attributes.DEFAULT_TYPE


# -- extended attributes ---------------------------------------------------------------------------

xattr_names = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12
).map(lambda each: f"user.{each}")
values = st.one_of(st.binary(max_size=400), st.text("abc -~}", max_size=20).map(str.encode))


def stored(meta: dict[str, str]) -> dict[str, str]:
    """What the store makes of it: keys lose case and underscores, values their tildes; "" removes."""
    assert len(meta) <= attributes.MAX_META_KEYS
    for key, value in meta.items():
        assert len(key) <= 128 - len("X-Object-Meta-")
        assert len(value) <= attributes.MAX_META_VALUE
        assert value == value.strip()
    return {key.lower().replace("_", "-"): value.replace("~", "") for key, value in meta.items() if value}


@example({}, "user.mtime", b"")
@given(st.dictionaries(xattr_names, values, max_size=5), xattr_names, values)
def test_attributes_survive_the_store(others: dict[str, bytes], name: str, value: bytes) -> None:
    meta: dict[str, str] = {"mtime": "5.000000000"}
    for each, content in others.items():
        meta = attributes.set_xattr(meta, each, content)
    meta = attributes.set_xattr(meta, name, value)
    assert stored(meta)["mtime"] == "5.000000000"
    assert attributes.read_xattrs(stored(meta)) == {**others, name: value}
    meta = attributes.remove_xattr(meta, name)
    assert attributes.read_xattrs(stored(meta)) == {each: others[each] for each in others if each != name}


@pytest.mark.parametrize(
    ("name", "value", "meta"),
    [
        ("user.colour", b"blue", {"colour": "blue"}),
        ("user.mime_type", b"x", None),
        ("user.Upper", b"x", None),
        ("user.mtime", b"x", None),
        ("user.pfs-a", b"x", None),
        ("user.tilde", b"a~b", None),
        ("user.space", b" a", None),
        ("user.empty", b"", None),
        ("user.newline", b"a\nb", None),
    ],
)
def test_only_what_survives_as_it_is_stands_as_it_is(
    name: str, value: bytes, meta: dict[str, str] | None
) -> None:
    found = attributes.set_xattr({}, name, value)
    if meta is None:
        assert all(key.startswith("pfs-") for key in found)
    else:
        assert found == meta
    assert attributes.read_xattrs(found) == {name: value}


def test_changing_one_never_leaves_parts_of_the_old_one() -> None:
    meta = attributes.set_xattr({}, "user.big", b"\0" * 1500)
    assert len(meta) > 1
    assert attributes.read_xattrs(attributes.set_xattr(meta, "user.big", b"small")) == {"user.big": b"small"}
    assert attributes.remove_xattr(meta, "user.big") == {}


def test_limits_are_errors_and_change_nothing() -> None:
    meta = {f"k{number}": "v" for number in range(attributes.MAX_META_KEYS - 1)}
    with pytest.raises(AttributeTooBig):
        attributes.set_xattr(meta, "user.more", b"v")
    assert attributes.set_xattr(meta, "user.k0", b"w")["k0"] == "w"
    with pytest.raises(AttributeTooBig):
        attributes.set_xattr({}, "user.big", bytes(64 * 1024))
    with pytest.raises(AttributeTooBig):
        attributes.set_xattr({}, "user." + "é" * 100, b"v")


def test_keys_that_only_look_like_ours_hide_nothing() -> None:
    meta = {"pfs-mfrgg-1": "x", "pfs-8-0": "x", "pfs-mfrgg": "x", "plain": "y"}
    assert attributes.read_xattrs(meta)["user.plain"] == b"y"


def test_what_is_sent_with_an_object() -> None:
    kept = Attributes("text/plain", 1_500_000_000, 0o644)
    assert attributes.meta_for(kept, {"colour": "blue", "mtime": "old"}) == {
        "colour": "blue",
        "mtime": "1.500000000",
    }
    assert attributes.meta_for(Attributes(attributes.DIRECTORY_TYPE, 5), {}) == {}
