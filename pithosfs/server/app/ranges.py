"""Range and Content-Range."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pithosfs.server.app.http import ApiError


def parse_range(text: str | None, size: int) -> list[tuple[int, int]] | None:
    """(start, stop) of each range asked for, in that order; None if the header is not understood.

    Raises ApiError 416 if one does not lie inside the ``size`` bytes: the real
    server does not cut ranges off at the end.
    """
    if text is None or not text.startswith("bytes="):
        return None
    found = []
    for part in text[len("bytes=") :].split(","):
        first, dash, last = part.partition("-")
        bounds = _bounds(first.strip(), last.strip(), size) if dash else None
        if bounds is None:
            return None
        found.append(bounds)
    if any(start < 0 or stop > size or start >= size for start, stop in found):
        raise ApiError(416, "Requested range exceeds object limits")
    return found


def _bounds(first: str, last: str, size: int) -> tuple[int, int] | None:
    if not all(text.isascii() and (text.isdigit() or not text) and len(text) < 20 for text in (first, last)):
        return None
    if first == "":
        return None if last == "" else (size - int(last), size)
    if last == "":
        return int(first), size
    if int(first) > int(last):
        return None
    return int(first), int(last) + 1


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Where data of an update goes; None: start at the end, length or total not named."""

    start: int | None
    length: int | None
    total: int | None


def parse_content_range(text: str) -> ContentRange | None:
    """``bytes 0-9/*``, ``bytes 5-/100``, ``bytes */*``; None if it is not understood."""
    found = re.fullmatch(r"bytes +(?:(\d{1,18})-(\d{0,18})|(\*))/(\d{1,18}|\*)", text)
    if found is None:
        return None
    first, last, append, total_text = found.groups()
    total = None if total_text == "*" else int(total_text)
    if append:
        return ContentRange(None, None, total)
    start = int(first)
    length = None
    if last:
        length = int(last) - start + 1
        if length <= 0:
            return None
    if total is not None and (start >= total or (last and int(last) >= total)):
        return None
    return ContentRange(start, length, total)
