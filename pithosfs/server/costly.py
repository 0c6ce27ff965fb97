"""An application whose requests cost as much CPU time as one wants, for measurements.

A request costs this server one or two milliseconds, a real Pithos server 10 to
25: frontend, identity service and database included.  What many small
requests cost a client and what few large ones is therefore not seen here, unless
each request takes CPU time as it does there.  The time is really spent, on a
core that the client cannot have meanwhile, and outside of the interpreter's
lock, as in a server of several processes.  It is a model: the same for every
request, whatever it asks for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial

from pithosfs.server.app.http import Request, Response

#: Seconds of CPU time that calibrating takes at least; its clock must be fine against that.
_CALIBRATION = 0.02


def costly(application: Callable[[Request], Response], seconds: float) -> Callable[[Request], Response]:
    """``application``, each request of which costs so many ``seconds`` of CPU time more."""
    if not seconds:
        return application
    rounds = max(1, round(seconds * _rounds_a_second()))

    def answer(request: Request) -> Response:
        _spend(rounds)
        return application(request)

    return answer


#: Hash so many rounds; hashlib does it without the interpreter's lock.
_spend = partial(hashlib.pbkdf2_hmac, "sha256", b"spent", b"on purpose")


def _rounds_a_second() -> float:
    """How many rounds this machine does in a second of a thread's CPU time, when nothing slows it down."""
    rounds = 1000
    while _spent(rounds) < _CALIBRATION:
        rounds *= 2
    return rounds / min(_spent(rounds) for _ in range(5))


def _spent(rounds: int) -> float:
    began = time.thread_time()
    _spend(rounds)
    return time.thread_time() - began
