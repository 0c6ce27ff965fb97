"""Times as arguments."""

from __future__ import annotations

import time

from pithosfs import moments
from pithosfs.cli.exits import CommandError, ExitCode


def parse(text: str) -> int:
    """The moment an argument names, in nanoseconds since 1970.  Raises CommandError."""
    try:
        return moments.parse(text, time.time_ns())
    except ValueError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None
