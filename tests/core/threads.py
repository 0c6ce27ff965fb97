"""Calls in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class InThread(threading.Thread):
    """A call in a thread of its own; ``result`` waits for it."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.error: BaseException | None = None
        self.value: object = None
        self.start()

    def run(self) -> None:
        try:
            self.value = self.call()
        except BaseException as error:
            self.error = error

    def result(self) -> object:
        self.join(10)  # less than any timeout below
        assert not self.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.value
