"""The benchmark's verdicts: what is held to which target, and what is said of one that is out of reach."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.benchlib import modules

RAW = "raw takes that long"


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    with modules() as load:
        yield load("report")


def results(bench: ModuleType, in_turn: Mapping[str, float] | None = None, **seconds: float) -> Any:
    """Results of a run at RTT 0: ``WORKLOAD_SYSTEM=seconds``, each with a hundred requests.

    ``in_turn`` are the seconds of one request of a method after the other.
    """
    runner = sys.modules["benchlib.runner"]
    network = sys.modules["benchlib.network"]
    found = []
    for key, value in seconds.items():
        workload, system = key.replace("wb", "pithosfs+wb").split("_")
        found.append(runner.Result(workload, system, "0", value, value, network.Traffic(requests=100)))
    singles = [runner.InTurn("0", kind, each) for kind, each in (in_turn or {}).items()]
    return bench.Results.of(sys.modules["benchlib.corpus"].FULL, "pithosfs", found, [], singles)


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
    assert lines["e", "≤ 0.15 rclone"][3:] == ["0.75 s", "4.00 s", "3.00 s (out of reach)", RAW]
    assert lines["b", "≤ 0.9 rclone"][3:] == ["3.60 s", "4.00 s", "1.00 s", RAW]


def test_closes_one_after_the_other_take_as_many_requests_of_their_kind(bench: Any) -> None:
    each = {"PUT": 0.02, "MOVE": 0.01, "DELETE": 0.001}
    run = results(bench, each, h_pithosfs=9, h_rclone=10, n1_pithosfs=19, n1_rclone=10)
    lines = {line[0]: line for line in bench.limits_table(run)[1:]}
    assert lines["h"][5:] == ["6.22 s (out of reach)", "311 PUTs at 20.0 ms, one after the other"]
    assert lines["n1"][5:] == lines["h"][5:]  # a rename sends the file


def test_all_that_rsync_copied_is_on_the_server_no_sooner_than_by_plain_http(bench: Any) -> None:
    run = results(bench, h_raw=7, n1_pithosfs=5, n1_wb=8, n1_rclone=10)
    assert [line[5:] for line in bench.limits_table(run)[1:]] == [
        ["7.00 s (out of reach)", "raw in h takes that long"]
    ]


def test_without_plain_http_nothing_is_said_of_what_requests_take(bench: Any) -> None:
    run = results(bench, h_pithosfs=9, h_rclone=10)
    assert [each[5:] for each in bench.limits_table(run)[1:]] == [["-", ""]]


def test_what_ours_undercuts_is_no_limit_and_the_report_says_so(bench: Any, tmp_path: Path) -> None:
    each = {"PUT": 0.02, "MOVE": 0.01, "DELETE": 0.001}
    run = results(bench, each, e_pithosfs=2, e_rclone=5, e_raw=3, h_pithosfs=6, h_rclone=10)
    faster = "ours was faster than 311 PUTs at 20.0 ms, one after the other"
    assert [line[4:] for line in bench.limits_table(run)[1:]] == [
        ["2.00 s", "below 3.00 s", "ours was faster than raw"],
        ["6.00 s", "below 6.22 s", faster],
    ]
    page = tmp_path / "benchmark.md"
    bench.write_page(page, run, [], "scripts/bench", "Server: this one", [])
    assert f"| 6.00 s | below 6.22 s | {faster} |" in page.read_text()


def test_the_command_shown_says_nothing_of_this_machine(bench: Any) -> None:
    local = ["--output", "/tmp/x", "--work=/tmp/y", "--report", "other"]
    words = ["--quick", *local, "--systems", "raw,rclone", "--rounds", "2"]
    assert bench.shown_command(words) == "scripts/bench --quick --systems raw,rclone --rounds 2"


def test_what_failed_is_told_without_the_temporary_folder(bench: Any, tmp_path: Path) -> None:
    modules = {name: sys.modules[f"benchlib.{name}"] for name in ("corpus", "network", "runner", "workloads")}
    tools, servers = sys.modules["benchlib.tools"], importlib.import_module("benchlib.servers")

    class Broken(tools.Tool):  # type: ignore[name-defined, misc]
        def rename(self, old: str, new: str) -> None:
            tools.run(["mv", str(self.work / "mnt" / old), str(self.work / "mnt" / new)])

    sizes = replace(modules["corpus"].QUICK, big=1 << 20)
    workloads = [each for each in modules["workloads"].WORKLOADS if each.key == "k2"]
    network = modules["network"].NETWORKS["0"]
    with servers.embedded(tmp_path) as place:
        address = place.endpoint.split("/")[2]
        with modules["network"].proxied(sys.executable, address, tmp_path, None) as proxy:
            run = modules["runner"].Bench(place, proxy, tmp_path, sizes)
            run.run(network, [Broken], workloads)
    found = bench.Results.of(sizes, "tool", run.results, run.totals, run.in_turn)
    page = tmp_path / "benchmark.md"
    bench.write_page(page, found, [], "scripts/bench", "Server: this one", [])
    assert "cannot stat 'mnt/big.bin'" in page.read_text()
    assert str(tmp_path) not in page.read_text()


def test_the_report_points_to_that_of_a_server_with_a_real_ones_cost(bench: Any, tmp_path: Path) -> None:
    def write(name: str) -> str:
        path = tmp_path / f"{name}.md"
        bench.write_page(path, results(bench, a_pithosfs=1), [], "scripts/bench", "Server: this one", [])
        return str(path.read_text())

    link = f"({bench.COST_NAME}.md)"
    assert link not in write(bench.NAME)  # there is none
    assert link not in write(bench.COST_NAME)
    assert link in write(bench.NAME)


def test_the_report_says_which_workloads_belong_together(bench: Any, tmp_path: Path) -> None:
    page = tmp_path / "benchmark.md"
    bench.write_page(page, results(bench, a_pithosfs=1), [], "scripts/bench", "Server: this one", [])
    assert "(b and c; k1, k2 and l; n1 and n2)" in page.read_text()


def test_a_profile_counts_no_thread_that_is_in_no_operation() -> None:
    """Those of libfuse have no frame then, and those of an idle pool wait for work."""
    with modules() as load:
        told = load("profiling").summary(
            " 300\nwork (a.py:1);hash (b.py:2) 3\nwork (a.py:1) 1\nrun (threading.py:3) 9"
        )
    assert told.startswith("4 samples ")
    itself, _, within = told.partition("with what it calls")
    assert "  75.0%  hash (b.py:2)" in itself
    assert " 100.0%  work (a.py:1)" in within
