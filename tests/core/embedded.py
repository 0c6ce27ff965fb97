"""The embedded server with blocks as small as a test wants: ``python embedded.py BLOCK_SIZE DIR ...``.

The real 4 MiB would make a file of many blocks slow; nothing else is different.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def program(block_size: int) -> list[str]:
    """What ``serving`` runs."""
    return [str(Path(__file__).resolve()), str(block_size)]


def _shrink_blocks(size: int) -> None:
    spec = importlib.util.find_spec("pithosfs.blocks")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    changed = source.replace("BLOCK_SIZE = 4 * 1024 * 1024\n", f"BLOCK_SIZE = {size}\n")
    assert changed != source or size == 4 * 1024 * 1024
    module = importlib.util.module_from_spec(spec)
    sys.modules["pithosfs.blocks"] = module
    exec(compile(changed, spec.origin, "exec"), module.__dict__)
    sys.modules["pithosfs"].blocks = module  # type: ignore[attr-defined]


if __name__ == "__main__":
    import pithosfs  # noqa: F401 - the package first, then one of its modules anew

    _shrink_blocks(int(sys.argv[1]))
    from pithosfs.server.__main__ import main

    sys.exit(main(sys.argv[2:]))
