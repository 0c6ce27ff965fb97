"""Runs workloads on systems in alternation: prepares, times, counts, waits until durable, verifies.

Between workloads that belong together there is no more than must be done at
once: what can be prepared is prepared before the first, and what can be
verified later is verified after the last.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .corpus import Corpus, Sizes
from .network import Network, Proxy, Traffic
from .processes import Cost, Failed, say
from .profiling import profiled
from .store import Place, Store
from .workloads import Case, Expected, Workload, sequences

SETTLE = 0.3  # seconds in which requests that come late are still counted
#: What takes all systems together longer, in seconds, is not repeated: it averages out by itself.
LONG = 20.0
_PREFIX = "bench-"  # of all our containers
_numbers = itertools.count(1)


@dataclass(slots=True)
class Result:
    """One workload on one system and network."""

    workload: str
    system: str
    network: str
    seconds: float = 0.0  # until durable on the server
    returned: float = 0.0  # until the program came back
    traffic: Traffic = field(default_factory=Traffic)
    cpu: float = 0.0  # seconds, of the mount process
    error: str = ""


@dataclass(frozen=True, slots=True)
class InTurn:
    """What one small request takes by plain HTTP that waits for the answer to the one before."""

    network: str
    kind: str  # the method
    seconds: float


@dataclass(slots=True)
class Total:
    """What a system took over all workloads on one network."""

    system: str
    network: str
    cost: Cost


@dataclass(slots=True)
class Measured:
    """A result, and what is still to be verified: what was expected, and its versions then."""

    result: Result
    expected: Expected = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """What all runs share."""

    place: Place  # the server itself
    proxy: Proxy
    work: Path
    sizes: Sizes
    profile: Path | None = None  # where profiles of ours go
    results: list[Result] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)
    in_turn: list[InTurn] = field(default_factory=list)

    def run(
        self,
        network: Network,
        systems: Sequence[type[Any]],
        workloads: Sequence[Workload],
        rounds: int = 1,
    ) -> None:
        """All workloads on all systems, once; those that do not take long (``LONG``) in each round."""
        self._round(network, systems, workloads)
        whole, short = len(self.totals), self._short(workloads, network)
        for _ in range(rounds - 1 if short else 0):
            self._round(network, systems, short)
        del self.totals[whole:]  # those of rounds with less

    def _short(self, workloads: Sequence[Workload], network: Network) -> list[Workload]:
        """Those that did not take long, nor what belongs together with them or what they go on from."""
        done = [each for each in self.results if each.network == network.name]
        short: list[Workload] = []
        for group in sequences(workloads):
            keys = {each.key for each in group}
            found = {"", *keys, *(each.key for each in short)}
            took = sum(each.seconds for each in done if each.workload in keys)
            if took <= LONG and all(each.goes_on in found for each in group):
                short += group
        return short

    def _round(self, network: Network, systems: Sequence[type[Any]], workloads: Sequence[Workload]) -> None:
        """All workloads on all systems: those that belong together on every system before the next ones."""
        self.proxy.shape(network)
        with ExitStack() as stack:
            cases = [stack.enter_context(self._case(system, network)) for system in systems]
            for system in (case.system for case in cases if hasattr(case.system, "in_turn")):
                self.in_turn += [InTurn(network.name, *each) for each in system.in_turn().items()]
            for together in sequences(workloads):
                found = [each for case in cases for each in self._sequence(case, together, network)]
                keys = [workload.key for workload in together]
                self.results += sorted(found, key=lambda result: keys.index(result.workload))

    @contextmanager
    def _case(self, system: type[Any], network: Network) -> Iterator[Case]:
        number = next(_numbers)
        container = f"{_PREFIX}{os.getpid()}-{number}"
        folder = self.work / f"{number}-{system.name}"
        corpus = Corpus(folder / "files", self.sizes, f"{container}-{time.time_ns()}")
        with Store(self.place, container) as store:
            store.create()
            try:
                with self._running(system, network, container, corpus, folder / "system") as running:
                    yield Case(running, store, corpus)
            finally:
                corpus.remove()
                store.drop()

    @contextmanager
    def _running(
        self, system: type[Any], network: Network, container: str, corpus: Corpus, work: Path
    ) -> Iterator[Any]:
        running = system(self.place.behind(self.proxy.url), container, corpus, work)
        try:
            running.start()
            yield running
            self.totals.append(Total(system.name, network.name, running.cost()))
        finally:
            running.close()

    def _sequence(self, case: Case, together: Sequence[Workload], network: Network) -> list[Result]:
        """Workloads that belong together, those that the system can do."""
        known = [each for each in together if hasattr(case.system, each.action)]
        measured = [
            self._measure(case, known[number:], network, begins=number == 0) for number in range(len(known))
        ]
        for each in measured:
            with self._failing(case, each.result):
                case.store.verify(each.expected, each.versions)
            say(describe(each.result))
        return [each.result for each in measured]

    def _measure(
        self, case: Case, workloads: Sequence[Workload], network: Network, *, begins: bool
    ) -> Measured:
        """The first of ``workloads``, so that the others can follow at once; see :meth:`_prepare`."""
        workload = workloads[0]
        measured = Measured(Result(workload.key, case.system.name, network.name))
        with self._failing(case, measured.result):
            self._prepare(case, workloads, begins=begins)
            measured.expected = workload.expect(case)
            with self._profiled(case, f"{workload.key}-{case.system.name}-{network.name}"):
                answer = self._timed(case, workload, measured.expected, measured.result)
            workload.after(case, answer)
            measured.versions = case.store.versions(measured.expected)
        return measured

    @contextmanager
    def _failing(self, case: Case, result: Result) -> Iterator[None]:
        """What fails meanwhile is the result's error."""
        try:
            yield
        except Failed as error:
            result.error = without(str(error), case.system.work, self.work)

    def _prepare(self, case: Case, workloads: Sequence[Workload], *, begins: bool) -> None:
        """Put there what all of them need, and start afresh where the first of them wants it.

        If it only goes on where one before it ended, and nothing is missing, nothing is done.
        """
        put = [needs(case) for needs in dict.fromkeys(each.needs for each in workloads)]
        goes_on = case.system.alive() and not workloads[0].fresh and not any(put)
        if not goes_on:
            case.system.fresh()
        if begins or not goes_on:
            os.sync()  # what was prepared is not to be written out while we measure

    def _timed(self, case: Case, workload: Workload, expected: Expected, result: Result) -> Any:
        spent = case.system.cost().cpu
        self.proxy.reset()
        began = time.monotonic()
        answer = workload.run(case)
        came_back = time.monotonic()
        result.returned = result.seconds = came_back - began
        mine = _of(case.store.container)
        if expected:
            first_seen = case.store.wait_for(expected, case.corpus.sizes.patience)
            result.seconds = max(came_back, self.proxy.settled(mine, first_seen)) - began
        time.sleep(SETTLE)
        result.traffic = self.proxy.traffic(mine)
        result.cpu = case.system.cost().cpu - spent
        return answer

    @contextmanager
    def _profiled(self, case: Case, name: str) -> Iterator[None]:
        process = getattr(case.system, "process", None)
        if not (self.profile and process and getattr(case.system, "in_python", False)):
            yield
            return
        with profiled(process.child.pid, self.profile / name):
            yield


def _of(container: str) -> str:
    """What the targets of who has ``container`` match: another system may be at something of its own."""
    return rf"/{re.escape(container)}(/|\?|$)|^(?!.*/{_PREFIX})"


def without(text: str, *folders: Path) -> str:
    """``text`` with what is in ``folders`` named from there: they are gone when it is read."""
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    return text


def describe(result: Result) -> str:
    """A line of progress."""
    lead = f"{result.workload:>2} {result.system:<12} RTT {result.network:<7}"
    if result.error:
        return f"{lead} FAILED: {result.error}"
    traffic = result.traffic
    cpu = f"CPU {result.cpu:5.2f} s" if result.cpu else ""
    return (
        f"{lead} {result.seconds:8.2f} s  {cpu:11} {traffic.requests:5} requests"
        f"  {traffic.up / 1e6:8.2f} MB up {traffic.down / 1e6:8.2f} MB down  {traffic.by_kind()}"
    )
