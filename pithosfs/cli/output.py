"""Where output goes; tables and figures as all commands print them."""

from __future__ import annotations

import codecs
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pithosfs import moments
from pithosfs.options import format_size

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Characters of a line that is not on a terminal, and those shown of what is cut, at least.
_WIDTH, _LEAST = 100, 40
_CODE = re.compile(r"\x1b\[[\d;]*m")
#: What a terminal obeys instead of showing it: controls, ends of lines, turns of the writing direction.
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def prepare() -> None:
    """Make stdout and stderr what can be written to, also where they are closed or paths hold any bytes."""
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # closed: as with >/dev/null, and no other file gets its number
            _occupy(descriptor)
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w"))  # noqa: PTH123, SIM115
    codecs.register_error("octal", _in_octal)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="octal")


def _in_octal(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a path that are no text, as ls shows them (``\\377``); other things as Python does."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    shown = (
        f"\\{ord(each) - 0xDC00:03o}"
        if "\udc80" <= each <= "\udcff"
        else each.encode("ascii", "backslashreplace").decode()
        for each in text
    )
    return "".join(shown), error.end


def _occupy(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


def plain(text: str) -> str:
    """``text`` on one line, as nothing but characters to read; the rest as ``\\x1b``, ``\\n``, ``\\u202e``.

    Names are made by others, too: none of them shall repaint a terminal, or look like a line of ours.
    """
    return _COMMANDS.sub(lambda each: each[0].encode("unicode_escape").decode(), text)


def say(text: str, *, flush: bool = False) -> None:
    """One line for a person on stdout."""
    print(plain(text), flush=flush)


def show(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), cut: bool = False
) -> None:
    """A table on stdout; columns named in ``right`` are aligned to the right.

    ``cut``: what the last column has beyond a line's width is left out, and stands below the table in full,
    once however many rows have it.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    lines = [[plain(cell) for cell in row] for row in rows]
    before = sum(2 + max(map(len, column)) for column in list(zip(headings, *lines, strict=True))[:-1])
    in_full: dict[str, None] = {}  # in their order
    for line in lines:
        if cut and (short := shortened(line[-1], before)) != line[-1]:
            in_full[line[-1]] = None
            line[-1] = short
        table.add_row(*line)
    draw(table)
    for text in ("", *in_full) if in_full else ():
        say(text)


def draw(table: RenderableType) -> None:
    """A table on stdout, without blanks at the ends of its lines."""
    from rich.console import Console

    # a program that reads this wants whole lines, whatever their length
    width = None if sys.stdout.isatty() else 10_000
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as drawn:
        console.print(table, end="")
    for line in drawn.get().removesuffix("\n").split("\n"):
        print(_trimmed(line))


def _trimmed(line: str) -> str:
    """Without blanks at its end, also those before codes that end a colour."""
    codes = ""
    while True:
        line = line.rstrip(" ")
        code = line.rfind("\x1b[")
        if code < 0 or not _CODE.fullmatch(line, code):
            return line + codes
        line, codes = line[:code], line[code:] + codes


def shortened(text: str, before: int) -> str:
    """``text``, cut with … to what a line of the terminal has left behind ``before`` characters.

    Elsewhere a line has 100 characters; 40 of the text are shown in any case.
    """
    width = shutil.get_terminal_size((_WIDTH, 0)).columns if sys.stdout.isatty() else _WIDTH
    room = max(_LEAST, width - before)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def count(number: int, thing: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """Bytes for a person."""
    return format_size(number)


def moment(time_ns: int) -> str:
    """A time to the microsecond, as ``--at`` reads it."""
    return moments.exact_name_of(time_ns)
