"""What file managers do: look around, tell types, copy, rename, throw away and bring back.

``gio`` is what GNOME's, Xfce's and others' file managers are made of, without a window;
Thunar itself is driven over D-Bus on a display of its own, where it is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, MIB, noise
from tests.support.netproxy import NetProxy
from tests.support.processes import run, start, stop
from tests.support.waiting import eventually

#: What desktops look for in every directory, or at the top of every disk.
PROBES = (
    *(".hidden", ".directory", ".xdg-volume-info", "autorun.inf", "AUTORUN.INF", ".autorun", "autorun.sh"),
    *("desktop.ini", "Desktop.ini", ".DS_Store", "._.", "Thumbs.db", "folder.jpg", ".nomedia", ".git"),
    *(".Trash", f".Trash-{os.getuid()}", ".Trash-1000", ".localized", ".metadata_never_index", "lost+found"),
)


def gio(*arguments: str | Path) -> str:
    """What ``gio`` says; local files only, whatever this machine has for others."""
    if not shutil.which("gio"):
        pytest.skip("gio is not installed (libglib2.0-bin)")
    return run("gio", *arguments, environment={"GIO_USE_VFS": "local"}).stdout


def test_what_desktops_look_for_costs_no_request(mounted: MountedDisk) -> None:
    """None of it is there: the listing that shows the directory says so."""
    for number in range(5):
        (mounted.path / f"file{number}").touch()
    top = mounted.mount.mountpoint
    os.listdir(top)
    os.listdir(mounted.path)
    with mounted.requests() as requests:
        for _ in range(3):
            assert not [name for name in PROBES for folder in (top, mounted.path) if (folder / name).exists()]
    assert len(requests) <= 2, requests  # a listing may have become old meanwhile


def test_telling_the_type_of_large_files_reads_a_piece_of_each(mounted: MountedDisk, tmp_path: Path) -> None:
    """Names that say nothing: the first bytes have to."""
    (tmp_path / "local").write_bytes(b"%PDF-1.4\n")
    if "application/pdf" not in gio("info", "-a", "standard::content-type", tmp_path / "local"):
        pytest.skip("no data base of file types (shared-mime-info)")
    count = 20
    for number in range(count):
        magic = b"%PDF-1.4\n" if number % 2 else b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
        (mounted.path / f"scan {number}").write_bytes(magic + noise(2 * BLOCK, number))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        told = gio("list", "-a", "standard::content-type", mounted.path)
        found = [line.rpartition("standard::content-type=")[2] for line in told.splitlines()]
    assert sorted(found) == ["application/pdf"] * (count // 2) + ["image/png"] * (count // 2)
    # A piece is 32 KiB; without TLS it is fetched twice and compared.
    assert sum(request.bytes_out for request in requests) < count * 80 * 1024
    assert len(requests) < count * 3 + 10


def test_listing_and_properties_of_a_directory(mounted: MountedDisk) -> None:
    """Sizes, times, modes, types by name: from the listing alone."""
    for number in range(30):
        path = mounted.path / f"letter {number}.txt"
        path.write_bytes(b"x" * number)
        os.utime(path, ns=(10**18, 10**18 + number))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        told = gio("list", "-l", "-u", "-a", "time::modified,time::modified-nsec,unix::mode", mounted.path)
    assert len(requests) <= 4, requests
    lines = [line.split("\t") for line in told.splitlines()]
    assert sorted(int(fields[1]) for fields in lines) == list(range(30))
    for fields in lines:
        assert "time::modified=1000000000" in fields[-1]
        assert f"time::modified-nsec={fields[1]}" in fields[-1].split()


def test_free_space_is_the_quota(mounted: MountedDisk) -> None:
    told = gio("info", "--filesystem", mounted.path)
    figures = {
        key.strip(): value.strip() for key, _, value in (line.partition(": ") for line in told.splitlines())
    }
    free, total, used = (int(figures[f"filesystem::{key}"]) for key in ("free", "size", "used"))
    assert free + used == total
    space = os.statvfs(mounted.path)
    assert total == space.f_blocks * space.f_frsize
    assert total < 1 << 50, "the quota of the server's user is what there is"


def test_copy_in_rename_and_new_folder(disk: Disk, tmp_path: Path) -> None:
    original = tmp_path / "from the camera.jpg"
    original.write_bytes(noise(MIB))
    os.utime(original, ns=(10**18 + 7, 10**18 + 7))
    original.chmod(0o640)
    gio("mkdir", disk.path / "Νέος φάκελος")
    gio("copy", "--preserve", original, disk.path / "Νέος φάκελος")
    gio("rename", disk.path / "Νέος φάκελος" / original.name, "holiday.jpg")
    gio("move", disk.path / "Νέος φάκελος" / "holiday.jpg", disk.path / "there.jpg")
    disk.remount(fresh_cache=True)
    copy = disk.path / "there.jpg"
    assert copy.read_bytes() == original.read_bytes()
    assert (copy.stat().st_mtime_ns, stat.S_IMODE(copy.stat().st_mode)) == (10**18 + 7, 0o640)
    assert os.listdir(disk.path / "Νέος φάκελος") == []


def test_a_copy_made_by_a_file_manager_sends_nothing(mounted: MountedDisk) -> None:
    (mounted.path / "film").write_bytes(noise(2 * BLOCK))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        gio("copy", mounted.path / "film", mounted.path / "copy of film")
    assert sum(request.bytes_in for request in requests) < MIB
    assert (mounted.path / "copy of film").read_bytes() == noise(2 * BLOCK)


def test_saving_over_a_file_keeps_a_backup_and_the_mode(disk: Disk) -> None:
    """As GNOME's editors save."""
    path = disk.path / "notes.txt"
    path.write_text("old")
    path.chmod(0o600)
    (disk.path / "source").write_text("new")
    if not shutil.which("gio"):
        pytest.skip("gio is not installed (libglib2.0-bin)")
    run("sh", "-c", 'gio save --backup "$1" < "$2"', "sh", path, disk.path / "source")
    disk.remount()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (disk.path / "notes.txt~").read_text() == "old"


def test_thrown_away_and_brought_back(mounted: MountedDisk) -> None:
    """The trash lies on the mount itself: nothing is copied, and it comes back as it was."""
    folder = mounted.path / "Old projects"
    folder.mkdir()
    (folder / "film").write_bytes(noise(2 * BLOCK))
    (folder / "film").chmod(0o600)
    os.utime(folder / "film", ns=(10**18 + 7, 10**18 + 7))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        gio("trash", folder)
        trash = mounted.mount.mountpoint / f".Trash-{os.getuid()}"
        (thrown,) = (trash / "files").iterdir()
        (note,) = (trash / "info").iterdir()
        path = next(line for line in note.read_text().splitlines() if line.startswith("Path="))
        assert unquote(path.removeprefix("Path=")) == f"{mounted.name}/Old projects"
        assert not folder.exists()
        thrown.rename(folder)  # which is what bringing back does
        note.unlink()
    assert sum(request.bytes_in + request.bytes_out for request in requests) < MIB
    assert (folder / "film").read_bytes() == noise(2 * BLOCK)
    status = (folder / "film").stat()
    assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (10**18 + 7, 0o600)
    shutil.rmtree(trash)
    assert not mounted.store.names(trash.name)


@contextmanager
def over_a_slow_network(mounted: MountedDisk, tmp_path: Path, rate: float) -> Iterator[Path]:
    """The same directory through a network of ``rate`` bits a second, as on another machine."""
    server = mounted.site.server
    text = server.config.read_text()
    address = next(line.split("/")[2] for line in text.splitlines() if line.startswith("url"))
    with NetProxy(address, rate=rate) as proxy:
        config = tmp_path / "kamakirc"
        config.touch(mode=0o600)
        config.write_text(text.replace(f"http://{address}", proxy.url))
        mount = mounted.site.mount("pithos", config=config)
        try:
            yield mount.mountpoint / mounted.name
        finally:
            mounted.site.discard(mount)


def test_a_listing_does_not_wait_for_an_upload(mounted: MountedDisk, tmp_path: Path) -> None:
    """A large file goes out slowly; meanwhile its directory, and others, are looked at and changed."""
    for number in range(4):
        (mounted.path / f"dir{number}").mkdir()
        (mounted.path / f"dir{number}" / "file").write_text("here")
    sent = threading.Event()
    film = noise(8 * BLOCK, seed=20_260)  # no block of which any other test has sent
    with over_a_slow_network(mounted, tmp_path, rate=20e6) as path:

        def upload() -> None:
            (path / "film").write_bytes(film)
            sent.set()

        writer = threading.Thread(target=upload)
        writer.start()
        try:
            eventually((path / "film").exists, what="the new file")
            for number in range(1):
                assert (path / f"dir{number}" / "file").read_text() == "here"
                assert "film" in os.listdir(path)
                (path / f"made{number}").mkdir()
                (path / f"made{number}").rename(path / f"renamed{number}")
                assert not sent.is_set(), "everything else waited for the upload"
        finally:
            writer.join()
        assert (path / "film").stat().st_size == 8 * BLOCK
    assert mounted.store.get(f"{mounted.name}/film") == film


_THUNAR = ("thunar", "Xvfb", "dbus-daemon", "gdbus", "xdotool")


class Desktop:
    """Thunar on a display and a bus of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._environment: dict[str, str] = {}

    def open(self) -> None:
        (self._folder / "run").mkdir(mode=0o700)
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "DBUS_"))},
            "HOME": str(self._folder),
            "XDG_RUNTIME_DIR": str(self._folder / "run"),
            "DISPLAY": ":" + self._run(r"\d+", "Xvfb", "-displayfd", "1", "-screen", "0", "1000x700x24"),
            "GIO_USE_VFS": "local",  # other mounts of this machine are nobody's business here
            "GIO_USE_VOLUME_MONITOR": "unix",
            "GTK_A11Y": "none",
            "NO_AT_BRIDGE": "1",
        }
        address = self._run(r"unix:\S+", "dbus-daemon", "--session", "--nofork", "--print-address=1")
        self._environment["DBUS_SESSION_BUS_ADDRESS"] = address
        self._start("thunar", "--daemon")
        self._run_to_end("gdbus", "wait", "--session", "--timeout", "30", "org.xfce.FileManager")

    def close(self) -> None:
        for process in reversed(self._processes):
            stop(process)

    def ask(self, method: str, *arguments: str) -> None:
        """Call a method of the file manager's interface."""
        self._run_to_end(
            *("gdbus", "call", "--session", "--timeout", "60", "--dest", "org.xfce.FileManager"),
            *("--object-path", "/org/xfce/FileManager", "--method", f"org.xfce.FileManager.{method}"),
            *(*arguments, self._environment["DISPLAY"], ""),
        )

    def has_window(self, title: str) -> bool:
        found = run(
            "xdotool", "search", "--onlyvisible", "--name", title, check=False, environment=self._environment
        )
        return found.returncode == 0

    def idle(self) -> bool:
        """Whether Thunar has had nothing to do for half a second."""
        before = self._cpu_time()
        time.sleep(0.5)
        return self._cpu_time() == before

    def _cpu_time(self) -> list[str]:
        thunar = self._processes[-1].pid
        return Path(f"/proc/{thunar}/stat").read_text().rpartition(")")[2].split()[11:13]

    def _start(self, *command: str) -> Path:
        output = self._folder / f"{command[0]}.out"
        self._processes.append(start(command, output=output, environment=self._environment or None))
        return output

    def _run(self, address: str, *command: str) -> str:
        """Start a server; returns the line in which it says where it is to be found."""
        output, line = self._start(*command), re.compile(rf"^{address}$", re.MULTILINE)
        eventually(lambda: line.search(output.read_text()) is not None, what=f"{command[0]}'s address")
        found = line.search(output.read_text())
        assert found is not None
        return found[0]

    def _run_to_end(self, *command: str) -> None:
        run(*command, environment=self._environment)


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    missing = [name for name in _THUNAR if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    found = Desktop(tmp_path)
    try:
        found.open()
        yield found
    finally:
        found.close()


def test_thunar_shows_a_folder_of_large_files(mounted: MountedDisk, desktop: Desktop) -> None:
    """Names that say nothing of the type: a piece of each is looked at."""
    count = 20
    for number in range(count):
        (mounted.path / f"blob{number}").write_bytes(noise(2 * BLOCK, number))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        desktop.ask("DisplayFolder", f"file://{mounted.path}")
        eventually(lambda: desktop.has_window(mounted.path.name), what="Thunar's window")
        eventually(lambda: desktop.idle(), what="the end of its work")
    assert sum(request.bytes_out for request in requests) < count * 80 * 1024
    assert len(requests) < count * 3 + 10


def test_thunar_copies(mounted: MountedDisk, desktop: Desktop, tmp_path: Path) -> None:
    """From outside with all its attributes, and inside without sending again what the store has."""
    (mounted.path / "film").write_bytes(noise(2 * BLOCK))
    into = mounted.path / "into"
    into.mkdir()
    original = tmp_path / "letter.txt"
    original.write_text("from outside")
    os.utime(original, ns=(10**18, 10**18))
    mounted.remount(fresh_cache=True)
    with mounted.requests() as requests:
        desktop.ask("CopyInto", "/", f"['{original.as_uri()}']", into.as_uri())
        desktop.ask("CopyInto", "/", f"['{(mounted.path / 'film').as_uri()}']", into.as_uri())
        eventually(lambda: sorted(os.listdir(into)) == ["film", "letter.txt"], what="the copies")
        eventually(lambda: desktop.idle(), what="the end of its work")
    assert sum(request.bytes_in for request in requests) < MIB
    mounted.remount(fresh_cache=True)
    assert (into / "letter.txt").read_text() == "from outside"
    assert (into / "letter.txt").stat().st_mtime_ns == 10**18
    assert (into / "film").read_bytes() == noise(2 * BLOCK)
