"""What close() and fsync() promise when the store refuses, fails or is not there."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.faults.scene import TROUBLE, Scene, errno_of_write, kill, within
from tests.support.faults import Fault
from tests.support.files import BLOCK, noise, opened, refused
from tests.support.mounts import Mount
from tests.support.waiting import eventually

REFUSALS = [(401, errno.EACCES), (403, errno.EACCES), (413, errno.EDQUOT), (500, errno.EIO), (503, errno.EIO)]
SMALL = noise(100_000, 1)
LARGE = noise(2 * BLOCK + 12_345, 2)


#: Where a removal that worked counts as one that worked just now for long enough, on any machine.
FORGIVING = (
    "-c",
    "import sys; from pithosfs import cli, removals\n"
    "removals._SOON = 600.0; sys.exit(cli.main(sys.argv[1:]))",
)


def refuse(status: int) -> Fault:
    """Every attempt to write an object is answered so."""
    return Fault("answer", method="PUT", status=status, times=0)


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_close_tells_the_errno_and_the_data_is_kept_and_sent_later(
    scene: Scene, status: int, code: int
) -> None:
    mount = scene.mount(timeout=10)  # in which all attempts come to their end
    scene.proxy.faults(refuse(status))
    assert errno_of_write(mount.mountpoint / "file", SMALL) == code
    assert (mount.mountpoint / "file").read_bytes() == SMALL
    assert (mount.mountpoint / "file").stat().st_size == len(SMALL)
    assert os.listdir(mount.mountpoint) == ["file"]
    assert scene.pending(mount) == ["file"]
    assert not scene.store.exists("file")
    scene.proxy.faults()
    scene.settle(mount)
    assert scene.versions("file") == [SMALL]


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_fsync_tells_the_errno_and_works_once_the_store_does(scene: Scene, status: int, code: int) -> None:
    mount = scene.mount(timeout=10)
    with opened(mount.mountpoint / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, SMALL)
        scene.proxy.faults(refuse(status))
        with refused(code):
            os.fsync(fd)
        assert scene.pending(mount) == ["file"]
        scene.proxy.faults()
        eventually(lambda: _syncs(fd), what="a successful fsync")
        assert scene.store.get("file") == SMALL
    assert scene.versions("file") == [SMALL]
    assert scene.pending(mount) == []


def _syncs(fd: int) -> bool:
    try:
        os.fsync(fd)
    except OSError:
        return False
    return True


def test_close_on_a_silent_network_times_out(scene: Scene) -> None:
    mount = scene.mount()
    assert os.listdir(mount.mountpoint) == []
    scene.proxy.down(silent=True)
    assert errno_of_write(mount.mountpoint / "file", SMALL) == errno.ETIMEDOUT
    assert (mount.mountpoint / "file").read_bytes() == SMALL
    scene.proxy.up()
    scene.settle(mount)
    assert scene.versions("file") == [SMALL]


@pytest.mark.parametrize("data", [SMALL, LARGE, b""], ids=["small", "large", "empty"])
def test_unsent_data_survives_kill_9_and_is_delivered_once(scene: Scene, data: bytes) -> None:
    mount = scene.mount()
    scene.proxy.faults(refuse(503))
    assert errno_of_write(mount.mountpoint / "file", data) in TROUBLE
    kill(mount)
    scene.resume(mount)
    assert scene.versions("file") == [data]
    assert os.listdir(mount.mountpoint) == ["file"]
    kill(mount)
    scene.start(mount)
    scene.settle(mount)
    assert scene.versions("file") == [data]


def test_recovered_files_are_visible_before_they_are_sent(scene: Scene) -> None:
    mount = scene.mount()
    (mount.mountpoint / "directory").mkdir()
    scene.proxy.faults(refuse(503))
    assert errno_of_write(mount.mountpoint / "directory" / "file", SMALL) in TROUBLE
    kill(mount)
    scene.start(mount)
    eventually(lambda: scene.pending(mount) == ["directory/file"], what="the recovered file")
    assert os.listdir(mount.mountpoint / "directory") == ["file"]
    assert (mount.mountpoint / "directory" / "file").read_bytes() == SMALL


def test_an_edit_in_place_survives_kill_9(scene: Scene) -> None:
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(LARGE)
    scene.proxy.faults(refuse(503), Fault("answer", kind="block POST", status=503, times=0))
    fd = os.open(mount.mountpoint / "file", os.O_RDWR)
    os.pwrite(fd, b"edited", BLOCK + 10)
    with refused(*TROUBLE):
        os.close(fd)
    kill(mount)
    scene.resume(mount)
    edited = bytearray(LARGE)
    edited[BLOCK + 10 : BLOCK + 16] = b"edited"
    assert scene.versions("file") == [LARGE, bytes(edited)]


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("old", [None, b"before"], ids=["new", "overwritten"])
def test_what_was_stored_though_the_answer_was_lost_is_not_delivered_twice(
    scene: Scene, data: bytes, old: bytes | None
) -> None:
    """The server took it, every answer was lost, and the mount was killed: one version, no conflict copy."""
    mount = scene.mount()
    if old is not None:
        (mount.mountpoint / "file").write_bytes(old)
    scene.proxy.faults(Fault("lose_answer", method="PUT", times=0))
    assert errno_of_write(mount.mountpoint / "file", data) in (errno.EIO, errno.ETIMEDOUT)
    kill(mount)
    scene.resume(mount)
    assert scene.store.names() == ["file"]
    assert scene.store.get("file") == data
    assert scene.status(mount)["conflicts"] == []


def remove_in_vain(scene: Scene, mount: Mount) -> None:
    """Remove a file that somebody has open, while the server deletes nothing."""
    (mount.mountpoint / "file").write_bytes(SMALL)
    scene.proxy.faults(Fault("answer", method="DELETE", status=503, times=0))
    with opened(mount.mountpoint / "file", os.O_RDONLY):
        (mount.mountpoint / "file").unlink()
    eventually(lambda: scene.status(mount)["pending"][0].get("error"), what="a removal that failed")


@pytest.mark.parametrize("end", ["killed", "by force", "by a signal"])
def test_a_removal_that_failed_is_carried_out_by_the_next_mount(scene: Scene, end: str) -> None:
    mount = scene.mount()
    remove_in_vain(scene, mount)
    if end == "killed":
        kill(mount)
    elif end == "by force":
        assert scene.run("umount", "--force", mount.mountpoint).returncode == 0
    else:
        mount.process.send_signal(signal.SIGTERM)
        mount.process.wait(60)
    assert scene.store.names() == ["file"]
    scene.start(mount)
    assert os.listdir(mount.mountpoint) == []
    assert not (mount.mountpoint / "file").exists()
    scene.proxy.faults()
    scene.settle(mount)
    assert scene.store.names() == []
    assert os.listdir(mount.mountpoint) == []
    mount.unmount()
    assert not list(mount.cache.rglob("staging/**/*.json"))


def test_who_asks_for_an_object_finds_nothing_of_it_still_to_be_deleted(scene: Scene) -> None:
    """A command that brings it back, say: what was removed before must not go afterwards."""
    mount = scene.mount("--dir-cache-time", "60", timeout=20, program=FORGIVING)
    top = mount.mountpoint / "d"
    top.mkdir()
    for number in range(20):
        (top / f"{number}").touch()
    (top / "0").unlink()
    scene.proxy.down(silent=True)
    for number in range(1, 20):
        (top / f"{number}").unlink()
    assert len(scene.store.names("d/")) == 19, "they are deleted behind the program"
    scene.proxy.shape(rtt=0.2)
    scene.proxy.up()
    assert scene.ask(mount, "resolve", path="d")["name"] == "d"
    assert scene.store.names("d/") == []


def test_a_removal_does_not_delete_what_others_made_since(scene: Scene) -> None:
    mount = scene.mount()
    remove_in_vain(scene, mount)
    kill(mount)
    scene.proxy.faults()
    scene.store.put("file", b"theirs")
    scene.start(mount)
    scene.settle(mount)
    assert scene.store.get("file") == b"theirs"
    assert (mount.mountpoint / "file").read_bytes() == b"theirs"


def written_unheard(path: Path, data: bytes) -> None:
    """The server has it, the mount was not told so."""
    assert errno_of_write(path, data) in (errno.EIO, errno.ETIMEDOUT)


@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "killed"])
@pytest.mark.parametrize("existed", [False, True], ids=["new", "overwritten"])
def test_names_change_though_the_answers_to_commits_were_lost(
    scene: Scene, existed: bool, killed: bool
) -> None:
    """An editor saves twice by a temporary file: nothing is a conflict with itself, nothing stays behind."""
    mount = scene.mount(timeout=10)
    file, temporary = mount.mountpoint / "file", mount.mountpoint / "temporary"
    if existed:
        file.write_bytes(b"before")
    scene.proxy.faults(Fault("lose_answer", method="PUT", times=0))
    written_unheard(file, b"one")
    for data in (b"two", b"three"):
        written_unheard(temporary, data)
        temporary.rename(file)
        assert sorted(os.listdir(mount.mountpoint)) == ["file"]
    if killed:
        kill(mount)
        scene.start(mount)
    assert file.read_bytes() == b"three"
    scene.proxy.faults()
    scene.settle(mount)
    assert scene.store.names() == ["file"]
    assert scene.store.get("file") == b"three"
    assert os.listdir(mount.mountpoint) == ["file"]


def test_a_removed_file_does_not_stay_though_the_answer_to_its_commit_was_lost(scene: Scene) -> None:
    mount = scene.mount(timeout=10)
    scene.proxy.faults(Fault("lose_answer", method="PUT", times=0))
    for name in ("gone", "again"):
        written_unheard(mount.mountpoint / name, SMALL)
        (mount.mountpoint / name).unlink()
    written_unheard(mount.mountpoint / "again", LARGE)
    assert os.listdir(mount.mountpoint) == ["again"]
    scene.proxy.faults()
    scene.settle(mount)
    assert scene.store.names() == ["again"]
    assert scene.store.get("again") == LARGE


def test_umount_lists_what_is_not_sent_and_stays_mounted(scene: Scene) -> None:
    mount = scene.mount()
    scene.proxy.faults(refuse(503))
    assert errno_of_write(mount.mountpoint / "file", SMALL) in TROUBLE
    done = scene.run("umount", mount.mountpoint, "--timeout", "1")
    assert done.returncode == 8
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.path.ismount(mount.mountpoint)
    assert (mount.mountpoint / "file").read_bytes() == SMALL
    scene.proxy.faults()
    mount.unmount()
    assert scene.versions("file") == [SMALL]


def test_umount_does_not_wait_where_the_store_refuses(scene: Scene) -> None:
    """The quota is full: trying again and again is no use."""
    mount = scene.mount()
    scene.proxy.faults(refuse(413))
    assert errno_of_write(mount.mountpoint / "file", SMALL) == errno.EDQUOT
    with within(10):
        done = scene.run("umount", mount.mountpoint, "--timeout", "60")
    assert done.returncode == 8
    assert "not sent: " in done.stderr
    scene.proxy.faults()
    mount.unmount()
    assert scene.versions("file") == [SMALL]


def test_umount_force_keeps_the_data_for_the_next_mount(scene: Scene) -> None:
    mount = scene.mount()
    scene.proxy.faults(refuse(503))
    assert errno_of_write(mount.mountpoint / "file", SMALL) in TROUBLE
    assert scene.run("umount", mount.mountpoint, "--force").returncode == 0
    mount.process.wait(20)
    assert not os.path.ismount(mount.mountpoint)
    scene.resume(mount)
    assert scene.versions("file") == [SMALL]


def test_sigterm_keeps_the_data_for_the_next_mount(scene: Scene) -> None:
    mount = scene.mount()
    scene.proxy.faults(refuse(403))
    assert errno_of_write(mount.mountpoint / "file", SMALL) == errno.EACCES
    mount.process.terminate()
    mount.process.wait(30)
    assert not os.path.ismount(mount.mountpoint)
    scene.resume(mount)
    assert scene.versions("file") == [SMALL]


def test_an_unsent_file_can_be_renamed_changed_and_removed(scene: Scene) -> None:
    mount = scene.mount()
    scene.proxy.faults(refuse(503))
    for name in ("kept", "moved", "removed"):
        assert errno_of_write(mount.mountpoint / name, SMALL) in TROUBLE
    (mount.mountpoint / "moved").rename(mount.mountpoint / "new name")
    (mount.mountpoint / "removed").unlink()
    fd = os.open(mount.mountpoint / "kept", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"more")
    with refused(*TROUBLE):
        os.close(fd)
    assert scene.pending(mount) == ["kept", "new name"]
    kill(mount)
    scene.resume(mount)
    assert sorted(os.listdir(mount.mountpoint)) == ["kept", "new name"]
    assert scene.versions("kept") == [SMALL + b"more"]
    assert scene.versions("new name") == [SMALL]


# -- write-back ---------------------------------------------------------------------------------------


def test_write_back_close_returns_at_once_and_fsync_still_waits_for_the_server(scene: Scene) -> None:
    mount = scene.mount("--write-back=0.2")
    scene.proxy.faults(refuse(503))
    (mount.mountpoint / "file").write_bytes(SMALL)
    assert scene.pending(mount) == ["file"]
    fd = os.open(mount.mountpoint / "synced", os.O_RDWR | os.O_CREAT)
    os.write(fd, SMALL)
    with refused(*TROUBLE):
        os.fsync(fd)
    os.close(fd)
    scene.proxy.faults()
    scene.settle(mount)
    assert scene.versions("file") == [SMALL]
    assert scene.versions("synced") == [SMALL]


@pytest.mark.parametrize("data", [SMALL, LARGE, b""], ids=["small", "large", "empty"])
def test_write_back_survives_kill_9(scene: Scene, data: bytes) -> None:
    mount = scene.mount("--write-back=60")
    (mount.mountpoint / "file").write_bytes(data)
    assert not scene.store.exists("file")
    kill(mount)
    scene.start(mount)
    scene.settle(mount)
    assert scene.versions("file") == [data]


def test_write_back_overwriting_what_waits_survives_kill_9_at_any_point(scene: Scene) -> None:
    """The file is cut to nothing and half written anew when the process dies: old or new, never a mixture."""
    mount = scene.mount("--write-back=60")
    (mount.mountpoint / "file").write_bytes(SMALL)
    fd = os.open(mount.mountpoint / "file", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"x" * 5000)
    kill(mount)
    with refused(errno.ENOTCONN, errno.ECONNABORTED):
        os.close(fd)
    scene.start(mount)
    scene.settle(mount)
    assert scene.store.get("file") in (SMALL, b"", b"x" * 5000)


def test_write_back_umount_sends_everything(scene: Scene) -> None:
    mount = scene.mount("--write-back=60")
    for number in range(20):
        (mount.mountpoint / f"file{number}").write_bytes(noise(50_000, number))
    mount.unmount()
    assert all(scene.store.get(f"file{number}") == noise(50_000, number) for number in range(20))


def test_write_back_knows_its_own_earlier_commit_after_a_crash(scene: Scene) -> None:
    """An older content is being sent when a newer one is promised and the mount dies: no conflict."""
    mount = scene.mount("--write-back=0.1", timeout=20)
    scene.proxy.faults(Fault("stall", kind="object PUT", times=0))  # stored, never answered
    (mount.mountpoint / "file").write_bytes(b"older")
    eventually(lambda: scene.store.exists("file"), what="the older content")
    (mount.mountpoint / "file").write_bytes(b"newer content")
    kill(mount)
    scene.resume(mount)
    assert scene.store.names() == ["file"]
    assert scene.versions("file") == [b"older", b"newer content"]
