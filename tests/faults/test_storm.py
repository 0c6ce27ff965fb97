"""The model exerciser on a mount whose network breaks all the time, and a few rounds of crashes."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.faults.crash import Harness
from tests.faults.scene import Scene
from tests.mount import fsx
from tests.support.faults import Fault
from tests.support.processes import run

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


@pytest.mark.parametrize("options", [(), ("--write-back=0.5",)], ids=["at once", "write-back"])
def test_random_operations_agree_with_the_model_in_a_storm(scene: Scene, options: tuple[str, ...]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    mount = scene.mount(*options, timeout=30)
    plan = scene.proxy.faults(*weather(0.01), seed=seed)
    # In a process of its own: it maps files, see netproxy.
    run(sys.executable, fsx.__file__, mount.mountpoint, "--ops", "250", "--seed", str(seed))
    assert plan.hits
    scene.proxy.faults()
    mount.unmount()
    assert not [name for name in scene.store.names() if "(conflict " in name]


@pytest.mark.parametrize("options", [(), ("--write-back=0.3",)], ids=["at once", "write-back"])
def test_a_few_crashes(tmp_path: Path, options: tuple[str, ...]) -> None:
    harness = Harness(tmp_path, random.SystemRandom().randrange(1 << 32), options)
    try:
        for _ in range(3):
            harness.round()
        print(harness.report())
        assert harness.manifest.acknowledged > 0
        assert not harness.failed, harness.report()
    finally:
        harness.close()
