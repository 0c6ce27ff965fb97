"""Progress on a terminal; silence where nobody watches."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def items(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar that counts things; the function is called with each one's name, from any thread."""
    if not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda _: bars.advance(task)


@contextmanager
def amounts(first: str, total: int) -> Iterator[Callable[[str, int, int], None]]:
    """Bars that count bytes, one for each step; ``first`` has ``total`` bytes in all.

    The function is called with a step, how many bytes more are done and how
    many more there are to do (of ``first`` that is known), from any thread.
    """
    if not sys.stderr.isatty():
        yield lambda _step, _done, _expected: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    lock = threading.Lock()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {first: bars.add_task(first, total=total)}
        totals = {first: total}

        def told(step: str, done: int, expected: int) -> None:
            with lock:
                if step != first:
                    totals[step] = totals.get(step, 0) + expected
                    if step not in tasks:
                        tasks[step] = bars.add_task(step, total=None)
                bars.update(tasks[step], total=totals[step], advance=done)

        yield told
