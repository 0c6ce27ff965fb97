"""The server as a process: starting, restarting, users, files, damage, death."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from pithosfs import blocks
from tests.server.harness import OCTETS, Api, command, process
from tests.support.waiting import eventually


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(directory, *options), capture_output=True, text=True, timeout=60)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_one_line_tells_url_and_configuration(tmp_path: Path) -> None:
    with process(tmp_path / "s") as server:
        assert server.line.count("http://") == 1
        assert str(tmp_path / "s" / "kamakirc") in server.line
        config = (tmp_path / "s" / "kamakirc").read_text()
        assert f"url = http://{server.address}/identity/v2.0\n" in config
        assert re.search(r"(?m)^token = \S{32,}$", config)
        assert server.api.names("") == ["pithos", "trash"]
        assert server.stop() == 0
        assert server.popen.stderr and server.popen.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it(tmp_path: Path, number: int) -> None:
    with process(tmp_path) as server:
        assert server.stop(number) == 0


def test_restart_keeps_everything_and_the_configuration_follows_the_port(tmp_path: Path) -> None:
    data = os.urandom(blocks.BLOCK_SIZE + 5)
    with process(tmp_path) as server:
        user = server.user
        serial = server.api.put("/pithos/f", data, X_Object_Meta_K="v")
        server.api.request(
            "DELETE", "/pithos/f?until=9999999999"
        )  # the highest number is in no table any more
        server.api.put("/pithos/f", data, X_Object_Meta_K="v")
        server.stop()
    with process(tmp_path) as server:
        assert server.user == user
        assert f"http://{server.address}/" in (tmp_path / "kamakirc").read_text()
        assert server.api.get("/pithos/f") == data
        assert server.api.request("HEAD", "/pithos/f").headers["X-Object-Meta-K"] == "v"
        assert server.api.put("/pithos/g", b"x") == serial + 2


def test_requests_may_be_made_to_cost_cpu_time(tmp_path: Path) -> None:
    with process(tmp_path, "--request-cost", "30ms") as server:
        api, before = server.api, cpu_seconds(server.popen.pid)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(api.names, [""] * 10)) == [["pithos", "trash"]] * 10
        assert cpu_seconds(server.popen.pid) - before > 0.25


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_nobody_else_can_read_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    with process(directory) as server:
        server.api.put("/pithos/f", b"secret" * 100)
        run(directory, "--add-user", "bob")
        assert mode(directory) == 0o700
        for path in directory.rglob("*"):
            assert mode(path) == (0o700 if path.is_dir() else 0o600), path
        assert mode(directory / "pithos.db") == 0o600
        assert mode(directory / "users" / "bob" / "kamakirc") == 0o600


def test_listens_on_loopback_only(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        assert server.address.startswith("127.0.0.1:")


def test_second_server_and_taken_port_are_one_line(tmp_path: Path) -> None:
    with process(tmp_path / "a") as server:
        second = run(tmp_path / "a", "--port", "0")
        taken = run(tmp_path / "b", "--port", server.address.rpartition(":")[2])
    for done, text in ((second, "another server is running"), (taken, "cannot listen on")):
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert text in done.stderr


def test_add_user_with_uuid_and_token(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("tok-carol\n")
    options = ("--add-user", "carol@example.org", "--uuid", "33333333-3333", "--token-file", str(token_file))
    with process(tmp_path / "s") as server:
        before = server.api.put("/pithos/f", b"x")
        done = run(tmp_path / "s", *options)
        assert done.stderr == ""
        config = Path(done.stdout.strip())
        assert f"url = http://{server.address}/" in config.read_text()
        assert "token = tok-carol\n" in config.read_text()
        carol = Api(server.address, type(server.user)("33333333-3333", "carol@example.org", "tok-carol"))
        assert carol.names("") == ["pithos", "trash"]
        assert carol.put("/pithos/f", b"y") > before
        again = run(tmp_path / "s", *options)
        assert again.returncode == 1
        assert len(again.stderr.splitlines()) == 1
        assert "tok-carol" not in again.stderr
    assert run(tmp_path / "s", "--add-user", "../evil").returncode == 1


def test_a_token_file_that_is_of_no_use_is_told_in_words(tmp_path: Path) -> None:
    none, odd = tmp_path / "none", tmp_path / "odd"
    odd.write_bytes("géheim\n".encode())
    reasons = (none, f"from {none}: No such file or directory"), (odd, "is printable ASCII without spaces")
    for file, reason in reasons:
        done = run(tmp_path / "s", "--add-user", "x", "--token-file", str(file))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert done.stderr.rstrip().endswith(reason)


def test_a_directory_may_be_made_by_several_at_once(tmp_path: Path) -> None:
    commands = [command(tmp_path / "s", "--add-user", f"user{number}") for number in range(4)]
    started = [subprocess.Popen(each, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for each in commands]
    assert [popen.communicate(timeout=60)[1] for popen in started] == [b""] * 4
    assert len(list((tmp_path / "s" / "users").iterdir())) == 4


def test_adding_users_does_not_disturb_uploads(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        api, failures = server.api, []
        done = threading.Event()

        def upload() -> None:
            while not done.is_set():
                answer = api.request("PUT", "/pithos/f", os.urandom(300_000), Content_Type=OCTETS)
                if answer.status != 201:
                    failures.append(answer.data)

        thread = threading.Thread(target=upload)
        thread.start()
        try:
            for number in range(3):
                assert run(tmp_path, "--add-user", f"user{number}").returncode == 0
        finally:
            done.set()
            thread.join()
        assert not failures


def test_quota_of_a_user(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        assert run(tmp_path, "--quota", "local=1000").returncode == 0
        assert server.api.request("PUT", "/pithos/f", b"x" * 1001, Content_Type=OCTETS).status == 413
        assert server.api.request("HEAD", "").headers["X-Account-Policy-Quota"] == "1000"
        server.api.put("/pithos/f", b"x" * 1000)
    assert run(tmp_path, "--quota", "nobody=1").returncode == 1


def test_access_log_has_no_tokens(tmp_path: Path) -> None:
    with process(tmp_path / "s", "--access-log", str(tmp_path / "log")) as server:
        server.api.put("/pithos/f", b"12345")
        token = server.user.token
        server.api.request("GET", f"/pithos/f?X-Auth-Token={token}")
        server.api.request("GET", f"/pithos/f?X%2DAuth%2DToken={token}&format=json")
        text = (tmp_path / "log").read_text()
        assert token not in text
        lines = [json.loads(line) for line in text.splitlines()]
        put = next(each for each in lines if each["method"] == "PUT")
        assert (put["status"], put["in"], put["out"]) == (201, 5, 0)
        assert mode(tmp_path / "log") == 0o600


def test_check_finds_damage(tmp_path: Path) -> None:
    data = os.urandom(3000)
    with process(tmp_path) as server:
        server.api.put("/pithos/f", data)
        server.api.put("/pithos/g", b"lost")
        server.stop()
    clean = run(tmp_path, "--check")
    assert (clean.returncode, clean.stdout) == (0, "the store is whole\n")
    path = tmp_path / "blocks" / blocks.block_hash(data)[:2] / blocks.block_hash(data)
    path.write_bytes(data[:-1] + b"?")
    (tmp_path / "blocks" / blocks.block_hash(b"lost")[:2] / blocks.block_hash(b"lost")).unlink()
    found = run(tmp_path, "--check")
    assert found.returncode == 1
    assert f"block {blocks.block_hash(data)} is damaged" in found.stdout
    assert f"block {blocks.block_hash(b'lost')} cannot be read" in found.stdout
    assert "pithos/f lacks 1 of its blocks" in found.stdout
    assert "Traceback" not in found.stdout + found.stderr


def test_check_of_no_store_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "none", "--check")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_a_damaged_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pithos.db").write_bytes(b"no database at all" * 1000)
    done = run(tmp_path, "--port", "0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_directory_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "pithos.db")) as database:
        database.execute("PRAGMA user_version = 99")
    done = run(tmp_path, "--port", "0")
    assert done.returncode == 1
    assert "has format 99" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_disk_that_takes_no_blocks(tmp_path: Path) -> None:
    data = b"the block of this has no place to go"
    place = tmp_path / "blocks" / blocks.block_hash(data)[:2]
    with process(tmp_path) as server:
        place.rmdir()
        place.write_bytes(b"")
        answer = server.api.request("PUT", "/pithos/f", data, Content_Type=OCTETS)
        assert answer.status == 503
        assert "cannot be stored" in answer.json()["serviceUnavailable"]["message"]
        assert server.api.names("/pithos") == []
        place.unlink()
        place.mkdir()
        server.api.put("/pithos/f", data)
        assert server.api.get("/pithos/f") == data
        assert not list((tmp_path / "blocks" / "tmp").iterdir())


class Writer(threading.Thread):
    """Writes objects until the server dies; keeps what was answered 201."""

    def __init__(self, api: Api, name: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._name = name
        self._random = random.Random(seed)
        self.acknowledged: dict[str, bytes] = {}

    def run(self) -> None:
        try:
            for number in range(10_000):
                self._write(
                    f"/pithos/{self._name}-{number}",
                    self._random.randbytes(self._random.choice((10, 200_000))),
                )
        except urllib3.exceptions.HTTPError:
            pass

    def _write(self, path: str, data: bytes) -> None:
        content = blocks.hashmap_of(data)
        body = json.dumps({"bytes": content.size, "hashes": content.hashes})
        answer = self._api.request("PUT", f"{path}?hashmap&format=json", body, Content_Type=OCTETS)
        if answer.status == 409:
            self._api.request("POST", "/pithos?update&format=json", data, Content_Type=OCTETS)
            answer = self._api.request("PUT", f"{path}?hashmap&format=json", body, Content_Type=OCTETS)
        if answer.status == 201:
            self.acknowledged[path] = data


def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path, record_property: object) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    acknowledged: dict[str, bytes] = {}
    rounds = 4
    for round_number in range(rounds):
        with process(tmp_path) as server:
            api = server.api
            for path, data in acknowledged.items():
                assert api.get(path) == data, path
            writers = [
                Writer(api, f"r{round_number}w{number}", chance.randrange(2**32)) for number in range(3)
            ]
            for writer in writers:
                writer.start()
            eventually(lambda each=writers: sum(len(one.acknowledged) for one in each) > 1)
            writers[0].join(0.3 + chance.random() * 0.5)
            server.stop(signal.SIGKILL)
            for writer in writers:
                writer.join(30)
                acknowledged |= writer.acknowledged
        assert run(tmp_path, "--check").stdout == "the store is whole\n"
    assert len(acknowledged) > rounds
    record_property(
        "summary", f"{rounds} kills, {len(acknowledged)} objects answered 201, 0 lost (seed {seed})"
    )  # type: ignore[operator]


def test_connections_may_be_left_open_at_the_end(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"GET / HTTP/1.1\r\n")
            assert server.stop() == 0
