"""Hashmap algebra against values a real server answered (names of the exchanges in the comments)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithosfs import blocks
from pithosfs.blocks import BLOCK_SIZE, Hashmap, Span
from tests.server import recording

EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
DIGITS = b"0123456789" * 10

# hashmap/put-complete, hashmap/five-blocks-put
A = "c0787024d834ce9ed1cbfeeea9c5c91b3ac323bf698078b65a7489992a1256c7"
B = "045ca7f0724b7e2cfc85acaac89936226bdd04392aef075152bd18b7541ea860"
C = "ee018ad3d0c72cb4f200e9868ee96561c703b0b6d992713098b090d39cf3af92"


def generated(seed: str, size: int) -> bytes:
    return recording.request_part({"seed": seed, "len": size})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", EMPTY_HASH),
        (b"abc", ABC),  # block/post-abc
        (b"abc" + bytes(61), ABC),  # block/post-trailing-zeros
        (bytes(777), EMPTY_HASH),  # put/only-zeros
        (bytes(BLOCK_SIZE), EMPTY_HASH),  # fresh/hashmap-of-zero-block-…
        (b"hello world", "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"),  # put/simple
        # update/append-after-truncate: the block keeps what was cut off
        (
            DIGITS[:10] + b"NEW" + DIGITS[13:],
            "176c7112e0e6075c6eb167105a3a8320c3f87af043fcc05524d39ceef23d2d12",
        ),
    ],
)
def test_block_hash(data: bytes, expected: str) -> None:
    assert blocks.block_hash(data) == expected
    assert blocks.hashmap_of(data).merkle == expected or not data


@pytest.mark.parametrize(
    ("hashes", "expected"),
    [
        ([], EMPTY_HASH),
        ([A], A),
        (
            [A, B, C],
            "5e2252ebd270841b43d7db26da5c525aa03abb5ec80fdf0b782afae2fa0d66d7",
        ),  # hashmap/put-complete
        (
            [C, A],
            "c29b6b3de5aaef5a040a8fdbfec90aff0bfacfdc43daff624d803b17dcacc045",
        ),  # …/short-block-in-the-middle
        (
            [A, B, A, A],
            "790ab41383402f8dc79a9dda63383445a5a416cc410369a81afe58bea6e40f55",
        ),  # …/duplicate-hashes
    ],
)
def test_merkle(hashes: list[str], expected: str) -> None:
    assert blocks.merkle(hashes) == expected


def test_merkle_of_five_blocks_is_padded_to_eight() -> None:
    exchange = next(
        each for each in recording.exchanges() if each["name"] == "hashmap/five-blocks-post-all-at-once"
    )
    content = blocks.hashmap_of(recording.request_body(exchange["request"]))
    assert len(content.hashes) == 5
    assert content.merkle == "f1b24485f0e4e13d52b277268ef10325baab5c2d997f40ce820a82940d72617a"


def test_hashmap_of_a_recorded_upload() -> None:
    content = blocks.hashmap_of(generated("wire:put-big", 12595257))  # put/three-blocks-and-a-bit
    assert content.size == 12595257
    assert content.hashes == (
        "5372185cbd1a6010dcedd533f95b9a2a4ae0f127063effeb4d903e2c0f58d8dd",
        "513b074e4bea70ab644e2c0db19361f55427d006dd9a8d92125ca5ccb2a09e78",
        "61f0d972fc3a5b266b3898c15cdaa2fd00f02ae15f7631ba79c68a31c6b1a242",
        "f08ac086decc33ce953103deae138803adb1340ccb2573fbf259565dd446ea12",
    )
    assert content.merkle == "84f56c3e1956299e19accd851775e1fe53e8e8d866e536737244d1248f8b73b8"


def test_a_hashmap_has_as_many_hashes_as_blocks() -> None:
    with pytest.raises(ValueError, match="1 hashes for 0 bytes"):
        Hashmap(0, (A,))
    with pytest.raises(ValueError, match="1 hashes"):
        Hashmap(BLOCK_SIZE + 1, (A,))
    assert Hashmap(BLOCK_SIZE, (A,)).merkle == A


@given(size=st.integers(0, 100), offset=st.integers(0, 120), length=st.integers(0, 120))
def test_spans_cover_each_byte_once(size: int, offset: int, length: int) -> None:
    covered = [
        span.index * 7 + position
        for span in blocks.spans(offset, length, 7)
        for position in range(span.start, span.stop)
    ]
    assert covered == list(range(offset, offset + length))
    assert all(0 <= span.start < span.stop <= 7 for span in blocks.spans(offset, length, 7))


def test_spans() -> None:
    assert list(blocks.spans(BLOCK_SIZE - 1, 2)) == [Span(0, BLOCK_SIZE - 1, BLOCK_SIZE), Span(1, 0, 1)]
    assert list(blocks.spans(5, 0)) == []


@given(st.binary(max_size=50), st.integers(0, 200_000))
def test_stripping(data: bytes, zeros: int) -> None:
    padded = data + bytes(zeros)
    assert padded[: blocks.stripped_length(padded)] == padded.rstrip(b"\0")
    assert blocks.stripped_length(memoryview(bytearray(padded))) == len(padded.rstrip(b"\0"))


@given(st.binary(max_size=20), st.integers(0, 30), st.integers(0, 30))
def test_cut_pads_with_zeros(block: bytes, start: int, length: int) -> None:
    expected = block.ljust(60, b"\0")[start : start + length]
    assert bytes(blocks.cut(block, start, start + length)) == expected


@given(st.binary(max_size=20), st.integers(0, 30), st.binary(max_size=20))
def test_paste_is_what_a_file_does(before: bytes, start: int, data: bytes) -> None:
    block = bytearray(before)
    blocks.paste(block, start, data)
    end = max(len(before), start + len(data)) if data or start > len(before) else len(before)
    expected = bytearray(before.ljust(end, b"\0"))
    expected[start : start + len(data)] = data
    assert block == expected


@given(st.integers(0, 10**15))
def test_counts_and_lengths(size: int) -> None:
    count = blocks.block_count(size)
    assert (count - 1) * BLOCK_SIZE < size <= count * BLOCK_SIZE or size == count == 0
    assert blocks.block_length(count, size) == 0
    if count:
        assert blocks.block_length(count - 1, size) == size - (count - 1) * BLOCK_SIZE
