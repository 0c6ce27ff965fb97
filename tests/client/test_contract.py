"""Client and embedded server, over a real socket: each call does what it says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pithosfs import blocks, config, errors
from pithosfs.api import Client
from pithosfs.blocks import BLOCK_SIZE
from pithosfs.identity import resolve
from pithosfs.server import run
from pithosfs.transport import Request, Transport
from tests.support.server import serving

TYPE = "text/plain; mtime=1795334389.539240123; mode=0644"


def client_of(rc: Path) -> Client:
    connection = config.load(config=rc, environ={})
    site = resolve(connection)
    return Client(Transport(connection.token, token=site.token, timeout=20), site.endpoint, site.account)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Two accounts on one server."""
    directory = tmp_path_factory.mktemp("store")
    with serving(directory) as rc:
        other = run.add_user(directory, "bob", None, None)
        both = client_of(rc), client_of(Path(other))
        yield both
        for each in both:
            each.transport.close()


@pytest.fixture
def client(clients: tuple[Client, Client]) -> Client:
    return clients[0]


@pytest.fixture
def container(client: Client, request: pytest.FixtureRequest) -> str:
    """A container of this test's own."""
    name = f"{request.node.name[:80]} é%41"
    client.create_container(name)
    return name


def put(client: Client, container: str, *names: str, data: bytes = b"data") -> None:
    for name in names:
        client.put_object(container, name, data, content_type=TYPE)


def upload(client: Client, container: str, name: str, data: bytes) -> blocks.Hashmap:
    """The whole way of a large file, as plainly as it can be."""
    content = blocks.hashmap_of(data)
    try:
        client.put_hashmap(container, name, content, content_type=TYPE)
    except errors.MissingBlocks as missing:
        for index, block in enumerate(content.hashes):
            if block in missing.hashes:
                part = data[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
                assert client.post_block(container, part) == block
        client.put_hashmap(container, name, content, content_type=TYPE)
    return content


def test_several_blocks_in_one_request(client: Client, container: str) -> None:
    """Cut at their full length, and named in their order; the last one may be shorter."""
    parts = [os.urandom(BLOCK_SIZE - 2) + b"x" + bytes(1) for _ in range(3)] + [b"the end"]
    hashes = [blocks.block_hash(each) for each in parts]
    assert client.post_blocks(container, parts) == hashes
    assert client.missing_blocks(container, "n", hashes) == []


def test_account_and_containers(client: Client, container: str) -> None:
    put(client, container, "a", data=b"12345")
    info = client.account()
    assert info.bytes_used >= 5
    listed = {each.name: each for each in client.containers()}
    assert {"pithos", "trash", container} <= listed.keys()
    assert (listed[container].count, listed[container].bytes_used) == (1, 5)
    client.update_container(container, meta={"Colour": "blue ü%"}, quota=1000)
    there = client.container(container)
    assert (there.meta, there.quota, there.block_size) == ({"colour": "blue ü%"}, 1000, BLOCK_SIZE)
    with pytest.raises(errors.QuotaExceeded, match="limit: 1000"):
        put(client, container, "big", data=bytes(2000))
    client.create_container(container)
    with pytest.raises(errors.Conflict):
        client.delete_container(container)
    client.delete_container(container, contents=True)
    client.delete_container(container)
    with pytest.raises(errors.NotFound):
        client.container(container)


def test_an_object_there_and_back(client: Client, container: str) -> None:
    data = os.urandom(1000)
    written = client.put_object(
        container, "dir/ü %.txt", data, content_type=TYPE, meta={"Mtime": "1", "X": "100% é"}
    )
    info = client.head(container, "dir/ü %.txt")
    assert (info.entry.version, info.etag) == (written.version, written.etag)
    assert (info.entry.content_type, info.entry.size) == (TYPE, 1000)
    assert info.entry.hash == blocks.block_hash(data)
    assert info.meta == {"mtime": "1", "x": "100% é"}
    page = client.list_page(container)
    assert page is not None
    entry = page.entries[0]
    assert (entry.name, entry.version, entry.uuid, entry.hash, entry.content_type) == (
        "dir/ü %.txt",
        written.version,
        info.entry.uuid,
        info.entry.hash,
        TYPE,
    )
    assert entry.modified_ns // 10**9 == info.entry.modified_ns // 10**9
    assert abs(entry.modified_ns - time.time_ns()) < 60 * 10**9
    assert client.read(container, "dir/ü %.txt", 10, 20) == data[10:20]
    with pytest.raises(errors.BadRange):
        client.read(container, "dir/ü %.txt", 990, 1001)


def test_many_blocks(client: Client, container: str) -> None:
    data = os.urandom(BLOCK_SIZE) + bytes(BLOCK_SIZE) + os.urandom(2 * BLOCK_SIZE + 17)
    content = upload(client, container, "big", data)
    info, stored = client.hashmap(container, "big")
    assert stored == content
    assert (info.entry.size, info.entry.hash) == (len(data), content.merkle)
    with client.open_range(container, "big", 5, len(data)) as body:
        buffer = bytearray(len(data) - 5)
        assert body.readinto(memoryview(buffer)) == len(buffer)
    assert buffer == data[5:]
    posts = client.transport.stats.snapshot().requests["POST"]
    upload(client, container, "big again", data)
    assert client.transport.stats.snapshot().requests["POST"] == posts
    strange = blocks.block_hash(os.urandom(10))
    assert client.missing_blocks(container, "x", [*content.hashes, strange]) == [strange]
    with pytest.raises(errors.NotFound):
        client.head(container, "x")


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1])
def test_sizes_at_the_borders(client: Client, container: str, size: int) -> None:
    for data in (bytes(size), os.urandom(size)):
        content = upload(client, container, "n", data)
        assert client.hashmap(container, "n")[1] == content
        assert client.head(container, "n").entry.size == size
        assert client.read(container, "n", 0, size) == data


def test_parallel_use_of_one_client(client: Client, container: str) -> None:
    bodies = {f"{number:03}": os.urandom(100 * number) for number in range(60)}

    def there_and_back(name: str) -> bytes:
        client.put_object(container, name, bodies[name], content_type=TYPE)
        return bytes(client.read(container, name, 0, len(bodies[name])))

    with ThreadPoolExecutor(12) as threads:
        assert dict(zip(bodies, threads.map(there_and_back, bodies), strict=True)) == bodies
    listed = [each for page in client.list_all(container, limit=7) for each in page.entries]
    assert [each.name for each in listed] == sorted(bodies)


def test_listings(client: Client, container: str) -> None:
    names = ["a", "a/1", "a/2/x", "a0", "dir.😀x", "dir/one", "virt/1", "é/x", "日", "😀"]
    put(client, container, *names)
    for limit in (1, 3, 100):
        pages = list(client.list_all(container, delimiter=True, limit=limit))
        assert [each.name for page in pages for each in page.entries] == ["a", "a0", "dir.😀x", "日", "😀"]
        assert [each for page in pages for each in page.subdirs] == ["a/", "dir/", "virt/", "é/"]
        everything = [each.name for page in client.list_all(container, limit=limit) for each in page.entries]
        assert everything == sorted(names)
    page = client.list_page(container, prefix="dir/", delimiter=True)
    assert page is not None
    assert [each.name for each in page.entries] == ["dir/one"]
    page = client.list_page(container, prefix="😀")
    assert page is not None
    assert [each.name for each in page.entries] == ["😀"]


def test_an_unchanged_container(client: Client, container: str) -> None:
    put(client, container, "a")
    page = client.list_page(container)
    assert page is not None
    time.sleep(1.1)  # the stamp has a resolution of one second
    assert client.list_page(container, modified_since=page.last_modified) is None
    put(client, container, "b")
    changed = client.list_page(container, modified_since=page.last_modified)
    assert changed is not None
    assert len(changed.entries) == 2


def test_conditions(client: Client, container: str) -> None:
    first = client.put_object(container, "n", b"1", content_type=TYPE, if_none_match="*")
    with pytest.raises(errors.Stale):
        client.put_object(container, "n", b"2", content_type=TYPE, if_none_match="*")
    second = client.put_object(container, "n", b"2", content_type=TYPE, if_match=first.etag)
    for etag in (first.etag, "ab" * 32):
        with pytest.raises(errors.Stale):
            client.put_hashmap(container, "n", blocks.Hashmap(0, ()), content_type=TYPE, if_match=etag)
    assert [each.serial for each in client.versions(container, "n")] == [first.version, second.version]
    assert client.read(container, "n", 0, 1, version=first.version) == b"1"
    with pytest.raises(errors.Stale):
        client.copy(container, "n", container, "n", if_none_match="*")


def test_moves_copies_and_deletes(client: Client, container: str) -> None:
    put(client, container, "d", "d/a", "d/b/c", "dx")
    uuid = client.head(container, "d/a").entry.uuid
    client.move(container, "d", container, "e %", recursive=True)
    assert client.head(container, "e %/a").entry.uuid == uuid
    client.move(container, "dx", container, "d%2Fy", content_type="a/b", meta={"K": "v"})
    moved = client.head(container, "d%2Fy")
    assert (moved.entry.content_type, moved.meta) == ("a/b", {"k": "v"})
    copied = client.copy(container, "e %", container, "f", recursive=True)
    assert copied.version
    client.delete(container, "e %", recursive=True)
    names = [each.name for page in client.list_all(container) for each in page.entries]
    assert names == ["d%2Fy", "f", "f/a", "f/b/c"]
    client.delete(container, "f/a")
    for call in (client.delete, client.head, client.hashmap):
        with pytest.raises(errors.NotFound):
            call(container, "f/a")
    with pytest.raises(errors.NotFound):
        client.move(container, "f/a", container, "x")


def test_history(client: Client, container: str) -> None:
    put(client, container, "n", data=b"old")
    version = client.head(container, "n").entry.version
    put(client, container, "n", data=b"new")
    client.delete(container, "n")
    assert client.read(container, "n", 0, 3, version=version) == b"old"
    client.copy(container, "n", container, "n", version=version)
    assert client.read(container, "n", 0, 3) == b"old"
    time.sleep(1.1)
    client.purge(container, None, int(time.time()))
    assert len(client.versions(container, "n")) == 1


def test_metadata_is_merged_and_removed(client: Client, container: str) -> None:
    client.put_object(container, "n", b"", content_type=TYPE, meta={"A": "1", "B": "2"})
    client.update(container, "n", meta={"B": "", "C": "3 % ü"})
    assert client.head(container, "n").meta == {"a": "1", "c": "3 % ü"}


def test_sharing_between_accounts(clients: tuple[Client, Client], container: str) -> None:
    alice, bob = clients
    put(alice, container, "shared", "private")
    at_alices = Client(bob.transport, bob.endpoint, alice.account_id)
    with pytest.raises(errors.Forbidden):
        at_alices.head(container, "shared")
    alice.set_groups({"friends": [bob.account_id]})
    assert alice.account().groups == {"friends": (bob.account_id,)}
    alice.update(container, "shared", sharing=f"read={alice.account_id}:friends")
    assert bob.sharing_accounts() == [alice.account_id]
    assert container in [each.name for each in at_alices.containers()]
    page = at_alices.list_page(container)
    assert page is not None
    assert [(each.name, each.allowed_to) for each in page.entries] == [("shared", "read")]
    assert at_alices.read(container, "shared", 0, 4) == b"data"
    with pytest.raises(errors.Forbidden):
        at_alices.put_object(container, "shared", b"x", content_type=TYPE)
    bob.create_container("mine")
    bob.copy(container, "shared", "mine", "copied", from_account=alice.account_id)
    assert bob.read("mine", "copied", 0, 4) == b"data"
    alice.update(container, "shared", sharing="")
    with pytest.raises(errors.Forbidden):
        at_alices.head(container, "shared")


def test_public_links(client: Client, container: str) -> None:
    put(client, container, "n")
    client.update(container, "n", public=True)
    url = client.head(container, "n").entry.public
    assert url is not None
    with_no_token = Transport(None)
    url = client.endpoint.partition("/pithos")[0] + url[url.index("/pithos") :]
    assert with_no_token.send(Request("GET", url)).body == b"data"
    with_no_token.close()
    client.update(container, "n", public=False)
    assert client.head(container, "n").entry.public is None


def test_a_wrong_token_is_refused(client: Client) -> None:
    class Wrong:
        def read(self) -> list[str]:
            return ["nonsense-token"]

    transport = Transport(Wrong())
    calls: list[Callable[[Client], object]] = [lambda c: c.account(), lambda c: c.list_page("pithos")]
    for call in calls:
        with pytest.raises(errors.Unauthorized) as caught:
            call(Client(transport, client.endpoint, client.account_id))
        assert "nonsense" not in str(caught.value)
    transport.close()


def test_the_errors_of_names(client: Client, container: str) -> None:
    put(client, container, "n" * 1024, "a//b", "a/../b", "./x", "t/", "/lead", "C:\\x", "ends with space ")
    names = [each.name for page in client.list_all(container) for each in page.entries]
    assert {"n" * 1024, "a//b", "a/../b", "./x", "t/", "/lead", "ends with space "} <= set(names)
    assert client.head(container, "a/../b").entry.size == 4
