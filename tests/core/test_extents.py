"""Ranges against a set of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pithosfs.extents import Extents

points = st.integers(0, 40)
steps = st.lists(st.tuples(st.booleans(), points, points), max_size=30)


@given(steps, points, points)
def test_like_a_set_of_numbers(changes: list[tuple[bool, int, int]], start: int, stop: int) -> None:
    extents, model = Extents(), set[int]()
    for add, low, high in changes:
        if add:
            extents.add(low, high)
            model |= set(range(low, high))
        else:
            extents.remove(low, high)
            model -= set(range(low, high))
    assert {each for low, high in extents for each in range(low, high)} == model
    pairs = list(extents)
    assert all(low < high for low, high in pairs)
    assert all(one[1] < two[0] for one, two in itertools.pairwise(pairs)), "merged and in order"
    assert extents.total == len(model)
    assert bool(extents) == bool(model)
    wanted = set(range(start, stop))
    assert extents.intersects(start, stop) == bool(wanted & model)
    assert extents.covers(start, stop) == (wanted <= model)
    pieces = list(extents.pieces(start, stop))
    assert [each for low, high, _ in pieces for each in range(low, high)] == sorted(wanted)
    for low, high, inside in pieces:
        assert low < high
        assert all((each in model) == inside for each in range(low, high))
    assert Extents(pairs) == extents
