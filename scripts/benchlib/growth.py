"""How the cost of one item grows with their number: objects listed, gigabytes, open files, readers."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .corpus import MIB, SMALL, Corpus, Sizes
from .mounts import Mount, read_through
from .network import Network
from .processes import Cost, Failed, run, say
from .runner import Bench
from .store import Store
from .workloads import plant

GIB = 1 << 30
NOTHING = Sizes(MIB, 0, 1, 0, 1, 0, 0, patience=1800.0)


@dataclass(frozen=True, slots=True)
class Point:
    """``count`` items cost ``seconds``, ``requests``, ``cpu`` seconds of the mount; ``rss`` bytes at most."""

    curve: str
    system: str
    count: float
    seconds: float
    requests: int
    rss: int
    cpu: float

    @property
    def each(self) -> float:
        """Milliseconds for one item."""
        return self.seconds / self.count * 1000


@dataclass(frozen=True, slots=True)
class Scale:
    """How far the curves go."""

    objects: Sequence[int]
    mib: Sequence[int]
    opened: Sequence[int]
    readers: Sequence[int]


QUICK = Scale((200, 1000), (16, 64), (10, 50), (1, 4))
FULL = Scale((1000, 10_000, 100_000), (64, 256, 1024), (10, 100, 1000), (1, 4, 16, 64))
LONG = Scale(FULL.objects, (64, 256, 1024, 4096, 10_240), FULL.opened, FULL.readers)

CURVES = {
    "objects": "objects listed by find",
    "write": "MiB written",
    "read": "MiB read",
    "open": "files open at once",
    "readers": "parallel readers of 4 MiB each",
}


def measure(
    bench: Bench, network: Network, system: type[Mount], scale: Scale, parts: Sequence[str]
) -> list[Point]:
    """The curves of one system, those of ``PARTS`` that are in ``parts``."""
    bench.proxy.shape(network)
    points: list[Point] = []
    for part in parts:
        try:
            with _mounted(bench, system) as case:
                points.extend(PARTS[part](case, scale))  # one by one: what comes before a failure is kept
        except Failed as error:
            say(f"growth of {system.name}: {error}")
    return points


@dataclass(slots=True)
class _Case:
    bench: Bench
    mount: Mount
    store: Store

    def plant(self, names: list[str]) -> None:
        """Put these files on the server, as the system would have done."""
        plant(self.store, names, times_in_types=getattr(self.mount, "times_in_types", False))

    def time(self, curve: str, count: float, call: Callable[[], Any]) -> Point:
        """Measure one call on a fresh mount."""
        self.mount.fresh()
        return self.time_on(curve, count, call)

    def time_on(self, curve: str, count: float, call: Callable[[], Any]) -> Point:
        """Measure one call on the mount as it is."""
        self.bench.proxy.reset()
        before = self._cost()
        began = time.monotonic()
        call()
        seconds = time.monotonic() - began
        cost, requests = self._cost(), self.bench.proxy.traffic().requests
        point = Point(curve, self.mount.name, count, seconds, requests, cost.rss, cost.cpu - before.cpu)
        say(
            f"growth {curve:<8} {self.mount.name:<10} {count:>8g}: {point.seconds:8.2f} s,"
            f" {point.each:8.3f} ms each, CPU {point.cpu:.2f} s, {requests} requests, {cost.rss / 1e6:.0f} MB"
        )
        return point

    def _cost(self) -> Cost:
        return self.mount.process.cost() if self.mount.process else Cost()


@contextmanager
def _mounted(bench: Bench, system: type[Mount]) -> Iterator[_Case]:
    container = f"bench-growth-{os.getpid()}-{time.monotonic_ns()}"
    folder = bench.work / container
    with Store(bench.place, container) as store:
        store.create()
        corpus = Corpus(folder / "files", NOTHING, container)
        mount = system(bench.place.behind(bench.proxy.url), container, corpus, folder / "system")
        try:
            mount.start()
            yield _Case(bench, mount, store)
        finally:
            mount.close()
            corpus.remove()
            store.drop()


def _objects(case: _Case, scale: Scale) -> Iterator[Point]:
    planted = 0
    step = min(scale.objects)
    for count in scale.objects:
        while planted < count:
            top = f"tree/{planted // step:04}"
            if planted == 0:
                for folder in ("tree", top):
                    case.store.put(folder, b"", Content_Type="application/directory")
                case.plant([f"{top}/dir-{n % 20:02}/file-{n:05}.dat" for n in range(step)])
            else:
                target = quote(f"/{case.store.container}/{top}")
                case.store.send("COPY", "tree/0000", "delimiter=/", headers={"Destination": target})
            planted += step
        yield case.time("objects", count, partial(_find, case.mount.top / "tree", count))


def _find(top: Path, expected: int) -> None:
    found = run(["find", str(top), "-type", "f", "-printf", "%s %T@\n"]).count("\n")
    if found != expected:
        raise Failed(f"{found} files found of {expected}")


def _sizes(case: _Case, scale: Scale) -> Iterator[Point]:
    for mib in scale.mib:
        path = case.mount.top / f"file-{mib}"
        yield case.time("write", mib, partial(case.mount.in_child, _write, path, mib))
        yield case.time("read", mib, partial(_read_all, case.mount, path, mib))
        case.store.send("DELETE", path.name)


def _write(path: Path, mib: int) -> None:
    dice = random.Random(str(path))  # noqa: S311 - repeatable on purpose
    lump = dice.randbytes(MIB)
    with path.open("wb", buffering=0) as file:
        for number in range(mib):  # each MiB differs, at little cost
            file.write(number.to_bytes(8, "big") + lump[8:])


def _read_all(mount: Mount, path: Path, mib: int) -> None:
    if mount.in_child(read_through, path) != mib * MIB:
        raise Failed(f"{path.name} is not {mib} MiB long")


def _opened(case: _Case, scale: Scale) -> Iterator[Point]:
    names = [f"many/file-{number:05}.dat" for number in range(max(scale.opened))]
    case.plant(names)
    for count in scale.opened:
        yield case.time("open", count, partial(case.mount.in_child, _open_all, case.mount.top, names[:count]))


def _open_all(top: Path, names: list[str]) -> None:
    files = [(top / name).open("rb", buffering=0) for name in names]
    for name, file in zip(names, files, strict=True):
        if file.read(SMALL) != name.encode().ljust(SMALL):
            raise Failed(f"{name} has other bytes")
    for file in files:
        file.close()


def _readers(case: _Case, scale: Scale) -> Iterator[Point]:
    data = random.Random(case.store.container).randbytes(4 * MIB)  # noqa: S311
    for number in range(max(scale.readers)):
        case.store.put(f"part-{number:03}", number.to_bytes(8, "big") + data[8:])
    for count in scale.readers:
        reading = partial(case.mount.in_child, _read_together, case.mount.top, count, data)
        yield case.time("readers", count, reading)


def _read_together(top: Path, count: int, data: bytes) -> None:
    wrong: list[int] = []

    def read(number: int) -> None:
        if (top / f"part-{number:03}").read_bytes() != number.to_bytes(8, "big") + data[8:]:
            wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise Failed(f"readers {wrong} got other bytes")


PARTS: dict[str, Callable[[_Case, Scale], Iterator[Point]]] = {
    "objects": _objects,
    "sizes": _sizes,
    "open": _opened,
    "readers": _readers,
}
