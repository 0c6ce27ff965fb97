"""What travels: only what is needed, each block once, and nothing that either side has."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from tests.support.disks import MountedDisk
from tests.support.files import BLOCK, MIB, noise, opened, pread_all, pwrite_all


def test_small_edit_of_a_large_file_sends_one_block(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(noise(8 * BLOCK))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests, opened(mounted.path / "file") as fd:
        os.pwrite(fd, noise(4096, 9), 5 * BLOCK + 1000)
    assert sum(request.bytes_in for request in requests) < BLOCK + MIB
    assert sum(request.bytes_out for request in requests) < BLOCK + MIB


def test_whole_blocks_written_anew_are_not_fetched(mounted: MountedDisk) -> None:
    (mounted.path / "file").write_bytes(noise(4 * BLOCK))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests, opened(mounted.path / "file") as fd:
        pwrite_all(fd, noise(2 * BLOCK, 9), BLOCK)
    assert sum(request.bytes_out for request in requests) < MIB


def test_content_the_store_knows_is_not_sent_again(mounted: MountedDisk) -> None:
    (mounted.path / "one").write_bytes(noise(4 * BLOCK))
    with mounted.requests() as requests:
        (mounted.path / "two").write_bytes(noise(4 * BLOCK))
    assert sum(request.bytes_in for request in requests) < MIB
    assert (mounted.path / "two").read_bytes() == noise(4 * BLOCK)


def test_small_file_is_read_from_what_the_cache_has(mounted: MountedDisk) -> None:
    """A remount with its cache needs no block again."""
    (mounted.path / "file").write_bytes(noise(2 * BLOCK))
    mounted.remount()
    with mounted.requests() as requests:
        assert (mounted.path / "file").read_bytes() == noise(2 * BLOCK)
    assert sum(request.bytes_out for request in requests) < MIB


def test_each_block_is_fetched_once_however_many_ask(mounted: MountedDisk) -> None:
    data = noise(4 * BLOCK)
    (mounted.path / "file").write_bytes(data)
    mounted.remount(fresh_cache=True)

    def read(_: int) -> bool:
        with opened(mounted.path / "file", os.O_RDONLY) as fd:
            return pread_all(fd, len(data), 0) == data

    with mounted.requests() as requests, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert sum(request.bytes_out for request in requests) < 4 * BLOCK + MIB


def test_a_look_at_the_head_of_a_file_fetches_a_piece(mounted: MountedDisk) -> None:
    """File managers read the first kilobytes of everything to tell its type."""
    for number in range(4):
        (mounted.path / f"file{number}").write_bytes(noise(4 * BLOCK, number))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        for number in range(4):
            with opened(mounted.path / f"file{number}", os.O_RDONLY) as fd:
                assert os.read(fd, 4096) == noise(4 * BLOCK, number)[:4096]
    assert sum(request.bytes_out for request in requests) <= 4 * BLOCK + MIB


def test_programs_write_a_new_file_in_large_pieces_and_read_small_ones(mounted: MountedDisk) -> None:
    """What stat(2) says is best: cp and Python take it for the size of their buffers."""
    with (mounted.path / "file").open("wb") as file:
        assert os.fstat(file.fileno()).st_blksize == MIB
        file.write(noise(2 * BLOCK))
    mounted.remount(fresh_cache=True)
    assert (mounted.path / "file").stat().st_blksize == 4096
    with mounted.requests() as requests, (mounted.path / "file").open("rb") as file:
        assert file.read(10) == noise(2 * BLOCK)[:10]
    assert sum(request.bytes_out for request in requests) < MIB


def test_a_damaged_cache_is_noticed_and_fetched_again(mounted: MountedDisk) -> None:
    mounted.expect_in_log("(?i)cache|block")
    data = noise(3 * BLOCK)
    (mounted.path / "file").write_bytes(data)
    assert (mounted.path / "file").read_bytes() == data
    mounted.mount.unmount()
    damaged = [
        path for path in mounted.mount.cache.rglob("*") if path.is_file() and path.stat().st_size > MIB
    ]
    assert damaged, "nothing was cached"
    for path in damaged:
        with path.open("r+b") as file:
            file.seek(12_345)
            file.write(b"damage")
    mounted.mount.start()
    assert (mounted.path / "file").read_bytes() == data


def test_holes_of_whole_blocks_are_not_sent(mounted: MountedDisk) -> None:
    """Zeros that were really written, block by block."""
    with mounted.requests() as requests:
        (mounted.path / "zeros").write_bytes(bytes(5 * BLOCK))
    assert sum(request.bytes_in for request in requests) < MIB
    assert mounted.store.get(f"{mounted.name}/zeros") == bytes(5 * BLOCK)


def test_metadata_goes_with_the_content(mounted: MountedDisk) -> None:
    """Written, stamped and given its mode through one handle: one version in the store."""
    with mounted.requests() as requests, opened(mounted.path / "file", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"content")
        os.fchmod(fd, 0o640)
        os.utime(fd, ns=(1, 1))
    changes = [request for request in requests if request.method in ("PUT", "POST", "COPY", "MOVE")]
    assert len(changes) <= 2, changes
