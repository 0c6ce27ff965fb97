"""All recorded exchanges, replayed against the embedded server."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from tests.server import recording
from tests.server.harness import ALICE, running

DEFAULT_QUOTA = 100 * 1024**3


class Clock:
    """The time of the recording, so that ``until`` and If-Modified-Since mean what they meant."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, exchange: dict[str, Any]) -> None:
        seconds = exchange["t_start"]
        date = dict(exchange["response"]["headers"]).get("Date")
        if date is not None:
            seconds = max(seconds, parsedate_to_datetime(date).timestamp())
        self.now = max(self.now, int(seconds * 1_000_000))


def replay(directory: Path) -> tuple[int, dict[str, list[str]]]:
    """(number of exchanges, differences by the name of the exchange)."""
    clock, mapping = Clock(), recording.Mapping()
    found: dict[str, list[str]] = {}
    count = 0
    with running(directory, clock=clock, durable=False) as server:
        client = recording.Client(server.listener.server_address)
        for exchange in recording.exchanges():
            clock.advance(exchange)
            accounts = server.store.accounts
            if exchange["name"] == "quota/account-head-before":
                accounts.set_quota(ALICE.uuid, accounts.quota(ALICE.uuid)[0] + 1000)
            if exchange["name"] == "quota/account-head-after":
                accounts.set_quota(ALICE.uuid, DEFAULT_QUOTA)
            request = recording.translated(exchange["request"], mapping)
            answer = client.send(request, recording.request_body(request))
            differences = recording.differences(exchange["response"], answer, mapping)
            count += 1
            if differences:
                name = exchange["name"]
                key = f"{name} ({exchange['n']})" if name == "setup" else name
                found[key] = differences
        client.close()
    return count, found


def test_recorded_exchanges(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with (recording.DATA / "deviations.toml").open("rb") as file:
        listed = {each["name"]: set(each["differs"]) for each in tomllib.load(file)["deviation"]}
    count, found = replay(tmp_path / "store")
    equal = count - len(found)
    record_property(
        "summary", f"{count} exchanges, {equal} equal, {len(found)} deviate, {len(listed)} listed"
    )
    assert count == 1166
    kinds = {name: {line.split()[0] for line in lines} for name, lines in found.items()}
    unlisted = {name: lines for name, lines in found.items() if not kinds[name] <= listed.get(name, set())}
    assert not unlisted, "\n".join(f"{name}:\n  " + "\n  ".join(lines) for name, lines in unlisted.items())
    stale = {name: differs - kinds.get(name, set()) for name, differs in listed.items()}
    assert not {name for name, differs in stale.items() if differs}, (
        "listed, but it does not deviate any more"
    )
