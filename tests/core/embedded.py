"""The embedded server as a process of its own, with blocks as small as a test wants.

Run as a program it is the server itself: ``python embedded.py BLOCK_SIZE DIR ...``.
The real 4 MiB would make a file of many blocks slow; nothing else is different.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def running(directory: Path, block_size: int) -> Iterator[Path]:
    """Serve ``directory`` on a free port; gives kamaki's configuration file for it."""
    program = [sys.executable, str(Path(__file__).resolve()), str(block_size), str(directory)]
    process = subprocess.Popen(
        [*program, "--port", "0", "--no-fsync"], stdout=subprocess.PIPE, text=True, cwd=directory
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "the server did not start"
        yield directory / "kamakirc"
    finally:
        process.terminate()
        process.communicate(timeout=10)


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
