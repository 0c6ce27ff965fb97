"""What a mount says of uploads while they are under way."""

from __future__ import annotations

import threading
from typing import Any

from tests.faults.scene import Scene
from tests.support.files import MIB, noise
from tests.support.processes import wait_until


def test_status_tells_how_far_an_upload_is(scene: Scene) -> None:
    mount = scene.mount(timeout=60)
    scene.proxy.shape(rate=80_000_000)  # bits a second
    size = 80 * MIB  # eight blocks travel at a time, and count when they have arrived
    writer = threading.Thread(target=(mount.mountpoint / "film").write_bytes, args=(noise(size, seed=1),))
    writer.start()
    seen: list[dict[str, Any]] = []

    def looked() -> bool:
        seen.extend(scene.status(mount)["uploads"])
        return not writer.is_alive()

    wait_until(looked, what="the upload")
    writer.join()
    assert {(each["object"], each["size"]) for each in seen} >= {(f"{scene.container}/film", size)}
    assert 0 <= seen[0]["sent"] < seen[-1]["sent"] <= size
    assert seen[-1]["unsent"] == size - seen[-1]["sent"]
    assert all((each["speed"] > 0) == (each["seconds_left"] is not None) for each in seen)
    assert scene.status(mount)["uploads"] == []
