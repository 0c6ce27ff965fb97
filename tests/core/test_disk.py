"""The block cache on disk: what is damaged, shared, full or in the way."""

from __future__ import annotations

import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest

from pithosfs import disk
from pithosfs.blocks import block_hash
from pithosfs.disk import DiskCache


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """However full the disk of this machine is; its pages are of a byte, so that blocks may be small."""
    monkeypatch.setattr(disk, "FREE_FLOOR", 0.0)
    monkeypatch.setattr(disk, "_PAGE", 1)


def block(number: int, size: int = 100) -> tuple[str, bytes]:
    data = f"block {number} ".encode() * (size // 8) + b"."
    return block_hash(data), data


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "blocks", 10_000)
    name, data = block(1)
    cache.put(name, data)
    assert cache.get(name) == data
    assert cache.count == 1 and cache.total == len(data)
    again = DiskCache(tmp_path / "blocks", 10_000)
    again.scan()
    assert name in again
    assert again.get(name) == data
    assert again.total == len(data)


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "blocks", 10_000)
    cache.put(*block(1))
    for path in [tmp_path / "blocks", *(tmp_path / "blocks").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_block_is_a_miss_and_goes(tmp_path: Path, damage: bytes | None) -> None:
    cache = DiskCache(tmp_path, 10_000)
    name, data = block(1)
    cache.put(name, data)
    (path,) = (each for each in tmp_path.rglob("*") if each.is_file())
    path.write_bytes(data[:-1] + b"!" if damage is None else damage)
    assert cache.get(name) is None
    assert not path.exists()
    assert cache.total == 0
    cache.put(name, data)
    assert cache.get(name) == data


def test_a_block_another_process_took_away_is_kept_again(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    name, data = block(1)
    cache.put(name, data)
    (path,) = (each for each in tmp_path.rglob("*") if each.is_file())
    path.unlink()
    assert cache.get(name) is None
    assert cache.total == 0
    cache.put(name, data)
    assert cache.get(name) == data


def test_a_block_without_its_trailing_zeros_is_whole(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    name = block_hash(b"data" + bytes(100))
    cache.put(name, b"data")
    assert cache.get(name) == b"data"


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 500)
    items = [block(number, 80) for number in range(8)]
    size = len(items[0][1])
    for each in items[: 500 // size]:
        cache.put(*each)
    assert cache.get(items[0][0])
    for each in items[500 // size :]:
        cache.put(*each)
    assert cache.total <= 500
    assert cache.get(items[0][0]) is not None
    assert cache.get(items[1][0]) is None
    assert sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file()) <= 500


def test_the_order_of_use_survives_a_restart(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    names = [block(number)[0] for number in range(4)]
    for number in range(4):
        cache.put(*block(number))
        path = next(tmp_path.rglob(names[number]))
        os.utime(path, (number, number))
    assert cache.get(names[0])
    again = DiskCache(tmp_path, 10_000)
    again.scan()
    assert list(again._sizes) == [*names[1:], names[0]]


def test_a_block_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 50)
    cache.put(*block(1, 100))
    assert cache.count == 0


def test_the_disks_last_part_is_left_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, 10_000)
    for number in range(5):
        cache.put(*block(number))
    monkeypatch.setattr(disk, "FREE_FLOOR", 2.0)  # no disk is as free as that
    cache._free_checked = float("-inf")
    cache.put(*block(9))
    assert cache.count == 0
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]
    monkeypatch.setattr(disk, "FREE_FLOOR", 0.0)
    cache._free_checked = float("-inf")
    cache.put(*block(9))
    assert cache.count == 1


def test_what_is_in_the_way_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = DiskCache(tmp_path, 400)
    name, data = block(1)
    (tmp_path / name[:2]).write_text("a file where a directory should be")
    cache.put(name, data)
    assert cache.get(name) is None
    other, more = block(2)
    (tmp_path / other[:2] / other / "below").mkdir(parents=True)  # cannot be read, written or removed
    cache.put(other, more)
    assert cache.get(other) is None
    cache._sizes[other], cache._total = 400, 400
    cache.put(*block(3))
    assert cache.count == 1
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1, "said once"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "blocks", 10_000)
    name, data = block(1)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "blocks" / name[:2]
    folder.mkdir()
    (folder / f"{name}.{os.getpid()}-{threading.get_ident()}").symlink_to(victim)
    cache.put(name, data)
    assert victim.read_text() == "precious"


def test_what_a_crash_left_behind_goes(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    cache.put(*block(1))
    folder = next(each for each in tmp_path.iterdir())
    old, new = folder / "abc.1-1", folder / "abc.2-2"
    old.write_bytes(b"part")
    new.write_bytes(b"part")
    os.utime(old, (1, 1))
    again = DiskCache(tmp_path, 10_000)
    again.scan()
    assert not old.exists() and new.exists()
    assert again.count == 1


def _use(directory: str, seed: int) -> None:
    disk.FREE_FLOOR = 0.0  # a process of its own
    cache = DiskCache(Path(directory), 2_000)
    cache.scan()
    for round_ in range(150):
        number = (round_ * 7 + seed) % 40
        name, data = block(number)
        found = cache.get(name)
        assert found is None or found == data
        cache.put(name, data)


def test_two_processes_share_a_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_use, args=(str(tmp_path), seed)) for seed in (0, 3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
        assert each.exitcode == 0
    cache = DiskCache(tmp_path, 2_000)
    cache.scan()
    assert cache.total <= 2_000
    for name in list(cache._sizes):
        assert cache.get(name) is not None


def test_a_part_is_read_without_the_rest_once_the_whole_was_verified(tmp_path: Path) -> None:
    name, data = block(1, 4000)
    DiskCache(tmp_path, 10_000).put(name, data)
    cache = DiskCache(tmp_path, 10_000)  # which has not seen it yet
    asked: list[int] = []

    def buffer(length: int) -> memoryview:
        asked.append(length)
        return memoryview(bytearray(length))

    assert cache.get(name, buffer) == data
    assert cache.piece(name, 10, 30) == data[10:30]
    assert cache.piece(name, len(data) - 3, len(data) + 3) == data[-3:] + b"\0\0\0"
    assert asked == [len(data)]


@pytest.mark.parametrize("seen", [True, False])
def test_a_part_of_a_damaged_block_is_a_miss(tmp_path: Path, seen: bool) -> None:
    cache = DiskCache(tmp_path, 10_000)
    name, data = block(1, 4000)
    cache.put(name, data)
    if seen:
        assert cache.piece(name, 0, 10) == data[:10]
    (path,) = (each for each in tmp_path.rglob("*") if each.is_file())
    path.write_bytes(b"?" * len(data))
    assert cache.piece(name, 0, 10) is None
    assert not path.exists()
    assert cache.piece("f" * 64, 0, 10) is None


def test_two_processes_together_stay_within_the_limit(tmp_path: Path) -> None:
    """Each of the two learns what the other has put, and both forget what the other has removed."""
    limit = 200_000
    caches = [DiskCache(tmp_path, limit), DiskCache(tmp_path, limit)]
    for number in range(600):
        caches[number % 2].put(*block(number, 1000))
        stored = sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file())
        assert stored < limit * 1.2
    for cache in caches:
        cache.scan()
        assert cache.total <= limit
        assert all(cache.get(each) for each in cache.hashes())


def test_small_blocks_take_whole_pages_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_PAGE", 4096)
    cache = DiskCache(tmp_path, 10 * 4096)
    for number in range(30):
        cache.put(*block(number))
    assert cache.count == 10
    taken = sum(each.stat().st_blocks * 512 for each in tmp_path.rglob("*") if each.is_file())
    assert taken <= cache.limit
    again = DiskCache(tmp_path, 10 * 4096)
    again.scan()
    assert again.total == cache.total


def test_there_are_not_more_blocks_than_memory_for_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_MOST", 20)
    cache = DiskCache(tmp_path, 1 << 30)
    for number in range(30):
        cache.put(*block(number))
    assert cache.hashes() == [block(number)[0] for number in range(10, 30)]
    monkeypatch.setattr(disk, "_MOST", 5)
    again = DiskCache(tmp_path, 1 << 30)
    again.scan()
    assert again.count == 5
    assert sum(each.is_file() for each in tmp_path.rglob("*")) == 5
