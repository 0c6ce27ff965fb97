"""The token in use, and how another one is found when the server refuses it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from pithosfs.errors import ConfigError

log = logging.getLogger(__name__)


class TokenReader(Protocol):
    """Where tokens come from: ``read()`` returns the candidates as they are now."""

    def read(self) -> list[str]:
        """Tokens to try, in this order."""


class Credentials:
    """The token in use, and how another one is found."""

    #: Seconds before a source that had nothing new is read again.
    _BARREN = 5.0

    def __init__(self, source: TokenReader, token: str | None) -> None:
        self._source = source
        self._token = token
        self._lock = threading.Lock()
        self._barren_until = 0.0

    def current(self) -> str:
        """The token in use; ConfigError if there is none."""
        with self._lock:
            if self._token is None:
                candidates = self._source.read()
                if not candidates:
                    raise ConfigError("there is no token")
                self._token = candidates[0]
            return self._token

    def renew(self, refused: set[str]) -> str | None:
        """A token that is not among the ``refused``, from another thread or the source."""
        with self._lock:
            if self._token not in refused:
                return self._token
            if time.monotonic() < self._barren_until:
                return None
            candidates = [each for each in self._read() if each not in refused]
            if not candidates:
                self._barren_until = time.monotonic() + self._BARREN
                return None
            self._token = candidates[0]
            return self._token

    def _read(self) -> list[str]:
        try:
            return self._source.read()
        except ConfigError as error:
            log.warning("the token was refused, and there is no other: %s", error)
            return []
