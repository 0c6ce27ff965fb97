"""What an open file consists of, against a bytearray."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pithosfs import blocks
from pithosfs.blocks import hashmap_of
from pithosfs.content import Content, Local, Remote
from pithosfs.names import ObjectRef
from pithosfs.ranges import Address, Origin

SIZE = 8  # of a block
REF = ObjectRef("box", "file")

positions = st.integers(0, 5 * SIZE)
bytes_ = st.sampled_from([b"\0", b"a", b"b"])


class Model(RuleBasedStateMachine):
    """``data`` is what the file should be; ``scratch`` stands for local bytes, ``stored`` for the server."""

    @initialize(data=st.binary(max_size=4 * SIZE))
    def open(self, data: bytes) -> None:
        self.stored: dict[str, bytes] = {}
        self.data = bytearray(data)
        self.scratch = bytearray(100 * SIZE)
        self.versions = 1
        self.frozen: bytes | None = None
        self.content = Content(self._store(data), Origin(REF, 1))

    def _store(self, data: bytes) -> blocks.Hashmap:
        found = hashmap_of(data, SIZE)
        for index, block in enumerate(found.hashes):
            self.stored[block] = bytes(data[index * SIZE : (index + 1) * SIZE]).rstrip(b"\0")
        return found

    @rule(start=positions, length=st.integers(1, 2 * SIZE), fill=bytes_)
    def write(self, start: int, length: int, fill: bytes) -> None:
        blocks.paste(self.data, start, fill * length)
        self.scratch[start : start + length] = fill * length
        self.content.wrote(start, start + length)

    @rule(size=positions)
    def resize(self, size: int) -> None:
        self.data[size:] = bytes(max(0, size - len(self.data)))
        self.content.resize(size)

    @rule(index=st.integers(0, 4), data=st.binary(min_size=1, max_size=SIZE))
    def splice(self, index: int, data: bytes) -> None:
        start = index * SIZE
        if len(data) < SIZE and start + len(data) < len(self.data):
            data = data.ljust(min(SIZE, len(self.data) - start), b"x")
        (block,) = self._store(data).hashes
        address = Address(Origin(ObjectRef("box", "other"), 1), index, block, len(data), SIZE)
        self.content.splice(index, address, len(data))
        blocks.paste(self.data, start, data)

    @precondition(lambda self: self.frozen is None)
    @rule()
    def freeze(self) -> None:
        self.content.freeze()
        self.frozen = bytes(self.data)

    @precondition(lambda self: self.frozen is not None)
    @rule(worked=st.booleans())
    def commit_ends(self, worked: bool) -> None:
        assert self.frozen is not None
        if worked:
            self.versions += 1
            self.content.rebase(self._store(self.frozen), Origin(REF, self.versions))
        else:
            self.content.thaw()
        self.frozen = None

    @precondition(lambda self: self.frozen is None)
    @rule()
    def commit_at_once(self) -> None:
        self.freeze()
        self.commit_ends(True)
        assert not self.content.changed
        assert self.content.base == hashmap_of(bytes(self.data), SIZE)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "content"):
            return
        assert self.content.size == len(self.data)
        for index in range(self.content.count):
            start, stop = index * SIZE, min((index + 1) * SIZE, len(self.data))
            block = bytes(self.data[start:stop])
            known = self.content.hash_of(index)
            assert known is None or known == blocks.block_hash(block)
            assert not self.content.is_hole(index) or not any(block)
            assert not self.content.complete(index) or self.content.dirty.covers(start, start + SIZE)
        assert self._bytes(0, len(self.data)) == bytes(self.data)
        middle = len(self.data) // 2
        assert self._bytes(middle // 2, middle) == bytes(self.data[middle // 2 : middle])

    def _bytes(self, start: int, stop: int) -> bytes:
        found = bytearray()
        for part in self.content.parts(start, stop):
            if isinstance(part, Local):
                assert part.start == start + len(found)
                found += self.scratch[part.start : part.stop]
            elif isinstance(part, Remote):
                found += blocks.cut(self.stored[part.address.hash], part.start, part.stop)
            else:
                found += bytes(part.length)
        return bytes(found)


TestContent = Model.TestCase
TestContent.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
