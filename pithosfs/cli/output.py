"""Where output goes; tables and figures as all commands print them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence

from pithosfs import moments
from pithosfs.options import format_size


def prepare() -> None:
    """Make stdout and stderr what can be written to, also where they are closed or paths hold any bytes."""
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # closed: as with >/dev/null, and no other file gets its number
            _occupy(descriptor)
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _occupy(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


def show(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table on stdout; columns named in ``right`` are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # a program that reads this wants whole lines, whatever their length
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False).print(table)


def count(number: int, thing: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """Bytes for a person."""
    return format_size(number)


def moment(time_ns: int) -> str:
    """A time to the microsecond, as ``--at`` reads it."""
    return moments.exact_name_of(time_ns)
