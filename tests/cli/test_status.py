"""What status makes of a mount's figures."""

from __future__ import annotations

import io
import os
import re
import signal
import time
from typing import Any

import pytest
from rich.console import Console

from pithosfs import cli
from pithosfs.cli import prometheus, reports, tables
from pithosfs.cli.reports import Report, State
from pithosfs.cli.watch import Speeds, _speed_text
from pithosfs.pending import Pending

from .conftest import Place, Server

SAMPLE = re.compile(r'pithosfs_\w+\{(\w+="(\\.|[^"\\\n])*",?)+\} [-+.e0-9]+')


def report(state: State = State.READY, mountpoint: str = "/mnt", **details: Any) -> Report:
    return Report(mountpoint, "pithos", state, 1, 0.0, details)


def shown(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=300)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestPrometheus:
    def test_every_line_is_a_comment_or_a_sample(self) -> None:
        mount = report(
            open_files=2,
            requests={"GET": 3, "PUT": 1},
            cache={"disk_hits": 5},
            pending=[Pending(object="a", state="queued", unsent=7).pack()],
        )
        lines = prometheus.metrics([mount]).splitlines()
        samples = [line for line in lines if not line.startswith("# ")]
        assert all(SAMPLE.fullmatch(line) for line in samples)
        at = 'mountpoint="/mnt",source="pithos"'
        assert f"pithosfs_ready{{{at}}} 1" in samples
        assert f"pithosfs_pending_bytes{{{at}}} 7" in samples
        assert f'pithosfs_requests_total{{{at},method="GET"}} 3' in samples
        assert f"pithosfs_disk_hits_total{{{at}}} 5" in samples

    def test_large_counters_are_exact(self) -> None:
        assert f" {2**53 - 1}\n" in prometheus.metrics([report(bytes_up=2**53 - 1)])

    def test_a_mount_that_hangs_is_not_ready_and_has_no_figures(self) -> None:
        text = prometheus.metrics([report(State.HANGS)])
        assert 'pithosfs_ready{mountpoint="/mnt",source="pithos"} 0\n' in text
        assert "pithosfs_open_files{" not in text

    def test_odd_names_are_escaped(self) -> None:
        text = prometheus.metrics([report(mountpoint='/a"b\\c\nd\udcff')])
        assert r'mountpoint="/a\"b\\c\nd\\udcff"' in text

    def test_of_a_real_mount(self, place: Place, server: Server) -> None:
        place.environment["KAMAKI_CONFIG"] = str(server.config)
        place.pithosfs("mount", "pithos", place.mountpoint)
        (place.mountpoint / "a").write_text("b")
        text = place.pithosfs("status", "--prometheus", place.mountpoint).stdout
        figures = dict(
            re.findall(r'^pithosfs_(\w+)\{mountpoint="[^"]*",source="pithos"\} (\S+)$', text, re.MULTILINE)
        )
        assert (figures["ready"], figures["sent_blocks_total"]) == ("1", "1")
        # a figure that is missing was renamed inside the mount
        assert figures.keys() >= {each.name for each in prometheus._METRICS if not each.label}


class TestTables:
    def test_of_a_real_mount(self, place: Place, server: Server) -> None:
        place.environment["KAMAKI_CONFIG"] = str(server.config)
        place.pithosfs("mount", "pithos", place.mountpoint)
        (place.mountpoint / "a").write_text("b")
        text = place.pithosfs("status", place.mountpoint).stdout
        assert re.search(rf"^server +{server.url}\S*, account \S+", text, re.MULTILINE)
        assert re.search(r"^sent +1B in 1 block", text, re.MULTILINE)

    def test_what_waits_and_why(self) -> None:
        pending = [{"object": "pithos/a", "unsent": 2048, "state": "failed", "error": "no answer"}]
        conflicts = [{"object": "pithos/b", "copy": "pithos/b (conflict)"}]
        text = shown(tables.in_full(report(pending=pending, conflicts=conflicts, errors={"flush": 2})))
        assert "pithos/a (2K) failed: no answer" in text
        assert "pithos/b was changed elsewhere; what was written here is pithos/b (conflict)" in text
        assert "flush: 2 times" in text
        counts = {"FailedFast": 9, "Unavailable": 1, "TimedOut": 1}
        text = shown(tables.in_full(report(errors=counts)))
        assert re.search("errors +no answer in time: 1 time, server out of reach: 10 times", text)

    def test_what_waits_in_a_mount_of_another_version(self) -> None:
        waits = Pending(object="pithos/a", state="failed", unsent=2048, error="no answer", refused=True)
        assert report(pending=[{**waits.pack(), "newer": 1}]).pending == [waits]
        (older,) = report(pending=[{"object": "pithos/a", "state": "queued"}]).pending
        assert (older.unsent, older.reason, older.refused) == (0, "queued", False)

    def test_what_is_being_sent(self) -> None:
        upload = {"object": "pithos/a", "sent": 2 << 20, "unsent": 6 << 20, "speed": 1 << 20}
        details: dict[str, Any] = {
            "uploads": [{**upload, "seconds_left": 6.0}],
            "pending": [{"object": "pithos/a", "unsent": 8 << 20, "state": "sending"}],
        }
        assert "sending pithos/a: 2M sent, 6M to go, 1M/s, 0:06 left" in " ".join(
            shown(tables.in_full(report(**details))).split()
        )
        assert "1 file, 6M" in shown(tables.overview([report(**details)]))

    def test_overview(self) -> None:
        cache = {"memory_hits": 1, "disk_hits": 2, "misses": 1}
        pending = [{"object": "pithos/a", "unsent": 2048, "state": "failed"}]
        text = shown(
            tables.overview([report(open_files=3, cache=cache, pending=pending), report(State.DEAD)])
        )
        assert re.search(r"/mnt +pithos +ready +3 +1 file, 2K +0B +0B +75%", text)
        assert re.search(r"/mnt +pithos +dead *$", text, re.MULTILINE)

    def test_a_server_that_is_down(self, place: Place, server: Server) -> None:
        place.environment["KAMAKI_CONFIG"] = str(server.config)
        place.pithosfs("mount", "pithos", place.mountpoint, "--timeout", "3s", "--dir-cache-time", "0")
        assert " ready," in place.pithosfs("status", place.mountpoint).stdout
        server.process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            with pytest.raises(OSError, match=r"Input/output|timed out"):
                os.listdir(place.mountpoint)
        for words in ([], [place.mountpoint]):
            done = place.pithosfs("status", *words, check=False)
            assert done.returncode == 1
            assert re.search(r"state +offline|mnt +pithos +offline ", done.stdout)
            assert f"{place.mountpoint} cannot reach its server; what" in done.stdout
        server.process.send_signal(signal.SIGCONT)
        done = place.pithosfs("status", place.mountpoint)
        assert re.search(r"^state +ready.*^errors .*out of reach: ", done.stdout, re.MULTILINE | re.DOTALL)

    def test_a_server_that_died_while_nothing_was_asked_of_it(
        self,
        place: Place,
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        place.environment["KAMAKI_CONFIG"] = str(server.config)
        place.pithosfs("mount", "pithos", place.mountpoint)
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        stopped, going = signal.SIGSTOP, signal.SIGCONT
        for sign, quiet, code, state in (
            (stopped, 600, 0, "ready"),
            (stopped, 0, 1, "offline"),
            (going, 0, 0, "ready"),
        ):
            server.process.send_signal(sign)
            monkeypatch.setattr(reports, "_QUIET", quiet)
            seen = cli.main(["status", str(place.mountpoint)])
            server.process.send_signal(going)
            text = capsys.readouterr().out
            assert (seen, bool(re.search(rf"^state +{state}", text, re.MULTILINE))) == (code, True), text

    def test_who_watches_asks_the_server_only_now_and_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr(reports, "_ask_server", lambda *about: not asked.append(about))
        details = {"server": "http://never-asked", "account": "a", "server_answered": time.time() - 3600}
        assert all(reports._is_online(details) for _ in range(3))
        assert len(asked) == 1
        assert reports._is_online({**details, "errors": {"TimedOut": 1}})
        assert len(asked) == 2

    def test_no_line_ends_in_blanks(self, place: Place) -> None:
        place.mount()
        for words in (["status"], ["status", place.mountpoint]):
            lines = place.pithosfs(*words, check=False).stdout.splitlines()
            assert lines == [each.rstrip() for each in lines]

    def test_a_long_reason_is_cut_but_no_name(self, place: Place) -> None:
        reason = "the server says " + "no " * 200 + "; ask it why"
        place.mount("--reason", reason)
        place.unsent.write_text("a\n" + "b" * 120 + "\n")
        for words in (["status", place.mountpoint], ["pending"]):
            lines = place.pithosfs(*words).stdout.splitlines()
            assert lines[-2:] == ["", f"failed: {reason}"]  # what was cut, in full, and once
            short, long = lines[-4:-2]
            assert short.endswith("…")
            if words[0] == "status":
                assert len(short) == 100
            assert "b" * 120 in long
            assert "failed: the server says no no" in long
            assert long.endswith("…")

    def test_what_fits_is_not_repeated_nor_is_the_name(self, place: Place) -> None:
        place.mount("--reason", "a/b: quota exceeded (413)")
        place.unsent.write_text("a/b\n")
        lines = place.pithosfs("pending").stdout.splitlines()
        assert len(lines) == 2
        assert lines[1].endswith(f" {place.mountpoint}  failed: quota exceeded (413)")
        line = place.pithosfs("status", place.mountpoint).stdout.splitlines()[-1]
        assert line.startswith("unsent ")
        assert line.endswith(" failed: quota exceeded (413)")

    def test_a_name_that_is_no_text_is_shown_as_ls_does(self, place: Place) -> None:
        place.mountpoint = place.mountpoint.with_name(os.fsdecode(b"mnt\xff\xc3"))
        place.mountpoint.mkdir()
        place.mount()
        assert str(place.folder / "mnt\\377\\303") in place.pithosfs("status", check=False).stdout
        done = place.pithosfs("status", place.mountpoint / "file", check=False)
        assert "mnt\\377\\303/file; it lies in the mount" in done.stderr

    def test_no_name_is_taken_for_an_emoji(self, place: Place) -> None:
        place.mount()
        place.unsent.write_text("a:smile:[b]\n")
        for words in (["status", place.mountpoint], ["pending"]):
            assert "a:smile:[b] " in place.pithosfs(*words).stdout

    def test_no_name_gives_orders_to_a_terminal(self, place: Place) -> None:
        place.mount("--reason", "because of \x1b[2J")
        place.unsent.write_text("a\x1b[2J é\n")
        for words in (["status", place.mountpoint], ["pending"]):
            text = place.pithosfs(*words).stdout
            assert "a\\x1b[2J é" in text
            assert "because of \\x1b[2J" in text
            assert "\x1b" not in text
        conflicts = [{"object": "pithos/b\n", "copy": "pithos/\x9b"}]
        assert "pithos/b\\n was" in shown(tables.in_full(report(conflicts=conflicts)))
        assert "/m\\x1bnt " in shown(tables.overview([report(mountpoint="/m\x1bnt")]))


class TestSpeeds:
    def test_between_two_looks(self) -> None:
        speeds = Speeds()
        assert speeds.of(report(bytes_up=100, bytes_down=0), 10.0) is None
        assert speeds.of(report(bytes_up=300, bytes_down=50), 12.0) == (100.0, 25.0)
        assert speeds.of(report(bytes_up=300, bytes_down=50), 13.0) == (0.0, 0.0)

    def test_a_mount_made_anew_begins_anew(self) -> None:
        speeds = Speeds()
        speeds.of(report(bytes_up=300), 1.0)
        assert speeds.of(report(bytes_up=10), 2.0) is None

    def test_time_left(self) -> None:
        pending = [Pending(object="a", state="sending", unsent=90 * 1024).pack()]
        text = _speed_text(report(pending=pending), (1024.0, 0.0))
        assert text == "/mnt: 1K/s up, 0B/s down; 90K to go, about 1:30"

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (7325, "2:02:05")]
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    "command", [["status"], ["umount"], ["versions"], ["refresh"]], ids=lambda words: words[0]
)
def test_anothers_mount_is_called_so(
    place: Place, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.mount()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert cli.main([*command, str(place.mountpoint)]) == 7
    assert f"{place.mountpoint} was mounted by another user" in capsys.readouterr().err
    assert place.is_mounted


def test_watching_needs_a_terminal(place: Place) -> None:
    done = place.pithosfs("status", "--watch", check=False)
    assert done.returncode == 2
    assert "programs take --json" in done.stderr


def test_one_form_at_a_time(place: Place) -> None:
    assert place.pithosfs("status", "--json", "--watch", check=False).returncode == 2
