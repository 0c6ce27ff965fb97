"""What was sent without an answer."""

from __future__ import annotations

from pithosfs.late import Late
from pithosfs.names import ObjectRef


def test_what_was_sent_is_taken_for_ours_for_an_hour() -> None:
    now = [0.0]
    late, ref = Late(lambda: now[0]), ObjectRef("c", "file")
    late.add(ref, [("hash", 3)])
    now[0] = 3599.0
    assert late.has(ref, "hash", 3)
    assert not late.has(ref, "hash", 4)
    assert not late.has(ObjectRef("c", "other"), "hash", 3)
    now[0] = 3601.0
    assert not late.has(ref, "hash", 3), "who writes that now has written it"
