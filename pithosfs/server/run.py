"""Run the server; add users; check the store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pithosfs.errors import PithosError
from pithosfs.server import DEFAULT_PORT, users
from pithosfs.server.accesslog import AccessLog
from pithosfs.server.app import App, Settings
from pithosfs.server.costly import costly
from pithosfs.server.listener import Listener
from pithosfs.server.store import Store
from pithosfs.server.store import check as checking
from pithosfs.server.store.errors import Invalid

_ADDRESS = "address"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (recognised, not bound to)


class ServerProblem(PithosError):
    """The server cannot do what it was asked; one line for the user."""


@dataclass(frozen=True)
class Options:
    """What :func:`serve` can be told.

    ``durable`` false leaves out every fsync: faster, and a power cut may take
    what was answered 201.  ``access_log`` gets one JSON line for each request.
    Each takes ``request_cost`` seconds of CPU time more than it has to, or those of its method.
    """

    md5_etags: bool = False
    racy_conditions: bool = False
    durable: bool = True
    access_log: Path | None = None
    request_cost: float | Mapping[str, float] = 0.0


def serve(
    directory: Path, host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, options: Options | None = None
) -> int:
    """Serve ``directory`` until SIGINT or SIGTERM; returns the exit code.

    Prints one line with the URL and the configuration file once it answers.
    Raises ServerProblem if it cannot start.
    """
    with _signals_blocked() as awaited, _running(directory, host, port, options or Options()) as running:
        address, config = running
        print(f"pithosfs serves {directory} at http://{address} (configuration: {config})", flush=True)
        signal.sigwait(awaited)
    return 0


def add_user(directory: Path, name: str, uuid: str | None = None, token_file: Path | None = None) -> Path:
    """Add a user, and return the path of the kamaki configuration made for it.

    The token is the first line of ``token_file``, or random.  Works while a
    server runs on the directory.  Raises ServerProblem.
    """
    try:
        token = token_file.read_text(encoding="ascii", errors="replace").strip() if token_file else None
    except OSError as error:
        raise ServerProblem(f"cannot read the token from {token_file}: {error.strerror}") from None
    with _store(directory) as store:
        try:
            user = users.add(store, name, uuid, token)
        except Invalid as error:
            raise ServerProblem(str(error)) from None
        return users.write_config(directory, user, _last_address(directory))


def set_quota(directory: Path, name: str, quota: int) -> None:
    """Limit a user's account to ``quota`` bytes.  Raises ServerProblem."""
    with _store(directory) as store:
        for user in store.accounts.users():
            if name in (user.name, user.uuid):
                store.accounts.set_quota(user.uuid, quota)
                return
    raise ServerProblem(f"there is no user {name} in {directory}")


def check(directory: Path) -> list[str]:
    """What is wrong with the store: each block against its hash, each hashmap, the totals."""
    if not (directory / "pithos.db").exists():
        raise ServerProblem(f"{directory} is no server directory: it has no pithos.db")
    with _store(directory) as store:
        return list(checking.problems(store.database, store.files))


# -- pieces ------------------------------------------------------------------------------


@contextlib.contextmanager
def _running(directory: Path, host: str, port: int, options: Options) -> Iterator[tuple[str, Path]]:
    """A server that answers, until the block is left: (address, configuration file)."""
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(_lock(directory))
        store = cleanup.enter_context(_store(directory, durable=options.durable))
        store.files.sweep()
        log = _access_log(options.access_log)
        if log is not None:
            cleanup.callback(log.close)
        app = App(store, Settings(md5_etags=options.md5_etags, racy_conditions=options.racy_conditions))
        try:
            listener = Listener(host, port, costly(app, options.request_cost), log)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ServerProblem(f"cannot listen on {host}:{port}: {reason}") from None
        thread = threading.Thread(target=listener.serve_forever, name="accept", daemon=True)
        thread.start()
        cleanup.callback(listener.stop)
        yield _publish_address(directory, store, listener.address)


def _access_log(path: Path | None) -> AccessLog | None:
    try:
        return None if path is None else AccessLog(path)
    except OSError as error:
        raise ServerProblem(f"cannot write the access log {path}: {error.strerror}") from None


def _publish_address(directory: Path, store: Store, address: str) -> tuple[str, Path]:
    name, _, port = address.rpartition(":")
    address = f"{_WILDCARDS.get(name.strip('[]'), name)}:{port}"
    users.write_private(directory / _ADDRESS, address + "\n")
    config = users.write_config(directory, users.local(store), address)
    for user in store.accounts.users():
        users.write_config(directory, user, address)
    return address, config


def _last_address(directory: Path) -> str:
    try:
        return (directory / _ADDRESS).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return f"127.0.0.1:{DEFAULT_PORT}"


@contextlib.contextmanager
def _store(directory: Path, *, durable: bool = True) -> Iterator[Store]:
    try:
        store = Store(directory, durable=durable)
    except (OSError, ValueError) as error:
        raise ServerProblem(f"cannot use {directory}: {error}") from None
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Only one server at a time on a directory."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ServerProblem(f"cannot use {directory}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerProblem(f"another server is running on {directory}") from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[set[signal.Signals]]:
    """SIGINT and SIGTERM wait until somebody asks for them, in this thread and those it starts."""
    awaited = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        yield awaited
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
