"""Behaviour that follows from the recordings but is in none of them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pithosfs import blocks
from pithosfs.server.app import Settings
from pithosfs.server.store import Store, listing, versions
from pithosfs.server.store.values import Attributes, Content, Target
from tests.server.harness import ALICE, BOB, OCTETS, Api, Server, running


def at_once(count: int, job: Callable[[int], int]) -> list[int]:
    """The results of ``count`` calls that start together."""
    barrier, results = threading.Barrier(count), [0] * count

    def work(number: int) -> None:
        barrier.wait()
        results[number] = job(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# -- several clients -----------------------------------------------------------------


def test_one_of_many_creates(api: Api) -> None:
    def put(number: int) -> int:
        return api.request("PUT", "/box/f", b"%d" % number, Content_Type=OCTETS, If_None_Match="*").status

    assert sorted(at_once(16, put)) == [201] + [412] * 15


def test_one_of_many_replaces(api: Api) -> None:
    api.put("/box/f", b"old")
    tag = str(api.request("HEAD", "/box/f").headers["ETag"])

    def put(number: int) -> int:
        return api.request("PUT", "/box/f", b"%d" % number, Content_Type=OCTETS, If_Match=tag).status

    assert sorted(at_once(16, put)) == [201] + [412] * 15
    assert len(api.request("GET", "/box/f?version=list").json()["versions"]) == 2


def test_parallel_appends_lose_nothing(api: Api) -> None:
    api.put("/box/f")

    def append(number: int) -> int:
        return api.request(
            "POST", "/box/f?update", b"x", Content_Type=OCTETS, Content_Range="bytes */*"
        ).status

    assert at_once(16, append) == [204] * 16
    assert api.get("/box/f") == b"x" * 16


def test_one_of_many_moves_and_deletes(api: Api) -> None:
    api.put("/box/f", b"x")
    moved = at_once(8, lambda n: api.request("MOVE", "/box/f", Destination=f"/box/g{n}").status)
    assert sorted(moved) == [201] + [404] * 7
    name = api.names("/box")[0]
    assert sorted(at_once(8, lambda _: api.request("DELETE", f"/box/{name}").status)) == [204] + [404] * 7


def test_the_same_blocks_from_many_clients(server: Server, api: Api) -> None:
    data = os.urandom(3 * blocks.BLOCK_SIZE)
    content = blocks.hashmap_of(data)

    def post(number: int) -> int:
        piece = data[number % 3 * blocks.BLOCK_SIZE :][: blocks.BLOCK_SIZE]
        return api.request("POST", "/box?update", piece, Content_Type=OCTETS).status

    assert at_once(9, post) == [202] * 9
    body = json.dumps({"bytes": content.size, "hashes": content.hashes})
    answers = at_once(6, lambda n: api.request("PUT", f"/box/f{n}?hashmap", body, Content_Type=OCTETS).status)
    assert answers == [201] * 6
    assert hashlib.sha256(api.get("/box/f5")).digest() == hashlib.sha256(data).digest()


def test_racy_conditions_are_checked_before_the_lock(tmp_path: Path) -> None:
    with running(tmp_path, Settings(racy_conditions=True)) as server:
        api = server.api
        api.request("PUT", "/box")
        store, lock = server.store.blocks, threading.Barrier(2, timeout=20)
        write = store.write

        def meet(data: blocks.Buffer) -> str:  # both have passed the check when they come here
            lock.wait()
            return write(data)

        store.write = meet  # type: ignore[method-assign]
        put = at_once(
            2,
            lambda n: api.request("PUT", "/box/f", b"%d" % n, Content_Type=OCTETS, If_None_Match="*").status,
        )
        assert put == [201, 201]
        assert len(api.request("GET", "/box/f?version=list").json()["versions"]) == 2


# -- ETags ---------------------------------------------------------------------------


def test_md5_etags(tmp_path: Path) -> None:
    data = os.urandom(blocks.BLOCK_SIZE + 1000) + bytes(50)
    with running(tmp_path, Settings(md5_etags=True)) as server:
        api = server.api
        api.request("PUT", "/box")

        def check(name: str, expected: bytes) -> None:
            digest = hashlib.md5(expected).hexdigest()
            assert api.request("HEAD", f"/box/{name}").headers["ETag"] == digest
            assert api.request("GET", f"/box?format=json&prefix={name}").json()[0]["hash"] == digest

        answer = api.request("PUT", "/box/body", data, Content_Type=OCTETS)
        assert answer.headers["ETag"] == hashlib.md5(data).hexdigest()
        check("body", data)
        content = blocks.hashmap_of(data)
        body = json.dumps({"bytes": content.size, "hashes": content.hashes})
        assert api.request("PUT", "/box/map?hashmap", body, Content_Type=OCTETS).status == 201
        check("map", data)
        api.request("POST", "/box/map?update", b"+", Content_Type=OCTETS, Content_Range="bytes */*")
        check("map", data + b"+")
        api.request("POST", "/box/map?update", X_Object_Meta_K="v")
        check("map", data + b"+")
        api.request("COPY", "/box/map", Destination="/box/copy")
        check("copy", data + b"+")
        assert (
            api.request("PUT", "/box/empty?hashmap", '{"bytes": 0, "hashes": []}', Content_Type=OCTETS).status
            == 201
        )
        check("empty", b"")
        tag = hashlib.md5(data).hexdigest()
        assert api.request("PUT", "/box/body", b"new", Content_Type=OCTETS, If_Match=tag).status == 201
        assert api.request("PUT", "/box/body", b"new", Content_Type=OCTETS, If_Match=tag).status == 412


# -- sharing -------------------------------------------------------------------------


def test_groups_give_access(api: Api) -> None:
    api.put("/box/f", b"x")
    bob = api.as_user(BOB)
    assert api.request("POST", "/box/f?update", X_Object_Sharing=f"read={ALICE.uuid}:friends").status == 202
    assert bob.request("GET", "/box/f", account=ALICE.uuid).status == 403
    assert api.request("POST", "?update", X_Account_Group_Friends=BOB.uuid).status == 202
    assert bob.request("GET", "/box/f", account=ALICE.uuid).data == b"x"
    assert bob.request("PUT", "/box/f", b"y", account=ALICE.uuid, Content_Type=OCTETS).status == 403


def test_read_or_write_for_everybody(api: Api) -> None:
    api.put("/box/f", b"x")
    bob = api.as_user(BOB)
    api.request("POST", "/box/f?update", X_Object_Sharing="write=*")
    assert bob.request("PUT", "/box/f", b"by bob", account=ALICE.uuid, Content_Type=OCTETS).status == 201
    assert api.get("/box/f") == b"by bob"
    api.request("POST", "/box/f?update", X_Object_Sharing="")
    assert bob.request("GET", "/box/f", account=ALICE.uuid).status == 403
    assert bob.request("GET", "?format=json", account=ALICE.uuid).status == 403


def test_a_plain_file_shares_nothing_below_it(api: Api) -> None:
    api.put("/box/d", b"", "text/plain")
    api.put("/box/d/in", b"x")
    api.request("POST", "/box/d?update", X_Object_Sharing=f"read={BOB.uuid}")
    assert api.as_user(BOB).request("GET", "/box/d/in", account=ALICE.uuid).status == 403
    assert api.as_user(BOB).request("GET", "/box", account=ALICE.uuid).data == b"d\n"


def test_what_a_write_of_another_user_counts_against_is_the_owners_quota(server: Server, api: Api) -> None:
    api.put("/box/f", b"x")
    api.request("POST", "/box/f?update", X_Object_Sharing=f"write={BOB.uuid}")
    server.store.accounts.set_quota(ALICE.uuid, 10)
    bob = api.as_user(BOB)
    assert bob.request("PUT", "/box/f", b"x" * 11, account=ALICE.uuid, Content_Type=OCTETS).status == 413
    assert bob.request("PUT", "/box/f", b"x" * 10, account=ALICE.uuid, Content_Type=OCTETS).status == 201


# -- trees ---------------------------------------------------------------------------


def test_a_recursive_move_leaves_siblings_alone(api: Api) -> None:
    for name in ("d", "d/a", "d/b/c", "d.x", "d0", "dd", "d.😀x"):
        api.put(f"/box/{quote(name)}", name.encode())
    assert api.request("MOVE", "/box/d?delimiter=/", Destination="/box/e").status == 201
    assert api.names("/box") == ["d.x", "d.😀x", "d0", "dd", "e", "e/a", "e/b/c"]
    assert api.get("/box/e/b/c") == b"d/b/c"
    assert api.request("DELETE", "/box/e?delimiter=/").status == 204
    assert api.names("/box") == ["d.x", "d.😀x", "d0", "dd"]


def test_a_failed_recursive_operation_changes_nothing(server: Server, api: Api) -> None:
    for name in ("d", "d/a", "d/b"):
        api.put(f"/box/{name}", b"x" * 100)
    server.store.accounts.set_quota(ALICE.uuid, 550)
    assert api.request("COPY", "/box/d?delimiter=/", Destination="/box/e").status == 413
    assert api.names("/box") == ["d", "d/a", "d/b"]
    head = api.request("HEAD", "/box").headers
    assert (head["X-Container-Object-Count"], head["X-Container-Bytes-Used"]) == ("3", "300")


def test_sharing_does_not_come_back(api: Api) -> None:
    api.put("/box/f", b"x")
    api.request("POST", "/box/f?update", X_Object_Sharing=f"read={BOB.uuid}", X_Object_Public="true")
    api.request("DELETE", "/box/f")
    api.put("/box/f", b"new, private")
    assert api.as_user(BOB).request("GET", "/box/f", account=ALICE.uuid).status == 403
    assert "X-Object-Public" not in api.request("HEAD", "/box/f").headers


def fill(server: Server, count: int) -> None:
    """Objects in ``d0/``, ``d1/`` and ``d2/`` of the box; as many requests would take long."""
    with server.store.database.write() as tx:
        place = tx.value("SELECT id FROM container WHERE name = 'box'")
        tx.many(
            "INSERT INTO object (container, name, latest) VALUES (?, ?, ?)",
            [(place, f"d{n % 3}/{n:05}", 100 + n) for n in range(count)],
        )
        for row in tx.all("SELECT id, latest FROM object WHERE container = ?", place):
            tx.run(
                "INSERT INTO version VALUES (?, ?, ?, 1, 0, 't', '', '', '', '', 0, '{}', 0)",
                row["latest"], row["id"], place,
            )  # fmt: skip


def test_ten_thousand_entries_and_the_pages_after(server: Server, api: Api) -> None:
    fill(server, 10_002)
    first = api.names("/box")
    assert len(first) == 10_000
    assert len(api.names(f"/box?marker={first[-1]}")) == 2
    assert api.names("/box?delimiter=/") == ["d0/", "d1/", "d2/"]
    assert api.names("/box?delimiter=/&limit=2") == ["d0/", "d1/"]
    assert len(api.names("/box?prefix=d1&delimiter=/")) == 3334


def test_a_level_is_listed_without_reading_what_is_below(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server, 300)
    read = []
    version_of = versions.version_of
    monkeypatch.setattr(versions, "version_of", lambda row: read.append(row) or version_of(row))
    assert api.names("/box?delimiter=/") == ["d0/", "d1/", "d2/"]
    assert len(read) <= 9


NAMES = st.lists(st.text(alphabet="ab/.-é\uffff😀", min_size=1, max_size=6), max_size=12, unique=True)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    names=NAMES,
    prefix=st.text(alphabet="ab/", max_size=3),
    delimiter=st.sampled_from(["", "/", "-", "a/"]),
    limit=st.integers(1, 8),
)
def test_listings_against_a_model(
    tmp_path: Path, names: list[str], prefix: str, delimiter: str, limit: int
) -> None:
    expected: list[str] = []
    for name in sorted(names):
        if not name.startswith(prefix):
            continue
        found = name.find(delimiter, len(prefix)) if delimiter else -1
        if found < 0:
            expected.append(name)
            continue
        subdir = name[: found + len(delimiter)]
        if subdir == name:
            expected.append(name)
        if subdir not in expected or (subdir == name and expected.count(subdir) == 1):
            expected.append(subdir)
    with running(tmp_path / os.urandom(4).hex(), durable=False) as server:
        store = server.store
        store.containers.put(ALICE.uuid, "box", {}, {})
        empty = Content(0, [store.blocks.write(b"")])
        for name in names:
            store.objects.put(
                ALICE.uuid, Target(ALICE.uuid, "box", name), empty, Attributes(type="t", meta={})
            )
        with store.database.read() as tx:
            place = versions.container(tx, ALICE.uuid, "box")
            query = listing.Query(prefix=prefix, delimiter=delimiter)
            found_names = [each.name for each in listing.entries(tx, place, query)]
            limited = listing.entries(
                tx, place, listing.Query(prefix=prefix, delimiter=delimiter, limit=limit)
            )
    shown = [name for name in found_names if name.startswith(prefix)]
    assert shown == expected
    assert [each.name for each in limited] == found_names[:limit]


@pytest.mark.parametrize("version", ["0", "-1", "99999999999999999999999999", "1e3", "٣"])
def test_versions_that_cannot_be(api: Api, version: str) -> None:
    api.put("/box/f", b"x")
    assert api.request("GET", f"/box/f?version={version}").status == 404


# -- a clock that was set back ----------------------------------------------------------


def test_times_go_on_after_a_restart_with_an_earlier_clock(tmp_path: Path) -> None:
    """Else a version would seem to be older than the one it replaced, to whoever asks for the past."""
    stamps = []
    for now in (2_000_000_000_000_000, 1_900_000_000_000_000, 1_800_000_000_000_000):
        store = Store(tmp_path, durable=False, clock=lambda now=now: now)
        store.containers.put("alice", "box", {}, {"X-Container-Meta-A": str(now)})
        content = Content(1, [store.blocks.write(b"%d" % now)])
        version = store.objects.put("alice", Target("alice", "box", "f"), content, Attributes())
        stamps.append(version.stamp)
        store.close()
    assert stamps == sorted(set(stamps))
