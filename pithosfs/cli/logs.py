"""Where a command's log goes: stderr, or a file that can be rotated."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pithosfs.cli import output

_FULL = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_BRIEF = "pithosfs: %(levelname)s: %(message)s"


def start(level: str, file: Path | None = None, *, brief: bool = False) -> None:
    """Log from ``level`` up to ``file``, or to stderr without one (``brief``: no time, no module).

    The file is made readable by its owner only: it holds names of files.
    Raises OSError if it cannot be written.
    """
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    handler = _handler(file)
    handler.setFormatter(_Formatter(_BRIEF if brief and file is None else _FULL))
    root.addHandler(handler)
    root.setLevel(level.upper())


def toggle_debug(level: str) -> None:
    """Switch between debug and the ``level`` the log was started with."""
    root = logging.getLogger()
    root.setLevel(level.upper() if root.level == logging.DEBUG else logging.DEBUG)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Inside the ``with``, warnings and errors go into the list instead of the log."""
    said: list[str] = []
    handler = _Collector(said)
    root = logging.getLogger()
    before, root.handlers = root.handlers, [handler]
    try:
        yield said
    finally:
        root.handlers = before


class _Formatter(logging.Formatter):
    """A message is one line of the log, whatever the names in it; only what an exception tells has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return output.plain(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(map(output.plain, super().formatException(ei).split("\n")))


class _Collector(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


class _File(logging.handlers.WatchedFileHandler):
    """A file that is opened anew when it was moved away.

    That it cannot be written is no reason for anything else to fail: what cannot be logged is lost.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def _handler(file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler()
    os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    return _File(file, encoding="utf-8", errors="backslashreplace")
