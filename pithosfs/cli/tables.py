"""What ``pithosfs status`` shows a person: a table of mounts, or all about one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from pithosfs.cli import output
from pithosfs.cli.reports import Report, State
from pithosfs.options import format_size

_REMEDIES = {
    State.OFFLINE: "cannot reach its server; what is not sent is kept and sent later; see: pithosfs doctor",
    State.HANGS: "does not answer; to end it: pithosfs umount --force {0}",
    State.DEAD: "lost its process; mount it again, or: pithosfs umount {0}",
    State.UNKNOWN: "was not mounted by you, or is still starting",
}


#: What errors of file operations are to a person, the rest by their names.
_WORDS = {
    "Unavailable": "server out of reach",
    "FailedFast": "server out of reach",
    "TimedOut": "no answer in time",
    "TooLate": "no answer in time",
    "Unauthorized": "token refused",
    "Forbidden": "not allowed to this account",
    "QuotaExceeded": "quota full",
    "BadRequest": "refused by the server",
    "Conflict": "refused by the server",
    "Stale": "changed by others meanwhile",
    "ProtocolError": "answers that make no sense",
    "CorruptBlock": "blocks with another hash than asked for",
    "OSError": "trouble on this machine's disk",
}
#: Columns that the words on the left take.
_LABEL = len("mount point  ")


def remedies(reports: Sequence[Report]) -> Iterator[str]:
    """A line for each mount that is not well."""
    for report in reports:
        if remedy := _REMEDIES.get(report.state):
            yield f"{report.mountpoint} {remedy.format(report.mountpoint)}"


def overview(reports: Sequence[Report]) -> Table:
    """A line for each mount."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("MOUNT POINT", overflow="fold")
    for heading in ("SOURCE", "STATE", "OPEN", "UNSENT", "SENT", "SPARED", "CACHE HITS"):
        table.add_column(heading)
    for report in reports:
        row = (report.mountpoint, report.source, report.state.value, *_figures(report))
        table.add_row(*map(output.plain, row))
    return table


def _figures(report: Report) -> Iterator[str]:
    """The columns of numbers; none for a mount that says nothing."""
    details = report.details
    if not details:
        return
    waiting, upload = unsent(report), details.get("upload", {})
    yield str(details.get("open_files", 0))
    yield f"{output.count(len(waiting), 'file')}, {format_size(sum(waiting.values()))}" if waiting else "-"
    yield format_size(upload.get("bytes_sent", 0))
    yield format_size(upload.get("bytes_spared", 0))
    yield _hit_rate(details.get("cache", {}))


def in_full(report: Report) -> Table:
    """All that is known about one mount."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    since = time.strftime(", since %Y-%m-%d %H:%M", time.localtime(report.since)) if report.since else ""
    table.add_row("mount point", output.plain(report.mountpoint))
    table.add_row("source", output.plain(report.source))
    table.add_row("state", f"{report.state.value}{since}")
    for name, text in _details(report):
        table.add_row(name, output.plain(text))
    return table


def _details(report: Report) -> Iterator[tuple[str, str]]:
    details = report.details
    if not details:
        return
    upload, cache = details.get("upload", {}), details.get("cache", {})
    yield "server", f"{details.get('server', '?')}, account {details.get('account', '?')}"
    yield "files", f"{details.get('open_files', 0)} open, {details.get('dirty_files', 0)} with changes"
    yield "sent", _blocks(upload, "sent")
    yield "spared", f"{_blocks(upload, 'spared')} that the server had already"
    yield (
        "cache",
        (
            f"{format_size(cache.get('disk_bytes', 0))} on disk "
            f"of {format_size(cache.get('disk_limit', 0))} allowed, "
            f"{format_size(cache.get('memory_bytes', 0))} in memory; {_hit_rate(cache)} hits"
        ),
    )
    for each in details.get("uploads", ()):
        yield "sending", _sending(each)
    for what, reason in _waiting(report):
        yield "unsent", what + output.shortened(reason, _LABEL + len(what))
    for each in details.get("conflicts", ()):
        yield "conflict", f"{each['object']} was changed elsewhere; what was written here is {each['copy']}"
    if errors := details.get("errors"):
        yield "errors", _errors(errors)


def cut_reasons(report: Report) -> list[str]:
    """Why files wait, where :func:`in_full` has room for the beginning only: each once, whole."""
    cut = (
        reason for what, reason in _waiting(report) if output.shortened(reason, _LABEL + len(what)) != reason
    )
    return list(dict.fromkeys(cut))


def _waiting(report: Report) -> Iterator[tuple[str, str]]:
    """What waits in a mount, and why, as it is shown."""
    for each in report.pending:
        yield output.plain(f"{each.object} ({format_size(each.unsent)}) "), output.plain(each.reason)


def _errors(counts: dict[str, int]) -> str:
    """How often what went wrong since it was mounted."""
    told: Counter[str] = Counter()
    for name, count in counts.items():
        told[_WORDS.get(name, name)] += count
    return ", ".join(f"{words}: {output.count(count, 'time')}" for words, count in sorted(told.items()))


def _blocks(upload: dict[str, Any], what: str) -> str:
    count = output.count(upload.get(f"blocks_{what}", 0), "block")
    return f"{format_size(upload.get(f'bytes_{what}', 0))} in {count}"


def _sending(upload: dict[str, Any]) -> str:
    text = f"{upload['object']}: {format_size(upload['sent'])} sent, {format_size(upload['unsent'])} to go"
    if upload["seconds_left"] is None:  # the first block is on its way
        return text
    return f"{text}, {format_size(upload['speed'])}/s, {duration(upload['seconds_left'])} left"


def unsent(report: Report) -> dict[str, int]:
    """Bytes still to be sent of each object that waits or is on its way."""
    under_way = {each["object"]: each["unsent"] for each in report.details.get("uploads", ())}
    return {each.object: each.unsent for each in report.pending} | under_way  # which know better


def duration(seconds: float) -> str:
    """``0:42``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _hit_rate(cache: dict[str, Any]) -> str:
    hits = cache.get("memory_hits", 0) + cache.get("disk_hits", 0)
    asked = hits + cache.get("misses", 0)
    return f"{hits / asked:.0%}" if asked else "-"
