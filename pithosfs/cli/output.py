"""Tables and figures as all commands print them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from pithosfs import moments
from pithosfs.options import format_size


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
