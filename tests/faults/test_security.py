"""Tokens stay secret, files private, servers verified."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.scene import Scene, errno_of_write
from tests.support.faults import Fault
from tests.support.files import noise

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")


def holding(token: str, *folders: Path) -> list[Path]:
    """The files below ``folders`` in which the token stands."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and token.encode() in path.read_bytes():
                found.append(path)  # noqa: PERF401 - one more nesting would not be clearer
    return found


@pytest.mark.parametrize("way", ["config", "file", "command", "variable"])
def test_the_token_is_nowhere_but_where_the_user_put_it(scene: Scene, tmp_path: Path, way: str) -> None:
    """In no argument, environment, log, status, error or state, through work and trouble of all kinds."""
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    (secret / "token").write_text(scene.token)
    seen = secret / "environment of the token command"
    home = scene.home()
    options = {
        "config": (),
        "file": ("--token-file", str(secret / "token")),
        "command": ("--token-command", f'sh -c \'env > "{seen}"; cat "{secret}/token"\''),
        "variable": (),
    }[way]
    if way == "variable":
        home["PITHOSFS_TOKEN"] = scene.token
    if way != "config":
        config = Path(home["KAMAKI_CONFIG"])
        config.write_text(config.read_text().replace(scene.token, "another"))
    mount = scene.mount("--log-level", "debug", *options)
    del_variable = home.pop("PITHOSFS_TOKEN", None)
    said = work_and_trouble(scene, mount.mountpoint)
    pid = mount.process.pid
    assert scene.token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    if del_variable is None:
        assert scene.token.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    if seen.exists():
        assert scene.token not in seen.read_text()
    said += scene.run("status").stdout + scene.run("status", mount.mountpoint, "--json").stdout
    assert scene.token not in said
    allowed = {Path(home["KAMAKI_CONFIG"])} if way == "config" else set()
    places = [mount.cache, *(path for path in scene.folder.glob("home-*"))]
    assert set(holding(scene.token, *places)) <= allowed
    log = mount.log.read_text()
    assert " DEBUG " in log, "all is said"
    assert scene.token not in log


def work_and_trouble(scene: Scene, top: Path) -> str:
    """What is said on the way through ordinary work and every kind of refusal."""
    (top / "file").write_bytes(noise(200_000, 1))
    (top / "file").read_bytes()
    for status in (401, 403, 413, 500):
        scene.proxy.faults(Fault("answer", status=status, times=0))
        errno_of_write(top / "file", noise(1000, status))
        with suppress(OSError):
            os.listdir(top)
    done = scene.run("umount", top, "--timeout", "1")
    scene.proxy.faults()
    time.sleep(0.5)
    doctor = scene.run("doctor")
    return done.stdout + done.stderr + doctor.stdout + doctor.stderr


def test_everything_on_disk_is_private(scene: Scene) -> None:
    """0600 and 0700 whatever the umask: state, cache, journal, control socket."""
    before = os.umask(0)
    try:
        mount = scene.mount("--write-back=60", "--log-file", str(scene.folder / "own.log"))
        (mount.mountpoint / "file").write_bytes(noise(400_000, 1))
        (mount.mountpoint / "file").read_bytes()
    finally:
        os.umask(before)
    runtime = Path(scene.home()["XDG_RUNTIME_DIR"]) / "pithosfs"
    found = [mount.cache, *mount.cache.rglob("*"), runtime, *runtime.iterdir()]
    open_ = [
        f"{path} {stat.S_IMODE(path.lstat().st_mode):o}"
        for path in found
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]
    assert len(found) > 10
    assert open_ == []
    assert any(path.is_socket() for path in found)
    assert not stat.S_IMODE((scene.folder / "own.log").stat().st_mode) & 0o077


@needs_root
def test_nobody_else_gets_in(scene: Scene) -> None:
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(b"content")
    (mount.mountpoint / "file").chmod(0o666)
    for folder in (scene.folder, *scene.folder.parents):
        if folder not in (Path("/"), Path("/tmp")):
            folder.chmod(0o755)  # a temporary folder of this test's own
    for command in (["ls", mount.mountpoint], ["cat", mount.mountpoint / "file"]):
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "Permission denied" in done.stderr


def test_a_link_in_place_of_a_state_file_is_not_followed(scene: Scene) -> None:
    """Somebody who can write to the cache directory does not get other files overwritten."""
    precious = scene.folder / "precious"
    precious.write_text("precious")
    mount = scene.mount()
    (mount.mountpoint / "file").write_bytes(noise(300_000, 1))
    mount.unmount()
    for path in [*mount.cache.rglob("blocks/*/*"), *mount.cache.rglob("meta.sqlite3")]:
        path.unlink()
        path.symlink_to(precious)
    scene.start(mount)
    assert (mount.mountpoint / "file").read_bytes() == noise(300_000, 1)
    mount.unmount()
    assert precious.read_text() == "precious"


# -- TLS --------------------------------------------------------------------------------------------


@contextmanager
def behind_tls(target: tuple[str, int], folder: Path) -> Iterator[tuple[int, Path]]:
    """A TLS front with a certificate signed by nobody, passing bytes on to ``target``."""
    certificate, key = folder / "self-signed.pem", folder / "key.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    request += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(["openssl", *request], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=connect, args=(raw,), daemon=True).start()

    def connect(raw: socket.socket) -> None:
        with (
            suppress(OSError),
            raw,
            context.wrap_socket(raw, server_side=True) as client,
            socket.create_connection(target) as server,
        ):
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], certificate
    finally:
        listener.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_servers_are_verified_and_ca_certs_names_whom_to_trust(scene: Scene) -> None:
    home = scene.home()
    config = Path(home["KAMAKI_CONFIG"])
    with behind_tls(("127.0.0.1", scene.proxy.port), scene.folder) as (port, certificate):
        url = f"https://localhost:{port}/pithos/object-store/v1"
        plain = config.read_text().replace("ignore_ssl = on\n", "")
        plain = plain.replace(scene.proxy.url, f"https://localhost:{port}") + f"pithos_url = {url}\n"
        config.write_text(plain)
        point = scene.folder / "mnt-tls"
        point.mkdir()
        scene.proxy.reset()
        done = scene.run("mount", "pithos", point, "--timeout", "5")
        assert done.returncode == 6, done.stdout + done.stderr
        assert "certificate" in done.stderr.lower()
        assert len(done.stderr.strip().splitlines()) == 1
        assert scene.proxy.requests() == [], "something was sent to a server nobody vouches for"
        config.write_text(plain.replace("[global]\n", f"[global]\nca_certs = {certificate}\n"))
        done = scene.run("mount", "pithos", point, "--timeout", "5")
        assert done.returncode == 0, done.stderr
        try:
            (point / "file").write_bytes(b"through TLS")
            assert (point / "file").read_bytes() == b"through TLS"
        finally:
            assert scene.run("umount", point).returncode == 0
