"""The documentation names only what is there: tests that exist, links that lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEMANTICS = ROOT / "docs" / "semantics.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

_TEST = re.compile(r"`(tests/\S+?\.py)::([\w:]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def named_tests() -> list[tuple[str, str]]:
    return sorted(set(_TEST.findall(SEMANTICS.read_text(encoding="utf-8"))))


def functions_of(path: Path) -> set[str]:
    """Functions of a test file as pytest names them: ``test_x``, ``TestY::test_x``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(page: Path) -> set[str]:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    return {anchor(each) for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_every_test_the_semantics_name_exists() -> None:
    named = named_tests()
    there = {
        path: functions_of(ROOT / path) for path in {each for each, _ in named} if (ROOT / path).is_file()
    }
    missing = [f"{path}::{name}" for path, name in named if name not in there.get(path, set())]
    assert missing == []


def test_every_promise_names_its_test() -> None:
    """Each line of a list, up to the sections that say what is not tested and not promised."""
    promised = SEMANTICS.read_text(encoding="utf-8").partition("\n## Not tested")[0]
    items = re.findall(r"^- .+(?:\n  .+)*", promised, re.MULTILINE)
    assert len(items) > 50
    assert [each for each in items if not _TEST.search(each)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (fragment and fragment not in headings(target)):
            broken.append(link)
    assert broken == []


def test_the_design_names_every_module() -> None:
    named = set(re.findall(r"`([\w/]+)`", (ROOT / "docs" / "design.md").read_text(encoding="utf-8")))
    modules = {path.stem for path in (ROOT / "pithosfs").glob("*.py") if not path.stem.startswith("__")}
    assert sorted(modules - named) == []
