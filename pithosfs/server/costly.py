"""An application whose requests cost as much CPU time as one wants, for measurements.

A request costs this server one or two milliseconds, a real Pithos server 10 to
25 and those that change something more: frontend, identity service and
database included.  What many small requests cost a client and what few large
ones is therefore not seen here, unless each request takes CPU time as it does
there.  The time is really spent, on a core that the client cannot have
meanwhile, and outside of the interpreter's lock, as in a server of several
processes.  It is a model: nothing for bytes, and what a real one waits for its
database is CPU time here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import partial

from pithosfs.server.app.http import Request, Response

#: Seconds of CPU time that calibrating takes at least; its clock must be fine against that.
_CALIBRATION = 0.02


#: Seconds that a real server took for each request by its method, one after the other (medians of those that
#: were answered 2xx; a POST is of blocks), in the exchanges recorded from one ...
RECORDED: Mapping[str, float] = {
    "GET": 0.025,
    "HEAD": 0.016,
    "POST": 0.010,
    "PUT": 0.041,
    "DELETE": 0.043,
    "COPY": 0.052,
    "MOVE": 0.082,
}
#: ... and for those it refused, a hashmap that lacks blocks among them.
REFUSED = 0.008
_SUCCESS = range(200, 300)


def costly(
    application: Callable[[Request], Response], cost: float | Mapping[str, float]
) -> Callable[[Request], Response]:
    """``application``, each request of which takes CPU time more: seconds, or those of its method."""
    if not cost:
        return application
    second = _rounds_a_second()

    def answer(request: Request) -> Response:
        response = application(request)
        _spend(max(1, round(second * _seconds(cost, request.method, response.status))))
        return response

    return answer


def _seconds(cost: float | Mapping[str, float], method: str, status: int) -> float:
    if isinstance(cost, float):
        return cost
    return cost.get(method, REFUSED) if status in _SUCCESS else REFUSED


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
