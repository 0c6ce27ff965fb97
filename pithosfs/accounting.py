"""A client whose requests are entered in the ledger of version numbers.

Everything a mount changes goes through such a client; the layers above call
it like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pithosfs.api import Client, Written
from pithosfs.ledger import Ledger
from pithosfs.transport import Transport

Result = TypeVar("Result")

#: A move takes a number for the new name and one for the old one's end.
_MOVE_NUMBERS = 2


class AccountedClient(Client):
    """A :class:`~pithosfs.api.Client` that says which numbers its writes took."""

    def __init__(self, transport: Transport, endpoint: str, account: str, ledger: Ledger) -> None:
        super().__init__(transport, endpoint, account)
        self.ledger = ledger

    def put_object(self, *args: Any, **options: Any) -> Written:
        """As in Client; one number, and one for each version that was damaged on its way."""
        return self._entered(lambda: super(AccountedClient, self).put_object(*args, **options), _of_written)

    def put_hashmap(self, *args: Any, **options: Any) -> Written:
        """As in Client; one number."""
        return self._entered(lambda: super(AccountedClient, self).put_hashmap(*args, **options), _of_written)

    def put_copy(self, *args: Any, **options: Any) -> Written:
        """As in Client; one number, and one for a copy that was not as wanted."""
        return self._entered(lambda: super(AccountedClient, self).put_copy(*args, **options), _of_written)

    def copy(self, *args: Any, **options: Any) -> Written:
        """As in Client; one number (a recursive copy's others are not told)."""
        return self._entered(lambda: super(AccountedClient, self).copy(*args, **options), _of_written)

    def move(self, *args: Any, **options: Any) -> int | None:
        """As in Client; two numbers, a recursive move's are not all told."""
        recursive = bool(options.get("recursive"))

        def numbers(first: int | None) -> Iterable[int]:
            return () if first is None or recursive else range(first, first + _MOVE_NUMBERS)

        return self._entered(lambda: super(AccountedClient, self).move(*args, **options), numbers)

    def delete(self, *args: Any, **options: Any) -> None:
        """As in Client; one number, not told."""
        untold = 0 if options.get("recursive") else 1
        self._entered(lambda: super(AccountedClient, self).delete(*args, **options), lambda _: (), untold)

    def _entered(
        self, request: Callable[[], Result], numbers: Callable[[Result], Iterable[int]], untold: int = 0
    ) -> Result:
        ticket = self.ledger.begin()
        try:
            result = request()
        except BaseException:
            self.ledger.end(ticket)
            raise
        self.ledger.end(ticket, numbers(result), untold)
        return result


def _of_written(written: Written) -> Iterable[int]:
    return (*written.damaged, written.version)
