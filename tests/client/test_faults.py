"""A bad network between client and server: what is acknowledged is right, what fails says so."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pithosfs import blocks, errors, transfer
from pithosfs.api import Client, connect
from pithosfs.blocks import BLOCK_SIZE
from pithosfs.config import Connection, load
from pithosfs.identity import resolve
from pithosfs.transport import Transport
from tests.support.faults import Fault, storm
from tests.support.netproxy import NetProxy
from tests.support.server import serving

TIMEOUT = 4.0


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with serving(tmp_path_factory.mktemp("store")) as rc:
        yield load(config=rc, environ={})


@pytest.fixture
def direct(connection: Connection) -> Iterator[Client]:
    """A client with nothing in between: it tells what is really there."""
    made = connect(connection)
    yield made
    made.transport.close()


@pytest.fixture
def proxy(connection: Connection) -> Iterator[NetProxy]:
    upstream = resolve(connection).endpoint.split("/")[2]
    with NetProxy(upstream) as made:
        yield made


@pytest.fixture
def client(connection: Connection, proxy: NetProxy) -> Iterator[Client]:
    site = resolve(connection)
    path = "/" + site.endpoint.split("/", 3)[3]
    transport = Transport(connection.token, token=site.token, timeout=TIMEOUT)
    yield Client(transport, proxy.url + path, site.account)
    transport.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_files_through_a_storm(
    client: Client, direct: Client, proxy: NetProxy, tmp_path: Path, seed: int
) -> None:
    """Uploads and downloads until each has succeeded; no wrong byte in either direction."""
    plan = proxy.faults(*storm(0.25, stall=TIMEOUT), seed=seed)
    failures: Counter[str] = Counter()

    def persistently(work: Callable[[], object]) -> None:
        for _ in range(60):
            try:
                work()
            except errors.StoreError as error:
                failures[type(error).__name__] += 1
                time.sleep(0.1)
            else:
                return
        pytest.fail(f"it never succeeded: {failures}, {plan.hits}")

    sizes = [0, 700, 1, 100_000, BLOCK_SIZE + 1, 3 * BLOCK_SIZE, 2 * BLOCK_SIZE - 5]
    for number, size in enumerate(sizes):
        name = f"storm-{seed}-{number}"
        source, target = tmp_path / name, tmp_path / f"{name}-back"
        source.write_bytes(os.urandom(size))
        persistently(partial(transfer.upload, client, "pithos", name, source))
        assert b"".join(map(bytes, transfer.chunks(direct, "pithos", name))) == source.read_bytes()
        persistently(partial(transfer.download, client, "pithos", name, target))
        assert target.read_bytes() == source.read_bytes()
    assert sum(plan.hits.values()) > 5, plan.hits


def test_a_conditional_write_whose_answer_is_lost_has_succeeded(
    client: Client, direct: Client, proxy: NetProxy
) -> None:
    for number, action in enumerate(("lose_answer", "drop_sent", "drop_before")):
        proxy.faults(Fault(action, method="PUT"))
        name = f"conditional-{number}"
        written = client.put_object("pithos", name, b"data", content_type="a/b", if_none_match="*")
        assert [each.serial for each in direct.versions("pithos", name)] == [written.version]


def test_a_lost_move_says_that_it_may_be_done(client: Client, direct: Client, proxy: NetProxy) -> None:
    client.put_object("pithos", "before", b"data", content_type="a/b")
    proxy.faults(Fault("lose_answer", method="MOVE"))
    with pytest.raises(errors.Unavailable) as caught:
        client.move("pithos", "before", "pithos", "after")
    assert caught.value.maybe_done
    assert direct.head("pithos", "after").entry.size == 4


@pytest.mark.parametrize("action", ["lose_answer", "drop_sent"])
@pytest.mark.parametrize("recursive", [False, True])
def test_whether_a_lost_move_was_carried_out_is_found_out(
    client: Client, direct: Client, proxy: NetProxy, action: str, recursive: bool
) -> None:
    source, target = f"from-{action}-{recursive}", f"to-{action}-{recursive}"
    for name in (source, target):  # it replaces what is there
        client.put_object("pithos", name, b"data", content_type="a/b")
    uuid = client.head("pithos", source).entry.uuid
    proxy.faults(Fault(action, method="MOVE"))
    version = client.move(
        "pithos", source, "pithos", target, recursive=recursive, is_it=lambda entry: entry.uuid == uuid
    )
    assert direct.head("pithos", target).entry.version == version


def test_a_move_the_server_never_heard_of_has_failed(
    client: Client, direct: Client, proxy: NetProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pithosfs.api.client._ARRIVAL_PAUSES", (0.1, 0.1))
    client.put_object("pithos", "stays", b"data", content_type="a/b")
    uuid = client.head("pithos", "stays").entry.uuid
    proxy.faults(Fault("drop_before", method="MOVE"))
    with pytest.raises(errors.Unavailable, match="closed the connection"):
        client.move("pithos", "stays", "pithos", "nowhere", is_it=lambda entry: entry.uuid == uuid)
    assert direct.head("pithos", "stays").entry.uuid == uuid


def test_the_network_comes_back(client: Client, proxy: NetProxy) -> None:
    """Nothing hangs longer than the time allowed, and all goes on by itself."""
    client.put_object("pithos", "there", b"data", content_type="a/b")
    for silent in (False, True):
        proxy.down(silent=silent)
        started = time.monotonic()
        for _ in range(3):
            with pytest.raises(errors.Unavailable):
                client.read("pithos", "there", 0, 4)
        assert time.monotonic() - started < 2 * TIMEOUT
        proxy.up()
        deadline = time.monotonic() + 15
        while True:
            try:
                assert client.read("pithos", "there", 0, 4) == b"data"
                break
            except errors.Unavailable:
                assert time.monotonic() < deadline
                time.sleep(0.2)


@pytest.mark.parametrize("action", ["cut_answer", "corrupt_answer", "drip"])
def test_a_long_download_with_broken_answers(
    client: Client, proxy: NetProxy, tmp_path: Path, action: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(6 * BLOCK_SIZE))
    done = transfer.upload(client, "pithos", "long", source)
    proxy.faults(Fault(action, kind="object GET", times=2, after=BLOCK_SIZE + 99, rate=100))
    assert transfer.download(client, "pithos", "long", tmp_path / "target").hash == done.hash
    assert blocks.hashmap_of((tmp_path / "target").read_bytes()).merkle == done.hash
