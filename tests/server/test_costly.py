"""The model of what requests cost a real server, against what they took the one that was recorded."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from pithosfs.server.costly import RECORDED, REFUSED
from tests.server.recording import exchanges


def is_of_object(path: str) -> bool:
    """Whether it is below a container: /object-store/v1/ACCOUNT/CONTAINER/OBJECT."""
    return len(path.partition("/v1/")[2].split("/", 2)) > 2


def counts(exchange: dict[str, Any]) -> bool:
    """Whether it is what a client does: GET anything, POST blocks to a container, the rest to objects."""
    request = exchange["request"]
    method = request["method"]
    return method == "GET" or is_of_object(request["path"]) != (method == "POST")


def test_what_a_method_costs_is_the_median_of_what_was_recorded() -> None:
    taken: dict[str, list[float]] = defaultdict(list)
    refused: list[float] = []
    for each in exchanges():
        seconds, status = each["t_end"] - each["t_start"], each["response"]["status"]
        if status >= 400:
            refused.append(seconds)
        elif counts(each):
            taken[each["request"]["method"]].append(seconds)
    assert {method: round(statistics.median(taken[method]), 3) for method in RECORDED} == RECORDED
    assert round(statistics.median(refused), 3) == REFUSED
