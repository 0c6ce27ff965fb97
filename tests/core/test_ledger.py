"""Version numbers as a ledger, against a server that hands them out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithosfs.ledger import Ledger


class Sequence:
    """The server's one sequence, shared by this process and by others."""

    def __init__(self, start: int = 100) -> None:
        self.last = start

    def take(self, count: int = 1) -> list[int]:
        first = self.last + 1
        self.last += count
        return list(range(first, self.last + 1))


def write(ledger: Ledger, sequence: Sequence) -> int:
    ticket = ledger.begin()
    (number,) = sequence.take()
    ledger.end(ticket, (number,))
    return number


def test_alone_nothing_is_foreign() -> None:
    ledger, sequence = Ledger(), Sequence()
    write(ledger, sequence)
    for _ in range(5):
        before = ledger.mark()
        assert ledger.foreign(before, write(ledger, sequence)) == 0


def test_the_first_write_cannot_be_accounted_for() -> None:
    ledger, sequence = Ledger(), Sequence()
    before = ledger.mark()
    assert ledger.foreign(before, write(ledger, sequence)) > 0


def test_what_is_not_told_counts_where_it_certainly_lies_between() -> None:
    ledger, sequence = Ledger(), Sequence()
    write(ledger, sequence)
    deletion = ledger.begin()
    sequence.take()
    ledger.end(deletion, (), unnumbered=1)
    before = ledger.mark()
    assert ledger.foreign(before, write(ledger, sequence)) == 0


def test_what_is_not_told_hides_nobody() -> None:
    """A deletion answered only after our write began may have taken its number before or after it."""
    ledger, sequence = Ledger(), Sequence()
    write(ledger, sequence)
    deletion = ledger.begin()
    before = ledger.mark()
    sequence.take()  # somebody else's
    ticket = ledger.begin()
    (number,) = sequence.take()
    ledger.end(ticket, (number,))
    sequence.take()
    ledger.end(deletion, (), unnumbered=1)
    assert ledger.foreign(before, number) == 1


def test_an_unbroken_row_of_numbers_begins_with_its_first_request() -> None:
    ledger, sequence = Ledger(), Sequence()
    write(ledger, sequence)
    sequence.take()  # somebody else's
    first = write(ledger, sequence)
    for _ in range(3):
        last = write(ledger, sequence)
    assert ledger.unbroken_since(last) == ledger.began(first)
    assert ledger.unbroken_since(last) > ledger.began(101)


def test_what_a_listing_shows_is_where_a_row_can_begin() -> None:
    ledger, sequence = Ledger(), Sequence()
    ledger.saw(sequence.last, 12.5)
    before = ledger.mark()
    number = write(ledger, sequence)
    assert ledger.foreign(before, number) == 0
    assert ledger.unbroken_since(before.top) == 12.5
    assert not ledger.is_ours(before.top)
    assert ledger.unbroken_since(number) == 12.5
    sequence.take()
    assert ledger.foreign(before, write(ledger, sequence)) == 1


def test_requests_under_way_keep_it_unsettled() -> None:
    ledger, sequence = Ledger(), Sequence()
    other = ledger.begin()
    write(ledger, sequence)
    after = ledger.mark()
    assert not ledger.settled(after)
    ledger.end(other)
    assert ledger.settled(after)
    ledger.begin()
    assert ledger.settled(after)  # begun later: nothing of it can lie before


@given(st.lists(st.sampled_from(["write", "delete", "move", "foreign"]), max_size=60), st.randoms())
def test_a_foreign_number_is_never_missed(actions: list[str], rng: random.Random) -> None:
    """One request at a time: the count is exact."""
    ledger, sequence = Ledger(), Sequence()
    write(ledger, sequence)
    foreign = 0
    before = ledger.mark()
    for action in actions:
        if action == "foreign":
            sequence.take()
            foreign += 1
        elif action == "delete":
            ticket = ledger.begin()
            sequence.take()
            ledger.end(ticket, (), unnumbered=1)
        elif action == "move":
            ticket = ledger.begin()
            ledger.end(ticket, sequence.take(2))
        else:
            number = write(ledger, sequence)
            assert (ledger.foreign(before, number) > 0) >= (foreign > 0)
            before, foreign = ledger.mark(), 0


@pytest.mark.parametrize("count", [1, 5000, 20_000])
def test_old_numbers_are_forgotten(count: int) -> None:
    ledger, sequence = Ledger(), Sequence()
    for _ in range(count):
        number = write(ledger, sequence)
    assert ledger.is_ours(number)
    assert len(ledger._ours) <= 4096
