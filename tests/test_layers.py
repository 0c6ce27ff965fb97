"""Imports go downwards only, and what must stay in one place stays there."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pithosfs"

#: Layers from the bottom up; a module imports only from layers below its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("", "errors", "blocks"),  # "" is the package itself: its version
    ("names",),
    ("fileio", "ranges"),
    # without the store: this machine, settings, pure parts
    (
        "attempts",
        "attributes",
        "batches",
        "buffers",
        "directio",
        "callers",
        "due",
        "extents",
        "heads",
        "late",
        "moments",
        "readahead",
        "twins",
        "users",
        "walks",
        "waiting",
        "wire",
        "options",
        "answers",
        "breaker",
        "ledger",
        "credentials",
        "stats",
        "temporaries",
        "signals",
        "daemon",
        "notify",
        "pending",
    ),
    ("config", "connections", "control", "disk", "metastore", "mountpoints", "registry", "scratch"),
    ("cache", "hashing", "inodes", "server", "staging", "traits", "transport"),
    # the store
    ("identity",),
    ("api",),
    ("accounting", "fetch", "history", "rights", "sharing", "upload", "usage"),
    ("ahead",),
    ("commit",),
    ("facts", "transfer"),
    # files
    ("content", "nodes", "services"),
    ("base", "guard", "journal", "lister", "promise", "siblings", "space", "unlisted"),
    ("namespace",),
    ("filedata", "foreign", "past", "rescue", "trees"),
    ("openfile",),
    ("inuse", "outbox", "removals"),
    ("conflicts", "departures"),
    ("sending",),
    ("files",),
    ("handles", "hidden"),
    ("paths",),
    ("metadata", "naming", "renames"),
    ("filesystem",),
    ("mounted",),
    # the mount
    ("binding", "directories"),
    ("operations",),
    ("source",),
    ("admin",),
    ("mount",),
    ("cli",),
    ("__main__",),
)
PLACED = [name for names in LAYERS for name in names]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

#: Libraries that exactly one module may use.
ONLY_IN = {
    "mfusepy": {"operations", "binding"},
    "fuse": {"operations", "binding"},
    "errno": {"operations", "binding"},
    "urllib3": {"connections"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def unit(dotted: str) -> str:
    """``pithosfs.server.app`` belongs to the unit ``server``."""
    return dotted.removeprefix("pithosfs").lstrip(".").partition(".")[0]


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its layer"
            base = node.module or ""
            # "from pithosfs import blocks" names a module, "from pithosfs.blocks import cut" none more
            yield from (f"{base}.{each.name}" if base == "pithosfs" else base for each in node.names)


def own_imports(path: Path) -> set[str]:
    units = {unit(name_of(each)) for each in MODULES}
    found = (unit(each) for each in imports(path) if each.partition(".")[0] == "pithosfs")
    return {each if each in units or each in RANK else "" for each in found}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_downwards(path: Path) -> None:
    here = unit(name_of(path))
    assert here in RANK, f"{here} has no layer yet: put it into LAYERS in {__file__}"
    upwards = {each for each in own_imports(path) - {here} if RANK.get(each, -1) >= RANK[here]}
    assert not upwards, f"{name_of(path)} imports from its own layer or above: {sorted(upwards)}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_one_module_knows_each_library(path: Path) -> None:
    here = unit(name_of(path))
    used = {each.partition(".")[0] for each in imports(path)}
    misplaced = {library for library in used & ONLY_IN.keys() if here not in ONLY_IN[library]}
    assert not misplaced, f"{name_of(path)} uses {sorted(misplaced)}, which only {ONLY_IN} may"


def test_the_bottom_is_standard_library_only() -> None:
    for name in ("errors", "blocks", "names"):
        path = PACKAGE / f"{name}.py"
        used = {each.partition(".")[0] for each in imports(path)}
        assert used <= sys.stdlib_module_names | {"pithosfs"}, f"{name} must not need a library"
        assert own_imports(path) <= {"errors", "blocks"}, f"{name} must not need other modules"


def test_every_module_has_one_place() -> None:
    assert len(PLACED) == len(set(PLACED))
