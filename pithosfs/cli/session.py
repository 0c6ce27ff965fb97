"""A mount's life in its own process: announced, controlled, stopped by a signal.

Shutting down in order: send what is pending, unmount, and if programs still
hold files open, detach the mount and cut them off after a moment.  A second
signal leaves out the sending and the moment.  Data that is not sent stays in
the staging area; the next mount goes on with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pithosfs import control, mountpoints, notify, registry, signals
from pithosfs.cli import exits, logs, output
from pithosfs.options import MountOptions
from pithosfs.pending import Pending

log = logging.getLogger(__name__)

#: Seconds for sending what is pending after a signal, at most a third of ``--timeout``: until that
#: is over the mount tries once more, when programs have let go.
_SEND_TIME = 20.0
#: Seconds for programs to let go of a detached mount.
_GRACE = 3.0


class Controllable(Protocol):
    """What commands ask of a mount (:class:`pithosfs.admin.Admin`)."""

    def status(self) -> dict[str, Any]: ...  # noqa: D102
    def pending(self) -> list[Pending]: ...  # noqa: D102
    def drain(self, timeout: float | None) -> list[Pending]: ...  # noqa: D102
    def export(self, name: str, folder: str) -> dict[str, Any] | None: ...  # noqa: D102
    def refresh(self, path: str | None) -> float: ...  # noqa: D102
    def resolve(self, path: str) -> dict[str, Any]: ...  # noqa: D102


class Servable(Protocol):
    """What a session wants of a mount (:class:`pithosfs.mount.Mount`)."""

    @property
    def admin(self) -> Controllable: ...  # noqa: D102
    def run(self, mountpoint: Path, ready: Callable[[], None]) -> None: ...  # noqa: D102
    def end_within(self, seconds: float) -> None: ...  # noqa: D102
    def stop(self) -> None: ...  # noqa: D102


class Session:
    """Runs one mount and ends it well.

    ``account`` are the options that named its account: commands about a path
    inside the mount use them again, with whatever token they lead to.
    """

    def __init__(
        self, mountpoint: str, source: str, settings: MountOptions, account: Mapping[str, str] | None = None
    ) -> None:
        self._mountpoint = mountpoint
        self._source = source
        self._settings = settings
        self._account = dict(account or {})
        self._mount: Servable | None = None
        self._server: control.ControlServer | None = None
        self._close_lock = threading.Lock()
        self._entry: registry.Entry | None = None
        self._drain_lock = threading.Lock()
        self._draining: threading.Thread | None = None
        self._ended = threading.Event()
        self._stopping = threading.Event()

    def run(self, build: Callable[[], Servable], ready: Callable[[], None]) -> None:
        """Build the mount and serve it until it is unmounted; ``ready()`` once it answers.

        Raises whatever ``build`` and the mount raise.
        """
        _allow_many_files()
        with signals.handled(self._handlers()):  # before build: it may start threads
            file = registry.own_file()
            self._mount = build()
            self._server = control.ControlServer(file.with_suffix(".sock"), self._calls(self._mount.admin))
            try:
                self._mount.run(Path(self._mountpoint), lambda: self._announce(ready))
            finally:
                self._ended.set()
                self._close()

    def _close(self) -> None:
        """Take away what others find this mount by; two threads may come to that at once."""
        with self._close_lock:
            if self._server is not None:
                self._server.close()
                self._server = None
            if self._entry is not None:
                self._entry.forget()

    def _announce(self, ready: Callable[[], None]) -> None:
        here = mountpoints.mount_at(self._mountpoint)
        self._entry = registry.entry_for(self._mountpoint, self._source, here.device if here else 0)
        registry.announce(self._entry)
        notify.notify("READY=1", f"STATUS={self._source} is on {self._mountpoint}")
        ready()

    def _calls(self, admin: Controllable) -> Mapping[str, control.Handler]:
        return {
            "status": admin.status,
            "pending": lambda: _packed(admin.pending()),
            "drain": lambda seconds: _packed(self._drain(seconds)),
            "export": admin.export,
            "refresh": lambda path=None: admin.refresh(path),
            "resolve": lambda path: {**admin.resolve(path), "settings": self._account},
        }

    def _drain(self, seconds: float) -> list[Pending]:
        """Send what is pending; returns what is left after ``seconds`` at the latest.

        A server that does not answer may hold the sending up for longer: it
        goes on in a thread of its own, and whoever asks next waits for it.
        """
        assert self._mount is not None  # noqa: S101 (nobody can ask before it is built)
        with self._drain_lock:
            if self._draining is None or not self._draining.is_alive():
                self._draining = threading.Thread(
                    target=self._mount.admin.drain, args=(seconds,), name="drain", daemon=True
                )
                self._draining.start()
            draining = self._draining
        draining.join(seconds)
        return self._mount.admin.pending()

    # -- signals ---------------------------------------------------------------------

    def _handlers(self) -> Mapping[signal.Signals, Callable[[], None]]:
        return {
            signal.SIGINT: self._stop,
            signal.SIGTERM: self._stop,
            signal.SIGHUP: self._refresh,
            signal.SIGUSR2: lambda: logs.toggle_debug(self._settings.log_level),
        }

    def _refresh(self) -> None:
        if self._mount is not None:
            # in a thread of its own: it may wait for the kernel, other signals must not
            threading.Thread(
                target=self._mount.admin.refresh, args=(None,), name="refresh", daemon=True
            ).start()

    def _stop(self) -> None:
        if self._entry is None:
            self._give_up()
        elif self._stopping.is_set():
            assert self._mount is not None  # noqa: S101 (it is announced)
            self._mount.end_within(0)
            self._detach(0)
        else:
            self._stopping.set()
            threading.Thread(target=self._shut_down, name="stop", daemon=True).start()

    def _give_up(self) -> None:
        """Not mounted yet, the main thread may be waiting for the server: nothing to lose."""
        here = mountpoints.mount_at(self._mountpoint)
        if here is not None and here.is_ours:
            mountpoints.unmount(self._mountpoint, lazy=True)
        exits.complain("pithosfs mount: interrupted")
        with contextlib.suppress(OSError):
            registry.own_file().with_suffix(".sock").unlink(missing_ok=True)
        os._exit(exits.ExitCode.INTERRUPTED)

    def _shut_down(self) -> None:
        notify.notify("STOPPING=1", "STATUS=sending what is pending")
        assert self._mount is not None  # noqa: S101 (see _stop)
        self._mount.end_within(self._settings.timeout)
        unsent = self._drain(min(_SEND_TIME, self._settings.timeout / 3))
        if unsent:
            log.error("%s not sent yet; the next mount goes on", output.count(len(unsent), "file"))
        try:
            mountpoints.unmount(self._mountpoint)
        except mountpoints.MountPointError as error:
            log.warning("%s; detaching it", error)
            self._detach(_GRACE)

    def _detach(self, grace: float) -> None:
        assert self._entry is not None  # noqa: S101 (see _stop)
        here = mountpoints.mount_at(self._mountpoint)
        if here is not None and here.device == self._entry.device:
            mountpoints.unmount(self._mountpoint, lazy=True)
        if not self._ended.wait(grace) and not mountpoints.abort(self._entry.device):
            # where the connection may not be cut, the end of the process cuts it
            assert self._mount is not None  # noqa: S101 (see _stop)
            self._mount.stop()
            self._close()
            os._exit(exits.ExitCode.OK)


def _packed(pending: Iterable[Pending]) -> list[dict[str, Any]]:
    return [each.pack() for each in pending]


def _allow_many_files() -> None:
    """As many open files as this process may have: of each unsent one that is not tiny there is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
