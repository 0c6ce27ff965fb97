"""pithosfs doctor on setups that are broken in one place each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pithosfs.api import connect
from pithosfs.cli import checks
from pithosfs.cli.checks import Level
from pithosfs.cli.exits import CommandError, ExitCode
from pithosfs.config import load
from pithosfs.options import MountOptions
from tests.client.scripted import DATA, ScriptedTLS, hang_up
from tests.faults.test_local_disks import small_disk

from .conftest import Place, Server


class User:
    """Somebody without any configuration, who asks the doctor."""

    def __init__(self, home: Path) -> None:
        self.place = Place(home)

    def asks(self, *arguments: str | Path, code: int, **environment: str) -> dict[str, str]:
        """The doctor's lines, without those about FUSE, by what they are about."""
        self.place.environment |= environment
        done = self.place.pithosfs("doctor", *arguments, check=False)
        assert done.stderr == ""
        assert done.returncode == code, done.stdout
        lines = [line.split(None, 2) for line in done.stdout.splitlines()]
        return {name: f"{level} {finding}" for level, name, finding in lines}


@pytest.fixture
def user(tmp_path: Path) -> User:
    home = tmp_path / "home"
    home.mkdir()
    return User(home)


def test_all_is_well(user: User, server: Server) -> None:
    lines = user.asks(code=0, KAMAKI_CONFIG=str(server.config))
    assert [each.partition(" ")[0] for each in lines.values()] == ["ok"] * len(lines)
    assert list(lines)[-4:] == ["settings", "server", "clock", "container"]
    assert server.url in lines["server"]
    assert server.token not in str(lines)


def test_no_settings(user: User) -> None:
    assert user.asks(code=1)["settings"].startswith("FAIL there is no file")


def test_settings_that_cannot_be_read(user: User, tmp_path: Path) -> None:
    file = tmp_path / "rc"
    file.write_text("no section\n")
    assert f"FAIL {file}" in user.asks("--config", file, code=1)["settings"]


def test_a_file_everybody_can_read_is_a_warning(user: User, server: Server) -> None:
    server.config.chmod(0o644)
    assert "chmod 600" in user.asks("--config", server.config, code=0)["settings"]


def test_a_token_that_is_refused_is_not_shown(user: User, server: Server, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-t0ken")
    lines = user.asks("--config", server.config, "--token-file", wrong, code=1)
    assert lines["token"].startswith("FAIL")
    assert "get a new one" in lines["token"]
    assert "t0ken" not in str(lines)


def test_no_server(user: User, server: Server) -> None:
    server.stop()
    line = user.asks("--config", server.config, code=1)["server"]
    assert line.startswith("FAIL")
    assert "check the network" in line


def test_a_url_without_an_identity_service(user: User, server: Server) -> None:
    server.config.write_text(server.config.read_text().replace("/identity/v2.0", "/elsewhere"))
    line = user.asks("--config", server.config, code=1)["settings"]
    assert line.startswith("FAIL there is no identity service at")
    assert "must be its authentication URL" in line


def test_a_host_nobody_knows(user: User, server: Server) -> None:
    server.config.write_text(
        re.sub(r"http://[\d.:]+", "http://no-such-host.invalid", server.config.read_text())
    )
    line = user.asks("--config", server.config, code=1)["server"]
    assert line.startswith("FAIL the host name no-such-host.invalid is not known; check the network")


def test_https_where_there_is_none(user: User, server: Server) -> None:
    server.config.write_text(server.config.read_text().replace("http:", "https:"))
    line = user.asks("--config", server.config, code=1)["server"]
    assert line.startswith("FAIL 127.0.0.1:")
    assert "does not speak TLS: its URL should begin with http://" in line


def test_a_container_that_is_missing(user: User, server: Server) -> None:
    line = user.asks("--config", server.config, "pictures", code=1)["container"]
    assert line == (
        "FAIL there is no container pictures; make it with:"
        f" pithosfs mount --create --config {server.config} pictures MOUNTPOINT"
    )


class Backwards(BaseHTTPRequestHandler):
    """A store whose clock stands still."""

    def do_HEAD(self) -> None:
        self.send_response_only(204)
        self.send_header("Date", "Sun, 01 Nov 2020 10:00:00 GMT")
        self.send_header("Content-Length", "0")
        self.send_header("X-Account-Bytes-Used", "0")
        self.send_header("X-Account-Container-Count", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def backwards() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Backwards) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_a_clock_that_is_off(user: User, backwards: str) -> None:
    lines = user.asks("--url", backwards, "--account", "someone", code=0, PITHOSFS_TOKEN="x")
    assert lines["clock"].startswith("warn this machine is")
    assert "ahead of the server; set the clock" in lines["clock"]


@pytest.mark.skipif(not shutil.which("faketime"), reason="faketime is not installed")
def test_a_clock_so_far_off_that_no_certificate_is_valid(user: User, tmp_path: Path) -> None:
    store = ScriptedTLS(hang_up)
    try:
        config = tmp_path / "rc"
        config.write_text(
            f'[global]\nca_certs = {DATA}/tls/ca.pem\n[cloud "x"]\nurl = {store.url}/identity\ntoken = t\n'
        )
        config.chmod(0o600)
        asking = [sys.executable, "-m", "pithosfs", "doctor", "--config", str(config)]
        done = subprocess.run(
            ["faketime", "2020-02-03 10:00:00", *asking],
            env=user.place.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        store.close()
    [line] = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert "certificate is not yet valid; is this machine's clock right? It says 2020-02-03" in line


class TestThisMachine:
    @pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
    def test_a_device_one_may_not_open(self, tmp_path: Path) -> None:
        (tmp_path / "fuse").touch(0o600)
        os.seteuid(65534)
        try:
            check = checks.dev_fuse(tmp_path / "fuse")
        finally:
            os.seteuid(0)
        assert (check.level, check.finding) == (Level.FAIL, "you may not open it")
        assert "chmod a+rw /dev/fuse" in check.remedy

    def test_no_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks, "_LIBFUSE_3", ("libfuse3.so.999",))
        monkeypatch.setattr(checks, "_LIBFUSE_2", "libfuse.so.999")
        assert (checks.libfuse().level, checks.libfuse().remedy) == (
            Level.FAIL,
            "install it: apt install fuse3",
        )

    def test_a_missing_device(self, tmp_path: Path) -> None:
        check = checks.dev_fuse(tmp_path / "fuse")
        assert (check.level, check.finding) == (Level.FAIL, "missing")
        assert "modprobe fuse" in check.remedy

    def test_a_device_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "fuse").mkdir()
        assert checks.dev_fuse(tmp_path / "fuse").level is Level.FAIL

    def test_a_missing_helper(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert "apt install fuse3" in checks.fusermount().remedy

    def test_a_helper_without_its_right(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        helper = tmp_path / "fusermount3"
        helper.touch(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert checks.fusermount().level is Level.FAIL
        assert f"chmod u+s {helper}" in checks.fusermount().remedy
        if os.getuid() == 0:
            helper.chmod(0o4755)
            assert checks.fusermount().level is Level.OK

    @pytest.mark.parametrize(
        ("text", "level"),
        [
            ("user_allow_other\n", Level.OK),
            ("mount_max = 5\n  user_allow_other  \n", Level.OK),
            ("#user_allow_other\n", Level.FAIL),
            ("# says user_allow_other\n", Level.FAIL),
            ("", Level.FAIL),
        ],
    )
    def test_letting_others_in(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, level: Level
    ) -> None:
        conf = tmp_path / "fuse.conf"
        conf.write_text(text)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert checks.allow_other(asked=True, conf=conf).level is level
        assert checks.allow_other(asked=False, conf=conf).level is Level.OK

    def test_mounting_without_fuse_names_the_remedy(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(
            CommandError, match="fusermount3: missing; install it: apt install fuse3"
        ) as caught:
            checks.require_fuse(MountOptions())
        assert caught.value.code == ExitCode.SYSTEM


class TestCache:
    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs takes root")
    def test_a_full_disk(self, user: User, server: Server, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", 1 << 20) as disk:
            lines = user.asks("--config", server.config, "--cache-dir", disk / "cache", code=1)
        assert lines["cache"].startswith(f"FAIL {tmp_path}/disk/cache: only ")
        assert lines["cache"].endswith("free; make room, or choose another --cache-dir")
        assert lines["container"].startswith("ok")

    def test_mounting_with_it_inside_of_a_mount_is_refused(self, place: Place, tmp_path: Path) -> None:
        place.mount()
        (tmp_path / "other").mkdir()
        done = place.pithosfs(
            "mount", "x", tmp_path / "other", "--cache-dir", place.mountpoint / "cache", check=False
        )
        assert done.returncode == 7
        assert f"lies inside the mount {place.mountpoint}: choose another place" in done.stderr

    def test_a_directory_not_made_yet(self, tmp_path: Path) -> None:
        check = checks.cache(MountOptions(cache_dir=tmp_path / "a" / "b", cache_size=1))
        assert check.level is Level.OK
        assert not (tmp_path / "a").exists()

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert checks.cache(MountOptions(cache_dir=tmp_path / "file" / "cache")).level is Level.FAIL

    def test_more_asked_for_than_there_is(self, tmp_path: Path) -> None:
        check = checks.cache(MountOptions(cache_dir=tmp_path, cache_size=2**60))
        assert check.level is Level.WARN
        assert "lower --cache-size" in check.remedy

    def test_inside_a_mount(self, place: Place) -> None:
        place.mount()
        check = checks.cache(MountOptions(cache_dir=place.mountpoint / "cache"))
        assert check.level is Level.FAIL
        assert "inside a mount" in check.finding


class TestServe:
    def test_says_where_it_is_and_ends_well(self, server: Server) -> None:
        assert (
            server.said
            == f"pithosfs serves {server.directory} at {server.url} (configuration: {server.config})\n"
        )
        assert server.config.stat().st_mode & 0o077 == 0
        assert server.stop() == 0

    def test_a_second_one_on_the_same_directory_is_refused(self, user: User, server: Server) -> None:
        done = user.place.pithosfs("serve", server.directory, "--port", "0", check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("pithosfs serve: another server")

    def test_users_are_added_while_it_serves(self, user: User, server: Server, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("t0k")
        uuid = "33333333-3333-3333-3333-333333333333"
        arguments = ("--add-user", "carol", "--uuid", uuid, "--token-file", token)
        config = user.place.pithosfs("serve", server.directory, *arguments).stdout.strip()
        assert uuid in user.asks("--config", config, code=0)["server"]

    def test_a_users_room_is_limited(self, user: User, server: Server) -> None:
        user.place.pithosfs("serve", server.directory, "--quota", "local=5000000")
        assert connect(load(config=server.config, environ={})).account().quota == 5_000_000
        done = user.place.pithosfs("serve", server.directory, "--quota", "much", check=False)
        assert done.returncode == 2
        assert "'much' is not NAME=BYTES" in done.stderr

    def test_a_store_is_checked(self, user: User, server: Server) -> None:
        assert user.place.pithosfs("serve", server.directory, "--check").stdout == "the store is whole\n"
