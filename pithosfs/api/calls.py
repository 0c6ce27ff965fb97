"""How the store is called: what every request to an account has in common.

A name no request can carry raises NameTooLong or BadRequest before anything
is sent; so does an empty one, which would turn an operation on an object into
one on its container.

The store ignores an ``until`` that is no whole number from 0 on: it would
show the present as the past, and for a DELETE of history it would delete what
is there.  So such a one is never sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pithosfs import wire
from pithosfs.connections import Body
from pithosfs.errors import InvalidArgument, NotFound, ProtocolError
from pithosfs.transport import Request, Response, Transport
from pithosfs.wire import Written

#: The query that asks for JSON.
JSON = ("format", "json")

Query = Sequence[tuple[str, str | int | None]]


class Calls:
    """Requests to one account at one endpoint (``https://host/…/v1``, without the account)."""

    def __init__(self, transport: Transport, endpoint: str, account: str) -> None:
        self.transport = transport
        self.endpoint = endpoint.rstrip("/")
        self.account_id = account

    def _send(
        self, method: str, container: str | None = None, name: str | None = None, **more: Any
    ) -> Response:
        return self.transport.send(self._request(method, container, name, **more))

    def _request(
        self,
        method: str,
        container: str | None = None,
        name: str | None = None,
        *,
        query: Query = (),
        flags: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
        repeat_within: float = math.inf,
        allow: frozenset[int] = frozenset(),
        expected: int | None = None,
        check: Callable[[int, Mapping[str, str]], None] | None = None,
        base: str | None = None,
    ) -> Request:
        url = base or f"{self.endpoint}/{wire.quoted(self.account_id)}"
        if container is not None:
            url += wire.path_of(container, name)
        parameters = wire.query_of(flags, query)
        return Request(
            method,
            f"{url}?{parameters}" if parameters else url,
            headers=headers or {},
            body=body,
            label="/".join(each for each in (container, name) if each) or "the account",
            timeout=timeout,
            repeatable=repeatable,
            repeat_within=repeat_within,
            allow=allow,
            expected=expected,
            check=check,
        )


def then(until: int | None) -> int | None:
    """A second of the past to ask about (None: now); NotFound before 1970, when there was nothing."""
    if until is None:
        return None
    if not is_second(until):
        raise InvalidArgument(f"{until!r} is no second: the store counts whole ones since 1970")
    if until <= 0:
        raise NotFound("nothing was stored before 1970", 404)
    return until


def is_second(until: object) -> bool:
    """Whether it is a whole number, as the store wants seconds."""
    return isinstance(until, int) and not isinstance(until, bool)


def list_of(answer: Response, label: str) -> list[Any]:
    """The JSON list in an answer; an empty body is an empty list."""
    if not answer.body:
        return []
    document = wire.json_of(answer.body, label)
    if not isinstance(document, list):
        raise ProtocolError(f"{label}: the answer is no list")
    return document


def written_of(answer: Response) -> Written:
    """The version an answer says was made, and its ETag."""
    etag = (answer.headers.get("etag") or "").strip('"').lower()
    return Written(wire.number(answer.headers.get("x-object-version"), "version"), etag)
