"""Which request meets which fault: rules, a seeded plan over them, nothing else.

The proxy in ``netproxy.py`` asks the plan at each request head and carries
out what it says; a test writes the rules.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ACTIONS = {
    "drop_before": "reset the client's connection; the server never hears of the request",
    "cut_request": "pass on `after` bytes of the request's body, then close both sides",
    "corrupt_request": "flip a bit in byte `after` of the request's body",
    "drop_sent": "pass the whole request on, then reset the client without waiting for an answer",
    "lose_answer": "wait until the server answers, then reset the client instead of passing it on",
    "stall": "hold the answer for `seconds` (0: until the connection ends)",
    "drip": "pass the answer's body on at `rate` bytes a second",
    "cut_answer": "pass on `after` bytes of the answer's body, then close both sides",
    "corrupt_answer": "flip a bit in byte `after` of the answer's body",
    "answer": "answer `status` (with Retry-After if given); the server never hears of the request",
}
BODY_ACTIONS = {"cut_request", "corrupt_request"}  # for requests with a body only


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule: what to do, and to which requests.

    A request is hit if ``kind`` (see ``netproxy.kind_of``), ``method`` and
    ``path`` (a part of the request target) fit where they are given, after
    ``skip`` fitting requests passed, ``times`` times (0: always), each time
    with probability ``chance``.
    """

    action: str
    kind: str = ""
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int = 1
    chance: float = 1.0
    after: int = 0
    seconds: float = 0.0
    rate: int = 1000
    status: int = 503
    retry_after: str = ""

    def __post_init__(self) -> None:
        if self.action and self.action not in ACTIONS:
            raise ValueError(f"no fault is called {self.action!r}; there are {', '.join(ACTIONS)}")

    def fits(self, kind: str, method: str, path: str) -> bool:
        """Whether the rule is about such a request."""
        return (
            self.kind in ("", kind) and self.method in ("", method) and (not self.path or self.path in path)
        )


NOTHING = Fault("")  # no fault


class FaultPlan:
    """Rules in order, the first that strikes wins; repeatable by its seed.

    ``hits`` counts the faults that were carried out, by action.
    """

    def __init__(self, rules: Iterable[Fault] = (), seed: int | None = None) -> None:
        self.rules = tuple(rules)
        self.seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        self.hits: Counter[str] = Counter()
        self._dice = random.Random(self.seed)
        self._seen = [0] * len(self.rules)
        self._struck = [0] * len(self.rules)

    def pick(self, kind: str, method: str, path: str, *, has_body: bool) -> Fault:
        """The fault this request meets."""
        for number, rule in enumerate(self.rules):
            if rule.action in BODY_ACTIONS and not has_body:
                continue
            if rule.fits(kind, method, path) and self._strikes(number, rule):
                self._struck[number] += 1
                return rule
        return NOTHING

    def _strikes(self, number: int, rule: Fault) -> bool:
        self._seen[number] += 1
        if self._seen[number] <= rule.skip or (rule.times and self._struck[number] >= rule.times):
            return False
        return rule.chance >= 1 or self._dice.random() < rule.chance


def storm(chance: float, actions: Sequence[str] = tuple(ACTIONS), *, stall: float = 1.0) -> list[Fault]:
    """Rules for bad weather: each request meets one of ``actions`` with probability ``chance`` in all.

    Stalls last ``stall`` seconds; the canned answers are 500, 503 and 429 in equal parts.
    """
    share, passed, rules = chance / len(actions), 0.0, []
    for action in actions:
        # Rules are asked in turn: each next one only sees what the former ones let pass.
        odds = share / (1 - passed)
        passed += share
        if action != "answer":
            rules.append(Fault(action, times=0, chance=odds, after=700, seconds=stall, rate=200_000))
            continue
        for part, status in enumerate((500, 503, 429)):
            third = odds / 3 / (1 - odds / 3 * part)
            retry_after = "1" if status != 500 else ""
            rules.append(Fault(action, times=0, chance=third, status=status, retry_after=retry_after))
    return rules
