"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from pithosfs.server import costly
from pithosfs.server.arguments import RECORDED

from . import corpus, growth, plots, profiling, report, servers
from .environment import REPOSITORY, find_kamaki, find_rclone
from .mounts import Mount, PithosFS, PithosFSWriteBack, Rclone, custom
from .network import NETWORKS, proxied
from .processes import Failed, say
from .runner import LONG, Bench
from .store import Place
from .tools import Kamaki, Raw
from .workloads import WORKLOADS, Workload

SYSTEMS: dict[str, type[Any]] = {
    each.name: each for each in (PithosFS, PithosFSWriteBack, Rclone, Raw, Kamaki)
}
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXAMPLES = """examples:
  scripts/bench                                  everything, about half an hour
  scripts/bench --quick                          the same with less of everything, two minutes
  scripts/bench --only a,b --networks 20         two workloads over 20 ms
  scripts/bench --request-cost recorded --networks 0,20   requests cost what they cost a real server
  scripts/bench --systems rclone,raw             without ours
  scripts/bench --mount-cmd 'other-mount {source} {mountpoint} --cache {cache} --config {config} --foreground'
  scripts/bench --endpoint http://host/pithos/object-store/v1 --account UUID --token-file F
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run it; the exit code: 0 done, 1 a workload failed for the system measured, 2 could not run."""
    options = _parser().parse_args(words)
    for each in INTERRUPTIONS:
        signal.signal(each, _interrupt)
    try:
        return _run(options, sys.argv[1:] if words is None else words)
    except (Failed, OSError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted; everything started here is gone")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure pithosfs against rclone, plain HTTP and kamaki on one server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    keys = ",".join(dict.fromkeys(each.key[0] for each in WORKLOADS))
    parser.add_argument(
        "--quick", action="store_true", help="less of everything, two minutes, RTT 0 and 20 ms"
    )
    parser.add_argument("--long", action="store_true", help="growth up to a file of 10 GiB")
    parser.add_argument("--only", metavar="KEYS", default=keys, help=f"some of the workloads {keys}, or none")
    parser.add_argument("--networks", metavar="NAMES", help=f"some of {', '.join(NETWORKS)} (ms, +Mbit/s)")
    parser.add_argument("--systems", metavar="NAMES", help=f"some of {', '.join(SYSTEMS)}")
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        metavar="N",
        help=f"report medians of so many; what takes all systems together {LONG:.0f} s is done once",
    )
    parser.add_argument(
        "--growth", metavar="NAMES", help=f"some of the growth curves {', '.join(growth.PARTS)}, or none"
    )
    parser.add_argument("--no-growth", dest="growth", action="store_const", const="none", help="none of them")
    parser.add_argument(
        "--request-cost",
        metavar="TIME",
        default="",
        help="let the embedded server spend so much CPU time (like 12ms) on each request; recorded: what a "
        "real one took for one of its method",
    )
    parser.add_argument(
        "--requests", type=Path, metavar="FILE", help="log every request there, as JSON lines"
    )
    parser.add_argument("--profile", type=Path, metavar="DIR", help="py-spy profiles of our mount go here")
    parser.add_argument("--mount-cmd", metavar="CMD", help="measure this mount in place of ours; see below")
    parser.add_argument("--endpoint", metavar="URL", help="a running server's storage endpoint (http)")
    parser.add_argument("--identity", metavar="URL", default="", help="its identity endpoint, for kamaki")
    parser.add_argument("--account", metavar="U", help="the account there")
    parser.add_argument("--token-file", type=Path, metavar="F", help="a file with its token")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where to keep temporary files (default: /tmp)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the report and its plots go (default: docs)"
    )
    parser.add_argument(
        "--report",
        metavar="NAME",
        help=f"what they are called (default: {report.NAME}, or {report.COST_NAME} with --request-cost)",
    )
    return parser


def _run(options: argparse.Namespace, words: Sequence[str]) -> int:
    workloads = _chosen_workloads(options.only)
    networks = [
        NETWORKS[name] for name in _chosen(options.networks, NETWORKS, ["0", "20"] if options.quick else None)
    ]
    ours: type[Mount] = custom(options.mount_cmd) if options.mount_cmd else PithosFS
    systems = _chosen_systems(options, ours)
    if options.profile:
        profiling.install()
    if not systems:
        raise Failed("none of the systems asked for is there")
    began = time.monotonic()
    with _workspace(options.work) as work, _server(options, work) as place:
        address = place.endpoint.split("/")[2]
        with proxied(
            sys.executable, address if ":" in address else f"{address}:80", work, options.requests
        ) as proxy:
            bench = Bench(place, proxy, work, _sizes(options), options.profile)
            for network in networks if workloads else []:
                bench.run(network, systems, workloads, options.rounds)
            points = _growth(bench, options, systems, ours)
    results = report.Results.of(bench.sizes, ours.name, bench.results, bench.totals, bench.in_turn)
    report.print_tables(results, points)
    name = options.report or (report.COST_NAME if options.request_cost else report.NAME)
    page = (options.output or REPOSITORY / "docs") / f"{name}.md"
    pictures = plots.draw(page.parent, name, results, points)
    command = report.shown_command(words)
    report.write_page(page, results, points, command, _describe_server(options), pictures)
    say(f"{time.monotonic() - began:.0f} s; written: {page}")
    return int(any(each.error for each in bench.results if each.system == ours.name))


def _growth(
    bench: Bench, options: argparse.Namespace, systems: list[type[Any]], ours: type[Mount]
) -> list[growth.Point]:
    parts = [] if options.growth == "none" else _chosen(options.growth, growth.PARTS, None)
    if not parts or ours not in systems:
        return []
    scale = growth.LONG if options.long else growth.QUICK if options.quick else growth.FULL
    return growth.measure(bench, NETWORKS["0"], ours, scale, parts)


def _server(options: argparse.Namespace, work: Path) -> Any:
    if not options.endpoint:
        return servers.embedded(work, options.request_cost)
    if not (options.account and options.token_file):
        raise Failed("--endpoint needs --account and --token-file too")
    place: Place = servers.external(options.endpoint, options.account, options.token_file, options.identity)
    return nullcontext(place)


def _sizes(options: argparse.Namespace) -> corpus.Sizes:
    sizes = corpus.QUICK if options.quick else corpus.FULL
    # Thousands of requests, one after the other, take the longer the more each costs.
    return replace(sizes, patience=sizes.patience * (2 if options.request_cost else 1))


def _describe_server(options: argparse.Namespace) -> str:
    if options.endpoint:
        return f"Server: {options.endpoint}"
    server = "Server: the embedded one, with MD5 ETags"
    if options.request_cost:
        cost = _describe_cost(options.request_cost)
        server += f"; to model a real one each request takes CPU time more than it has to ({cost})"
    return server


def _describe_cost(cost: str) -> str:
    if cost != RECORDED:
        return f"{cost} each"
    kinds = ", ".join(f"{method} {seconds * 1000:.0f}" for method, seconds in costly.RECORDED.items())
    return f"ms, as recorded from one: {kinds}, refused {costly.REFUSED * 1000:.0f}"


def _chosen_workloads(only: str) -> list[Workload]:
    if only == "none":
        return []
    keys = set(only.split(","))
    chosen = [each for each in WORKLOADS if each.key in keys or each.key[0] in keys]
    unknown = keys - {each.key for each in WORKLOADS} - {each.key[0] for each in WORKLOADS}
    if unknown:
        raise Failed(f"no workload is called {', '.join(sorted(unknown))}")
    return chosen


def _chosen_systems(options: argparse.Namespace, ours: type[Mount]) -> list[type[Any]]:
    default = ["pithosfs", "rclone", "raw", "kamaki"]
    systems = []
    for name in _chosen(options.systems, SYSTEMS, default):
        system = SYSTEMS[name]
        if system is PithosFS:
            system = ours
        elif system is Rclone:
            Rclone.program = find_rclone(install=True) or ""
        elif system is Kamaki:
            Kamaki.program = find_kamaki() or ""
        if getattr(system, "program", "needs none"):
            systems.append(system)
    return systems


def _chosen(given: str | None, known: dict[str, Any], default: list[str] | None) -> list[str]:
    names = given.split(",") if given else default or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Failed(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


@contextmanager
def _workspace(parent: Path | None) -> Iterator[Path]:
    if parent:
        parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="pithosfs-bench-", dir=parent))
    try:
        yield work
    finally:
        if any(path.is_mount() for path in work.glob("*/system/mnt")):
            say(f"a mount below {work} would not go; the folder stays")
        else:
            shutil.rmtree(work, ignore_errors=True)


def _interrupt(*_: object) -> None:
    for each in INTERRUPTIONS:
        signal.signal(each, signal.SIG_IGN)  # once is enough: let the tidying up end
    raise KeyboardInterrupt
