"""``pithosfs status --watch``: the same figures, again and again, with speeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pithosfs.cli import output, tables
from pithosfs.cli.reports import Report
from pithosfs.options import format_size

#: Seconds between two looks.
_INTERVAL = 1.0


def watch(find: Callable[[], Sequence[Report]], in_full: bool) -> None:
    """Show what ``find`` finds, once a second, until Ctrl-C."""
    console = Console(highlight=False, markup=False, emoji=False)
    speeds = Speeds()
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                reports = find()
                live.update(_frame(reports, in_full, speeds, time.monotonic()), refresh=True)
                time.sleep(_INTERVAL)
    except KeyboardInterrupt:
        return


class Speeds:
    """Bytes a second, up and down, from one look at a mount to the next."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int, int]] = {}

    def of(self, report: Report, now: float) -> tuple[float, float] | None:
        """(up, down) since the last look at this mount; None at the first."""
        details = report.details
        up, down = details.get("bytes_up", 0), details.get("bytes_down", 0)
        before = self._before.get(report.mountpoint)
        self._before[report.mountpoint] = (now, up, down)
        if before is None or now <= before[0] or up < before[1]:
            return None
        seconds = now - before[0]
        return (up - before[1]) / seconds, (down - before[2]) / seconds


def _frame(reports: Sequence[Report], in_full: bool, speeds: Speeds, now: float) -> RenderableType:
    if not reports:
        return Text("nothing is mounted")
    lines = [_speed_text(report, speeds.of(report, now)) for report in reports]
    table = tables.in_full(reports[0]) if in_full else tables.overview(reports)
    return Group(table, *(Text(output.plain(line)) for line in (*lines, *tables.remedies(reports)) if line))


def _speed_text(report: Report, speed: tuple[float, float] | None) -> str:
    if speed is None:
        return ""
    up, down = speed
    text = f"{report.mountpoint}: {format_size(up)}/s up, {format_size(down)}/s down"
    unsent = sum(tables.unsent(report).values())
    if unsent and up:
        text += f"; {format_size(unsent)} to go, about {tables.duration(unsent / up)}"
    return text
