"""``pithosfs pending``: what is not on the server yet, and how to get it out by hand."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pithosfs import control, identity, registry, rescue
from pithosfs.api import Client
from pithosfs.blocks import Buffer
from pithosfs.cache import BlockCache
from pithosfs.cli import arguments, exits, output, targets
from pithosfs.cli.exits import ExitCode
from pithosfs.cli.reports import Report, State, gather
from pithosfs.disk import DiskCache
from pithosfs.errors import ConfigError, PithosError
from pithosfs.extents import Extents
from pithosfs.fetch import Fetcher
from pithosfs.names import ObjectRef
from pithosfs.options import CONNECTION_OPTIONS, parse_path, typed
from pithosfs.pending import Pending
from pithosfs.ranges import Address
from pithosfs.rescue import Leftover

_DESCRIPTION = """\
List what is not on the server yet: of mounts that run, and of mounts that ended or died.
Nothing of it is touched; the next mount of the account sends what an earlier one has left.

With --export, each file with unsent data is written below DIR as well, as it is now.
No file is written over, and nothing is taken away: it is still sent later.  What of a
changed file is on the server only is fetched; where that fails the file is called
NAME.incomplete, and the exit code is 1.

Example:
  pithosfs pending
  pithosfs pending --export ~/rescued
"""

_ANSWER = (State.READY, State.OFFLINE)
#: Seconds a mount may take to write one file.
_PATIENCE = 3600.0
_MEMORY = 64 * 1024 * 1024
_TIMEOUT = 60.0


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(commands, "pending", run, "list or export what is not sent", _DESCRIPTION)
    parser.add_argument(
        "--export", metavar="DIR", type=typed(parse_path), default=None, help="write it below DIR"
    )
    parser.add_argument("--json", action="store_true", default=False, help="for programs: a list of objects")
    arguments.add_cache_directory(parser, "the cache directory of mounts that ended (default %(default)s)")
    arguments.add_options(parser, CONNECTION_OPTIONS)


@dataclass(frozen=True, slots=True)
class _Line:
    """One thing that waits; sizes in bytes, ``since`` in seconds since 1970.

    ``mount`` is where it is mounted, None for what a mount has left.
    """

    object: str
    size: int
    unsent: int
    since: float
    reason: str
    mount: str | None


def run(args: argparse.Namespace) -> int:
    """Gather, show, export."""
    running = [each for each in gather() if each.state in _ANSWER and each.pending]
    left = [each for each in rescue.left_in(args.cache_dir) if not _is_of(each, running)]
    lines = [*_of_mounts(running), *map(_of_leftover, left)]
    if args.json:
        print(json.dumps([asdict(each) for each in lines], indent=2))
    elif lines:
        _show(lines)
    else:
        output.say("nothing is pending")
    return ExitCode.OK if args.export is None else _export(args, running, left)


def _is_of(left: Leftover, running: list[Report]) -> bool:
    """Whether a mount has told of it itself."""
    return left.held and left.pid in {each.pid for each in running}


def _of_mounts(running: list[Report]) -> Iterator[_Line]:
    for report in running:
        for each in report.pending:
            yield _Line(each.object, each.size, each.unsent, each.since, each.reason, report.mountpoint)


def _of_leftover(left: Leftover) -> _Line:
    if left.held:
        state = f"process {left.pid} has it and does not answer; end it with pithosfs umount --force"
    else:
        state = "the mount that had it has ended; the next one sends it"
    if left.ref is None:
        return _Line(str(left.entry), 0, 0, left.since, f"this entry of a journal {left.what}", None)
    return _Line(str(left.ref), left.size, left.unsent, left.since, f"{left.what}: {state}", None)


def _show(lines: list[_Line]) -> None:
    rows = [
        (
            each.object,
            output.size(each.size),
            output.size(each.unsent),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.since)),
            each.mount or "-",
            each.reason,
        )
        for each in lines
    ]
    headings = ("OBJECT", "SIZE", "UNSENT", "SINCE", "MOUNT POINT", "WHY")
    output.show(headings, rows, right=("SIZE", "UNSENT"), cut=True)


# -- exporting ------------------------------------------------------------------------------


def _export(args: argparse.Namespace, running: list[Report], left: list[Leftover]) -> int:
    folder: Path = args.export
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    good = export_of_mounts(running, folder.resolve())
    with contextlib.ExitStack() as cleanup:
        store = _Store(args, cleanup)
        for one in left:
            if one.content is not None or one.ref is None:
                good &= _export_leftover(one, store, folder)
    return ExitCode.OK if good else ExitCode.FAILED


def export_of_mounts(running: list[Report], folder: Path) -> bool:
    """Let mounts write below ``folder`` what they reported as pending; whether all is out or sent."""
    good = True
    for report in running:
        for each in report.pending:
            if not each.is_removal:
                good &= _export_running(report, each, folder)
    return good


def _export_running(report: Report, pending: Pending, folder: Path) -> bool:
    name = pending.object
    entry = registry.find(report.mountpoint)
    if entry is None:
        return _failed(name, f"{report.mountpoint} has just been unmounted")
    try:
        done = control.ask(entry.socket, "export", timeout=_PATIENCE, name=name, folder=str(folder))
    except control.ControlError as error:
        return _failed(name, str(error))
    if done is None:
        output.say(f"{name} is on the server by now")
        return True
    return _exported(Path(done["path"]), Extents((low, high) for low, high in done["missing"]), "")


def _export_leftover(left: Leftover, store: _Store, folder: Path) -> bool:
    if left.ref is None or left.content is None:
        return _failed(str(left.entry), f"this entry of a journal {left.what}; its data lies beside it")
    if left.held:
        return _failed(str(left.ref), f"process {left.pid} still has it: pithosfs umount --force ends it")
    fetch = store.fetch_for(left.entry.parents[2])
    try:
        with rescue.opened(left, fetch) as read:
            path, missing = rescue.write_out(folder, left.ref, left.size, read, left.attributes)
    except FileNotFoundError:
        return _failed(str(left.ref), "a mount is sending it by now; look again")
    except OSError as error:
        return _failed(str(left.ref), error.strerror or str(error))
    if not left.entry.exists():
        path.unlink()
        return _failed(str(left.ref), "a mount is sending it by now; look again")
    return _exported(path, missing, store.trouble)


def _failed(name: str, reason: str) -> bool:
    exits.complain(f"  not exported: {name}: {reason}")
    return False


def _exported(path: Path, missing: Extents, trouble: str) -> bool:
    output.say(f"exported {path}")
    if missing:
        ranges = ", ".join(f"{low}-{high - 1}" for low, high in missing)
        why = f" ({trouble})" if trouble else ""
        exits.complain(f"  {path} lacks bytes {ranges}, which are on the server only{why}")
    return not missing


class _Store:
    """Blocks that are not in the staging area: from the cache, else from the server, asked once.

    ``trouble`` says why the server could not be, if so.
    """

    def __init__(self, args: argparse.Namespace, cleanup: contextlib.ExitStack) -> None:
        self.trouble = ""
        self._args = args
        self._cleanup = cleanup
        self._client: Client | None = None

    def fetch_for(self, site: Path) -> rescue.Fetch:
        """Blocks of the account whose directory is ``site``."""
        blocks = site / "blocks"
        cache = BlockCache(_MEMORY, DiskCache(blocks, limit=1 << 62) if blocks.is_dir() else None)
        fetcher: Fetcher | None = None

        def fetch(address: Address) -> Buffer:
            nonlocal fetcher
            kept = cache.get(address.hash)
            if kept is not None:
                return kept
            if fetcher is None:
                client = self._connected(site.name)
                fetcher = Fetcher(lambda ref: _of_account(client, ref), cache, timeout=_TIMEOUT)
                self._cleanup.callback(fetcher.close)
            try:
                return fetcher.block(address)
            except PithosError as error:
                self.trouble = str(error)
                raise

        return fetch

    def _connected(self, site: str) -> Client:
        if self._client is None:
            if self.trouble:
                raise ConfigError(self.trouble)
            try:
                settings = arguments.connection(self._args)
                self._client = self._cleanup.enter_context(targets.connected(settings))
            except PithosError as error:
                self.trouble = str(error)
                raise
        if identity.directory_name(self._client.endpoint, self._client.account_id) != site:
            self.trouble = f"the settings lead to another account than {site}"
            raise ConfigError(self.trouble)
        return self._client


def _of_account(client: Client, ref: ObjectRef) -> Client:
    if ref.account in ("", client.account_id):
        return client
    return Client(client.transport, client.endpoint, ref.account)
