"""Bytes and attributes where something odd happens to them on their way."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pithosfs import attributes
from pithosfs.attributes import Attributes
from pithosfs.blocks import Hashmap, block_hash, hashmap_of
from pithosfs.disk import DiskCache
from pithosfs.errors import InvalidArgument, PithosError, Unavailable
from pithosfs.handles import Handle
from pithosfs.scratch import pack_bytes
from pithosfs.staging import Staging
from pithosfs.transport import Request, Response
from tests.core.conftest import SMALL, Build
from tests.core.stack import Held, Stack
from tests.core.test_files import dies, next_mount
from tests.core.threads import InThread
from tests.faults.test_local_disks import small_disk
from tests.support.files import MIB, noise
from tests.support.waiting import eventually


def test_who_joins_the_fetch_of_a_block_that_others_cut_short_gets_all_of_it(build: Build) -> None:
    """Two files name one hash: one has the whole block, of the other an update has kept 100 bytes."""
    whole = os.urandom(SMALL)
    elsewhere = build()
    elsewhere.put("whole", whole)
    cut = Hashmap(100, (block_hash(whole),), SMALL)
    elsewhere.client.put_hashmap(elsewhere.container, "cut", cut, content_type="text/plain")
    stack = build(container=elsewhere.container)
    assert stack.ls() == ["cut", "whole"]
    held = stack.wire.hold("GET")
    first = InThread(lambda: stack.read("/cut"))
    held.wait()
    second = InThread(lambda: stack.read("/whole"))
    second.join(0.3)  # it waits for the first
    held.release()
    assert first.result() == whole[:100]
    assert second.result() == whole


@pytest.mark.parametrize("seconds", [1 - 10**12, -1, 0, 10**12 - 1])
def test_times_of_many_thousand_years_come_back(seconds: int) -> None:
    kept = Attributes("text/plain", seconds * 10**9 + 1, 0o644)
    assert attributes.parse(kept.content_type) == kept


def test_an_object_whose_keys_others_used_up_can_be_written(stack: Stack) -> None:
    content = b"x" * 100
    stack.client.put_object(
        stack.container,
        "file",
        content,
        content_type="text/plain",
        meta={f"key{number}": "value" for number in range(attributes.MAX_META_KEYS)},
        expected=hashmap_of(content, SMALL).merkle,
    )
    stack.write("/file", b"y", at=100)
    assert stack.get("file") == content + b"y"


def test_an_attribute_without_a_name_is_refused(stack: Stack) -> None:
    stack.write("/file", b"x")
    with pytest.raises(InvalidArgument):
        stack.fs.set_xattr("/file", "user.", b"value", create=False, exists=False)
    assert stack.fs.xattrs("/file") == {}


def test_what_is_cut_and_grows_again_while_blocks_are_sent_ahead_is_sent_as_it_was(build: Build) -> None:
    stack = build()
    stack.uploader.batches.refused()
    data = bytearray(os.urandom(12 * SMALL))
    handle = stack.fs.create("/file", 0o644)
    held = stack.wire.hold_all("POST")
    for at in range(0, len(data), SMALL):
        stack.fs.handles.write(handle.number, at, bytes(data[at : at + SMALL]))
    held.wait()
    size = 11 * SMALL + 500
    stack.fs.handles.truncate(handle.number, size)
    closing = InThread(lambda: stack.fs.handles.flush(handle.number))
    closing.join(0.5)
    assert closing.is_alive()
    stack.fs.handles.write(handle.number, size, b"z" * (SMALL - 500))
    held.release()
    closing.result()
    sent = stack.client.head(stack.container, "file").entry
    if sent.size == size:
        assert sent.hash == hashmap_of(data[:size], SMALL).merkle
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)
    assert stack.get("file") == bytes(data[:size]) + b"z" * (SMALL - 500)


def test_a_block_copied_over_the_last_one_while_a_commit_waits_is_not_half_in_it(stack: Stack) -> None:
    """The version that is made has the file's old size: its last block must be hashed as far as that goes."""
    stack.uploader.batches.refused()
    stack.write("/source", os.urandom(2 * SMALL))
    data = os.urandom(11 * SMALL + 500)
    handle, source = stack.fs.create("/file", 0o644), stack.fs.open("/source")
    held = stack.wire.hold_all("POST")
    for at in range(0, len(data), SMALL):
        stack.fs.handles.write(handle.number, at, data[at : at + SMALL])
    held.wait()
    closing = InThread(lambda: stack.fs.handles.flush(handle.number))
    closing.join(0.5)
    assert closing.is_alive()
    assert stack.fs.handles.copy(source.number, 0, handle.number, 11 * SMALL, SMALL) == SMALL
    held.release()
    closing.result()
    entry, stored = stack.client.head(stack.container, "file").entry, stack.get("file")
    assert entry.hash == hashmap_of(stored, SMALL).merkle
    stack.fs.handles.release(source.number)
    stack.fs.handles.release(handle.number)


def test_a_hashmap_of_another_size_than_the_listing_told_is_not_believed(stack: Stack) -> None:
    """One digit is damaged on a way without TLS: the file must not be taken for a shorter one."""
    data = os.urandom(2 * SMALL + 500)
    stack.put("file", data)
    real, damaged = stack.wire.send, []

    def send(request: Request) -> Response:
        answer = real(request)
        if request.method == "GET" and "hashmap" in request.url and b"2548" in answer.body:
            damaged.append(request)
            return replace(answer, body=bytes(answer.body).replace(b"2548", b"2148"))
        return answer

    stack.wire.send = send  # type: ignore[method-assign]
    handle = stack.fs.open("/file", write=True)
    try:
        assert stack.fs.handles.node(handle.number).size == len(data)
        stack.fs.handles.write(handle.number, len(data), b"appended", append=True)
        stack.fs.handles.flush(handle.number)
    except PithosError:
        pass  # to say so is fine
    finally:
        stack.wire.send = real  # type: ignore[method-assign]
    assert damaged
    assert stack.get("file").startswith(data)
    stack.fs.handles.release(handle.number)


def test_a_file_written_all_the_time_is_synced_where_memory_is_short(build: Build) -> None:
    """What was hashed is in memory no more when the server wants it, and was written to meanwhile."""
    stack = build(memory=SMALL)
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, os.urandom(20 * SMALL))
    eventually(lambda: stack.wire.count("POST") > 0)
    stack.fs.handles.flush(handle.number)
    for index in range(20):  # as a disk image is written: here and there
        stack.fs.handles.write(handle.number, index * SMALL + 5, os.urandom(100))
    busy: list[Request] = []

    def tap(request: Request) -> None:
        if request.method == "PUT" and not busy:
            busy.append(request)
            for index in (3, 7, 11):
                write = partial(stack.fs.handles.write, handle.number, index * SMALL)
                InThread(partial(write, os.urandom(200))).result()
            busy.clear()

    stack.wire.before = tap
    stack.fs.handles.fsync(handle.number)
    stack.wire.reset()
    stack.fs.handles.flush(handle.number)
    stack.fs.handles.release(handle.number)


def test_the_cache_goes_on_after_somebody_cleaned_its_directory(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache" / "blocks", 1 << 20)
    shutil.rmtree(tmp_path / "cache")
    cache.put(block_hash(b"x"), b"x")
    found = cache.get(block_hash(b"x"))
    assert found is not None and bytes(found) == b"x"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs takes root")
def test_small_files_that_were_promised_are_adopted_where_the_disk_is_full(tmp_path: Path) -> None:
    """More of them than fit into memory: some would have to move to a file, for which there is no room."""
    data = {f"{number:032x}": noise(256 * 1024, number) for number in range(170)}
    with small_disk(tmp_path / "disk", 64 * MIB) as disk:
        died = Staging(disk / "staging")
        for key, content in data.items():
            died.record(key, pack_bytes(None, content))
        with contextlib.suppress(OSError), (disk / "full").open("wb") as file:
            while True:
                file.write(bytes(4096))
        assert died._held is not None
        os.close(died._held)
        adopted = {key: scratch for key, _, scratch in Staging(disk / "staging").adopt()}
        assert adopted.keys() == data.keys()


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_commit_that_fails_before_its_put_does_not_forget_the_one_whose_answer_was_lost(
    build: Build, method: str
) -> None:
    """The network goes away in the middle of a PUT, and is away still when the file is saved once more."""
    stack = build(outbox=False)
    data = bytearray(os.urandom(4 * SMALL))
    stack.put("file", bytes(data))
    handle = stack.fs.open("/file", write=True)

    def edit(index: int) -> None:
        data[index * SMALL + 5 : index * SMALL + 15] = b"0123456789"
        stack.fs.handles.write(handle.number, index * SMALL + 5, b"0123456789")

    edit(1)
    stack.wire.lose_answer("PUT")
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    edit(2)
    stack.wire.refuse(method)
    with pytest.raises(Unavailable):
        stack.fs.handles.flush(handle.number)
    stack.wire.reset()
    stack.fs.handles.flush(handle.number)  # no Stale: nobody else has changed it
    stack.fs.handles.release(handle.number)
    assert stack.names() == ["file"]
    assert stack.get("file") == data


def writes_while_posts_wait(stack: Stack) -> tuple[bytes, Held, Handle]:
    """A file of which blocks are on their way, and more is to be looked at when they are there."""
    stack.uploader.batches.refused()
    data = os.urandom(12 * SMALL + 500)
    held = stack.wire.hold_all("POST")
    handle = stack.fs.create("/file", 0o644)
    stack.fs.handles.write(handle.number, 0, data)
    held.wait()
    return data, held, handle


@pytest.mark.parametrize("size", [0, 12 * SMALL + 100])
def test_what_is_cut_off_while_a_file_is_sent_is_not_sent_as_zeros(stack: Stack, size: int) -> None:
    data, held, handle = writes_while_posts_wait(stack)
    closing = InThread(lambda: stack.fs.handles.flush(handle.number))
    closing.join(0.5)
    assert closing.is_alive()
    stack.fs.truncate("/file", size)
    held.release()
    closing.result()
    assert stack.get("file") == data[:size]


def test_a_file_that_is_begun_anew_while_it_is_sent_is_not_sent_half_way(build: Build) -> None:
    """With write-back: what was acknowledged survives the death of the mount in that moment."""
    first = build(outbox=False, write_back=60.0)
    data, held, handle = writes_while_posts_wait(first)
    first.fs.handles.flush(handle.number)
    sending = InThread(lambda: first.files.sending._send(handle.file))
    sending.join(0.5)
    assert sending.is_alive()
    first.fs.open("/file", write=True, truncate=True)
    held.release()
    sending.result()
    assert first.names() == []
    dies(first)
    assert next_mount(build, first).get("file") == data
