"""What is mounted and how it fares: the kernel's table and the announced mounts together."""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from pithosfs import control, mountpoints, registry
from pithosfs.errors import PithosError, ProtocolError, Unavailable
from pithosfs.mountpoints import Mounted
from pithosfs.pending import Pending

#: Seconds a mount, or a server, may take to answer before it is shown as hanging.
_PATIENCE = 3.0
#: Seconds after which a server of which nothing was heard is asked whether it is there.
_QUIET = 10.0
#: When servers, by URL and account, answered this process: who watches does not ask each second.
_answered: dict[tuple[str, str], float] = {}
#: Errors of file operations that tell of a server out of reach.
_UNREACHED = ("Unavailable", "FailedFast", "TimedOut")


class State(StrEnum):
    """What a mount is doing."""

    READY = "ready"
    OFFLINE = "offline"  # it answers, but its server does not
    HANGS = "hangs"  # the process lives but does not answer
    DEAD = "dead"  # the process is gone, its mount point is not
    ENDING = "ending"  # unmounted, the process still has work or open files
    UNKNOWN = "unknown"  # a mount whose process did not announce it to this user


@dataclass(frozen=True, slots=True)
class Report:
    """One mount: where, what, how it is; ``details`` are its own words (empty unless it answers)."""

    mountpoint: str
    source: str
    state: State
    pid: int | None
    since: float | None
    details: dict[str, Any]

    @property
    def pending(self) -> list[Pending]:
        """What it has not sent."""
        return [Pending.unpack(each) for each in self.details.get("pending", ())]

    def as_json(self) -> dict[str, Any]:
        """All of it, flat."""
        return {
            "mountpoint": self.mountpoint,
            "source": self.source,
            "state": self.state.value,
            "pid": self.pid,
            "since": self.since,
            **self.details,
        }


def gather(path: str | None = None) -> list[Report]:
    """All mounts, or the one on ``path``: the kernel's table and the announced ones together.

    Never hangs.  Announced mounts of which nothing is left are forgotten.
    """
    entries = _current([each for each in registry.entries() if path in (None, each.mountpoint)])
    kernels = [each for each in mountpoints.mounted() if _is_shown(each) and path in (None, each.path)]
    present = {(each.path, each.device) for each in kernels}
    announced = {(each.mountpoint, each.device) for each in entries}
    with ThreadPoolExecutor(max_workers=8) as pool:
        waiting = [pool.submit(_report, each, (each.mountpoint, each.device) in present) for each in entries]
        lost = [each for each in kernels if (each.path, each.device) not in announced]
        found = [*(each.result() for each in waiting), *pool.map(_unannounced, lost)]
    reports = [each for each in found if each is not None]
    return sorted(reports, key=lambda report: (report.mountpoint, report.state is State.ENDING))


def _current(entries: list[registry.Entry]) -> list[registry.Entry]:
    """Without those of processes that died and whose device number a running mount has got since."""
    taken = {(each.mountpoint, each.device) for each in entries if each.is_running()}
    dead = [each for each in entries if (each.mountpoint, each.device) in taken and not each.is_running()]
    for each in dead:
        each.forget()
    return [each for each in entries if each not in dead]


def _is_shown(mount: Mounted) -> bool:
    return mount.is_ours and (os.geteuid() == 0 or mount.uid == os.geteuid())


def _report(entry: registry.Entry, is_mounted: bool) -> Report | None:
    running = entry.is_running()
    details: dict[str, Any] = {}
    if not running and not is_mounted:
        entry.forget()
        return None
    if not running:
        state = State.DEAD
    elif not is_mounted:
        state = State.ENDING
    else:
        state, details = _ask(entry)
    return Report(
        entry.mountpoint, details.get("source", entry.source), state, entry.pid, entry.since, details
    )


def _ask(entry: registry.Entry) -> tuple[State, dict[str, Any]]:
    try:
        details = dict(control.ask(entry.socket, "status", timeout=_PATIENCE))
    except control.ControlError:
        return State.HANGS, {}
    return State.READY if _is_online(details) else State.OFFLINE, details


def _is_online(details: dict[str, Any]) -> bool:
    """Whether the mount's server has answered lately, and no request has failed, or it answers now."""
    if "server" not in details:
        return True
    about = (details["server"], details.get("account", ""))
    waits = any(Pending.unpack(each).error for each in details.get("pending", ()))
    failed = waits or any(each in details.get("errors", {}) for each in _UNREACHED)
    heard = max(details.get("server_answered", math.inf), _answered.get(about, 0.0))
    if not failed and time.time() - heard < _QUIET:
        return True
    answers = _ask_server(*about)
    if answers:
        _answered[about] = time.time()
    return answers


def _ask_server(server: str, account: str) -> bool:
    """Whether something works there; it gets no token, so that it need not prove who it is."""
    from pithosfs.transport import Request, Transport  # slow to load, and seldom needed

    transport = Transport(None, timeout=_PATIENCE, pool=1, verify=False, retries=0)
    try:
        transport.send(Request("HEAD", f"{server}/{quote(account)}"))
    except (Unavailable, ProtocolError):
        return False
    except PithosError:
        pass  # as it should be: it wants a token
    finally:
        transport.close()
    return True


def _unannounced(mount: Mounted) -> Report:
    state = State.DEAD if mountpoints.is_dead(mount.path, _PATIENCE) else State.UNKNOWN
    return Report(mount.path, mount.source, state, None, None, {})
