"""The exerciser of fsx.py, a few thousand operations; by hand it runs for longer."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from tests.mount.fsx import Difference, Exerciser
from tests.support.disks import Disk
from tests.support.files import BLOCK


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_operations_agree_with_the_model(disk: Disk, seed: int) -> None:
    exerciser = Exerciser(disk.path, seed)
    try:
        exerciser.run(800)
    finally:
        exerciser.close()


def test_random_operations_with_remounts_between(disk: Disk) -> None:
    """Every second remount starts with an empty cache."""
    numbers = count()
    exerciser = Exerciser(disk.path, 4, remount=lambda: disk.remount(fresh_cache=next(numbers) % 2 == 0))
    try:
        exerciser.run(600)
    finally:
        exerciser.close()
    assert exerciser.counts["remount"] > 2


def test_small_files_too(disk: Disk) -> None:
    exerciser = Exerciser(disk.path, 5, limit=20_000)
    try:
        exerciser.run(1500)
    finally:
        exerciser.close()


def test_the_exerciser_notices_a_wrong_byte(tmp_path: Path) -> None:
    """A tool that never complains would prove nothing."""
    exerciser = Exerciser(tmp_path, 6)
    try:
        exerciser.run(50)
        for path in tmp_path.iterdir():
            with path.open("r+b") as file:
                file.write(b"wrong")
                file.truncate(BLOCK + 1)
        with pytest.raises(Difference, match="seed 6"):
            exerciser.run(50)
    finally:
        exerciser.close()
