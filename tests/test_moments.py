"""Times as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithosfs import moments

#: 2026-11-22 11:30:45.5 in Athens, UTC+2 then.
NOW = 1795339845_500000000


@pytest.fixture(autouse=True)
def athens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Athens")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-01 10:00", 1793520000),
        ("2026-11-01T10:00:00", 1793520000),
        ("2026-11-01T10:00:00+00:00", 1793527200),
        ("2026-11-01T08:00:00Z", 1793520000),
        ("2026-11-01", 1793484000),
        ("2026-07-01 10:00", 1782889200),  # summer time
        ("1793520000", 1793520000),
        ("@1793520000", 1793520000),
        ("@12", 12),
        ("now", 1795339845.5),
        ("today", 1795298400),
        ("today 10:00", 1795334400),
        ("10:00", 1795334400),
        ("9:05:01", 1795331101),
        ("yesterday", 1795253445.5),
        ("Yesterday  at 10:00", 1795248000),
        ("2 hours ago", 1795332645.5),
        ("an hour ago", 1795336245.5),
        ("90m ago", 1795334445.5),
        ("30 s ago", 1795339815.5),
        ("1 day ago", 1795253445.5),
        ("1 week, 2 days and 3 hours ago", 1794551445.5),
        ("1 month ago", 1792657845.5),  # across the end of summer time: the same hour of the clock
        ("a year ago", 1763803845.5),
        ("1793520000.25", 1793520000.25),
    ],
)
def test_what_people_write(text: str, seconds: float) -> None:
    assert moments.parse(text, NOW) == int(seconds * 4) * 250_000_000


def test_fractions_keep_every_digit() -> None:
    assert moments.parse("2026-11-01T10:00:00.724022", NOW) == 1793520000_724022000
    assert moments.parse("@1793520000.123456789", NOW) == 1793520000_123456789


@pytest.mark.parametrize(
    "text", ["", "soon", "ago", "2 ago", "2 parsecs ago", "2026-13-01", "25:00", "2026-11-01 10:00 x", "-5"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        moments.parse(text, NOW)


@pytest.mark.parametrize("text", ["2026-11-23", "12:00", "9999999999", "2100-01-01T00:00:00Z"])
def test_the_future_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="in the future"):
        moments.parse(text, NOW)


@pytest.mark.parametrize(
    "text", ["1969-12-31", "60 years ago", "1970-01-01", "1969-12-31T23:59:59.9Z", "0001-01-02"]
)
def test_what_is_before_1970_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="before 1970"):
        moments.parse(text, NOW)


def test_1970_begins_where_the_store_begins_to_count() -> None:
    assert moments.parse("1970-01-01T00:00:00Z", NOW) == moments.parse("@0", NOW) == 0


def test_far_too_long_ago_is_no_time() -> None:
    with pytest.raises(ValueError, match="is no time"):
        moments.parse("999999999999 years ago", NOW)


def test_a_month_ago_stays_inside_the_month() -> None:
    march = moments.parse("2026-03-31 10:00", NOW)
    assert moments.parse("1 month ago", march) == moments.parse("2026-02-28 10:00", NOW)


@pytest.mark.parametrize(
    ("text", "fixed"),
    [("2026-11-01 10:00", True), ("1793520000", True), ("yesterday", False), ("2 hours ago", False)],
)
def test_which_words_always_mean_the_same(text: str, fixed: bool) -> None:
    assert moments.is_fixed(text) is fixed


def test_names_are_local_time() -> None:
    assert moments.name_of(1793520000_999999999) == "2026-11-01T10:00:00"
    assert moments.exact_name_of(1793520000_724022999) == "2026-11-01T10:00:00.724022"


def test_the_hour_that_comes_twice_has_its_zone_in_the_name() -> None:
    first, second = 1792888200, 1792891800  # 2026-10-25 03:30, before and after the clock goes back
    names = [moments.name_of(each * moments.SECOND) for each in (first, second)]
    assert names == ["2026-10-25T03:30:00", "2026-10-25T03:30:00+02:00"]


@given(st.integers(0, NOW // 1000))
def test_names_are_read_back(microseconds: int) -> None:
    moment = microseconds * 1000
    assert moments.parse(moments.exact_name_of(moment), NOW) == moment
    assert moments.parse(moments.name_of(moment), NOW) == moment // moments.SECOND * moments.SECOND
