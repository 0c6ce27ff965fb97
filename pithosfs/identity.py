"""From a token to the place where its account is stored.

The identity service (Astakos, OpenStack Identity v2.0) tells for a token who
it belongs to and at which URL each service is: ``POST {url}/tokens``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from pithosfs.config import Connection
from pithosfs.errors import ConfigError, NotFound, ProtocolError, Unauthorized
from pithosfs.transport import Request, Transport

log = logging.getLogger(__name__)

_VERSION = re.compile(r"/v\d+(\.\d+)?$")


@dataclass(frozen=True)
class Site:
    """Where an account is: storage endpoint, account, a token that is good there.

    ``user`` is whose token it is: another than ``account`` if somebody else's
    was asked for.
    """

    endpoint: str
    account: str
    token: str = field(repr=False)
    user: str


@dataclass(frozen=True)
class _Identity:
    """What the identity service knows about a token."""

    token: str = field(repr=False)
    account: str
    catalogue: list[Any]


def resolve(connection: Connection, *, timeout: float = 60.0) -> Site:
    """Complete ``connection`` by asking its identity service where needed.

    The first token that authenticates is used.  Raises ConfigError,
    Unauthorized, Unavailable or ProtocolError.
    """
    if connection.endpoint and connection.account:
        token = connection.token.read()[0]
        return Site(_versioned(connection.endpoint, "/v1"), connection.account, token, connection.account)
    identity = _ask(connection, timeout)
    endpoint = connection.endpoint or _endpoint(connection, identity.catalogue)
    if not connection.verify and endpoint.startswith("https:"):
        log.warning("ignore_ssl is on: %s is not verified, the token may be stolen", endpoint)
    token = connection.token.read()[0] if connection.identity_token else identity.token
    return Site(_versioned(endpoint, "/v1"), connection.account or identity.account, token, identity.account)


def directory_name(endpoint: str, account: str) -> str:
    """The directory (of a cache) for what is kept of one account on one server."""
    host = re.sub(r"[^A-Za-z0-9.-]+", "_", endpoint.partition("://")[2])[:40]
    digest = sha256(f"{endpoint}\0{account}".encode()).hexdigest()[:12]
    return f"{host}-{digest}"


def user_ids(connection: Connection, names: Sequence[str], *, timeout: float = 60.0) -> dict[str, str]:
    """UUIDs of users by their display names; who is not known is left out.

    Asked of the identity service's catalogue of users.  Raises as :func:`resolve`.
    """
    body = {"uuids": [], "displaynames": list(names)}
    return _catalogue(connection, body, "displayname_catalog", timeout)


def display_names(connection: Connection, uuids: Sequence[str], *, timeout: float = 60.0) -> dict[str, str]:
    """The other way round: display names of users by their UUIDs."""
    body = {"uuids": list(uuids), "displaynames": []}
    return _catalogue(connection, body, "uuid_catalog", timeout)


def _catalogue(
    connection: Connection, body: dict[str, list[str]], wanted: str, timeout: float
) -> dict[str, str]:
    identity = _ask(connection, timeout)
    found = [
        each["publicURL"]
        for each in _endpoints(identity.catalogue, "account")
        if isinstance(each.get("publicURL"), str)
    ]
    if not found:
        raise ConfigError("this store cannot look up display names: give UUIDs")
    url = found[0].rstrip("/") + "/user_catalogs"
    with _transport(connection, timeout) as transport:
        answer = transport.send(_post(url, identity.token, body)).body
    try:
        return {str(key): str(value) for key, value in json.loads(answer)[wanted].items() if value}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError("the identity service's answer has no catalogue of users") from error


def _ask(connection: Connection, timeout: float) -> _Identity:
    if connection.identity_url is None:
        raise ConfigError("neither the storage endpoint nor an identity service is known")
    url = _versioned(connection.identity_url, "/v2.0") + "/tokens"
    source = connection.identity_token or connection.token
    with _transport(connection, timeout) as transport:
        for token in source.read():
            try:
                return _parse(_authenticate(transport, url, token), token)
            except Unauthorized:
                continue
    raise Unauthorized(f"{url} refuses the token of {source.name}; it is wrong or has expired", 401)


@contextlib.contextmanager
def _transport(connection: Connection, timeout: float) -> Iterator[Transport]:
    """For a few requests, each with a token of its own."""
    transport = Transport(
        None, timeout=timeout, pool=1, ca_certs=connection.ca_certs, verify=connection.verify
    )
    try:
        yield transport
    finally:
        transport.close()


def _authenticate(transport: Transport, url: str, token: str) -> bytes | bytearray:
    try:
        return transport.send(_post(url, token, {"auth": {"token": {"id": token}}})).body
    except NotFound as error:
        text = f"there is no identity service at {url}; the cloud's url must be its authentication URL"
        raise ConfigError(text) from error


def _post(url: str, token: str, document: object) -> Request:
    return Request(
        "POST",
        url,
        headers={"X-Auth-Token": token, "Content-Type": "application/json"},
        body=json.dumps(document).encode(),
        label=url,
        repeatable=True,
    )


def _parse(body: bytes | bytearray, token: str) -> _Identity:
    try:
        access = json.loads(body)["access"]
        account, catalogue = access["user"]["id"], access["serviceCatalog"]
    except (ValueError, KeyError, TypeError, RecursionError):
        account = catalogue = None
    if not isinstance(account, str) or not account or not isinstance(catalogue, list):
        raise ProtocolError("the identity service's answer has no user or no service catalogue")
    return _Identity(token, account, catalogue)


def _endpoint(connection: Connection, catalogue: list[Any]) -> str:
    """The storage URL in a service catalogue."""
    kind, version = connection.pithos_type, connection.pithos_version
    found = [
        each["publicURL"]
        for each in _endpoints(catalogue, kind)
        if isinstance(each.get("publicURL"), str) and version in (None, each.get("versionId"))
    ]
    if len(found) != 1:
        count = "no" if not found else f"{len(found)} endpoints for the"
        hint = "set pithos_url" if not found else "set pithos_version or pithos_url"
        raise ConfigError(f"the service catalogue has {count} service of type {kind}; {hint} in the cloud")
    return str(found[0])


def _endpoints(catalogue: list[Any], kind: str) -> Iterable[dict[str, Any]]:
    """All endpoints of services of this type; what has another shape is passed over."""
    for service in catalogue:
        if isinstance(service, dict) and service.get("type") == kind:
            for each in service.get("endpoints") or ():
                if isinstance(each, dict):
                    yield each


def _versioned(url: str, version: str) -> str:
    """``url`` without a trailing slash, with ``version`` if it ends in none."""
    url = url.rstrip("/")
    return url if _VERSION.search(url) else url + version
