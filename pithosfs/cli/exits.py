"""Exit codes, and how an error becomes one line and a code.

`pithosfs --help`, the manual and the README document the codes; they never
change their meaning.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from enum import IntEnum

from pithosfs import errors
from pithosfs.cli import output
from pithosfs.control import ControlError, NotThere
from pithosfs.mountpoints import MountPointError, StillInUse

log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """How every command ends; :data:`_MEANINGS` says what each code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SETTINGS = 3
    ACCESS = 4
    NOT_FOUND = 5
    UNAVAILABLE = 6
    MOUNTPOINT = 7
    UNSENT = 8
    IN_USE = 9
    SYSTEM = 10
    INTERRUPTED = 130


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed in a way that has no code of its own; doctor: something FAILs; status: a mount "
    "hangs, is dead or offline; pending: not all could be exported; diff: the versions differ",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.SETTINGS: "settings are missing or contradict each other",
    ExitCode.ACCESS: "the token is refused, or the account may not do this",
    ExitCode.NOT_FOUND: "no such container, object or version, or no such file in a mount",
    ExitCode.UNAVAILABLE: "the server cannot be reached or does not work",
    ExitCode.MOUNTPOINT: "the directory cannot be mounted on, or is no mount",
    ExitCode.UNSENT: "umount: not everything could be sent; the mount stays",
    ExitCode.IN_USE: "umount: programs are using the mount",
    ExitCode.SYSTEM: "this machine cannot mount: FUSE is missing or not allowed",
    ExitCode.INTERRUPTED: "interrupted",
}


def documented() -> str:
    """The codes and what they mean, as --help shows them."""
    return "\n".join(["exit codes:", *(f"  {code:<4}{text}" for code, text in _MEANINGS.items())])


class CommandError(errors.PithosError):
    """A command ends with this message and this exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


_CODES: tuple[tuple[type[errors.PithosError], ExitCode], ...] = (
    (errors.ConfigError, ExitCode.SETTINGS),
    (errors.Unauthorized, ExitCode.ACCESS),
    (errors.Forbidden, ExitCode.ACCESS),
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.Unavailable, ExitCode.UNAVAILABLE),
    (errors.ProtocolError, ExitCode.UNAVAILABLE),
    (StillInUse, ExitCode.IN_USE),
    (MountPointError, ExitCode.MOUNTPOINT),
    (NotThere, ExitCode.NOT_FOUND),
    (ControlError, ExitCode.FAILED),
)


def code_of(error: errors.PithosError) -> ExitCode:
    """The exit code that tells of ``error``."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


def guarded(command: str | None, run: Callable[[], int]) -> int:
    """``run()``; whatever it raises becomes one line on stderr and an exit code."""
    try:
        return run()
    except errors.PithosError as error:
        return _complain(command, str(error), code_of(error))
    except KeyboardInterrupt:
        return _complain(command, "interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        return ExitCode.FAILED  # whoever read our output has gone
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(command, f"{where}{error.strerror or error}", ExitCode.FAILED)
    except Exception as error:  # the last resort: a bug is told in one line, too
        log.debug("unexpected error", exc_info=True)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _complain(command, f"unexpected error, please report it: {what}", ExitCode.FAILED)


def flushed(command: str | None, code: int) -> int:
    """``code``, once what was printed is where it belongs; if it cannot get there no longer success."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # keep the interpreter from flushing into the void
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == ExitCode.OK and not isinstance(error, BrokenPipeError):
            _complain(command, f"the output cannot be written: {error.strerror}", ExitCode.FAILED)
        return code or ExitCode.FAILED
    return code


def complain(message: str) -> None:
    """One line on stderr, if that can be written to."""
    with contextlib.suppress(OSError):
        print(output.plain(message), file=sys.stderr, flush=True)


def _complain(command: str | None, message: str, code: ExitCode) -> ExitCode:
    complain(f"pithosfs{f' {command}' if command else ''}: {' '.join(message.splitlines())}")
    return code
