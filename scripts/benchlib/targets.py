"""What each workload must reach: ratios to the peers in the same run, and exact traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from .corpus import MIB, Sizes
from .network import NETWORKS
from .runner import Result

BLOCK = 4 * MIB
SLACK = 50_000  # bytes of heads and hashmaps beside the content


@dataclass(frozen=True, slots=True)
class Target:
    """The bounds of one workload; None where there is none.

    Times are ratios; ``requests``, ``up`` and ``down`` (bytes) depend on the
    sizes; ``rate_down`` (bytes) holds on networks with a rate limit only;
    ``throughput`` is bytes of the big file a second.
    """

    rclone: float | None = None
    raw: float | None = None
    requests: Callable[[Sizes], float] | None = None
    up: Callable[[Sizes], float] | None = None
    down: Callable[[Sizes], float] | None = None
    rate_down: float | None = None
    throughput: float | None = None


def _little(_sizes: Sizes) -> float:
    return SLACK


def _one_block(_sizes: Sizes) -> float:
    return BLOCK + SLACK


def _big_once(sizes: Sizes) -> float:
    return sizes.big * 1.003 + SLACK


def _one_for_each(sizes: Sizes) -> int:
    return sizes.small + sizes.small_dirs + 1


TARGETS = {
    "a": Target(rclone=0.75, raw=1.15, up=_big_once, down=_little),
    "b": Target(rclone=0.9, raw=1.15, down=_big_once, up=_little),
    "c": Target(rclone=0.5, requests=lambda _: 0, throughput=2e9),
    "d": Target(rclone=1.0, rate_down=40e6),
    "e": Target(rclone=0.15, requests=lambda _: 3, up=_little, down=_little),
    "f": Target(rclone=0.12, requests=lambda _: 6, up=_one_block, down=_one_block),
    "g": Target(rclone=0.12, requests=lambda _: 6, up=_one_block, down=_one_block),
    "h": Target(rclone=0.55, requests=_one_for_each),
    "i": Target(rclone=0.05, requests=lambda _: 3),
    "j": Target(rclone=0.3, requests=lambda s: s.small),
    "k1": Target(requests=lambda _: 2),
    "k2": Target(requests=lambda _: 1),
    "l": Target(rclone=0.5, requests=lambda s: s.moved + 2),
    "m": Target(rclone=0.05, requests=lambda _: 4, up=_little, down=_little),
    "n1": Target(rclone=0.6, requests=lambda s: _one_for_each(s) + s.small),
    "n2": Target(requests=lambda _: 0),
    "n3": Target(requests=lambda _: 3),
}
#: h with --write-back: until cp returns against rclone, until durable against raw.
WRITE_BACK_RETURNED, WRITE_BACK_DURABLE = 0.2, 1.2
#: Workloads, and the one in which plain HTTP asks for the least that does it: whatever goes to this server is
#: no faster.  Where rsync has ended, as many files are there as in h.
AS_RAW = {key: key for key in "abefghijm"} | {"n1": "h"}
#: PUTs that come one after the other where each close, or each rename in n1, waits for the server.
IN_TURN = {"h": _one_for_each, "n1": _one_for_each}
#: Why a number of requests cannot always be had.
COUNTS = {
    "c": "none while a listing is trusted (5 s); where b took longer, one asks whether others changed the"
    " file: more trust would show others' changes later than promised",
    "h": "one listing tells whether the name is free, one more when it is old",
    "j": "one listing for each directory on the way, until the walk is seen and all are listed at once",
    "k2": "one listing where k1 did not ask for it in the last 5 s",
    "l": "the listings of what is removed, and again after 5 s",
    "n1": "one listing tells whether the name is free; rsync sets the directories' times when all is there",
    "n2": "none while a listing is trusted (5 s); where the last is older, what was changed is listed, what"
    " we changed, too; where n1 took less than a second, the directories' times it set go out only now",
}


class Waits(Enum):
    """What a program, or the clock, waits for."""

    FOR_EACH = "the answer to each request before the next"
    FOR_ALL = "the last answer"
    FOR_NONE = "nothing"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound, and whether it was met; ``seconds`` it is, and ``ours``, where it is one of time."""

    text: str
    met: bool
    seconds: float | None = None
    ours: float = 0.0
    waits: Waits = Waits.FOR_EACH


@dataclass(frozen=True, slots=True)
class Limit:
    """What a workload takes at least on this server and network, by what was measured in the same run."""

    seconds: float
    what: str  # was measured
    why: str


def limit(
    workload: str, raw: Result | None, each: Mapping[str, float], sizes: Sizes, waits: Waits
) -> Limit | None:
    """The limit of a workload, as far as it is told by the seconds ``each`` method takes, and by ``raw``.

    That is plain HTTP's result in the workload that AS_RAW names.
    """
    if waits is Waits.FOR_NONE:
        return None
    if workload in IN_TURN and waits is Waits.FOR_EACH:
        if "PUT" not in each:
            return None
        count, one = IN_TURN[workload](sizes), each["PUT"]
        what = f"{count} PUTs at {one * 1000:.1f} ms, one after the other"
        return Limit(count * one, what, what)
    if workload in AS_RAW and raw and not raw.error:
        what = "raw" if raw.workload == workload else f"raw in {raw.workload}"
        return Limit(raw.seconds, what, f"{what} takes that long")
    return None


def judge(ours: Result, rclone: Result | None, raw: Result | None, sizes: Sizes) -> list[Verdict]:
    """Hold a result against its target; bounds that cannot be told here are left out."""
    target = TARGETS.get(ours.workload, Target())
    if ours.error:
        return [Verdict("done at all", False)]
    verdicts = []
    for bound, peer in ((target.rclone, rclone), (target.raw, raw)):
        if bound is not None and peer and not peer.error:
            verdicts.append(_in_time(f"≤ {bound} {peer.system}", ours.seconds, bound * peer.seconds))
    exact = (
        (target.requests, ours.traffic.requests, "{:.0f} requests", 1.0),
        (target.up, ours.traffic.up, "{:.2f} MB up", 1e6),
        (target.down, ours.traffic.down, "{:.2f} MB down", 1e6),
    )
    for most, seen, words, unit in exact:
        if most is not None:
            verdicts.append(Verdict("≤ " + words.format(most(sizes) / unit), seen <= most(sizes)))
    if target.rate_down and NETWORKS[ours.network].rate:
        verdicts.append(
            Verdict(f"≤ {target.rate_down / 1e6:.0f} MB down", ours.traffic.down <= target.rate_down)
        )
    if target.throughput and sizes.big >= 128 * MIB:
        rate = sizes.big / ours.seconds
        verdicts.append(Verdict(f"≥ {target.throughput / 1e9:.0f} GB/s", rate >= target.throughput))
    return verdicts


def judge_write_back(ours: Result, rclone: Result | None, raw: Result | None) -> list[Verdict]:
    """The bounds with --write-back, of the workloads that have one: many small new files."""
    if ours.workload not in ("h", "n1"):
        return []
    if ours.error:
        return [Verdict("with write-back: done at all", False)]
    bounds: list[tuple[str, float, float, Result | None, Waits]] = []
    if ours.workload == "h":
        bounds.append(("cp returns", ours.returned, WRITE_BACK_RETURNED, rclone, Waits.FOR_NONE))
        bounds.append(("durable", ours.seconds, WRITE_BACK_DURABLE, raw, Waits.FOR_ALL))
    else:
        bounds.append(("durable", ours.seconds, TARGETS["n1"].rclone or 0.0, rclone, Waits.FOR_ALL))
    return [
        _in_time(f"with write-back: {what} ≤ {bound} {peer.system}", seconds, bound * peer.seconds, waits)
        for what, seconds, bound, peer, waits in bounds
        if peer and not peer.error
    ]


def _in_time(text: str, ours: float, seconds: float, waits: Waits = Waits.FOR_EACH) -> Verdict:
    return Verdict(text, ours <= seconds, seconds, ours, waits)
