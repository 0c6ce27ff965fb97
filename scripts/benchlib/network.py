"""The network between a system and the server: the proxy, run as a process and steered from here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .environment import REPOSITORY
from .processes import Failed, Process

PROGRAM = REPOSITORY / "tests" / "support" / "netproxy.py"


@dataclass(frozen=True, slots=True)
class Network:
    """A network: round trip in milliseconds, rate in Mbit/s each way (0: no limit)."""

    name: str
    rtt: float
    rate: float = 0.0


NETWORKS = {each.name: each for each in (Network("0", 0), Network("20", 20), Network("20+200", 20, 200))}


@dataclass(slots=True)
class Traffic:
    """Requests, and bytes each way with heads."""

    requests: int = 0
    up: int = 0
    down: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def by_kind(self) -> str:
        """The requests by kind, the most frequent first."""
        ordered = sorted(self.kinds.items(), key=lambda pair: -pair[1])
        return ", ".join(f"{number} {kind}" for kind, number in ordered)


class Proxy:
    """A running proxy."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.url: str = self._read()["url"]

    def shape(self, network: Network) -> None:
        """Become ``network``."""
        self._order(do="shape", rtt=network.rtt, rate=network.rate)

    def reset(self) -> None:
        """Count from here."""
        self._order(do="reset")

    def traffic(self, target: str = "") -> Traffic:
        """What passed since the last reset, in requests in whose target the pattern ``target`` is found."""
        total = Traffic()
        for kind, count in sorted(self._order(do="counts", target=target).items()):
            total.kinds[kind] = count["requests"]
            total.requests += count["requests"]
            total.up += count["up"]
            total.down += count["down"]
        return total

    def settled(self, target: str, by: float) -> float:
        """Since when, until ``by``, nothing was under way that changes anything (both monotonic seconds).

        Of requests since the last reset in whose target the pattern ``target`` is found.
        """
        return float(self._order(do="settled", target=target, by=by))

    def _order(self, **words: Any) -> Any:
        pipe = self._process.child.stdin
        if pipe:
            pipe.write(json.dumps(words).encode() + b"\n")
            pipe.flush()
        return self._read()["ok"]

    def _read(self) -> Any:
        pipe = self._process.child.stdout
        line = pipe.readline() if pipe else b""
        if not line:
            raise Failed(f"the proxy is gone: {self._process.last_words()}")
        return json.loads(line)


@contextmanager
def proxied(python: str, server: str, work: Path, log: Path | None) -> Iterator[Proxy]:
    """A proxy in front of ``server`` (host:port); ``log`` gets a JSON line a request."""
    process = Process(
        [python, str(PROGRAM), "--to", server, *(["--log", str(log)] if log else [])],
        work / "proxy.log",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Proxy(process)
    finally:
        if process.child.stdin:
            process.child.stdin.close()  # it ends by itself then, its log complete
        with suppress(subprocess.TimeoutExpired):
            process.child.wait(10)
        process.stop()
