"""An open file against a bytearray: whatever is done to it, every byte is compared after each step.

On a real server (blocks of 1 KiB) over a real socket.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pithosfs import blocks, staging
from pithosfs.attributes import Attributes
from pithosfs.cache import BlockCache
from pithosfs.commit import Changed
from pithosfs.errors import Unavailable
from pithosfs.nodes import of_entry
from pithosfs.openfile import OpenFile
from pithosfs.ranges import Origin
from pithosfs.readahead import Readahead
from pithosfs.transport import Request
from tests.core.conftest import SMALL, Build
from tests.core.stack import Stack

LIMIT = 6 * SMALL

offsets = st.one_of(
    st.integers(0, LIMIT),
    st.integers(0, 6).map(lambda each: each * SMALL),
    st.integers(1, 6).map(lambda each: each * SMALL - 1),
)
lengths = st.one_of(st.integers(1, 3 * SMALL), st.sampled_from([1, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL]))
fills = st.integers(0, 7)  # few, so that blocks are often equal to others, or all zero


def pattern(fill: int, length: int) -> bytes:
    return bytes([fill]) * length


class Model(RuleBasedStateMachine):
    """One object, one :class:`OpenFile` at a time, and what its bytes should be."""

    stack: Stack
    names = iter(range(10**9))

    @initialize()
    def new(self) -> None:
        self.ref = self.stack.ref(f"object {next(self.names)}")
        self.file = OpenFile(self.stack.services, self.ref, None, Attributes())
        self.data = bytearray()
        self.server: bytes | None = None
        self.other: tuple[OpenFile, bytes] | None = None

    # -- what a program does ------------------------------------------------------------------

    @rule(offset=offsets, length=lengths, fill=fills)
    def write(self, offset: int, length: int, fill: int) -> None:
        self._write(self.data, offset, pattern(fill, length))
        assert self.file.write(offset, pattern(fill, length)) == length

    @rule(length=lengths, fill=fills)
    def append(self, length: int, fill: int) -> None:
        self.data += pattern(fill, length)
        assert self.file.append(pattern(fill, length)) == length

    @rule(size=offsets)
    def truncate(self, size: int) -> None:
        self._resize(self.data, size)
        self.file.truncate(size)

    @rule(start=offsets, length=lengths)
    def zero(self, start: int, length: int) -> None:
        stop = min(start + length, len(self.data))
        if start < stop:
            self.data[start:stop] = bytes(stop - start)
            self.file.zero(start, stop)

    @rule(offset=offsets, to=offsets, length=st.integers(1, LIMIT))
    def splice_within(self, offset: int, to: int, length: int) -> None:
        length = min(length, len(self.data) - offset)
        if length > 0:
            done = self.file.splice_into(self.file, offset, to, length)
            assert 0 <= done <= length
            self._write(self.data, to, bytes(self.data[offset : offset + done]))

    @precondition(lambda self: self.other is not None)
    @rule(offset=offsets, to=offsets, length=st.integers(1, LIMIT))
    def splice_other(self, offset: int, to: int, length: int) -> None:
        assert self.other is not None
        source, content = self.other
        length = min(length, len(content) - offset)
        if length > 0:
            done = source.splice_into(self.file, offset, to, length)
            assert 0 <= done <= length
            self._write(self.data, to, content[offset : offset + done])

    @rule(offset=offsets, length=lengths)
    def read_some(self, offset: int, length: int) -> None:
        view = memoryview(bytearray(b"?" * length))
        got = self.file.read_into(offset, view, Readahead(SMALL))
        assert bytes(view[:got]) == bytes(self.data[offset : offset + length])

    @rule(offset=offsets)
    def seek(self, offset: int) -> None:
        hole, data = self.file.seek(offset, data=False), self.file.seek(offset, data=True)
        if offset >= len(self.data):
            assert hole is None and data is None
            return
        assert hole is not None and offset <= hole <= len(self.data)
        end = len(self.data) if data is None else data
        assert not any(self.data[offset:end]), "what is skipped as a hole is zero"

    # -- commits --------------------------------------------------------------------------------

    @rule()
    def commit(self) -> None:
        self.file.commit()
        assert not self.file.dirty
        self._is_stored()

    @rule(method=st.sampled_from(["PUT", "POST"]))
    def commit_refused(self, method: str) -> None:
        self.stack.wire.refuse(method)
        before = self.file.dirty
        try:
            self.file.commit()
        except Unavailable:
            assert before and self.file.dirty
        else:
            self._is_stored()
        finally:
            self.stack.wire.reset()

    @rule(
        change=st.sampled_from(["write", "append", "truncate", "zero"]),
        offset=offsets,
        length=lengths,
        fill=fills,
        number=st.integers(0, 3),
        fails=st.booleans(),
    )
    def change_during_commit(
        self, change: str, offset: int, length: int, fill: int, number: int, fails: bool
    ) -> None:
        """While one of the commit's requests is on its way, the file changes in another thread."""
        if not self.file.dirty:
            self.append(1, fill)
        seen = iter(range(10**6))

        def work() -> None:
            if change == "write":
                self.write(offset, length, fill)
            elif change == "append":
                self.append(length, fill)
            elif change == "truncate":
                self.truncate(offset)
            else:
                self.zero(offset, length)

        def tap(request: Request) -> None:
            if request.method in ("PUT", "POST") and next(seen) == number:
                worker = threading.Thread(target=work)
                worker.start()
                worker.join()
                if fails:
                    raise Unavailable("the network is down")

        self.stack.wire.before = tap
        try:
            self.file.commit()
        except Unavailable:
            assert self.file.dirty
        except Changed:  # who sends files begins anew then
            assert change == "truncate"
            assert self.file.dirty
        finally:
            self.stack.wire.reset()

    @rule()
    def reopen(self) -> None:
        """The file is closed and opened anew, by a machine that has nothing cached."""
        self.commit()
        self.file.discard()
        self._forget_blocks()
        self.other = (self.file, bytes(self.data))
        info = self.stack.client.head(self.ref.container, self.ref.name)
        node = of_entry(self.ref, info.entry)
        self.file = OpenFile(self.stack.services, self.ref, node, node.attributes)

    @rule()
    def journal(self) -> None:
        """The machine crashes and finds the file in its journal."""
        self.file.persist()
        (left,) = self.stack.staging.directory.glob("*.json")
        key = left.stem
        crashed = self.stack.staging
        assert crashed._held is not None
        os.close(crashed._held)  # as the end of a process does
        self.stack.staging = staging.Staging(crashed.root, crashed.memory)
        self.stack.services = replace(self.stack.services, staging=self.stack.staging)
        found = {name: (entry, scratch) for name, entry, scratch in self.stack.staging.adopt()}
        assert list(found) == [key]
        self.file = OpenFile.recover(self.stack.services, key, *found[key])
        self._forget_blocks()
        self.other = None

    # -- always --------------------------------------------------------------------------------

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "file"):
            return
        assert self.file.size == len(self.data)
        view = memoryview(bytearray(b"?" * (len(self.data) + 100)))
        got = self.file.read_into(0, view, Readahead(SMALL))
        assert got == len(self.data)
        assert bytes(view[:got]) == bytes(self.data)

    def teardown(self) -> None:
        if hasattr(self, "file"):
            try:
                self.file.commit()
                self._is_stored()
            finally:
                self.file.discard()

    def _is_stored(self) -> None:
        info = self.stack.client.head(self.ref.container, self.ref.name)
        expected = blocks.hashmap_of(self.data, SMALL)
        assert info.entry.size == len(self.data)
        assert self.stack.get(self.ref.name) == bytes(self.data)
        _, found = self.stack.fetcher.hashmap(Origin(self.ref, 0))
        assert found.size == expected.size
        assert found.hashes == expected.hashes

    def _forget_blocks(self) -> None:
        """Nothing is in memory any more: what is read now comes from the server."""
        self.stack.cache = BlockCache(64 * 1024 * 1024, None)
        self.stack.fetcher.cache = self.stack.uploader.cache = self.stack.cache

    @staticmethod
    def _write(data: bytearray, offset: int, piece: bytes) -> None:
        if piece:
            blocks.paste(data, offset, piece)

    @staticmethod
    def _resize(data: bytearray, size: int) -> None:
        data[size:] = bytes(max(0, size - len(data)))


def test_an_open_file_is_a_bytearray(build: Build, tmp_path: Path) -> None:
    stack = build()

    class Bound(Model):
        pass

    Bound.stack = stack
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
