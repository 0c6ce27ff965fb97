"""Whole files there and back: what travels, what is verified, what is resumed."""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pithosfs import blocks, errors, transfer
from pithosfs.api import Client, connect
from pithosfs.blocks import BLOCK_SIZE
from pithosfs.config import load

SIZES = [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 5 * BLOCK_SIZE + 77]
LAST = itertools.count(1)


@pytest.fixture
def client(rc: Path) -> Iterator[Client]:
    made = connect(load(config=rc, environ={}), timeout=20)
    yield made
    made.transport.close()


class Told:
    """Progress as it was told."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[int, int | None]]] = {}

    def __call__(self, step: str, done: int, total: int | None) -> None:
        self.calls.setdefault(step, []).append((done, total))

    def check(self, step: str, total: int) -> None:
        """It rises steadily and ends where it should."""
        calls = self.calls.get(step, [])
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)
        assert (calls[-1][0] if calls else 0) == total


def unheard_of(size: int) -> bytes:
    """Bytes of which each block must travel: no hole, and none sent before, be the last one of one byte."""
    return os.urandom(size - 1) + bytes([next(LAST)]) if size else b""


def read(client: Client, name: str) -> bytes:
    return b"".join(map(bytes, transfer.chunks(client, "pithos", name)))


@pytest.mark.parametrize("size", SIZES)
def test_a_file_there_and_back(client: Client, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(unheard_of(size))
    told = Told()
    up = transfer.upload(client, "pithos", f"file-{size}", source, content_type="a/b", progress=told)
    assert (up.size, up.moved) == (size, size)
    told.check("hashing", size if size > 0 else 0)
    told.check("uploading", size)
    info = client.head("pithos", f"file-{size}")
    assert (info.entry.content_type, info.entry.version, info.entry.hash) == ("a/b", up.version, up.hash)
    again = transfer.upload(client, "pithos", f"file-{size} again", source)
    assert again.moved == (0 if size > BLOCK_SIZE else size)  # one PUT with its body is cheaper than asking
    down = transfer.download(client, "pithos", f"file-{size}", target, progress=told)
    assert target.read_bytes() == source.read_bytes()
    assert (down.size, down.hash, down.moved) == (size, up.hash, size)
    told.check("downloading", size)
    assert read(client, f"file-{size}") == source.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "target"]


@pytest.mark.parametrize("size", [1, BLOCK_SIZE, BLOCK_SIZE + 1])
def test_a_hole_is_not_fetched(client: Client, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(size))
    up = transfer.upload(client, "pithos", f"hole-{size}", source)
    down = transfer.download(client, "pithos", f"hole-{size}", target)
    assert target.read_bytes() == source.read_bytes()
    assert (down.size, down.hash, down.moved) == (size, up.hash, 0)


@pytest.mark.parametrize("size", SIZES)
def test_a_stream(client: Client, size: int) -> None:
    data = unheard_of(size)
    told = Told()
    done = transfer.upload_stream(
        client, "pithos", f"stream-{size}", io.BytesIO(data), size=size, progress=told
    )
    assert (done.size, done.moved) == (size, size)
    assert done.hash == blocks.hashmap_of(data).merkle
    assert read(client, f"stream-{size}") == data
    told.check("uploading", size)
    again = transfer.upload_stream(client, "pithos", f"stream-{size} again", io.BytesIO(data))
    assert again.moved == (0 if size >= BLOCK_SIZE else size)


def test_a_stream_in_odd_pieces(client: Client) -> None:
    data = os.urandom(BLOCK_SIZE + 12345)
    receiving, sending = os.pipe()

    def write() -> None:
        for at in range(0, len(data), 9999):
            os.write(sending, data[at : at + 9999])
        os.close(sending)

    writer = threading.Thread(target=write)
    writer.start()
    with open(receiving, "rb", buffering=0) as pipe:
        transfer.upload_stream(client, "pithos", "piped", pipe)
    writer.join()
    assert read(client, "piped") == data


def test_a_stream_that_does_not_wait_is_not_taken_for_ended(client: Client) -> None:
    receiving, sending = os.pipe()
    os.set_blocking(receiving, False)
    os.write(sending, b"the beginning")
    with (
        open(sending, "wb"),
        open(receiving, "rb", buffering=0) as pipe,
        pytest.raises(errors.InvalidArgument, match="one that waits"),
    ):
        transfer.upload_stream(client, "pithos", "early", pipe)
    with pytest.raises(errors.NotFound):
        client.head("pithos", "early")


def test_a_stream_that_breaks_leaves_nothing(client: Client) -> None:
    class Breaking(io.BytesIO):
        def readinto(self, view: memoryview, /) -> int:  # type: ignore[override]
            if self.tell() >= 2 * BLOCK_SIZE:
                raise errors.TimedOut("the source stopped")
            return super().readinto(view)

    with pytest.raises(errors.TimedOut, match="the source stopped"):
        transfer.upload_stream(client, "pithos", "broken", Breaking(os.urandom(3 * BLOCK_SIZE)))
    with pytest.raises(errors.NotFound):
        client.head("pithos", "broken")


def test_only_what_is_new_travels(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "source"
    parts = [os.urandom(BLOCK_SIZE) for _ in range(6)]
    source.write_bytes(b"".join(parts))
    transfer.upload(client, "pithos", "six", source)
    parts[3] = os.urandom(BLOCK_SIZE)
    source.write_bytes(b"".join(parts) + b"tail")
    assert transfer.upload(client, "pithos", "six", source).moved == BLOCK_SIZE + 4
    assert read(client, "six") == source.read_bytes()
    with pytest.raises(errors.Stale):
        transfer.upload(client, "pithos", "six", source, only_new=True)


def test_zeros_cost_nothing(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.seek(20 * BLOCK_SIZE)
        file.write(b"end")
    transfer.upload(client, "pithos", "sparse", source)
    received = client.transport.stats.snapshot().bytes_down
    transfer.download(client, "pithos", "sparse", target)
    assert client.transport.stats.snapshot().bytes_down - received < 10_000
    assert target.stat().st_size == source.stat().st_size
    assert target.stat().st_blocks * 512 <= 64 * 1024
    assert target.read_bytes() == source.read_bytes()


def test_an_interrupted_download_goes_on(client: Client, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3 * BLOCK_SIZE) + bytes(BLOCK_SIZE) + os.urandom(BLOCK_SIZE))
    transfer.upload(client, "pithos", "interrupted", source)

    def stop(_step: str, done: int, _total: int | None) -> None:
        if done >= 3 * BLOCK_SIZE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.download(client, "pithos", "interrupted", target, progress=stop)
    part = transfer.part_of(target)
    assert not target.exists()
    with part.open("r+b") as file:  # what is damaged, or should be zero and is not, is noticed
        file.seek(BLOCK_SIZE + 5)
        file.write(b"damaged")
        file.seek(3 * BLOCK_SIZE + 5)
        file.write(b"not zero")
        file.seek(0, io.SEEK_END)
        file.write(b"too long")
    done = transfer.download(client, "pithos", "interrupted", target)
    assert target.read_bytes() == source.read_bytes()
    assert done.moved == 3 * BLOCK_SIZE  # of five, one was whole and one is zero
    assert not part.exists()
    assert transfer.download(client, "pithos", "interrupted", target).moved == 0


def test_what_the_old_file_has_is_not_fetched(client: Client, tmp_path: Path) -> None:
    parts = [os.urandom(BLOCK_SIZE) for _ in range(4)]
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"".join(parts))
    transfer.upload(client, "pithos", "updated", source)
    parts[2] = os.urandom(BLOCK_SIZE)
    target.write_bytes(b"".join(parts) + b"more")
    assert transfer.download(client, "pithos", "updated", target).moved == BLOCK_SIZE
    assert target.read_bytes() == source.read_bytes()


def test_a_downloaded_file_has_the_mode_it_is_given_or_one_as_any_other(
    client: Client, tmp_path: Path
) -> None:
    transfer.upload_stream(client, "pithos", "modes", io.BytesIO(unheard_of(BLOCK_SIZE + 1)))
    path, modes = tmp_path / "file", list[int]()
    before = os.umask(0o027)
    try:
        for mode in (None, 0o604, None):
            transfer.download(client, "pithos", "modes", path, mode=mode)
            modes.append(path.stat().st_mode & 0o7777)
    finally:
        os.umask(before)
    assert modes == [0o640, 0o604, 0o604]


def test_two_downloads_into_one_file(client: Client, tmp_path: Path) -> None:
    client.put_object("pithos", "small", b"data", content_type="a/b")
    with (
        transfer._locked(transfer.part_of(tmp_path / "x")),
        pytest.raises(errors.InvalidArgument, match="another download"),
    ):
        transfer.download(client, "pithos", "small", tmp_path / "x")


def test_a_download_that_begins_as_another_one_ends(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has opened the unfinished file, which the other one makes the finished one before it is locked."""
    client.put_object("pithos", "one", b"one", content_type="a/b")
    client.put_object("pithos", "other", b"the other", content_type="a/b")
    lock = fcntl.flock

    def lock_late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        transfer.download(client, "pithos", "one", tmp_path / "x")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with pytest.raises(errors.InvalidArgument, match="another program"):
        transfer.download(client, "pithos", "other", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"one"


def test_a_failed_download_leaves_no_file_open(client: Client, tmp_path: Path) -> None:
    client.put_object("pithos", "open", os.urandom(5000), content_type="a/b")
    (tmp_path / "x").write_bytes(b"there")

    def fail(_step: str, _done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.download(client, "pithos", "open", tmp_path / "x", progress=fail)
    opened = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert not [each for each in opened if each.startswith(str(tmp_path))]


def test_a_name_of_any_length(client: Client, tmp_path: Path) -> None:
    name = "x" * 255
    client.put_object("pithos", name, b"data", content_type="a/b")
    transfer.download(client, "pithos", name, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"data"


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_what_is_no_file_is_not_replaced(client: Client, tmp_path: Path, kind: str) -> None:
    client.put_object("pithos", "data", b"data", content_type="a/b")
    target = tmp_path / "x"
    os.mkfifo(target) if kind == "pipe" else target.mkdir()
    with pytest.raises(errors.InvalidArgument, match="no file"):
        transfer.download(client, "pithos", "data", target)
    assert list(tmp_path.iterdir()) == [target]


def test_an_old_version(client: Client, tmp_path: Path) -> None:
    first = client.put_object("pithos", "old", b"first", content_type="a/b")
    client.put_object("pithos", "old", b"second", content_type="a/b")
    transfer.download(client, "pithos", "old", tmp_path / "x", version=first.version)
    assert (tmp_path / "x").read_bytes() == b"first"


def test_what_is_not_there(client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound):
        transfer.download(client, "pithos", "absent", tmp_path / "x")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(errors.NotFound):
        transfer.upload(client, "absent", "file", tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        transfer.upload(client, "pithos", "file", tmp_path / "absent")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("size", [BLOCK_SIZE // 2, 3 * BLOCK_SIZE])
def test_a_file_that_changes_while_it_is_uploaded_replaces_nothing(
    client: Client, tmp_path: Path, size: int
) -> None:
    """What is half of before and half of after is put nowhere."""
    before, source = os.urandom(100), tmp_path / "source"
    transfer.upload_stream(client, "pithos", "replaced", io.BytesIO(before))
    source.write_bytes(unheard_of(size))
    seen: list[str] = []

    def change(step: str, _done: int, _total: int | None) -> None:
        if step == "hashing" and not seen:
            seen.append(step)
            source.write_bytes(unheard_of(size))

    with pytest.raises(errors.PithosError, match="changed while it was uploaded"):
        transfer.upload(client, "pithos", "replaced", source, progress=change)
    assert seen
    assert read(client, "replaced") == before


def test_a_file_that_changes_while_it_is_uploaded(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(2 * BLOCK_SIZE))

    def append(step: str, _done: int, _total: int | None) -> None:
        if step == "uploading":
            with source.open("ab") as file:
                file.write(b"more")

    with pytest.raises(errors.PithosError, match="changed while it was uploaded"):
        transfer.upload(client, "pithos", "changing", source, progress=append)
