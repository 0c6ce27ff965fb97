"""Moments as people write them, and as directories are named after them.  No I/O.

=====================================  ====================================================
``2026-11-01 10:00``                   ISO 8601, ``T`` or a space between, seconds and their
                                       fractions optional; local time unless it says a zone
``2026-11-01``                         midnight
``10:00``                              today
``1793522400``, ``@1793522400.5``      seconds since 1970, with or without a fraction
``now``, ``today``, ``yesterday``      today: since midnight; yesterday: 24 hours ago
``yesterday 10:00``
``2 hours ago``, ``90m ago``           seconds, minutes, hours, days, weeks, months, years,
``an hour ago``, ``1 week 2 days ago``   in full, as one letter, or several of them
=====================================  ====================================================

Days, months and years are those of the calendar: ``1 day ago`` is the same
time on the day before, also where the clock was changed in between.

Moments are nanoseconds since 1970, like all times here.
"""

from __future__ import annotations

import calendar
import datetime
import re
from datetime import timedelta

SECOND = 10**9

_EPOCH = re.compile(r"@(\d{1,12})(?:\.(\d{1,9}))?|(\d{9,12})(?:\.(\d{1,9}))?")
_FRACTION = re.compile(r"(:\d\d)[.,](\d{1,9})")
_CLOCK = re.compile(r"(?:(today|yesterday)(?:\s+at)?\s+)?(\d{1,2}:\d\d(?::\d\d)?)")
_STEP = re.compile(
    r"(\d+|an?)\s*"
    r"(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w|months?|years?|y)(?![a-z])"
    r"(?:\s*,?\s*(?:and\s+)?)"
)
_EXACT = {"s": "seconds", "h": "hours", "d": "days", "w": "weeks", "m": "minutes"}

_HOW = "write it like '2026-11-01 10:00', 'yesterday', '2 hours ago' or seconds since 1970"


def parse(text: str, now_ns: int) -> int:
    """The moment ``text`` names.

    ValueError, with a message for a person, if it names none, the future, or one before 1970.
    """
    words = " ".join(text.split())
    moment = _parse(words, now_ns)
    if moment is None:
        raise ValueError(f"'{text}' is no time: {_HOW}")
    if moment > now_ns:
        raise ValueError(f"'{text}' is in the future")
    if moment < 0:
        raise ValueError(f"'{text}' is before 1970, when nothing was stored")
    return moment


def _parse(text: str, now_ns: int) -> int | None:
    lower = text.lower()
    if match := _EPOCH.fullmatch(text):
        seconds, fraction = match[1] or match[3], match[2] or match[4]
        return int(seconds) * SECOND + _nanoseconds(fraction)
    if lower == "now":
        return now_ns
    if lower == "today":
        return _ns(_local(now_ns).replace(hour=0, minute=0, second=0, microsecond=0))
    if lower == "yesterday":
        return _ns(_local(now_ns) - timedelta(days=1))
    if match := _CLOCK.fullmatch(lower):
        return _at_clock(match[2], now_ns, days=1 if match[1] == "yesterday" else 0)
    if lower.endswith(" ago"):
        return _ago(lower.removesuffix("ago"), now_ns)
    return _iso(text)


def is_fixed(text: str) -> bool:
    """Whether ``text`` names the same moment whenever it is asked (``yesterday`` does not)."""
    words = " ".join(text.split())
    return _EPOCH.fullmatch(words) is not None or _iso(words) is not None


def name_of(moment: int) -> str:
    """The second of ``moment`` as a file name that :func:`parse` reads, ``2026-11-01T10:00:00``.

    In local time; with the zone where the clock shows that time twice.
    """
    local = _local(moment // SECOND * SECOND)
    plain = local.replace(tzinfo=None)
    return plain.isoformat() if _ns(plain) == moment // SECOND * SECOND else local.isoformat()


def exact_name_of(moment: int) -> str:
    """``moment`` to the microsecond as a file name, ``2026-11-01T10:00:00.724022``."""
    name = name_of(moment)
    return f"{name[:19]}.{moment % SECOND // 1000:06d}{name[19:]}"


# -- the forms ---------------------------------------------------------------------


def _iso(text: str) -> int | None:
    fraction = _FRACTION.search(text)
    bare = text[: fraction.end(1)] + text[fraction.end() :] if fraction else text
    try:
        return _ns(datetime.datetime.fromisoformat(bare)) + _nanoseconds(fraction[2] if fraction else None)
    except (ValueError, OverflowError, OSError):
        return None


def _at_clock(clock: str, now_ns: int, *, days: int) -> int | None:
    try:
        time = datetime.time.fromisoformat(clock.zfill(5) if len(clock) < 6 else clock.zfill(8))
    except ValueError:
        return None
    day = _local(now_ns).date() - timedelta(days=days)
    return _ns(datetime.datetime.combine(day, time))


def _ago(text: str, now_ns: int) -> int | None:
    steps: list[tuple[int, str]] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            return None
        steps.append((int(match[1]) if match[1].isdigit() else 1, match[2]))
        position = match.end()
    try:
        return _back(now_ns, steps) if steps else None
    except (OverflowError, ValueError, OSError):
        return None


def _back(now_ns: int, steps: list[tuple[int, str]]) -> int:
    moment = now_ns
    for count, unit in steps:
        if unit.startswith(("mo", "y")):
            moment = _months_back(moment, count if unit.startswith("mo") else 12 * count)
            continue
        step = timedelta(**{_EXACT[unit[0]]: count})
        if unit[0] in "dw":
            moment = _ns(_local(moment).replace(tzinfo=None) - step) + moment % 1000
        else:
            moment -= step // timedelta(microseconds=1) * 1000
    return moment


def _months_back(moment: int, count: int) -> int:
    local = _local(moment).replace(tzinfo=None)
    years, month = divmod(local.year * 12 + local.month - 1 - count, 12)
    day = min(local.day, calendar.monthrange(years, month + 1)[1])
    return _ns(local.replace(year=years, month=month + 1, day=day))


# -- arithmetic ----------------------------------------------------------------------


def _local(moment: int) -> datetime.datetime:
    whole = datetime.datetime.fromtimestamp(moment // SECOND).astimezone()
    return whole + timedelta(microseconds=moment % SECOND // 1000)


def _ns(when: datetime.datetime) -> int:
    whole = int(when.replace(microsecond=0).timestamp())
    return whole * SECOND + when.microsecond * 1000


def _nanoseconds(fraction: str | None) -> int:
    return int((fraction or "0").ljust(9, "0"))
