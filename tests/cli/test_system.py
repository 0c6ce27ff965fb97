"""Life on the system: mount(8) and /etc/fstab, service managers, a server that comes late."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pithosfs import notify
from pithosfs.cli import helper
from tests.support.waiting import eventually

from .conftest import Place, Server

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mount(8) wants root")


class TestHelper:
    @pytest.mark.parametrize(
        ("arguments", "command"),
        [
            ("pithos /mnt", "pithosfs mount -o fsname=pithos -- pithos /mnt"),
            ("pithos /mnt -o ro,_netdev", "pithosfs mount -o fsname=pithos,ro,_netdev -- pithos /mnt"),
            ("pithos /mnt -n -s -v -r -t pithosfs", "pithosfs mount -o fsname=pithos,ro -- pithos /mnt"),
            ("/ /mnt -o cloud=x -w -N 12", "pithosfs mount -o fsname=/,cloud=x,rw -- / /mnt"),
        ],
    )
    def test_what_mount_asks_for(
        self, arguments: str, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert helper.main([*arguments.split(), "-f"]) == 0
        assert capsys.readouterr().out == f"{command}\n"

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            ("pithos", 1),
            ("pithos /mnt -o colour=red", 1),
            ("pithos /mnt -o ro,remount", 1),
            ("pithos /missing/dir", 32),
        ],
    )
    def test_its_exit_codes_are_those_of_mount(self, arguments: str, code: int) -> None:
        assert helper.main(arguments.split()) == code

    @ROOT
    def test_mount_and_fstab(self, place: Place, server: Server) -> None:
        """In a mount namespace of its own, where mount(8) finds the helper."""
        folder = place.folder
        script = folder / "mount.pithosfs"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m pithosfs.cli.helper "$@"\n')
        script.chmod(0o755)
        words = f"config={server.config},cache-dir={folder}/cache,noauto,_netdev,x-systemd.automount,nofail"
        (folder / "fstab").write_text(
            f"pithos {place.mountpoint} pithosfs {words.replace('noauto,', '')} 0 0\n"
        )
        story = f"""set -e
            cp -a /usr/sbin {folder}/sbin && mount --bind {folder}/sbin /usr/sbin
            cp {script} /usr/sbin/
            mount -t pithosfs pithos {place.mountpoint} -o {words}
            echo one > {place.mountpoint}/file
            umount {place.mountpoint}
            mount -a -T {folder}/fstab
            mount -a -T {folder}/fstab
            grep -c ' {place.mountpoint} fuse.pithosfs ' /proc/mounts
            cat {place.mountpoint}/file
            umount {place.mountpoint}
        """
        command = ["unshare", "--mount", "sh", "-c", story]
        # what mount(8) hands on at boot
        environment = {key: place.environment[key] for key in ("PATH", "XDG_RUNTIME_DIR")}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\none\n", "")
        eventually(place.is_over)


class TestNotify:
    @pytest.mark.parametrize("kind", ["path", "abstract"])
    def test_the_manager_hears_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        name = str(tmp_path / "notify") if kind == "path" else f"@{tmp_path}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(5)
            manager.bind(name if kind == "path" else "\0" + name[1:])
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            notify.notify("READY=1", "STATUS=x")
            assert manager.recv(100) == b"READY=1\nSTATUS=x"

    @pytest.mark.parametrize("address", ["", "relative", "/missing/socket"])
    def test_nobody_listens(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify.notify("READY=1")

    def test_a_mount_tells_when_it_is_ready_and_when_it_stops(self, place: Place) -> None:
        name = str(place.folder / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(20)
            manager.bind(name)
            place.environment["NOTIFY_SOCKET"] = name
            process = place.start("--foreground")
            assert manager.recv(500) == f"READY=1\nSTATUS=tiny is on {place.mountpoint}".encode()
            assert (place.mountpoint / "file").exists()
            process.send_signal(signal.SIGTERM)
            assert manager.recv(500).startswith(b"STOPPING=1\n")
            assert process.wait(30) == 0


def test_a_server_that_comes_late_is_waited_for(place: Place, server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    server.stop()
    place.environment["KAMAKI_CONFIG"] = str(server.config)
    command = [sys.executable, "-m", "pithosfs", "mount", "pithos", str(place.mountpoint)]
    command += ["--timeout", "1s", "--retry", "40s"]
    mounting = subprocess.Popen(command, env=place.environment, stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        mounting.wait(2)
    late = Server(server.directory, port)
    try:
        assert mounting.communicate(timeout=40)[1] == ""
        assert mounting.returncode == 0
        place.pithosfs("umount", place.mountpoint)
    finally:
        mounting.kill()
        late.stop()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize(
    "unit", sorted((Path(__file__).parents[2] / "systemd").rglob("*.service")), ids=lambda p: p.name
)
def test_units_are_understood_by_systemd(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert not re.search(r"Unknown|Invalid|Failed to parse", done.stderr), done.stderr
