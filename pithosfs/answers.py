"""What an answer that is no success means: status and body become an error.  No I/O."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping

from pithosfs import errors

#: Shorter tokens are no secrets, but syllables of the server's words.
_SHORTEST_TOKEN = 6

_BY_STATUS: Mapping[int, type[errors.StoreError]] = {
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    408: errors.TimedOut,
    409: errors.Conflict,
    412: errors.Stale,
    413: errors.QuotaExceeded,
    414: errors.NameTooLong,
    416: errors.BadRange,
    429: errors.Unavailable,
}


def error_of(status: int, body: bytes, label: str = "", token: str | None = None) -> errors.StoreError:
    """The error a status and its body stand for, with the server's message on one line."""
    fallback = errors.Unavailable if status >= 500 else errors.BadRequest
    kind = _BY_STATUS.get(status, fallback)
    said = _message(body)
    if status == 413 and said is None and body:
        # Not the store's: a proxy in front of it takes no bodies of this size.
        kind, said = errors.BadRequest, "a server in between refuses requests of this size"
    text = _one_line(said or _WORDS.get(status) or "the server refused the request")
    if token and len(token) >= _SHORTEST_TOKEN:
        text = text.replace(token, "(token)")
    return kind(f"{label}: {text} ({status})" if label else f"{text} ({status})", status)


_WORDS: Mapping[int, str] = {
    401: "the token is refused; it is wrong or has expired",
    403: "access denied",
    404: "not found",
    409: "conflict",
    412: "changed meanwhile",
    413: "quota exceeded",
    416: "the range is not inside the object",
    429: "too many requests",
    500: "the server failed",
    502: "the server behind the proxy failed",
    503: "the server is not available",
    504: "the server behind the proxy does not answer",
}


def _message(body: bytes) -> str | None:
    """The message in a Pithos error body, None if it is none."""
    try:
        fault = next(iter(json.loads(body).values()))
        message, details = fault.get("message", ""), fault.get("details", "")
    except (ValueError, AttributeError, StopIteration, RecursionError):
        return None
    plain = isinstance(details, str) and details and not details.lstrip().startswith("{")
    parts = [part for part in (message, details if plain else "") if isinstance(part, str) and part]
    return " ".join(parts) or None


def _one_line(text: str) -> str:
    """``text`` on one line, printable and not too long."""
    line = " ".join(text.split())
    line = "".join(each if each.isprintable() else "?" for each in line)
    return line if len(line) <= 200 else line[:199] + "…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a ``Retry-After`` asks for, None if it does not or makes no sense."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment: float = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError):
        return None
    return max(0.0, moment - time.time())
