"""What a mount says of uploads while they are under way."""

from __future__ import annotations

import subprocess
from typing import Any

from tests.faults.scene import Scene
from tests.support.files import MIB, noise
from tests.support.processes import wait_until


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

    wait_until(looked, what="the upload")
    assert writer.wait() == 0
    assert {(each["object"], each["size"]) for each in seen} >= {(f"{scene.container}/film", size)}
    assert 0 <= seen[0]["sent"] < seen[-1]["sent"] <= size
    assert all(each["sent"] + each["unsent"] <= size for each in seen)
    assert all((each["speed"] > 0) == (each["seconds_left"] is not None) for each in seen)
    assert scene.status(mount)["uploads"] == []
