"""The scripts' own command lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("words", "code"), [("--help", 0), ("-h", 0), ("--quiet", 1), ("", 1), ("one two", 1)]
)
def test_share_takes_no_option_for_a_directory(words: str, code: int) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "share", *words.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "scripts/share DIR" in (done.stderr if code else done.stdout)
    assert not (ROOT / "--help").exists()
