"""What each workload must reach: ratios to the peers in the same run, and exact traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


TARGETS = {
    "a": Target(rclone=0.75, raw=1.15, up=_big_once, down=_little),
    "b": Target(rclone=0.9, raw=1.15, down=_big_once, up=_little),
    "c": Target(rclone=0.5, requests=lambda _: 0, throughput=2e9),
    "d": Target(rclone=1.0, rate_down=40e6),
    "e": Target(rclone=0.15, requests=lambda _: 3, up=_little, down=_little),
    "f": Target(rclone=0.12, requests=lambda _: 6, up=_one_block, down=_one_block),
    "g": Target(rclone=0.12, requests=lambda _: 6, up=_one_block, down=_one_block),
    "h": Target(rclone=0.55, requests=lambda s: s.small + s.small_dirs + 1),
    "i": Target(rclone=0.05, requests=lambda _: 3),
    "j": Target(rclone=0.3, requests=lambda s: s.small),
    "k1": Target(requests=lambda _: 2),
    "k2": Target(requests=lambda _: 1),
    "l": Target(rclone=0.5, requests=lambda s: s.moved + 2),
    "m": Target(rclone=0.05, requests=lambda _: 4, up=_little, down=_little),
    "n1": Target(rclone=0.6, requests=lambda s: 2 * s.small + s.small_dirs + 1),
    "n2": Target(requests=lambda _: 0),
    "n3": Target(requests=lambda _: 3),
}
#: h with --write-back: until cp returns against rclone, until durable against raw.
WRITE_BACK_RETURNED, WRITE_BACK_DURABLE = 0.2, 1.2


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound, and whether it was met."""

    text: str
    met: bool


def judge(ours: Result, rclone: Result | None, raw: Result | None, sizes: Sizes) -> list[Verdict]:
    """Hold a result against its target; bounds that cannot be told here are left out."""
    target = TARGETS.get(ours.workload, Target())
    if ours.error:
        return [Verdict("done at all", False)]
    verdicts = []
    for bound, peer in ((target.rclone, rclone), (target.raw, raw)):
        if bound is not None and peer and not peer.error:
            verdicts.append(Verdict(f"≤ {bound} {peer.system}", ours.seconds <= bound * peer.seconds))
    exact = (
        (target.requests, ours.traffic.requests, "{:.0f} requests", 1.0),
        (target.up, ours.traffic.up, "{:.2f} MB up", 1e6),
        (target.down, ours.traffic.down, "{:.2f} MB down", 1e6),
    )
    for limit, seen, words, unit in exact:
        if limit is not None:
            verdicts.append(Verdict("≤ " + words.format(limit(sizes) / unit), seen <= limit(sizes)))
    if target.rate_down and NETWORKS[ours.network].rate:
        verdicts.append(
            Verdict(f"≤ {target.rate_down / 1e6:.0f} MB down", ours.traffic.down <= target.rate_down)
        )
    if target.throughput and sizes.big >= 128 * MIB:
        rate = sizes.big / ours.seconds
        verdicts.append(Verdict(f"≥ {target.throughput / 1e9:.0f} GB/s", rate >= target.throughput))
    return verdicts


def judge_write_back(ours: Result, rclone: Result | None, raw: Result | None) -> list[Verdict]:
    """The bounds of h with --write-back."""
    if ours.error:
        return [Verdict("done at all", False)]
    verdicts = []
    if rclone and not rclone.error:
        met = ours.returned <= WRITE_BACK_RETURNED * rclone.seconds
        verdicts.append(Verdict(f"cp returns ≤ {WRITE_BACK_RETURNED} rclone", met))
    if raw and not raw.error:
        met = ours.seconds <= WRITE_BACK_DURABLE * raw.seconds
        verdicts.append(Verdict(f"durable ≤ {WRITE_BACK_DURABLE} raw", met))
    return verdicts
