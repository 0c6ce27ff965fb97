"""Many files and many writers: memory stays within its budget, nothing is mixed up."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.scene import Scene, kill
from tests.faults.soak import soak
from tests.support.files import BLOCK, MIB, noise
from tests.support.server import Server

MEMORY = 64 * MIB
#: What the interpreter, its libraries and the transfers under way may take on top of the budget.
CONSTANT = 160 * MIB
LIMIT = MEMORY + CONSTANT


def test_a_thousand_open_files_stay_within_the_memory_budget(scene: Scene) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    mount = scene.mount("--memory", "64M", timeout=60)
    content = noise(BLOCK, 1)
    for number in range(20):
        scene.store.put(f"file{number:03}", content + bytes([number]))
    handles = [os.open(mount.mountpoint / f"file{number % 20:03}", os.O_RDONLY) for number in range(1000)]
    try:
        for number, fd in enumerate(handles):
            assert os.pread(fd, 1, BLOCK) == bytes([number % 20])
            assert os.pread(fd, 4096, 4096 * (number % 1000)) == content[4096 * (number % 1000) :][:4096]
        print(f"peak memory with 1,000 handles: {mount.peak_memory() / MIB:.0f} MiB")
        assert mount.peak_memory() < LIMIT
        assert scene.status(mount)["open_files"] == 20
    finally:
        for fd in handles:
            os.close(fd)


def test_two_hundred_writers_stay_within_the_memory_budget(scene: Scene) -> None:
    mount = scene.mount("--memory", "64M", timeout=60)
    data = noise(700_000, 2)

    def write(number: int) -> None:
        with (mount.mountpoint / f"file{number:03}").open("wb") as file:
            for _ in range(3):
                file.write(data)
            file.write(str(number).encode())

    with ThreadPoolExecutor(200) as writers:
        list(writers.map(write, range(200)))
    for number in range(200):
        assert scene.store.get(f"file{number:03}") == data * 3 + str(number).encode()
    print(f"peak memory with 200 writers: {mount.peak_memory() / MIB:.0f} MiB")
    assert mount.peak_memory() < LIMIT


def test_a_file_larger_than_the_memory_budget(scene: Scene) -> None:
    mount = scene.mount("--memory", "64M", timeout=60)
    path = mount.mountpoint / "file"
    blocks = [noise(BLOCK, number) for number in range(40)]
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)
    mount.unmount()
    written = mount.log.read_text()
    mount.forget_cache()
    scene.start(mount)
    with path.open("rb") as file:
        for block in blocks:
            assert file.read(BLOCK) == block
    print(
        f"peak memory with a file of {len(blocks) * BLOCK / MIB:.0f} MiB: {mount.peak_memory() / MIB:.0f} MiB"
    )
    assert mount.peak_memory() < LIMIT, written


def test_a_short_soak(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    server.start()
    try:
        result = soak(tmp_path, server, seconds=15, writers=16, least=50)
    finally:
        server.stop()
    print(result)
    assert result.acknowledged > 50
    assert result.read > 20
    assert result.lost == []
    assert result.wrong == []


def test_hundreds_of_unsent_files_need_no_more_descriptors_than_a_process_gets(scene: Scene) -> None:
    """Of each that is not tiny a file is open in the mount; a program may have 1,024 open as a rule."""
    few = max(map(int, os.listdir("/proc/self/fd"))) + 60  # enough for this process to start another
    names = [f"file{number:03}" for number in range(few + 50)]
    size = 260 * 1024
    with few_descriptors(few):
        mount = scene.mount("--write-back=600", timeout=20)
    for number, name in enumerate(names):
        (mount.mountpoint / name).write_bytes(bytes([number % 256]) * size)
    assert scene.pending(mount) == names
    kill(mount)
    mount.destroy()
    with few_descriptors(few):
        scene.start(mount)
    scene.settle(mount, seconds=60)
    assert sorted(scene.store.names()) == names
    assert all(scene.store.get(name) == bytes([number % 256]) * size for number, name in enumerate(names))


@contextlib.contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Whoever is started within this context may have so many, and more if it asks for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
