"""scripts/pithos_upload_download.py as a user runs it, each action, compared by hash."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "pithos_upload_download.py"
MIB = 1024 * 1024


@dataclass
class Done:
    code: int
    out: bytes
    err: str
    peak: int  # bytes of memory


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of 26 MB, as in the example everybody knows."""
    folder = tmp_path_factory.mktemp("source")
    with zipfile.ZipFile(folder / "26mb.zip", "w") as made:
        made.writestr("data", os.urandom(26_000_000))
    return folder / "26mb.zip"


@pytest.fixture
def run(rc: Path, tmp_path: Path) -> Run:
    """Run the script in an empty directory; its standard output may go to a file."""

    def start(*arguments: str | Path, environment: dict[str, str] | None = None) -> Done:
        out, err = tmp_path.with_suffix(".out"), tmp_path.with_suffix(".err")
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, SCRIPT, *map(str, arguments)],
                cwd=tmp_path,
                env={**os.environ, "KAMAKI_CONFIG": str(rc), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
            peak = 0
            while process.poll() is None:
                peak = max(peak, peak_of(process.pid))
                time.sleep(0.01)
        return Done(process.returncode, out.read_bytes(), err.read_text(), peak)

    return start


def peak_of(pid: int) -> int:
    """The most memory a process has had.  (What wait4 tells begins with the size of the forking one.)"""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def digest(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("action", ["uploadfile", "uploadBfile"])
def test_uploads_and_downloads(run: Run, archive: Path, tmp_path: Path, action: str) -> None:
    done = run("-t", action, "-f", archive, "-c", "pithos")
    assert done.code == 0, done.err
    assert done.err.startswith("uploaded pithos/26mb.zip: ")
    assert "Traceback" not in done.err
    for way in ("download", "downloadBig"):
        done = run("-t", way, "-f", "26mb.zip", "-c", "pithos")
        assert done.code == 0, done.err
        assert digest(tmp_path / "26mb.zip") == digest(archive)
        (tmp_path / "26mb.zip").unlink()
    assert run("-f", "26mb.zip").code == 0  # downloadBig and the default container
    assert [each.name for each in tmp_path.iterdir()] == ["26mb.zip"]


def test_an_upload_from_the_web(run: Run, archive: Path, tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{web.server_port}"
        try:
            done = run("-t", "uploadurl", "-u", f"{url}/26mb.zip?x=1", "-c", "trash")
            named = run("-t", "uploadurl", "-u", f"{url}/26mb.zip", "-f", "other name.zip", "-c", "trash")
            absent = run("-t", "uploadurl", "-u", f"{url}/absent.zip", "-c", "trash")
            nameless = run("-t", "uploadurl", "-u", url, "-c", "trash")
        finally:
            web.shutdown()
            thread.join()
    assert (done.code, named.code, absent.code, nameless.code) == (0, 0, 5, 2), (
        done,
        named,
        absent,
        nameless,
    )
    for name in ("26mb.zip", "other name.zip"):
        assert run("-t", "download", "-f", name, "-c", "trash").code == 0
        assert digest(tmp_path / name) == digest(archive)


def test_chunks_for_somebody_else(run: Run, archive: Path, tmp_path: Path) -> None:
    assert run("-t", "upload", "-f", archive).code == 0
    assert digest(run("-t", "downloadSendBig", "-f", "26mb.zip", "--to", "-").out) == digest(archive)
    assert run("-t", "downloadSendBig", "-f", "26mb.zip", "--to", "copy.zip").code == 0
    assert digest(tmp_path / "copy.zip") == digest(archive)

    got: list[bytes] = []

    class Inbox(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(507 if self.path == "/full" else 201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Inbox) as inbox:
        thread = threading.Thread(target=inbox.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{inbox.server_port}"
        try:
            sent = run("-t", "downloadSendBig", "-f", "26mb.zip", "--to", f"{url}/26mb.zip")
            refused = run("-t", "downloadSendBig", "-f", "26mb.zip", "--to", f"{url}/full")
        finally:
            inbox.shutdown()
            thread.join()
    assert (sent.code, digest(got[0])) == (0, digest(archive))
    assert refused.code == 6
    assert "answered 507" in refused.err

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def receive() -> None:
            sock, _ = listener.accept()
            with sock, sock.makefile("rb") as file:
                got.append(file.read())

        thread = threading.Thread(target=receive)
        thread.start()
        port = listener.getsockname()[1]
        assert run("-t", "downloadSendBig", "-f", "26mb.zip", "--to", f"127.0.0.1:{port}").code == 0
        thread.join()
    assert digest(got[-1]) == digest(archive)


def test_memory_stays_bounded(run: Run, tmp_path: Path) -> None:
    """The file is larger than what may be used."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        for _ in range(24):
            file.write(os.urandom(10 * MIB))
    wanted = digest(big)
    up = run("-t", "uploadBfile", "-f", "big")
    again = run("-t", "uploadfile", "-f", "big")
    assert f"{240 * MIB} bytes, {240 * MIB} of them travelled" in up.err
    assert ", 0 of them travelled" in again.err
    big.unlink()
    down = run("-t", "download", "-f", "big")
    assert digest(big) == wanted
    in_order = run("-t", "downloadBig", "-f", "big")
    assert digest(big) == wanted
    for each in (up, again, down, in_order):
        assert each.code == 0, each.err
        assert 10 * MIB < each.peak < 200 * MIB


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "downloadBig needs the name of a file: -f NAME"),
        (["-t", "uploadfile"], 2, "needs the name of a file"),
        (["-t", "uploadfile", "-f", "absent"], 2, "there is no file absent"),
        (["-t", "uploadBfile", "-f", "."], 2, "there is no file ."),
        (["-t", "uploadurl", "-f", "x"], 2, "needs the URL"),
        (["-t", "uploadurl", "-u", "nonsense"], 3, "not an http or https URL"),
        (["-t", "uploadurl", "-u", "http://127.0.0.1:1/x"], 6, "cannot connect"),
        (["-t", "downloadSendBig", "-f", "x"], 2, "--to"),
        (["-t", "nonsense"], 2, "invalid choice"),
        (["-t", "download", "-f", "absent"], 5, "pithos/absent: Object does not exist"),
        (["-t", "download", "-f", "x", "-c", "absent"], 5, "there is no container absent"),
        (["-f", "x", "--cloud", "absent"], 3, 'names the cloud "absent"'),
        (["-f", "x", "--config", "absent"], 3, "there is no file absent"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, arguments: list[str], code: int, text: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, b"")
    lines = done.err.splitlines()
    assert text in lines[-1]
    assert len(lines) == 1 or lines[0].startswith("usage:")


def test_a_refused_token(run: Run, rc: Path, tmp_path: Path) -> None:
    done = run("-f", "x", environment={"PITHOSFS_TOKEN": "wrong-token"})
    assert done.code == 4
    assert "wrong-token" not in done.err


def test_help(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    for each in (b"uploadurl", b"downloadSendBig", b"exit codes", b"--to"):
        assert each in done.out
