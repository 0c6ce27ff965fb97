"""One JSON line for each request, for tests and for curiosity.

Fields: ``time`` (seconds since 1970), ``method``, ``path``, ``query``,
``status``, ``in`` and ``out`` (bytes of the bodies; ``out`` is null for one sent
in chunks), ``seconds`` until the answer was ready to be sent.
Tokens never get into it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from urllib.parse import unquote_plus

from pithosfs.server.app.http import Request, Response


class AccessLog:
    """Appends to the file at ``path``; made with mode 0600."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def write(self, request: Request, response: Response, received: int, seconds: float) -> None:
        """Add a line."""
        line = json.dumps(
            {
                "time": round(time.time(), 6),
                "method": request.method,
                "path": request.path,
                "query": _without_token(request.query),
                "status": response.status,
                "in": received,
                "out": 0 if request.method == "HEAD" else response.length,
                "seconds": round(seconds, 6),
            }
        )
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def _without_token(query: str) -> str:
    """``query``; of a token, which may be written in more than one way, only the name."""
    fields = [each.partition("=") for each in query.split("&")]
    return "&".join(
        name + equals + ("" if unquote_plus(name).lower() == "x-auth-token" else value)
        for name, equals, value in fields
    )
