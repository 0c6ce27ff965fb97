"""Metadata of accounts and containers: each change is a version with a serial number.

The account itself is described under container number 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pithosfs.server.store.database import Row, Transaction
from pithosfs.server.store.errors import Invalid

MAX_KEYS = 32


def current(tx: Transaction, account: str, container: int) -> dict[str, str]:
    """The metadata as it is now."""
    return _meta(
        tx.one(
            "SELECT meta FROM description WHERE account = ? AND container = ? ORDER BY serial DESC LIMIT 1",
            account,
            container,
        )
    )


def at(tx: Transaction, account: str, container: int, horizon: int) -> dict[str, str] | None:
    """The metadata at the time ``horizon`` (microseconds); None if there was nothing yet."""
    row = tx.one(
        "SELECT meta FROM description WHERE account = ? AND container = ? AND stamp <= ? "
        "ORDER BY serial DESC LIMIT 1",
        account,
        container,
        horizon,
    )
    return None if row is None else _meta(row)


def change(
    tx: Transaction, account: str, container: int, changes: Mapping[str, str], *, replace: bool
) -> int:
    """Make a new version: ``changes`` merged in, or alone if ``replace``; "" removes.  Its time."""
    meta = {} if replace else current(tx, account, container)
    serial, stamp = tx.next_serial(), tx.stamp()
    tx.run(
        "INSERT INTO description VALUES (?, ?, ?, ?, ?)",
        serial,
        account,
        container,
        stamp,
        json.dumps(merged(meta, changes)),
    )
    return stamp


def merged(meta: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """``meta`` with ``changes``; an empty value removes its key.  Raises Invalid over 32 keys."""
    result = {**meta, **changes}
    result = {key: value for key, value in result.items() if value or key not in changes}
    check_count(result)
    return result


def check_count(meta: Mapping[str, str]) -> None:
    """Raises Invalid if there are too many keys."""
    if len(meta) > MAX_KEYS:
        raise Invalid(f"Pithos+ resources cannot have more than {MAX_KEYS} metadata items per domain")


def _meta(row: Row | None) -> dict[str, str]:
    return {} if row is None else json.loads(row["meta"])
