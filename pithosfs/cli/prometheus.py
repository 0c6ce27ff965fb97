"""Mounts' figures in Prometheus' text exposition format, version 0.0.4.  No I/O.

For node_exporter's textfile collector:
``pithosfs status --prometheus > DIR/pithosfs.prom.new && mv DIR/pithosfs.prom.new DIR/pithosfs.prom``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pithosfs.cli.reports import Report, State

Sample = tuple[dict[str, str], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its samples are found at ``path`` in what a mount says of itself.

    ``label`` names the keys of a mapping found there.
    """

    name: str
    kind: str
    help: str
    path: tuple[str, ...]
    label: str = ""


_METRICS = (
    Metric("open_files", "gauge", "Files open.", ("open_files",)),
    Metric("dirty_files", "gauge", "Open files with changes.", ("dirty_files",)),
    Metric("memory_bytes", "gauge", "Blocks kept in memory.", ("cache", "memory_bytes")),
    Metric("disk_cache_bytes", "gauge", "Blocks kept on disk.", ("cache", "disk_bytes")),
    Metric("disk_cache_limit_bytes", "gauge", "How much may be kept on disk.", ("cache", "disk_limit")),
    Metric("memory_hits_total", "counter", "Blocks found in memory.", ("cache", "memory_hits")),
    Metric("disk_hits_total", "counter", "Blocks found on disk.", ("cache", "disk_hits")),
    Metric("misses_total", "counter", "Blocks that had to be fetched.", ("cache", "misses")),
    Metric("sent_blocks_total", "counter", "Blocks sent.", ("upload", "blocks_sent")),
    Metric("sent_block_bytes_total", "counter", "Bytes of blocks sent.", ("upload", "bytes_sent")),
    Metric("spared_blocks_total", "counter", "Blocks the server had.", ("upload", "blocks_spared")),
    Metric("spared_block_bytes_total", "counter", "Bytes the server had.", ("upload", "bytes_spared")),
    Metric("requests_total", "counter", "Requests sent.", ("requests",), "method"),
    Metric("up_bytes_total", "counter", "Bytes of request bodies.", ("bytes_up",)),
    Metric("down_bytes_total", "counter", "Bytes of answers' bodies.", ("bytes_down",)),
    Metric("retries_total", "counter", "Requests sent again.", ("retries",)),
    Metric("errors_total", "counter", "File operations that failed.", ("errors",), "operation"),
)


def metrics(reports: Iterable[Report]) -> str:
    """All figures of all mounts, as text."""
    reports = list(reports)
    lines: list[str] = []
    lines += _text("ready", "gauge", "1 if the mount answers.", map(_ready, reports))
    lines += _text("pending_files", "gauge", "Files not on the server yet.", map(_pending_files, reports))
    lines += _text("pending_bytes", "gauge", "Bytes not on the server yet.", map(_pending_bytes, reports))
    for metric in _METRICS:
        samples = (sample for report in reports for sample in _samples(metric, report))
        lines += _text(metric.name, metric.kind, metric.help, samples)
    return "".join(f"{line}\n" for line in lines)


def _text(name: str, kind: str, help: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP pithosfs_{name} {help}"
    yield f"# TYPE pithosfs_{name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"pithosfs_{name}{{{inside}}} {value:.17g}"


def _labels(report: Report) -> dict[str, str]:
    return {"mountpoint": report.mountpoint, "source": report.source}


def _ready(report: Report) -> Sample:
    return _labels(report), float(report.state in (State.READY, State.OFFLINE))


def _pending_files(report: Report) -> Sample:
    return _labels(report), len(report.pending)


def _pending_bytes(report: Report) -> Sample:
    return _labels(report), sum(each.unsent for each in report.pending)


def _samples(metric: Metric, report: Report) -> Iterator[Sample]:
    found: Any = report.details
    for key in metric.path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if metric.label and isinstance(found, Mapping):
        for key, value in found.items():
            yield {**_labels(report), metric.label: key}, value
    elif isinstance(found, (int, float)):
        yield _labels(report), found


def _escaped(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
