"""Whatever a server answers, or a damaged journal holds: sense or a clear error, never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pithosfs import names, rescue, wire
from pithosfs.errors import PithosError, ProtocolError
from pithosfs.journal import pack_content, pack_node, unpack_content, unpack_node
from pithosfs.names import ObjectRef
from pithosfs.nodes import TreeBuilder, inode_number

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TIMES = st.sampled_from(
    ["1795333707.724022", "9" * 40, "inf", "2026-11-22T07:48:27+99:99", "Sun, 99 Nov 99999 1:1:1 GMT"]
)
HASH = "ab" * 32


def mixed(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A document in which each field is right, missing or anything."""
    return st.fixed_dictionaries({}, optional={name: right | JSON for name, right in fields.items()})


ENTRIES = mixed(
    name=st.text(min_size=1, max_size=30)
    | st.sampled_from(["a/b", "/", "a//b", "..", "a\0b", "\ud800", "a/../b", "x" * 1025 + "/y"]),
    bytes=st.integers(0, 2**80),
    content_type=st.text(max_size=40),
    x_object_hash=st.sampled_from([HASH, "x", "A" * 64, ""]),
    x_object_uuid=st.text(max_size=40),
    x_object_version=st.integers(-5, 2**70),
    x_object_version_timestamp=TIMES,
    last_modified=TIMES,
    hash=st.text(max_size=40),
)
HASHMAPS = mixed(
    bytes=st.integers(0, 10**9),
    block_size=st.sampled_from([0, 1, 4 * 1024 * 1024, 2**70]),
    block_hash=st.sampled_from(["sha256", "SHA256", "md5", ""]),
    hashes=st.lists(st.sampled_from([HASH, "zz", "", "ab" * 16]), max_size=3),
)


def parsed(parse: Any, *given_: Any) -> Any:
    """What a parser makes of it; None for nonsense it refused as such."""
    try:
        return parse(*given_)
    except ProtocolError as error:
        assert len(str(error).splitlines()) == 1
        return None


@given(st.lists(ENTRIES, max_size=6))
@example([{"name": "\ud800", "bytes": 0}, {"name": "\ud800/file", "bytes": 0}])
@settings(max_examples=300)
def test_any_listing(items: list[dict[str, Any]]) -> None:
    builder = TreeBuilder(ObjectRef("box", ""))
    for item in items:
        entry = parsed(wire.entry_of, item)
        if entry is not None:
            builder.add_entries([entry])
    for children in builder.directories.values():
        for component, node in children.items():
            assert component not in ("", ".", "..") and "/" not in component and "\0" not in component
            assert names.showable(component)
            assert max(node.size, node.version) < 2**63
            assert inode_number(node) > 0


@given(HASHMAPS | JSON)
@example({"bytes": 0, "hashes": [], "block_hash": "a\nb"})
@settings(max_examples=300)
def test_any_hashmap(document: Any) -> None:
    found = parsed(wire.hashmap_of, document)
    if found is not None:
        assert len(found.hashes) == -(-found.size // found.block_size)


@given(mixed(versions=st.lists(st.lists(JSON | TIMES | st.integers(), max_size=3), max_size=4)) | JSON)
@settings(max_examples=200)
def test_any_history(document: Any) -> None:
    parsed(wire.versions_of, document)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "content-length",
                "content-type",
                "x-object-hash",
                "x-object-version",
                "x-object-version-timestamp",
                "last-modified",
                "x-object-meta-a",
                "x-object-uuid",
                "date",
                "etag",
            ]
        ),
        st.text(max_size=30) | TIMES,
    )
)
@settings(max_examples=300)
def test_any_headers(headers: dict[str, str]) -> None:
    parsed(wire.info_of, "name", headers)
    parsed(wire.date_of, headers)
    parsed(wire.account_of, headers)
    parsed(wire.container_of, "box", headers)


@given(st.binary(max_size=100))
@example(b"[" * 100_000)
def test_any_body(body: bytes) -> None:
    parsed(wire.json_of, body, "label")


NODES = mixed(
    ref=st.just(["box", "name"]),
    attributes=st.just(["text/plain", 1, 2]),
    size=st.integers(0),
    hash=st.just(HASH),
)
JOURNAL = mixed(
    format=st.just(1),
    ref=st.just(["box", "name"]),
    node=st.none() | NODES,
    emptied=st.booleans(),
    attributes=st.just(["text/plain", None, None]),
    scratch=st.none() | st.just("0" * 32),
    content=mixed(
        base=st.just([0, [], 4096]),
        origin=st.just([["box", "name"], 0]),
        size=st.integers(0, 5000),
        limit=st.integers(0, 5000),
        dirty=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5000)), max_size=2),
        spliced=st.just([]),
    ),
    removed=st.lists(NODES, max_size=2),
)


@given(JOURNAL | JSON)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_journal_is_listed(tmp_path: Path, entry: Any) -> None:
    directory = tmp_path / "site" / "staging" / "123-abc"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "entry.json").write_text(json.dumps(entry))
    (left,) = rescue.left_in(tmp_path)
    assert left.what and not left.held
    for parse in (unpack_content, unpack_node):
        try:
            packed = parse(entry.get("content" if parse is unpack_content else "node"))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # set aside with a message
        assert packed is None or (pack_content if parse is unpack_content else pack_node)(packed)


def test_a_clear_error_is_one_of_ours() -> None:
    with pytest.raises(PithosError, match="name is not text"):
        wire.entry_of({"bytes": 1})
