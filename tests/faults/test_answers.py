"""Each kind of broken exchange, once and for ever: right bytes or an error, never anything in between."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pithosfs import breaker
from tests.faults.scene import PATIENCE, SLACK, TIMEOUT, TROUBLE, Scene, errno_of_write, within
from tests.support.faults import ACTIONS, Fault
from tests.support.files import BLOCK, noise, refused
from tests.support.mounts import Mount
from tests.support.server import Server
from tests.support.waiting import eventually

SIZE = 2 * BLOCK + 54_321
_numbers = itertools.count(1)
#: What befalls a request without a body.
READ_ACTIONS = sorted(each for each in ACTIONS if not each.endswith("_request") and each != "answer")
WRITE_ACTIONS = sorted(each for each in ACTIONS if each != "answer")
STATUSES = (401, 408, 413, 429, 500, 502, 503, 504)


def fault(action: str, **where: object) -> Fault:
    """A fault that bites within these tests' sizes: in the second block, at 20 kB/s, beyond the timeout."""
    seconds = 2 * TIMEOUT if action == "stall" else 0.0
    return Fault(action, after=50_000, seconds=seconds, rate=5_000, **where)  # type: ignore[arg-type]


class Corner:
    """A directory of a test's own in a mount that several share; no other has its names or content."""

    def __init__(self, scene: Scene, mount: Mount, number: int) -> None:
        self.scene = scene
        self.mount = mount
        self.name = f"corner{number}"
        self.top = mount.mountpoint / self.name
        self.content = noise(SIZE, number)
        self.put("", b"", "application/directory")

    def put(self, name: str, data: bytes, content_type: str = "text/plain") -> None:
        """An object by somebody else, which the mount has not heard of, but will at once."""
        self.scene.store.put(f"{self.name}/{name}".rstrip("/"), data, content_type)
        self.scene.ask(self.mount, "refresh")

    def names(self) -> list[str]:
        """All objects in it."""
        start = f"{self.name}/"
        return [each.removeprefix(start) for each in self.scene.store.names(start)]

    def reader(self) -> Path:
        """A file of three blocks the mount has nothing of."""
        self.put("file", self.content)
        return self.top / "file"

    def leave(self) -> None:
        """No fault any more, nothing to send, and the mount has found out that the network is well."""
        self.scene.proxy.faults()
        self.scene.settle(self.mount)
        eventually(lambda: _lists(self.top), what="the end of the faults")


def _lists(path: Path) -> bool:
    try:
        os.listdir(path)
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def stage(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("answers"), shared_server, "answers", patience=None)
    try:
        yield scene
    finally:
        scene.close()


@pytest.fixture
def corner(stage: Scene) -> Iterator[Corner]:
    """A corner; who leaves it in disorder takes the mount along."""
    mount = stage.shared()
    watchdog = threading.Timer(PATIENCE, mount.abort)
    watchdog.start()
    try:
        found = Corner(stage, mount, next(_numbers))
        yield found
        found.leave()
    except BaseException:
        mount.abort()
        raise
    finally:
        watchdog.cancel()
        stage.proxy.faults()


@pytest.mark.parametrize("kind", ["ranged GET", "hashmap GET", "listing"])
@pytest.mark.parametrize("action", READ_ACTIONS)
def test_reading_survives_one_broken_exchange(corner: Corner, kind: str, action: str) -> None:
    if (kind, action) == ("listing", "corrupt_answer"):
        pytest.skip("a name with a flipped bit is another name: nothing in a listing tells")
    path = corner.reader()
    plan = corner.scene.proxy.faults(fault(action, kind=kind))
    assert path.read_bytes() == corner.content
    assert plan.hits, "the fault was never met"


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_reading_survives_a_refusal_for_the_moment(corner: Corner, status: int) -> None:
    path = corner.reader()
    plan = corner.scene.proxy.faults(Fault("answer", status=status, times=2))
    assert path.read_bytes() == corner.content
    assert plan.hits, "the fault was never met"


def test_reading_waits_as_long_as_the_server_asks_for(corner: Corner) -> None:
    path = corner.reader()
    corner.scene.proxy.faults(Fault("answer", status=429, retry_after="1"))
    began = time.monotonic()
    assert path.read_bytes() == corner.content
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("action", READ_ACTIONS)
def test_reading_what_is_always_broken_is_an_error_in_time(corner: Corner, action: str) -> None:
    path = corner.reader()
    assert path.stat().st_size == SIZE
    corner.scene.proxy.faults(fault(action, kind="ranged GET", times=0))
    with within(2 * TIMEOUT + SLACK), refused(*TROUBLE):
        path.read_bytes()
    corner.scene.proxy.faults()
    if action != "corrupt_answer":  # the same damage in the same place twice is taken for content
        eventually(lambda: _reads(path) == corner.content, what="the file")


def _reads(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@pytest.mark.parametrize(("status", "code"), [(401, errno.EACCES), (403, errno.EACCES), (500, errno.EIO)])
def test_a_refused_read_tells_why(corner: Corner, status: int, code: int) -> None:
    path = corner.reader()
    assert path.stat().st_size == SIZE
    corner.scene.proxy.faults(Fault("answer", kind="ranged GET", status=status, times=0))
    with refused(code):
        path.read_bytes()
    corner.scene.proxy.faults()
    assert path.read_bytes() == corner.content


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
#: What befalls the body of an answer; that to a PUT with data has none.
_IN_A_BODY = {"drip", "cut_answer", "corrupt_answer"}


@pytest.mark.parametrize("kind", ["object PUT", "hashmap PUT", "block POST"])
@pytest.mark.parametrize("action", WRITE_ACTIONS)
def test_writing_survives_one_broken_exchange_and_delivers_once(
    corner: Corner, kind: str, action: str
) -> None:
    data = corner.content[:200_000] if kind == "object PUT" else corner.content
    path = corner.top / "file"
    assert os.listdir(corner.top) == []
    plan = corner.scene.proxy.faults(fault(action, kind=kind))
    code = errno_of_write(path, data)
    assert code == 0 or (action in _MAY_FAIL and code in TROUBLE), errno.errorcode.get(code, code)
    assert plan.hits or (kind == "object PUT" and action in _IN_A_BODY), "the fault was never met"
    corner.scene.settle(corner.mount)
    assert corner.scene.store.get(f"{corner.name}/file") == data
    assert corner.names() == ["file"]
    assert path.read_bytes() == data


@pytest.mark.parametrize("action", WRITE_ACTIONS)
@pytest.mark.parametrize("request_", ["MOVE", "DELETE", "mkdir"])
def test_names_change_as_told_whatever_befalls_the_request(
    corner: Corner, request_: str, action: str
) -> None:
    """Success means done, an error means not done (or done and said so by the tree).

    A removal may be done a moment later, if another one worked just before.
    """
    old, new = corner.top / "old", corner.top / "new"
    corner.put("old", b"content")
    assert os.listdir(corner.top) == ["old"]
    method = {"mkdir": "PUT"}.get(request_, request_)
    corner.scene.proxy.faults(fault(action, method=method))
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
    corner.scene.settle(corner.mount)
    corner.scene.proxy.faults()
    wanted = {"MOVE": ["new"], "DELETE": [], "mkdir": ["new", "old"]}[request_]
    names = sorted(os.listdir(corner.top))
    assert names == sorted(corner.names()), "the tree shows something else than the store"
    assert names == (["old"] if failed and names != wanted else wanted)
    if request_ == "MOVE":
        assert (corner.top / names[0]).read_bytes() == b"content"
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
        eventually(lambda: _reads(mount.mountpoint / "refused") == b"content", what="access")
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


def test_a_file_written_while_its_directory_moves_is_not_lost(scene: Scene) -> None:
    """Whoever comes by the old path waits for the move, or is told that there is no such directory."""
    mount = scene.mount(timeout=30)
    old, new = mount.mountpoint / "old", mount.mountpoint / "new"
    old.mkdir()
    (old / "open").write_bytes(b"before")
    with (old / "open").open("wb") as file, ThreadPoolExecutor(2) as threads:
        file.write(b"while it moved")
        plan = scene.proxy.faults(Fault("stall", method="MOVE", seconds=1.5))
        moving = threads.submit(old.rename, new)
        eventually(lambda: bool(plan.hits), what="the move")
        late = threads.submit((old / "late").write_bytes, b"late")
        file.flush()
        moving.result()
        with contextlib.suppress(FileNotFoundError):
            late.result()
            assert scene.store.get("new/late") == b"late"
    assert (new / "open").read_bytes() == scene.store.get("new/open") == b"while it moved"
    assert not [name for name in scene.store.names() if name.startswith("old")]
