from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pithosfs import control
from pithosfs.errors import NotFound


def boom() -> None:
    raise RuntimeError("inside")


def missing() -> None:
    raise NotFound("no such file: a")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    # longer than the 107 bytes a unix socket's path may have
    deep = tmp_path / ("d" * 100)
    deep.mkdir(mode=0o700)
    return deep / "1.sock"


@pytest.fixture
def server(path: Path) -> Iterator[control.ControlServer]:
    gate = threading.Event()
    handlers: dict[str, Any] = {
        "echo": lambda **args: args,
        "boom": boom,
        "missing": missing,
        "hang": gate.wait,
        "big": lambda: "x" * 1_000_000,
    }
    server = control.ControlServer(path, handlers)
    yield server
    gate.set()
    server.close()


@pytest.mark.usefixtures("server")
class TestServer:
    def test_answers_with_what_the_handler_returns(self, path: Path) -> None:
        assert control.ask(path, "echo", timeout=30, a=1, b=["x"]) == {"a": 1, "b": ["x"]}

    def test_names_and_texts_of_any_kind_pass(self, path: Path) -> None:
        odd = os.fsdecode(b"\xff\n\xc3\xa9")
        assert control.ask(path, "echo", timeout=30, a=odd) == {"a": odd}

    def test_a_large_answer_is_whole(self, path: Path) -> None:
        assert len(control.ask(path, "big", timeout=30)) == 1_000_000

    def test_an_error_of_ours_is_told_in_its_words(self, path: Path) -> None:
        with pytest.raises(control.ControlError, match="no such file: a"):
            control.ask(path, "missing", timeout=30)

    def test_a_bug_in_a_handler_is_told_and_logged(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(control.ControlError, match="boom failed"):
            control.ask(path, "boom", timeout=30)
        assert "inside" in caplog.text

    def test_an_unknown_call_is_refused(self, path: Path) -> None:
        with pytest.raises(control.ControlError, match="does not know"):
            control.ask(path, "teleport", timeout=30)

    def test_a_handler_that_hangs_holds_nobody_else_up(self, path: Path) -> None:
        with pytest.raises(control.NoAnswer):
            control.ask(path, "hang", timeout=0.2)
        assert control.ask(path, "echo", timeout=30) == {}

    def test_only_its_user_may_connect(self, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize(
        "line", [b"nonsense\n", b"[]\n", b'{"call": []}\n', b'{"args": {}}\n', b"\xff\n"]
    )
    def test_nonsense_gets_an_error(self, path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(path.name)
            connection.sendall(line)
            assert "error" in json.loads(connection.makefile("rb").readline())

    def test_a_request_without_end_is_cut_off(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(path.name)
            connection.sendall(b"x" * 70_000)
            with pytest.raises(ConnectionError):
                raise ConnectionResetError if not connection.recv(1) else AssertionError("it was answered")

    def test_several_calls_on_one_connection(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answers:
            connection.settimeout(30)
            connection.connect(path.name)
            for number in range(3):
                connection.sendall(json.dumps({"call": "echo", "args": {"n": number}}).encode() + b"\n")
                assert json.loads(answers.readline()) == {"result": {"n": number}}


def test_closing_removes_the_socket(path: Path) -> None:
    server = control.ControlServer(path, {})
    server.close()
    assert not path.exists()
    with pytest.raises(control.NoAnswer):
        control.ask(path, "status", timeout=30)


def test_a_socket_left_by_a_dead_process_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old, control._address(path) as address:
        old.bind(address)
    server = control.ControlServer(path, {"ping": lambda: "pong"})
    try:
        assert control.ask(path, "ping", timeout=30) == "pong"
    finally:
        server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_gets_no_answer(path: Path) -> None:
    """Even through an open directory: the server looks who is calling."""
    server = control.ControlServer(path, {"ping": lambda: "pong"})
    for each in (path, *path.parents[:-1]):
        if each.stat().st_uid == 0 and str(each).startswith("/tmp/"):
            each.chmod(0o777)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            control.ask(path, "ping", timeout=30)
        except control.NoAnswer as error:
            code = 2 if "denied" in str(error) else 0  # it got as far as the server
        finally:
            os._exit(code)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        server.close()
