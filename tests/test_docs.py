"""The documentation names only what is there: tests, links, modules, classes; and it is whole."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEMANTICS = ROOT / "docs" / "semantics.md"
DESIGN = ROOT / "docs" / "design.md"
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
    named = set(re.findall(r"`([\w/]+)`", DESIGN.read_text(encoding="utf-8")))
    modules = {path.stem for path in (ROOT / "pithosfs").glob("*.py") if not path.stem.startswith("__")}
    assert sorted(modules - named) == []


def named_in_the_table() -> set[str]:
    """What the second column of the design's table of modules has between backticks."""
    rows = re.findall(r"^\|[\w ]*\|([^|]*`[^|]*)\|", DESIGN.read_text(encoding="utf-8"), re.MULTILINE)
    return {each for row in rows for each in re.findall(r"`([\w/]+)`", row)}


def test_every_module_in_the_designs_table_is_there() -> None:
    named = named_in_the_table()
    assert len(named) > 50
    there = {each for each in named if (ROOT / "pithosfs" / f"{each}.py").is_file()}
    there |= {each for each in named if (ROOT / "pithosfs" / each / "__init__.py").is_file()}
    assert sorted(named - there) == []


def members() -> dict[str, set[str]]:
    """Names by class: what it defines or sets of itself, and the same of the classes it is made from."""
    own: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    for path in sorted((ROOT / "pithosfs").rglob("*.py")):
        for made in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(made, ast.ClassDef):
                stored = (each for each in ast.walk(made) if hasattr(each, "ctx"))
                inside = [each for each in stored if isinstance(each.ctx, ast.Store)]
                names = own.setdefault(made.name, set())
                names |= {each.name for each in made.body if isinstance(each, ast.FunctionDef)}
                names |= {each.attr for each in inside if isinstance(each, ast.Attribute)}
                names |= {each.id for each in inside if isinstance(each, ast.Name)}
                bases.setdefault(made.name, []).extend(
                    each.id for each in made.bases if isinstance(each, ast.Name)
                )

    def with_inherited(name: str) -> set[str]:
        return own.get(name, set()).union(*(with_inherited(each) for each in bases.get(name, [])))

    return {name: with_inherited(name) for name in own}


def test_what_the_design_says_of_a_class_is_there() -> None:
    named = re.findall(r"`([A-Z]\w+)\.(\w+)`", DESIGN.read_text(encoding="utf-8"))
    assert len(named) > 10
    there = members()
    assert [f"{name}.{member}" for name, member in named if member not in there.get(name, set())] == []


def test_no_file_has_marks_of_a_merge() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no clone: nothing was merged here")
    tracked = subprocess.run(
        ["git", "-C", ROOT, "-c", "safe.directory=*", "ls-files", "-z"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    files = [ROOT / name for name in tracked.split("\0") if name]
    marked = re.compile(rb"^(?:<{7} |\|{7} |={7}$|>{7} )", re.MULTILINE)
    there = [each for each in files if each.is_file() and not each.is_symlink()]
    assert len(there) > 100
    assert [str(each.relative_to(ROOT)) for each in there if marked.search(each.read_bytes())] == []
