"""What is remembered on disk, and that none of it has to be there."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from pithosfs.blocks import Hashmap, hashmap_of
from pithosfs.metastore import FORMAT, MetaStore

CONTENT = hashmap_of(bytes(range(256)) * 16, 1024)


def test_facts_survive(tmp_path: Path) -> None:
    path = tmp_path / "new" / "meta.sqlite3"
    store = MetaStore(path)
    store.remember_meta(7, {"colour": "blue", "é": "ü"})
    store.remember_meta(8, {})
    store.remember_hashmap(CONTENT)
    store.remember_newborn("name", (1 << 62) + 1)
    store.remember_newborn("other", 5)
    store.name_by_uuid([("name", "uuid", (1 << 62) + 1)])
    store.close()
    again = MetaStore(path)
    assert again.meta(7) == {"colour": "blue", "é": "ü"}
    assert again.meta(8) == {}
    assert again.meta(9) is None
    assert again.hashmap(CONTENT.merkle, CONTENT.size, 1024) == CONTENT
    assert again.hashmap(CONTENT.merkle, CONTENT.size, 2048) is None
    assert again.hashmap(CONTENT.merkle, CONTENT.size - 1, 1024) is None
    assert again.inodes() == {"uuid": (1 << 62) + 1}
    assert again.newborn() == {"other": 5}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again.close()


def test_how_much_of_a_content_is_no_hole(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite3"
    sparse = hashmap_of(b"a" * 1024 + bytes(3 * 1024) + b"b" * 100, 1024)
    store = MetaStore(path)
    assert store.stored_size(sparse.merkle, sparse.size) == sparse.size
    store.remember_hashmap(sparse)
    store.remember_hashmap(CONTENT)
    assert store.stored_size(sparse.merkle, sparse.size) == 1024 + 100
    assert store.stored_size(CONTENT.merkle, CONTENT.size) == CONTENT.size
    store.close()
    again = MetaStore(path)
    assert again.stored_size(sparse.merkle, sparse.size) == 1024 + 100
    assert again.stored_size(hashmap_of(bytes(500), 1024).merkle, 500) == 0
    again.close()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = MetaStore(tmp_path / "meta.sqlite3")
    contents = [hashmap_of(bytes([number]) * 3000, 1024) for number in range(10)]
    for number, content in enumerate(contents):
        store.remember_meta(100 + number, {"n": str(number)})
        store.remember_hashmap(content)
        store.name_by_uuid([(f"old{number}", f"uuid{number}", 5 + number)])
        store.remember_newborn(f"name{number}", 7 + number)
    raw = 3 * 32  # bytes of a hashmap of three blocks
    store.prune(meta=4, hashmaps=3 * raw, inodes=2)
    assert [number for number in range(10) if store.meta(100 + number)] == [6, 7, 8, 9]
    kept = [store.hashmap(each.merkle, each.size, 1024) is not None for each in contents]
    assert kept == [False] * 7 + [True] * 3
    assert store.inodes() == {"uuid8": 13, "uuid9": 14}
    assert store.newborn() == {"name8": 15, "name9": 16}
    store.close()


def test_an_unknown_version_is_never_remembered(tmp_path: Path) -> None:
    store = MetaStore(tmp_path / "meta.sqlite3")
    store.remember_meta(0, {"a": "b"})
    assert store.meta(0) is None
    store.close()


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000, b"\0"]
)
def test_a_damaged_store_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "meta.sqlite3"
    path.write_bytes(content)
    store = MetaStore(path)
    store.remember_meta(7, {"a": "b"})
    store.close()
    again = MetaStore(path)
    assert again.meta(7) == {"a": "b"}
    again.close()


def test_another_format_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE meta (something TEXT)")
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    store = MetaStore(path)
    store.remember_meta(7, {"a": "b"})
    assert store.meta(7) == {"a": "b"}
    store.close()


def test_damaged_rows_are_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite3"
    store = MetaStore(path)
    store.remember_hashmap(CONTENT)
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO meta VALUES (7, 'no json')")
        database.execute("INSERT INTO meta VALUES (8, '[1]')")
        database.execute("UPDATE hashmap SET hashes = zeroblob(length(hashes))")
    database.close()
    assert store.meta(7) is None
    assert store.meta(8) is None
    assert store.hashmap(CONTENT.merkle, CONTENT.size, 1024) is None
    store.close()


def test_a_store_somebody_is_busy_with_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "meta.sqlite3"
    store = MetaStore(path)
    store.remember_meta(7, {"a": "b"})
    store.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, **{**more, "timeout": 0.05}))
    second = MetaStore(path)
    second.remember_meta(9, {"c": "d"})
    assert second.meta(9) == {"c": "d"}
    second.close()
    other.rollback()
    other.close()
    monkeypatch.undo()
    third = MetaStore(path)
    assert third.meta(7) == {"a": "b"}
    third.close()


def test_where_nothing_can_be_written_memory_will_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = MetaStore(tmp_path / "file" / "meta.sqlite3")
    store.remember_meta(7, {"a": "b"})
    assert store.meta(7) == {"a": "b"}
    store.close()
    memory = MetaStore(None)
    memory.remember_hashmap(CONTENT)
    assert memory.hashmap(CONTENT.merkle, CONTENT.size, 1024) == CONTENT
    memory.close()


def test_threads_and_mounts_share_it(tmp_path: Path) -> None:
    stores = [MetaStore(tmp_path / "meta.sqlite3") for _ in range(2)]

    def work(store: MetaStore, start: int) -> None:
        for number in range(start, start + 50):
            store.remember_meta(number, {"n": str(number)})

    threads = [
        threading.Thread(target=work, args=(store, 1 + 1000 * index + 100 * thread))
        for index, store in enumerate(stores)
        for thread in range(3)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for store in stores:
        for index in range(2):
            for thread in range(3):
                first = 1 + 1000 * index + 100 * thread
                assert store.meta(first) == {"n": str(first)}
                assert store.meta(first + 49) == {"n": str(first + 49)}
    for store in stores:
        store.close()


def test_a_closed_store_is_no_error(tmp_path: Path) -> None:
    store = MetaStore(tmp_path / "meta.sqlite3")
    store.close()
    store.remember_meta(7, {"a": "b"})
    assert store.meta(7) is None
    assert store.inodes() == {}
    assert store.hashmap("00", 1, 1) is None
    assert Hashmap(0, ()).size == 0
