"""A container that keeps no versions: what was replaced is gone, and a reader is told so."""

from __future__ import annotations

import errno
import os
import time

from tests.faults.scene import Scene
from tests.support.files import BLOCK, noise, opened, refused

OLD, NEW = noise(3 * BLOCK + 1000, 1), noise(3 * BLOCK + 1000, 2)


def unversioned(scene: Scene) -> None:
    """The scene's container keeps no versions."""
    scene.store._ask("PUT", "", X_Container_Policy_Versioning="none")


def test_a_reader_of_a_replaced_version_gets_an_error_and_never_other_bytes(scene: Scene) -> None:
    unversioned(scene)
    mount = scene.mount("--cache-size", "0")
    scene.store.put("file", OLD)
    with opened(mount.mountpoint / "file", os.O_RDONLY) as fd:
        assert os.pread(fd, 1000, 0) == OLD[:1000]
        scene.store.put("file", NEW)
        with refused(errno.ESTALE):
            os.pread(fd, 1000, 2 * BLOCK + 5000)
    time.sleep(0.6)  # the time to live of a listing here
    assert (mount.mountpoint / "file").read_bytes() == NEW
    assert "no longer there" in mount.log.read_text()


def test_what_is_written_over_a_replaced_version_loses_nothing(scene: Scene) -> None:
    """The rest of our version cannot be had any more: the change is refused, theirs stays as it is."""
    unversioned(scene)
    mount = scene.mount("--cache-size", "0")
    scene.store.put("file", OLD)
    fd = os.open(mount.mountpoint / "file", os.O_RDWR)
    os.pwrite(fd, b"mine", 10)
    scene.store.put("file", NEW)
    with refused(errno.ESTALE):
        os.close(fd)
    assert scene.store.get("file") == NEW
    copies = [name for name in scene.store.names() if "(conflict " in name]
    for name in copies:
        assert scene.store.get(name) == OLD[:10] + b"mine" + OLD[14:]
    assert copies or scene.pending(mount) == ["file"]
