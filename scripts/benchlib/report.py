"""The results as a table for the terminal and as a page for the documentation."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .corpus import Sizes
from .growth import CURVES, Point
from .network import NETWORKS, Network
from .runner import InTurn, Result, Total
from .targets import AS_RAW, COUNTS, Limit, Verdict, Waits, judge, judge_write_back, limit
from .tools import IN_TURN
from .workloads import WORKLOADS, sequences

SCENE = """\
A big file is {mib} MiB. {sizes.small} small files of 4 KiB in {sizes.small_dirs} directories are copied,
read and synchronised; {sizes.listed} in {sizes.listed_dirs} directories are listed; {sizes.moved} are
renamed and deleted.

The systems take turns: each does a workload before any does the next. Those that belong together
({together}) a system does one right after the other, as somebody would
who goes on at once: what a mount has seen it trusts for seconds only, and the others' turns may take longer.

Times are seconds until exactly what was written is on the server (in brackets: until the program came back):
to the last answer to a request that changed anything, of those sent before the server's listing showed all.
Every content is then read back from the server and compared by hash: where workloads belong
together after the last of them, in the version that was there before the next began. Requests and bytes are
those that passed the proxy between mount and server, heads included, without those of mounting. Each system
writes content of its own, for the server stores equal blocks once.

rclone mounts its swift backend with the full cache and uploads 50 ms after close (`--vfs-write-back`;
usually it waits 5 s). raw is plain HTTP, eight requests at a time where that helps, and no filesystem at
all. kamaki, where it was found, is the command line of the store's own project, one command each; its move of
a directory with directories in it ends with an error. The proxy's round trip is a delay line, its rate is
shared by all connections; slow start and loss are not modelled."""
LIMITS = """\
"At least" is what the same takes by plain HTTP in the same run, which asks for the least that does it; where
each close or rename has to be answered before the next, it is their number times one request of
the kind (the median of {count}, each sent after the answer to the one before). A target below that is out of
reach of whatever asks this server. Where ours was faster, that is no limit, and it says so; where no answer
is waited for, or plain HTTP does not do the same, nothing is known (-)."""
NAME, COST_NAME = "benchmark", "benchmark-request-cost"  # of the report, and of that with --request-cost
SEE_COST = f"""\
This server answers a request in 1 to 2 ms of CPU time; a real one takes 10 to 25.
[{COST_NAME}.md]({COST_NAME}.md) is the same measured on a server that takes as much for each."""
LOCAL = ("--output", "--report", "--work", "--requests", "--profile", "--token-file")  # options with a path
PEERS = ("rclone", "raw", "kamaki")


@dataclass(slots=True)
class Results:
    """All results of a run, the medians of its rounds."""

    sizes: Sizes
    ours: str  # the system that is judged
    results: dict[tuple[str, str, str], Result]  # by workload, system, network
    totals: list[Total]
    in_turn: list[InTurn]
    rounds: dict[tuple[str, str], int]  # how often it was done, by network and workload

    @classmethod
    def of(
        cls,
        sizes: Sizes,
        ours: str,
        results: Iterable[Result],
        totals: list[Total],
        in_turn: list[InTurn],
    ) -> Results:
        """The result whose time is the (lower) median, for each workload, system and network."""
        groups: dict[tuple[str, str, str], list[Result]] = {}
        for each in results:
            groups.setdefault((each.workload, each.system, each.network), []).append(each)
        rounds = {(network, workload): len(group) for (workload, _, network), group in groups.items()}
        medians = {key: _median(group) for key, group in groups.items()}
        return cls(sizes, ours, medians, totals, in_turn, rounds)

    def get(self, workload: str, system: str, network: str) -> Result | None:
        """One result, if it was measured."""
        return self.results.get((workload, system, network))

    def systems(self) -> list[str]:
        """The systems measured, ours first."""
        found = {system for _, system, _ in self.results}
        return sorted(found, key=lambda name: (name != self.ours, name in PEERS, name))

    def networks(self) -> list[Network]:
        """The networks measured."""
        found = {network for _, _, network in self.results}
        return [network for name, network in NETWORKS.items() if name in found]

    def verdicts(self, workload: str, network: str) -> list[Verdict]:
        """How ours did."""
        ours = self.get(workload, self.ours, network)
        rclone, raw = self.get(workload, "rclone", network), self.get(workload, "raw", network)
        verdicts = judge(ours, rclone, raw, self.sizes) if ours else []
        back = self.get(workload, f"{self.ours}+wb", network)
        return verdicts + (judge_write_back(back, rclone, raw) if back else [])

    def limit(self, workload: str, network: str, waits: Waits) -> Limit | None:
        """What the workload takes at least there."""
        raw = self.get(AS_RAW.get(workload, workload), "raw", network)
        return limit(workload, raw, self.each_in_turn(network), self.sizes, waits)

    def each_in_turn(self, network: str) -> dict[str, float]:
        """Seconds of one small request after the other there, by method: the least of all rounds."""
        rounds: dict[str, list[float]] = {}
        for one in self.in_turn:
            if one.network == network:
                rounds.setdefault(one.kind, []).append(one.seconds)
        return {kind: min(seconds) for kind, seconds in rounds.items()}


def _median(group: list[Result]) -> Result:
    failed = [each for each in group if each.error]
    if failed:
        return failed[0]
    middle = statistics.median_low([each.seconds for each in group])
    return next(each for each in group if each.seconds == middle)


# -- tables --------------------------------------------------------------------------


def network_table(results: Results, network: Network) -> list[list[str]]:
    """Heading and lines of one network's table."""
    systems = results.systems()
    peers = [name for name in ("rclone", "raw") if name in systems and name != results.ours]
    shown = [name for name in (results.ours, "rclone", "raw") if name in systems][:2]  # whose traffic
    head = ["workload", *(f"{name} s" for name in systems), *(f"÷ {peer}" for peer in peers)]
    table = [[*head, *(f"{name}: requests, MB up, down" for name in shown), "target"]]
    for workload in WORKLOADS:
        found = {name: results.get(workload.key, name, network.name) for name in systems}
        if not any(found.values()):
            continue
        line = [f"{workload.key}. {workload.title}", *(_seconds(found[name]) for name in systems)]
        line += [_ratio(found.get(results.ours), found[peer]) for peer in peers]
        line += [_traffic(found[name]) for name in shown]
        table.append([*line, _verdicts(results.verdicts(workload.key, network.name))])
    return table


def kinds_table(results: Results, network: Network) -> list[list[str]]:
    """What kinds of requests the first two systems sent."""
    systems = [name for name in (results.ours, "rclone") if name in results.systems()]
    table = [["workload", *systems]]
    for workload in WORKLOADS:
        found = [results.get(workload.key, name, network.name) for name in systems]
        if any(found):
            table.append([workload.key, *(each.traffic.by_kind() if each else "" for each in found)])
    return table


def limits_table(results: Results) -> list[list[str]]:
    """The times that were not reached, and what stands against each by the figures of the same run."""
    table = [["workload", "network", "target", "that is", "ours", "at least", "because"]]
    for workload in WORKLOADS:
        for network in results.networks():
            for verdict in results.verdicts(workload.key, network.name):
                if verdict.met or verdict.seconds is None:
                    continue
                least = results.limit(workload.key, network.name, verdict.waits)
                line = [workload.key, network.name, verdict.text]
                line += [f"{verdict.seconds:.2f} s", f"{verdict.ours:.2f} s"]
                table.append([*line, *_least(least, verdict.seconds, verdict.ours)])
    return table


def _least(least: Limit | None, wanted: float, ours: float) -> list[str]:
    """What a workload takes at least, and why."""
    if least is None:
        return ["-", ""]
    if least.seconds > ours:  # what ours undercuts limits nothing: the machine was slower then
        return [f"below {least.seconds:.2f} s", f"ours was faster than {least.what}"]
    return [f"{least.seconds:.2f} s" + (" (out of reach)" if least.seconds > wanted else ""), least.why]


def counts_not_met(results: Results) -> list[str]:
    """Why there were more requests than wanted, for each workload that had them."""
    missed = {
        workload.key
        for workload in WORKLOADS
        for network in results.networks()
        for verdict in results.verdicts(workload.key, network.name)
        if not verdict.met and verdict.text.endswith("requests")
    }
    return [f"- {key}: {COUNTS[key]}." for key in sorted(missed & COUNTS.keys())]


def growth_table(points: Sequence[Point]) -> list[list[str]]:
    """The curves as figures."""
    head = ["what", "system", "how many", "s", "ms each", "CPU ms each", "requests", "peak RSS"]
    return [head] + [
        [
            CURVES[each.curve],
            each.system,
            f"{each.count:g}",
            f"{each.seconds:.2f}",
            f"{each.each:.3f}",
            f"{each.cpu / each.count * 1000:.3f}",
            str(each.requests),
            f"{each.rss / 1e6:.0f} MB",
        ]
        for each in points
    ]


def cpu_table(results: Results) -> list[list[str]]:
    """CPU seconds of the mount process by workload, on the first network."""
    mounted = {total.system for total in results.totals if total.cost.cpu}
    systems = [name for name in results.systems() if name in mounted]
    network = results.networks()[0].name if results.networks() else ""
    table = [["workload", *systems]]
    for workload in WORKLOADS:
        found = [results.get(workload.key, name, network) for name in systems]
        if any(found):
            table.append([workload.key, *(f"{each.cpu:.2f}" if each else "-" for each in found)])
    return table


def cost_table(results: Results) -> list[list[str]]:
    """Peak memory and CPU time of the mount processes."""
    lines = [
        [total.system, total.network, f"{total.cost.rss / 1e6:.0f} MB", f"{total.cost.cpu:.1f} s"]
        for total in results.totals
        if total.cost.cpu
    ]
    return [["mount process", "network", "peak RSS", "CPU, all workloads"], *lines]


def _seconds(result: Result | None) -> str:
    if result is None:
        return "-"
    if result.error:
        return "fails"
    late = f" ({result.returned:.2f})" if result.seconds - result.returned > 0.02 else ""
    return f"{result.seconds:.2f}{late}"


def _ratio(ours: Result | None, peer: Result | None) -> str:
    if not ours or not peer or ours.error or peer.error or not peer.seconds:
        return "-"
    return f"{ours.seconds / peer.seconds:.2f}"


def _traffic(result: Result | None) -> str:
    if result is None or result.error:
        return "-"
    traffic = result.traffic
    return f"{traffic.requests}, {traffic.up / 1e6:.3g}, {traffic.down / 1e6:.3g}"


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    return "; ".join(f"{each.text}: {'met' if each.met else '**not met**'}" for each in verdicts)


def markdown(table: list[list[str]]) -> str:
    """A table as Markdown."""
    head, *lines = table
    rule = ["---" if number == 0 else "--:" for number in range(len(head))]
    rule[-1] = "---"
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def plain(table: list[list[str]]) -> str:
    """A table for the terminal."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


# -- the page ----------------------------------------------------------------------------


def print_tables(results: Results, points: Sequence[Point]) -> None:
    """Everything, on standard output."""
    for network in results.networks():
        print(f"\n{describe_network(network)}\n{plain(network_table(results, network))}".replace("**", ""))
    for table in (limits_table(results), cost_table(results), growth_table(points)):
        if len(table) > 1:
            print(f"\n{plain(table)}")
    for result in results.results.values():
        if result.error:
            print(f"{result.workload} {result.system} RTT {result.network}: {result.error}")


def write_page(
    path: Path,
    results: Results,
    points: Sequence[Point],
    command: str,
    server: str,
    pictures: list[tuple[str, str]],
) -> None:
    """The page ``path``; ``pictures`` are (title, file name) beside it."""
    sizes = results.sizes
    parts = [
        "# Benchmark",
        f"Written by `{command}`: nothing here is typed by hand.",
        "\n".join(f"- {line}" for line in [server, *machine()]),
        SCENE.format(sizes=sizes, mib=sizes.big >> 20, together=_together()),
    ]
    if max(results.rounds.values(), default=1) > 1:
        parts.append(_repeated(results))
    if path.stem == NAME and path.with_stem(COST_NAME).exists():
        parts.append(SEE_COST)
    parts += [f"![{title}]({name})" for title, name in pictures]
    for network in results.networks():
        parts += [f"## {describe_network(network)}", markdown(network_table(results, network))]
        parts += ["Requests by kind:", markdown(kinds_table(results, network))]
    parts += _limits(results)
    if results.totals:
        parts += ["## Memory and CPU of the mount processes", markdown(cost_table(results))]
        first = describe_network(results.networks()[0])
        parts += [f"CPU seconds by workload, {first}:", markdown(cpu_table(results))]
    if points:
        parts += ["## Growth", markdown(growth_table(points))]
    errors = [each for each in results.results.values() if each.error]
    if errors:
        lines = [f"- {each.workload}, {each.system}, RTT {each.network} ms: {each.error}" for each in errors]
        parts += ["## What failed, and how", "\n".join(lines)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _together() -> str:
    """The workloads that belong together, in words."""
    groups = [[each.key for each in group] for group in sequences(WORKLOADS)]
    return "; ".join(" and ".join([", ".join(keys[:-1]), keys[-1]]) for keys in groups if len(keys) > 1)


def _repeated(results: Results) -> str:
    """How often what was done, in words."""
    once = []
    for network in results.networks():
        keys = [key for (name, key), rounds in results.rounds.items() if name == network.name and rounds == 1]
        once += [f"{', '.join(keys)} ({describe_network(network)})"] if keys else []
    rounds = max(results.rounds.values())
    return f"Shown is the median of {rounds} rounds." + (
        f" What takes long was done once: {'; '.join(once)}." if once else ""
    )


def shown_command(words: Sequence[str]) -> str:
    """The command line for a reader, without where its files went on this machine."""
    local = argparse.ArgumentParser(add_help=False)
    for option in LOCAL:
        local.add_argument(option)
    _, rest = local.parse_known_args(words)
    return shlex.join(["scripts/bench", *rest])


def _limits(results: Results) -> list[str]:
    """The part of the page about targets that were not met."""
    table, counts = limits_table(results), counts_not_met(results)
    parts = []
    if len(table) > 1:
        parts += [
            "## Times not reached, and what this server allows",
            LIMITS.format(count=IN_TURN),
            markdown(table),
        ]
    if counts:
        parts += ["Requests beyond the target:", "\n".join(counts)]
    return parts


def describe_network(network: Network) -> str:
    """A network in words."""
    return f"RTT {network.rtt:g} ms" + (f", {network.rate:g} Mbit/s each way" if network.rate else "")


def machine() -> list[str]:
    """What this ran on."""
    model = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        "unknown CPU",
    )
    memory = next(
        (int(line.split()[1]) // 1024 for line in _read("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    lines = [
        f"{os.cpu_count()} x {model}, {memory} MiB, Linux {platform.release()};"
        f" server, proxy, mount and workload share it (load at the end of the run: {load})",
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in ("pithosfs", "mfusepy", "urllib3")),
    ]
    for program in ("rclone", "rsync", "fusermount3"):
        if shutil.which(program):
            flag = "version" if program == "rclone" else "--version"
            done = subprocess.run([program, flag], capture_output=True, text=True, check=False)
            lines += done.stdout.strip().splitlines()[:1]
    return lines


def _read(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
