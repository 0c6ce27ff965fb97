"""The model exerciser on a mount whose network breaks all the time, and a few rounds of crashes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.crash import Harness
from tests.faults.scene import Scene
from tests.faults.storm import blow


@pytest.mark.parametrize("options", [(), ("--write-back=0.5",)], ids=["at once", "write-back"])
def test_random_operations_agree_with_the_model_in_a_storm(scene: Scene, options: tuple[str, ...]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    found = blow(scene, options, 250, seed)
    assert found.returncode == 0, found.said
    assert found.hits
    assert not found.conflicts


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
