"""``pithosfs warm``: have it here before it is needed."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pithosfs.cli import arguments, output, progress, targets
from pithosfs.cli.exits import CommandError, ExitCode

_DESCRIPTION = """\
Read the file PATH, or all files in a directory, into the cache of the mount, so
that later they open at once and can be read without a network.

Example:
  pithosfs warm ~/cloud/talk
"""
_CHUNK = 4 * 1024 * 1024
_PARALLEL = 4


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "warm", run, "read files into the cache before they are needed", _DESCRIPTION
    )
    parser.add_argument("path", metavar="PATH", type=Path, help="a path in a mounted directory")


def run(args: argparse.Namespace) -> int:
    """Read everything once."""
    targets.in_mount(str(args.path))
    if not os.path.lexists(args.path):
        raise CommandError(f"there is no {args.path}", ExitCode.NOT_FOUND)
    files = list(_files(args.path))
    total = sum(path.stat().st_size for path in files)
    stopped = threading.Event()
    with progress.amounts("reading", total) as told, ThreadPoolExecutor(_PARALLEL) as pool:
        try:
            list(pool.map(lambda path: _read(path, told, stopped), files))
        finally:
            stopped.set()  # with Ctrl-C: whoever still reads shall not read to the end
    output.say(f"{output.size(total)} of {output.count(len(files), 'file')} are in the cache")
    return ExitCode.OK


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for directory, _, names in os.walk(path, onerror=_raise):
        for name in names:
            found = Path(directory) / name
            if found.is_file() and not found.is_symlink():
                yield found


def _raise(error: OSError) -> None:
    raise error


def _read(path: Path, told: Callable[[str, int, int], None], stopped: threading.Event) -> None:
    buffer = bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while not stopped.is_set() and (count := file.readinto(buffer)):
            told("reading", count, 0)
