"""``pithosfs pending``: what is not sent is listed and comes out by hand, whatever has died."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pithosfs.cli import pending as cli
from pithosfs.cli import reports
from tests.faults.scene import TROUBLE, Scene, errno_of_write, kill
from tests.support.faults import Fault
from tests.support.files import BLOCK, noise, opened, refused
from tests.support.mounts import Mount

SMALL = noise(100_000, 1)
LARGE = noise(2 * BLOCK + 12_345, 2)
REFUSED = Fault("answer", method="PUT", status=503, times=0)


def pending(
    scene: Scene, mount: Mount, *options: str | Path
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """The command's end, and what it lists."""
    done = scene.run("pending", "--json", "--cache-dir", mount.cache, *options)
    assert "Traceback" not in done.stderr
    listed, _ = json.JSONDecoder().raw_decode(done.stdout) if done.stdout.startswith("[") else ([], 0)
    return done, listed


def exported(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by name."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def unsent(scene: Scene, **contents: bytes) -> Mount:
    """A mount that could not send these files; kill it, or do not."""
    mount = scene.mount()
    scene.proxy.faults(REFUSED)
    for name, data in contents.items():
        assert errno_of_write(mount.mountpoint / name, data) in TROUBLE
    return mount


def edited(scene: Scene) -> tuple[Mount, bytes]:
    """A killed mount with a change inside a large file that the server has; its cache is lost, too."""
    mount = scene.mount("--cache-size", "0")
    (mount.mountpoint / "file").write_bytes(LARGE)
    scene.proxy.faults(REFUSED, Fault("answer", kind="block POST", status=503, times=0))
    fd = os.open(mount.mountpoint / "file", os.O_RDWR)
    os.pwrite(fd, b"edited", BLOCK + 10)
    with refused(*TROUBLE):
        os.close(fd)
    kill(mount)
    return mount, LARGE[: BLOCK + 10] + b"edited" + LARGE[BLOCK + 16 :]


def test_what_a_mount_has_left_is_listed_with_what_becomes_of_it(scene: Scene) -> None:
    mount = unsent(scene, one=SMALL, two=SMALL)
    kill(mount)
    lines = scene.run("pending", "--cache-dir", mount.cache).stdout.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "not sent: the mount that had it has ended; the next one sends it"


def test_nothing_is_pending(scene: Scene) -> None:
    mount = scene.mount()
    done = scene.run("pending", "--cache-dir", mount.cache)
    assert (done.returncode, done.stdout) == (0, "nothing is pending\n")


@pytest.mark.parametrize("alive", [True, False], ids=["running", "killed"])
def test_what_is_not_sent_comes_out_while_the_server_is_down(
    scene: Scene, tmp_path: Path, alive: bool
) -> None:
    mount = unsent(scene, small=SMALL, large=LARGE, empty=b"")
    scene.proxy.down()
    if not alive:
        kill(mount)
    done, listed = pending(scene, mount, "--export", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {(each["object"], each["size"]) for each in listed} == {
        (f"{scene.container}/{name}", len(data))
        for name, data in (("small", SMALL), ("large", LARGE), ("empty", b""))
    }
    assert {each["mount"] for each in listed} == {str(mount.mountpoint) if alive else None}
    assert exported(tmp_path / "out" / scene.container) == {"small": SMALL, "large": LARGE, "empty": b""}
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


def test_it_takes_nothing_away_and_writes_nothing_over(scene: Scene, tmp_path: Path) -> None:
    mount = unsent(scene, file=SMALL)
    kill(mount)
    top = tmp_path / "out" / scene.container
    top.mkdir(parents=True)
    (top / "file").write_bytes(b"mine")
    assert pending(scene, mount, "--export", tmp_path / "out")[0].returncode == 0
    assert exported(top) == {"file": b"mine", "file (2)": SMALL}
    scene.resume(mount)
    assert scene.versions("file") == [SMALL]
    assert pending(scene, mount)[1] == []


def test_what_was_sent_since_it_was_listed_is_no_failure(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = unsent(scene, file=SMALL)
    monkeypatch.setenv("XDG_RUNTIME_DIR", scene.home()["XDG_RUNTIME_DIR"])
    (listed,) = reports.gather(str(mount.mountpoint))
    assert [each["object"] for each in listed.details["pending"]] == [f"{scene.container}/file"]
    scene.proxy.faults()
    scene.settle(mount)
    assert cli.export_of_mounts([listed], tmp_path / "out")
    assert capsys.readouterr().out == f"{scene.container}/file is on the server by now\n"
    assert not (tmp_path / "out" / scene.container).exists()


def test_an_edit_comes_out_with_what_the_server_has(scene: Scene, tmp_path: Path) -> None:
    mount, content = edited(scene)
    done, listed = pending(scene, mount, "--export", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [(each["size"], each["unsent"]) for each in listed] == [(len(content), len(b"edited"))]
    assert exported(tmp_path / "out" / scene.container) == {"file": content}


def test_what_the_server_alone_has_is_named_when_it_is_away(scene: Scene, tmp_path: Path) -> None:
    mount, content = edited(scene)
    scene.proxy.down()
    done, _ = pending(scene, mount, "--export", tmp_path / "out")
    assert done.returncode == 1
    at = BLOCK + 10
    assert f"lacks bytes 0-{at - 1}, {at + 6}-{len(content) - 1}" in done.stderr
    assert "refused" in done.stderr
    found = exported(tmp_path / "out" / scene.container)
    assert list(found) == ["file.incomplete"]
    assert found["file.incomplete"][at : at + 6] == b"edited"
    assert len(found["file.incomplete"]) == len(content)


def test_damaged_entries_are_listed_and_the_others_come_out(scene: Scene, tmp_path: Path) -> None:
    mount = unsent(scene, one=SMALL, two=SMALL)
    kill(mount)
    entry = next(path for path in mount.cache.rglob("staging/*/*.json") if '"one"' in path.read_text())
    entry.write_text("{")
    done, listed = pending(scene, mount, "--export", tmp_path / "out")
    assert done.returncode == 1
    assert str(entry) in {each["object"] for each in listed}
    assert str(entry) in done.stderr
    assert exported(tmp_path / "out" / scene.container) == {"two": SMALL}
    assert entry.exists()


def test_removals_are_listed_and_not_exported(scene: Scene, tmp_path: Path) -> None:
    mount = scene.mount()
    scene.store.put("file", SMALL)
    scene.proxy.faults(Fault("answer", method="DELETE", status=503, times=0))
    with opened(mount.mountpoint / "file", os.O_RDONLY):
        (mount.mountpoint / "file").unlink()
    mount.process.terminate()
    mount.process.wait(60)
    done, listed = pending(scene, mount, "--export", tmp_path / "out")
    assert done.returncode == 0
    assert [each["reason"].split(":")[0] for each in listed] == ["to be deleted"]
    assert exported(tmp_path / "out") == {}
