"""The modules behind ``scripts/bench``, which are no part of the package."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@contextlib.contextmanager
def modules() -> Iterator[Callable[[str], Any]]:
    """Import them by their names, as the script does; they are forgotten afterwards."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield lambda name: importlib.import_module(f"benchlib.{name}")
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in [each for each in sys.modules if each.partition(".")[0] == "benchlib"]:
            del sys.modules[name]
