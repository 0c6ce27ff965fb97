"""What a program does in a mount, done in a child that can be ended if the mount hangs."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from .processes import Failed


class Child:
    """A forked child that goes through what ``steps(*arguments)`` yields, one step whenever it is asked.

    ``release`` is called when a step takes longer than ``patience`` seconds;
    it must end what the child waits for, see :func:`run`.
    """

    def __init__(
        self,
        patience: float,
        release: Callable[[], None],
        steps: Callable[..., Iterator[Any]],
        *arguments: Any,
    ) -> None:
        self._patience, self._release, self._name = patience, release, steps.__name__.strip("_")
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_go_through, args=(self._pipe, theirs, steps, arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def next(self) -> Any:
        """What the next step yields.  Failed if it raises or takes too long; the child has ended then."""
        try:
            return self._next()
        except BaseException:
            self.end()
            raise

    def _next(self) -> Any:
        try:
            self._pipe.send(None)
            if not self._pipe.poll(self._patience):
                self._release()
                raise Failed(f"{self._name}: not done after {self._patience:.0f} s")
            good, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise Failed(f"{self._name}: the process that called it died") from None
        if not good:
            raise Failed(f"{self._name}: {answer}")
        return answer

    def end(self) -> None:
        """End the child, wherever it is; what it has open is closed."""
        self._pipe.close()
        self._process.kill()
        self._process.join(30)


def in_child(patience: float, release: Callable[[], None], call: Callable[..., Any], *arguments: Any) -> Any:
    """``call(*arguments)`` in a forked child; Failed if it raises or takes longer than ``patience``.

    ``release`` is as with :class:`Child`.
    """

    @functools.wraps(call)
    def once() -> Iterator[Any]:
        yield call(*arguments)

    child = Child(patience, release, once)
    try:
        return child.next()
    finally:
        child.end()


def _go_through(
    parents: Connection, pipe: Connection, steps: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]
) -> None:
    parents.close()  # while it is open here, the parent's end would not be noticed
    going = steps(*arguments)
    while _asked(pipe):
        try:
            answer = (True, next(going))
        except (OSError, Failed, EOFError) as error:
            answer = (False, str(error))
        pipe.send(answer)


def _asked(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except EOFError:
        return False
    return True
