"""Each kind of broken exchange, once and for ever: right bytes or an error, never anything in between."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from pathlib import Path

import pytest

from pithosfs import breaker
from tests.faults.scene import SLACK, TIMEOUT, Scene, errno_of_write, within
from tests.support.faults import ACTIONS, Fault
from tests.support.files import BLOCK, noise, refused
from tests.support.processes import wait_until
from tests.support.server import Server

CONTENT = noise(2 * BLOCK + 54_321, 3)
#: What befalls a request without a body.
READ_ACTIONS = sorted(each for each in ACTIONS if not each.endswith("_request") and each != "answer")
WRITE_ACTIONS = sorted(each for each in ACTIONS if each != "answer")
STATUSES = (401, 408, 413, 429, 500, 502, 503, 504)
#: What a program may be told of a network that does not work.
TROUBLE = (errno.EIO, errno.ETIMEDOUT)


def fault(action: str, **where: object) -> Fault:
    """A fault that bites within these tests' sizes: in the second block, at 20 kB/s, beyond the timeout."""
    seconds = 2 * TIMEOUT if action == "stall" else 0.0
    return Fault(action, after=50_000, seconds=seconds, rate=5_000, **where)  # type: ignore[arg-type]


def reader(scene: Scene) -> Path:
    """A file of three blocks in a mount that has nothing of it."""
    mount = scene.mount()
    scene.store.put("file", CONTENT)
    return mount.mountpoint / "file"


@pytest.mark.parametrize("kind", ["ranged GET", "hashmap GET", "listing"])
@pytest.mark.parametrize("action", READ_ACTIONS)
def test_reading_survives_one_broken_exchange(scene: Scene, kind: str, action: str) -> None:
    path = reader(scene)
    if (kind, action) == ("listing", "corrupt_answer"):
        pytest.skip("a name with a flipped bit is another name: nothing in a listing tells")
    plan = scene.proxy.faults(fault(action, kind=kind))
    assert path.read_bytes() == CONTENT
    assert plan.hits, "the fault was never met"


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_reading_survives_a_refusal_for_the_moment(scene: Scene, status: int) -> None:
    path = reader(scene)
    scene.proxy.faults(Fault("answer", status=status, times=2, retry_after="1" if status == 429 else ""))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("action", READ_ACTIONS)
def test_reading_what_is_always_broken_is_an_error_in_time(scene: Scene, action: str) -> None:
    path = reader(scene)
    assert path.stat().st_size == len(CONTENT)
    scene.proxy.faults(fault(action, kind="ranged GET", times=0))
    with within(2 * TIMEOUT + SLACK), refused(*TROUBLE):
        path.read_bytes()
    scene.proxy.faults()
    if action != "corrupt_answer":  # the same damage in the same place twice is taken for content
        wait_until(lambda: _reads(path) == CONTENT, 20, "the file")


def _reads(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@pytest.mark.parametrize(("status", "code"), [(401, errno.EACCES), (403, errno.EACCES), (500, errno.EIO)])
def test_a_refused_read_tells_why(scene: Scene, status: int, code: int) -> None:
    path = reader(scene)
    assert path.stat().st_size == len(CONTENT)
    scene.proxy.faults(Fault("answer", kind="ranged GET", status=status, times=0))
    with refused(code):
        path.read_bytes()
    scene.proxy.faults()
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_failing_listing_is_an_error_and_no_empty_directory(scene: Scene, status: int) -> None:
    mount = scene.mount()
    scene.store.put("directory/file", b"content")
    scene.proxy.faults(Fault("answer", kind="listing", status=status, times=0))
    with refused(errno.EACCES, errno.EIO):
        os.listdir(mount.mountpoint)
    with refused(errno.EACCES, errno.EIO):
        (mount.mountpoint / "directory" / "file").stat()
    scene.proxy.faults()
    assert os.listdir(mount.mountpoint) == ["directory"]


#: What takes too long or makes no sense: close says so, and the file is sent all the same.
_MAY_FAIL = {"stall", "drip", "corrupt_request", "corrupt_answer"}


@pytest.mark.parametrize("kind", ["object PUT", "hashmap PUT", "block POST"])
@pytest.mark.parametrize("action", WRITE_ACTIONS)
def test_writing_survives_one_broken_exchange_and_delivers_once(scene: Scene, kind: str, action: str) -> None:
    data = CONTENT[:200_000] if kind == "object PUT" else CONTENT
    mount = scene.mount()
    scene.proxy.faults(fault(action, kind=kind))
    code = errno_of_write(mount.mountpoint / "file", data)
    assert code == 0 or (action in _MAY_FAIL and code in TROUBLE), errno.errorcode.get(code, code)
    scene.settle(mount)
    assert scene.store.get("file") == data
    assert scene.store.names() == ["file"]
    assert (mount.mountpoint / "file").read_bytes() == data


@pytest.mark.parametrize("action", WRITE_ACTIONS)
@pytest.mark.parametrize("request_", ["MOVE", "DELETE", "mkdir"])
def test_names_change_as_told_whatever_befalls_the_request(scene: Scene, request_: str, action: str) -> None:
    """Success means done, an error means not done (or done and said so by the tree)."""
    mount = scene.mount()
    old, new = mount.mountpoint / "old", mount.mountpoint / "new"
    scene.store.put("old", b"content")
    assert os.listdir(mount.mountpoint) == ["old"]
    method = {"mkdir": "PUT"}.get(request_, request_)
    scene.proxy.faults(fault(action, method=method))
    failed = False
    try:
        if request_ == "MOVE":
            old.rename(new)
        elif request_ == "DELETE":
            old.unlink()
        else:
            new.mkdir()
    except OSError as error:
        assert error.errno in TROUBLE
        failed = True
    scene.proxy.faults()
    wanted = {"MOVE": ["new"], "DELETE": [], "mkdir": ["new", "old"]}[request_]
    names = sorted(os.listdir(mount.mountpoint))
    assert names == sorted(scene.store.names()), "the tree shows something else than the store"
    assert names == (["old"] if failed and names != wanted else wanted)
    if request_ == "MOVE":
        assert (mount.mountpoint / names[0]).read_bytes() == b"content"
        assert not failed or names == ["old"], "the rename was done, and the program told that it failed"


def test_a_renewed_token_is_read_after_a_401(tmp_path: Path) -> None:
    """The operator replaces the token while the mount is in use: nobody notices."""
    server = Server(tmp_path / "server")
    server.start()
    scene = Scene(tmp_path, server, "pithos")
    try:
        token = tmp_path / "token"
        token.touch(mode=0o600)
        token.write_text(scene.token)
        mount = scene.mount("--token-file", str(token))
        (mount.mountpoint / "before").write_bytes(b"with the old token")
        refused = os.open(mount.mountpoint / "refused", os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(refused, b"content")
        server.stop()
        with contextlib.closing(sqlite3.connect(server.directory / "pithos.db")) as database:
            database.execute("UPDATE user SET token = 'renewed'")
            database.commit()
        server.start()
        time.sleep(breaker.PAUSE + 1)  # who met the server while it was down makes others fail at once
        with pytest.raises(PermissionError):
            os.close(refused)
        token.write_text("renewed")
        wait_until(lambda: _reads(mount.mountpoint / "refused") == b"content", 20, "access")
        scene.settle(mount)
        (mount.mountpoint / "after").write_bytes(b"with the new token")
        assert (mount.mountpoint / "after").read_bytes() == b"with the new token"
    finally:
        scene.close()
        server.stop()


def test_a_refused_token_is_eacces_and_the_file_goes_out_when_it_is_accepted(scene: Scene) -> None:
    mount = scene.mount()
    scene.proxy.faults(Fault("answer", method="PUT", status=401, times=0))
    assert errno_of_write(mount.mountpoint / "file", b"content") == errno.EACCES
    assert scene.pending(mount) == ["file"]
    scene.proxy.faults()
    scene.settle(mount)
    assert scene.versions("file") == [b"content"]
