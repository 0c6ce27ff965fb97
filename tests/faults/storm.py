"""The model exerciser on a mount whose network breaks all the time.

    python -m tests.faults.storm --ops 10000

Requests that are repeated are dropped, cut, answered late or not at all, or
refused, each kind with a chance of its own; the exerciser compares all it
reads with its model, and no program may notice anything.  Exit code 1 if one
did, if anything could not be sent at the end, or if a version of this mount was
taken for somebody else's.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults import arguments
from tests.faults.scene import Scene
from tests.mount import fsx
from tests.support.faults import Fault
from tests.support.server import Server

#: Requests that are repeated, so that a program notices nothing; a MOVE that is lost may be an error.
REPEATED = ("GET", "HEAD", "PUT", "POST", "DELETE")
ACTIONS = ("drop_before", "drop_sent", "lose_answer", "cut_request", "cut_answer", "stall", "drip")


def weather(chance: float) -> list[Fault]:
    """Each of the requests that are repeated meets each of the faults with this probability."""
    rules = [
        Fault(action, method=method, times=0, chance=chance, after=700, seconds=0.2, rate=5_000_000)
        for method in REPEATED
        for action in ACTIONS
    ]
    rules += [
        Fault("answer", method=method, times=0, chance=chance, status=status)
        for method in REPEATED
        for status in (429, 502, 503)
    ]
    return rules


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a storm: the faults by kind, the exerciser's last words, conflict copies."""

    hits: Counter[str]
    returncode: int
    said: str
    conflicts: list[str]


def blow(scene: Scene, options: tuple[str, ...], ops: int, seed: int, chance: float = 0.01) -> Outcome:
    """Run the exerciser through a storm, then send everything and unmount."""
    mount = scene.mount(*options, timeout=30)
    plan = scene.proxy.faults(*weather(chance), seed=seed)
    # In a process of its own: it maps files, see netproxy.
    command = [sys.executable, fsx.__file__, str(mount.mountpoint), "--ops", str(ops), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    scene.proxy.faults()
    mount.unmount()
    copies = [name for name in scene.store.names() if "(conflict " in name]
    return Outcome(plan.hits, done.returncode, done.stdout[-2000:] + done.stderr[-2000:], copies)


def main() -> int:
    parser = arguments.parser(__doc__)
    arguments.add_write_back(parser)
    parser.add_argument("--ops", type=int, default=5000, help="operations (%(default)s)")
    given = parser.parse_args()
    seed, options = arguments.seed_of(given), arguments.mount_options(given)
    print(f"seed {seed}", flush=True)
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pithosfs-storm-"))).resolve()
        server = Server(folder / "server")
        cleanup.callback(server.stop)
        server.start()
        scene = Scene(folder, server, "storm", patience=None)
        cleanup.callback(scene.close)
        found = blow(scene, options, given.ops, seed)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.hits.items()))
    print(f"{given.ops} operations; faults: {kinds}; conflict copies {len(found.conflicts)}")
    print(found.said.strip())
    return 1 if found.returncode or found.conflicts else 0


if __name__ == "__main__":
    sys.exit(main())
