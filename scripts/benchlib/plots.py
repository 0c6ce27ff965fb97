"""Pictures of the results, as SVG beside the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator, ScalarFormatter

from .growth import CURVES, Point
from .report import Results, describe_network
from .runner import Result
from .workloads import WORKLOADS

COLOURS = {"rclone": "#c44e52", "raw": "#8c8c8c", "kamaki": "#dd8452", "pithosfs+wb": "#64b5cd"}
OURS = "#4c72b0"
mpl.rcParams.update(
    {"svg.hashsalt": "pithosfs", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
)


#: What is drawn of each growth curve, one below the other.
_ROWS: tuple[tuple[Callable[[Point], float], str], ...] = (
    (lambda each: each.each, "ms for each"),
    (lambda each: each.cpu / each.count * 1000, "CPU ms for each"),
    (lambda each: each.rss / 1e6, "peak RSS, MB"),
)


def draw(folder: Path, report: str, results: Results, points: Sequence[Point]) -> list[tuple[str, str]]:
    """Write all pictures of ``report`` into ``folder``; their (title, file name)."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [
        ("Seconds by workload and network", f"{report}-time.svg", lambda each: each.seconds, "seconds"),
        (
            "Megabytes on the wire",
            f"{report}-bytes.svg",
            lambda each: (each.traffic.up + each.traffic.down) / 1e6,
            "MB",
        ),
        ("Requests", f"{report}-requests.svg", lambda each: each.traffic.requests, "requests"),
    ]
    if not results.results:
        pictures = []
    for title, name, value, unit in pictures:
        _bars(folder / name, title, results, value, unit)
    drawn = [(title, name) for title, name, _, _ in pictures]
    if points:
        name = f"{report}-growth.svg"
        _curves(folder / name, points)
        drawn.append(("Cost of one item as their number grows", name))
    return drawn


def _bars(path: Path, title: str, results: Results, value: Callable[[Result], float], unit: str) -> None:
    networks, systems = results.networks(), results.systems()
    keys = [each.key for each in WORKLOADS if any(key == each.key for key, _, _ in results.results)]
    figure, axes = plt.subplots(
        len(networks), 1, figsize=(8, 2.3 * len(networks)), sharex=True, squeeze=False, layout="constrained"
    )
    width = 0.8 / len(systems)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        for number, system in enumerate(systems):
            found = [results.get(key, system, network.name) for key in keys]
            heights = [value(each) if each and not each.error else 0.0 for each in found]
            places = [index + (number - (len(systems) - 1) / 2) * width for index in range(len(keys))]
            axis.bar(places, heights, width, label=system, color=COLOURS.get(system, OURS))
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.set_ylabel(unit)
        axis.set_title(describe_network(network), loc="left", fontsize=8)
        axis.set_xticks(range(len(keys)), keys)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(systems), frameon=False, loc="outside lower center")
    figure.suptitle(f"{title} (less is better; logarithmic above 0.1)")
    _save(figure, path)


def _curves(path: Path, points: Sequence[Point]) -> None:
    curves = [each for each in CURVES.items() if each[0] in {point.curve for point in points}]
    size = (2.6 * len(curves), 6.6)
    figure, axes = plt.subplots(3, len(curves), figsize=size, layout="constrained", squeeze=False)
    for column, (curve, title) in enumerate(curves):
        for row, (value, unit) in enumerate(_ROWS):
            axis = axes[row, column]
            for system in dict.fromkeys(each.system for each in points):
                line = [each for each in points if (each.curve, each.system) == (curve, system)]
                axis.plot(
                    [each.count for each in line],
                    [value(each) for each in line],
                    "o-",
                    label=system,
                    color=COLOURS.get(system, OURS),
                    markersize=3,
                )
            axis.set_xscale("log")
            axis.set_xticks([each.count for each in points if each.curve == curve])
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_locator(NullLocator())
            axis.tick_params(axis="x", labelrotation=45)
            axis.set_ylim(0, 1.15 * max((value(each) for each in points if each.curve == curve), default=1.0))
            axis.set_ylabel(unit if column == 0 else "")
            axis.set_title(title if row == 0 else "", fontsize=8)
    axes[0, 0].legend(frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
