"""The benchmark's verdicts: what is held to which target, and what is said of one that is out of reach."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    scripts = str(Path(__file__).resolve().parents[1] / "scripts")
    sys.path.insert(0, scripts)
    try:
        yield importlib.import_module("benchlib.report")
    finally:
        sys.path.remove(scripts)
        for name in [each for each in sys.modules if each.partition(".")[0] == "benchlib"]:
            del sys.modules[name]


def results(bench: ModuleType, **seconds: float) -> Any:
    """Results of a run at RTT 0: ``WORKLOAD_SYSTEM=seconds``, each with a hundred requests."""
    runner = sys.modules["benchlib.runner"]
    network = sys.modules["benchlib.network"]
    found = []
    for key, value in seconds.items():
        workload, system = key.replace("wb", "pithosfs+wb").split("_")
        found.append(runner.Result(workload, system, "0", value, value, network.Traffic(requests=100)))
    return bench.Results.of(sys.modules["benchlib.corpus"].FULL, "pithosfs", found, [])


def test_write_back_is_judged_where_many_small_files_are_written(bench: Any) -> None:
    slow = results(
        bench, a_pithosfs=1, a_wb=9, a_rclone=2, a_raw=1, h_pithosfs=1, h_wb=9, h_rclone=2, h_raw=1
    )
    assert not any("write-back" in each.text for each in slow.verdicts("a", "0"))
    judged = [each for each in slow.verdicts("h", "0") if "write-back" in each.text]
    assert [each.met for each in judged] == [False, False]


def test_a_target_below_what_plain_http_takes_is_out_of_reach(bench: Any) -> None:
    run = results(bench, e_pithosfs=4, e_rclone=5, e_raw=3, b_pithosfs=4, b_rclone=4, b_raw=1)
    lines = {(line[0], line[2]): line for line in bench.limits_table(run)[1:]}
    assert lines["e", "≤ 0.15 rclone"][3:6] == ["0.75 s", "4.00 s", "3.00 s (out of reach)"]
    assert lines["b", "≤ 0.9 rclone"][3:6] == ["3.60 s", "4.00 s", "1.00 s"]


def test_closes_one_after_the_other_take_as_many_round_trips(bench: Any) -> None:
    run = results(bench, d_raw=2, h_pithosfs=9, h_rclone=10)
    line = next(each for each in bench.limits_table(run)[1:] if each[0] == "h")
    assert line[5] == "6.22 s (out of reach)"  # 311 requests of 20 ms


def test_what_ours_undercuts_is_no_limit(bench: Any) -> None:
    run = results(bench, e_pithosfs=2, e_rclone=5, e_raw=3)
    assert [each[5] for each in bench.limits_table(run)[1:]] == ["-"]
