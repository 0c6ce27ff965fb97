"""Going to the background: the parent waits until the work is under way.

The work runs in a child of the one fork here, so this must be called before
any thread is started.  Until it is ready the child keeps the parent's stderr:
what goes wrong is said where the user looks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

Ready = Callable[[], None]

_READY = b"1"
#: What whoever started the waiting parent sends it.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def background(work: Callable[[Ready], int]) -> int:
    """Run ``work(ready)`` in the background and return once it has called ``ready``.

    Returns 0 then, in the parent.  If ``work`` ends without having called it,
    returns what it returned (128 + N for a child killed by signal N).  The
    child never returns from here.  SIGINT and SIGTERM to the waiting parent
    are passed on to the child.

    ``work`` says itself, on stderr, what goes wrong, and returns an exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    # Held back until each of the two knows what to do with them: one that ended the parent before that
    # would leave a child that mounts all the same.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_child(work, writer, mask)
    os.close(writer)
    with _passing_on(child, mask), os.fdopen(reader, "rb") as pipe:
        if pipe.read(1) == _READY:
            return 0
        return _exit_code(os.waitpid(child, 0)[1])


def _run_child(work: Callable[[Ready], int], writer: int, mask: set[int]) -> None:
    """The child's whole life; leaves by ``os._exit``, never into the parent's code."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")  # keeps no other file system busy
        _replace_by_null(0, 1)

        def ready() -> None:
            sys.stderr.flush()
            _replace_by_null(2)
            with contextlib.suppress(BrokenPipeError):  # the parent was killed: nobody waits
                os.write(writer, _READY)
            os.close(writer)

        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work(ready)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        print("pithosfs: interrupted", file=sys.stderr)
        code = 128 + signal.SIGINT
    except OSError as error:
        print(f"pithosfs: cannot go to the background: {error}", file=sys.stderr)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _replace_by_null(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


@contextlib.contextmanager
def _passing_on(child: int, mask: set[int]) -> Iterator[None]:
    """Inside the ``with`` the child gets these signals, those held back so far, too; ``mask`` as it was."""

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    before = {number: signal.signal(number, forward) for number in _PASSED_ON}
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
