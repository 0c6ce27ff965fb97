"""Slow networks: what takes long and goes on is waited for, and a mount says how far it is."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Any

from tests.faults.scene import Scene
from tests.support.files import BLOCK, MIB, noise
from tests.support.waiting import eventually


def test_a_block_may_take_longer_than_the_timeout_while_its_bytes_come(scene: Scene) -> None:
    mount = scene.mount("--cache-size=0", timeout=2)
    contents = {f"file{number}": noise(BLOCK, number) for number in range(3)}
    for name, data in contents.items():
        scene.store.put(name, data)
    scene.run("refresh", mount.mountpoint)
    scene.proxy.shape(rate=16_000_000)  # bits a second: two seconds for a block, six for all of them
    found: dict[str, bytes] = {}

    def read(name: str) -> None:
        found[name] = (mount.mountpoint / name).read_bytes()

    readers = [threading.Thread(target=read, args=(name,), daemon=True) for name in contents]
    began = time.monotonic()
    for each in readers:
        each.start()
    for each in readers:
        each.join(60)
    assert time.monotonic() - began > 4, "the network was not slow"
    assert found == contents


def test_status_tells_how_far_an_upload_is(scene: Scene) -> None:
    mount = scene.mount(timeout=60)
    scene.proxy.shape(rate=80_000_000)  # bits a second
    size = 80 * MIB  # eight blocks travel at a time, and count when they have arrived
    (scene.folder / "film").write_bytes(noise(size, seed=1))
    # A process of its own: whatever this one starts would close its copy of the open file, and so send it.
    writer = subprocess.Popen(["cp", scene.folder / "film", mount.mountpoint / "film"])
    seen: list[dict[str, Any]] = []

    def looked() -> bool:
        seen.extend(scene.status(mount)["uploads"])
        return writer.poll() is not None

    eventually(looked, what="the upload")
    assert writer.wait() == 0
    assert {(each["object"], each["size"]) for each in seen} >= {(f"{scene.container}/film", size)}
    assert 0 <= seen[0]["sent"] < seen[-1]["sent"] <= size
    assert all(each["sent"] + each["unsent"] <= size for each in seen)
    assert all((each["speed"] > 0) == (each["seconds_left"] is not None) for each in seen)
    assert scene.status(mount)["uploads"] == []
