"""pithosfs mount, from the command line to a server and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pithosfs import mountpoints, registry
from tests.support.waiting import eventually

from .conftest import Place, Server


@pytest.fixture
def home(place: Place, server: Server) -> Place:
    """A user whose kamaki configuration is the server's."""
    place.environment["KAMAKI_CONFIG"] = str(server.config)
    return place


def kernel_options(path: Path) -> str:
    """The mount's own options and the file system's, as the kernel lists them."""
    return next(
        line for line in Path("/proc/mounts").read_text(errors="replace").splitlines() if f" {path} " in line
    )


class TestMounting:
    def test_files_are_there_until_it_is_unmounted_and_after_it_is_mounted_again(self, home: Place) -> None:
        home.pithosfs("mount", "pithos", home.mountpoint)
        (home.mountpoint / "letters").mkdir()
        (home.mountpoint / "letters" / "a").write_text("Dear")
        home.pithosfs("umount", home.mountpoint)
        assert list(home.mountpoint.iterdir()) == []
        home.pithosfs("mount", "pithos/letters", home.mountpoint)
        assert (home.mountpoint / "a").read_text() == "Dear"

    def test_says_nothing_when_all_is_well(self, home: Place) -> None:
        done = home.pithosfs("mount", "pithos", home.mountpoint)
        assert done.stdout == done.stderr == ""

    def test_the_whole_account(self, home: Place) -> None:
        home.pithosfs("mount", "/", home.mountpoint)
        assert {each.name for each in home.mountpoint.iterdir()} == {"pithos", "trash"}
        for make in (Path.touch, lambda path: path.symlink_to("pithos")):
            with pytest.raises(PermissionError):
                make(home.mountpoint / "file")
        assert {each.name for each in home.mountpoint.iterdir()} == {"pithos", "trash"}
        assert str(home.mountpoint) not in home.pithosfs("pending").stdout  # other mounts are none of ours

    def test_containers_are_made_and_removed_but_not_renamed(self, home: Place) -> None:
        home.pithosfs("mount", "/", home.mountpoint)
        made = home.mountpoint / "pictures"
        made.mkdir()
        (made / "a").write_text("A")
        with pytest.raises(PermissionError):
            made.rename(home.mountpoint / "photos")
        with pytest.raises(OSError, match="not empty"):
            made.rmdir()
        (made / "a").unlink()
        made.rmdir()
        home.pithosfs("umount", home.mountpoint)
        home.pithosfs("mount", "/", home.mountpoint)
        assert {each.name for each in home.mountpoint.iterdir()} == {"pithos", "trash"}

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_other_users_may_do_what_the_modes_allow(self, home: Place) -> None:
        home.pithosfs("mount", "pithos", home.mountpoint, "--allow-other", "--umask", "022")
        for name, mode in (("mine", 0o600), ("everybody's", 0o644)):
            (home.mountpoint / name).write_text(name)
            (home.mountpoint / name).chmod(mode)

        def read(name: str) -> subprocess.CompletedProcess[str]:
            # from its working directory: another user may not search what is above
            return subprocess.run(
                ["cat", name], cwd=home.mountpoint, user=65534, group=65534, capture_output=True, text=True
            )

        assert read("everybody's").stdout == "everybody's"
        assert "Permission denied" in read("mine").stderr

    def test_a_part_of_a_container_that_is_missing_is_named_and_can_be_made(self, home: Place) -> None:
        done = home.pithosfs("mount", "pithos/no/such", home.mountpoint, check=False)
        assert done.returncode == 5
        assert "there is no directory no/such in pithos; --create makes it" in done.stderr
        home.pithosfs("mount", "--create", "pithos/no/such", home.mountpoint)
        (home.mountpoint / "a").touch()
        home.pithosfs("umount", home.mountpoint)
        home.pithosfs("mount", "pithos/no", home.mountpoint)
        assert [each.name for each in home.mountpoint.iterdir()] == ["such"]

    def test_a_file_is_not_mounted(self, home: Place) -> None:
        home.pithosfs("mount", "pithos", home.mountpoint)
        (home.mountpoint / "file").touch()
        home.pithosfs("umount", home.mountpoint)
        done = home.pithosfs("mount", "pithos/file", home.mountpoint, check=False)
        assert done.returncode == 3
        assert "pithos/file is a file" in done.stderr

    def test_nothing_is_no_source(self, home: Place) -> None:
        done = home.pithosfs("mount", "", home.mountpoint, check=False)
        assert done.returncode == 3
        assert "SOURCE is empty" in done.stderr

    def test_a_relative_mount_point(self, home: Place) -> None:
        home.pithosfs("mount", "pithos", "mnt/", cwd=home.folder)
        assert home.is_mounted
        assert home.pithosfs("status", "mnt", cwd=home.folder).stdout

    def test_a_relative_configuration_file(self, home: Place, server: Server) -> None:
        """The mount's process reads the token from it after it has left the directory."""
        home.environment["KAMAKI_CONFIG"] = os.path.relpath(server.config, home.folder)
        home.pithosfs("mount", "pithos", "mnt", cwd=home.folder)
        assert list(home.mountpoint.iterdir()) == []

    def test_a_relative_token_command(self, home: Place, server: Server) -> None:
        (home.folder / "tell").write_text(f"#!/bin/sh\necho {server.token}\n")
        (home.folder / "tell").chmod(0o700)
        home.pithosfs("mount", "pithos", "mnt", "--token-command", "./tell", cwd=home.folder)
        assert list(home.mountpoint.iterdir()) == []

    def test_a_missing_container_is_named_and_can_be_made(self, home: Place) -> None:
        done = home.pithosfs("mount", "pictures", home.mountpoint, check=False)
        assert done.returncode == 5
        assert "there is no container pictures; --create makes it" in done.stderr
        home.pithosfs("mount", "--create", "pictures", home.mountpoint)
        (home.mountpoint / "a").touch()

    def test_words_as_mount_passes_them(self, home: Place) -> None:
        home.pithosfs(
            "mount", "pithos", home.mountpoint, "-o", "ro,nosuid,noexec,_netdev,x-systemd.automount"
        )
        options = kernel_options(home.mountpoint).split()[3].split(",")
        assert {"ro", "nosuid", "noexec"} <= set(options)
        with pytest.raises(OSError, match="Read-only"):
            (home.mountpoint / "a").touch()

    def test_owner_and_umask(self, home: Place) -> None:
        options = ("--uid", "12", "--gid", "34", "--umask", "077")
        home.pithosfs("mount", "pithos", home.mountpoint, *options)
        status = home.mountpoint.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12, 34, 0o700)

    def test_type_and_source_as_the_kernel_lists_them(self, home: Place) -> None:
        home.pithosfs("mount", "pithos", home.mountpoint)
        found = mountpoints.mount_at(home.mountpoint)
        assert found is not None
        assert found.fstype == "fuse.pithosfs"
        assert "pithos" in found.source

    def test_the_log_goes_to_a_private_file(self, home: Place) -> None:
        log = home.folder / "log"
        home.pithosfs("mount", "pithos", home.mountpoint, "--log-file", log, "-vv")
        (home.mountpoint / "x").write_text("y")
        eventually(lambda: "release" in log.read_text())
        assert log.stat().st_mode & 0o077 == 0

    def test_the_log_says_what_a_handle_leads_to(self, home: Place) -> None:
        log = home.folder / "log"
        home.pithosfs("mount", "pithos", home.mountpoint, "--log-file", log, "-vv")
        (home.mountpoint / "x").write_text("y")
        assert list(home.mountpoint.iterdir()) == [home.mountpoint / "x"]
        said = [line.partition("pithosfs.operations: ")[2] for line in log.read_text().splitlines()]
        assert [line for line in said if line.startswith("flush") and "('pithos/x')" in line]
        assert [line for line in said if line.startswith("readdir") and "('/')" in line]
        assert "callback" not in log.read_text()

    def test_the_token_is_nowhere_to_be_seen(self, home: Place, server: Server) -> None:
        log = home.folder / "log"
        home.pithosfs("mount", "pithos", home.mountpoint, "--log-file", log, "--log-level", "debug")
        (home.mountpoint / "x").write_text("y")
        status = home.pithosfs("status", home.mountpoint, "--json").stdout
        command = Path(f"/proc/{home.pid}/cmdline").read_text()
        entry = json.dumps(home.entry)
        for text in (status, command, entry, log.read_text()):
            assert server.token not in text

    def test_mounting_again_after_the_process_was_killed(self, home: Place) -> None:
        home.pithosfs("mount", "pithos", home.mountpoint)
        (home.mountpoint / "a").write_text("kept")
        home.kill()
        done = home.pithosfs("mount", "pithos", home.mountpoint)
        assert "was left behind by a process that died; mounting anew" in done.stderr
        assert (home.mountpoint / "a").read_text() == "kept"

    def test_two_at_once_on_one_directory(self, home: Place) -> None:
        home.pithosfs("mount", "pithos", home.mountpoint)
        done = home.pithosfs("mount", "trash", home.mountpoint, check=False)
        assert done.returncode == 7
        assert "mounted already" in done.stderr


class TestForeground:
    @pytest.fixture
    def process(self, home: Place) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pithosfs", "mount", "-f", "pithos", str(home.mountpoint)],
            env=home.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "is on" in process.stderr.readline()
        yield process
        process.kill()
        process.communicate()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_unmounts(
        self, home: Place, process: subprocess.Popen[str], number: signal.Signals
    ) -> None:
        (home.mountpoint / "a").write_text("b")
        process.send_signal(number)
        assert process.wait(20) == 0
        assert home.is_over()

    def test_hangup_forgets_listings_and_goes_on(self, home: Place, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGHUP)
        assert list(home.mountpoint.iterdir()) == []
        assert process.poll() is None


class TestRefusals:
    @pytest.mark.parametrize("inside", ["--cache-dir", "--log-file"])
    def test_its_own_files_inside_the_mount(self, home: Place, inside: str) -> None:
        done = home.pithosfs("mount", "pithos", home.mountpoint, inside, home.mountpoint / "own", check=False)
        assert done.returncode == 7
        assert "lies inside the mount point" in done.stderr
        assert list(home.mountpoint.iterdir()) == []

    def test_source_and_mount_point_swapped(self, home: Place) -> None:
        done = home.pithosfs("mount", home.mountpoint, "pithos/photos", check=False, cwd=home.folder)
        assert (done.returncode, done.stderr) == (
            2,
            f"pithosfs mount: {home.mountpoint} is a directory and pithos/photos is none: the container"
            f" comes first, as in pithosfs mount pithos/photos {home.mountpoint}\n",
        )
        for source in ("mnt", "/"):
            done = home.pithosfs("mount", source, "missing", check=False, cwd=home.folder)
            assert ("make it with: mkdir -p " in done.stderr, done.returncode) == (
                True,
                2 if source != "/" else 7,
            )

    @pytest.mark.parametrize("way", ["--config", "KAMAKI_CONFIG"])
    def test_a_directory_as_configuration(self, place: Place, way: str) -> None:
        words = ("--config", str(place.folder)) if way == "--config" else ()
        place.environment["KAMAKI_CONFIG"] = str(place.folder)
        for command in (("mount", "pithos", str(place.mountpoint)), ("du", "pithos")):
            done = place.pithosfs(*command, *words, check=False)
            said = f"pithosfs {command[0]}: {way}: {place.folder} is a directory, name the file in it\n"
            assert (done.returncode, done.stderr) == (3, said)

    def test_no_settings(self, place: Place) -> None:
        done = place.pithosfs("mount", "pithos", place.mountpoint, check=False)
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1

    def test_a_token_that_is_refused(self, home: Place) -> None:
        (home.folder / "token").touch(0o600)
        (home.folder / "token").write_text("wr0ng")
        options = ("--token-file", home.folder / "token")
        done = home.pithosfs("mount", "pithos", home.mountpoint, *options, check=False)
        assert done.returncode == 4
        assert done.stderr.count("\n") == 1
        assert "wr0ng" not in done.stderr

    @pytest.mark.parametrize(
        "command", ["mount pithos MNT", "mount --create pithos MNT", "du pithos", "versions pithos/x"]
    )
    def test_a_url_that_is_not_the_storage_is_called_so(
        self, place: Place, server: Server, command: str
    ) -> None:
        identity = f"{server.url}/identity/v2.0"
        place.environment["PITHOSFS_TOKEN"] = server.token
        words = command.replace("MNT", str(place.mountpoint)).split()
        account = "190d9469-8230-4b02-bff3-229dc8467bf2"
        done = place.pithosfs(*words, "--url", identity, "--account", account, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{identity} is not the storage endpoint of this account: take the" in done.stderr

    def test_no_server(self, home: Place, server: Server) -> None:
        server.stop()
        options = ("--timeout", "1s")
        done = home.pithosfs("mount", "pithos", home.mountpoint, *options, check=False)
        assert done.returncode == 6
        assert done.stderr.count("\n") == 1

    def test_a_log_that_cannot_be_written(self, home: Place) -> None:
        done = home.pithosfs("mount", "pithos", home.mountpoint, "--log-file", "/missing/log", check=False)
        assert (done.returncode, done.stderr) == (
            3,
            "pithosfs mount: the log file /missing/log cannot be written (No such file or directory):"
            " name another with --log-file\n",
        )

    @pytest.mark.parametrize(
        ("directory", "reason"),
        [
            ("/proc/cache", "No such file or directory"),
            ("/dev/null", "File exists"),
            ("/dev/null/x", "Not a"),
        ],
    )
    def test_a_cache_directory_that_cannot_be_made(self, home: Place, directory: str, reason: str) -> None:
        done = home.pithosfs("mount", "pithos", home.mountpoint, "--cache-dir", directory, check=False)
        assert done.returncode == 3
        assert f"the cache directory {directory} cannot be used ({reason}" in done.stderr
        assert done.stderr.endswith(": name another with --cache-dir\n")


def test_what_could_not_be_sent_is_listed_kept_and_sent_by_the_next_mount(
    home: Place, server: Server
) -> None:
    home.pithosfs("mount", "pithos", home.mountpoint, "--timeout", "3s")
    file = os.open(home.mountpoint / "a", os.O_CREAT | os.O_WRONLY)
    os.write(file, b"precious")
    server.process.send_signal(signal.SIGSTOP)
    with pytest.raises(OSError, match=r"timed out|Input/output error"):
        os.close(file)
    done = home.pithosfs("umount", "--timeout", "2s", home.mountpoint, check=False)
    assert done.returncode == 8
    assert "not sent: pithos/a (8B): " in done.stderr
    assert home.is_mounted
    pid = home.pid
    home.pithosfs("umount", "--force", home.mountpoint)
    assert registry.birth(pid) is None
    assert home.is_over()

    server.process.send_signal(signal.SIGCONT)
    home.pithosfs("mount", "pithos", home.mountpoint)
    eventually(lambda: not home.json("status", home.mountpoint, "--json")["pending"])
    assert (home.mountpoint / "a").read_text() == "precious"
