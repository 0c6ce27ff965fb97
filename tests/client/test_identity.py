"""From token to endpoint and account, asked of an identity service on a real socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pithosfs import errors, identity
from pithosfs.config import Connection, TokenSource, load
from tests.client.scripted import Exchange, Scripted

Serve = Callable[..., Scripted]


def service(kind: str = "object-store", **endpoint: str) -> dict[str, Any]:
    return {"name": f"pithos_{kind}", "type": kind, "endpoints": [endpoint], "endpoints_links": []}


CATALOGUE = [
    service("identity", publicURL="https://id.example.org/identity/v2.0", versionId="v2.0"),
    service("account", publicURL="https://id.example.org/account/v1.0", versionId="v1.0"),
    service(publicURL="https://store.example.org/object-store/v1/", versionId="v1"),
]


def identify(*good: str, catalogue: Any = None) -> Callable[[Exchange], None]:
    """Answer as Astakos does: 401 for tokens that are not among the ``good``."""

    def step(exchange: Exchange) -> None:
        token = json.loads(exchange.body)["auth"]["token"]["id"]
        assert token == exchange.headers["x-auth-token"]
        if token not in good:
            exchange.fault(401, "unauthorized", "Invalid token")
            return
        user = {"id": f"uuid-of-{token}", "name": "me", "roles": [], "roles_links": []}
        access = {"user": user, "serviceCatalog": CATALOGUE if catalogue is None else catalogue}
        exchange.answer(200, json.dumps({"access": {"token": {"id": token}, **access}}))

    return step


class Tokens(TokenSource):
    name = "the test"

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)

    def read(self) -> list[str]:
        return self._tokens


def connection(url: str | None, *tokens: str, **more: Any) -> Connection:
    given_: dict[str, Any] = {"cloud": "x", "endpoint": None, "account": None} | more
    return Connection(identity_url=url, token=Tokens(*tokens), **given_)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/v2.0/tokens"),
        ("/", "/v2.0/tokens"),
        ("/identity", "/identity/v2.0/tokens"),
        ("/identity/v2.0", "/identity/v2.0/tokens"),
        ("/identity/v3/", "/identity/v3/tokens"),
        ("/v2.0/identity", "/v2.0/identity/v2.0/tokens"),
    ],
)
def test_the_call_and_what_follows_from_it(serve: Serve, path: str, target: str) -> None:
    server = serve(identify("good"))
    site = identity.resolve(connection(server.url + path, "good"))
    assert site == identity.Site(
        "https://store.example.org/object-store/v1", "uuid-of-good", "good", "uuid-of-good"
    )
    assert "good'" not in repr(site).replace("uuid-of-good", "")
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", target)
    assert request.headers["content-type"] == "application/json"


def test_the_first_token_that_authenticates(serve: Serve) -> None:
    server = serve(identify("b", "c"))
    site = identity.resolve(connection(server.url, "a", "b", "c"))
    assert (site.account, site.token) == ("uuid-of-b", "b")
    assert len(server.requests) == 2


def test_no_token_authenticates(serve: Serve) -> None:
    server = serve(identify())
    with pytest.raises(errors.Unauthorized, match=f"{server.url}.* refuses the token of the test"):
        identity.resolve(connection(server.url, "secret-a", "secret-b"))


def test_a_special_token_for_the_store(serve: Serve) -> None:
    server = serve(identify("general"))
    site = identity.resolve(connection(server.url, "special", identity_token=Tokens("general")))
    assert (site.account, site.token) == ("uuid-of-general", "special")


def test_nothing_is_asked_if_all_is_known() -> None:
    known = connection("http://127.0.0.1:9/", "a", "b", endpoint="http://store/v1", account="me")
    assert identity.resolve(known) == identity.Site("http://store/v1", "me", "a", "me")


def test_what_is_known_wins(serve: Serve) -> None:
    server = serve(identify("good"))
    site = identity.resolve(connection(server.url, "good", account="you"))
    assert (site.endpoint, site.account) == ("https://store.example.org/object-store/v1", "you")
    assert site.user == "uuid-of-good"
    site = identity.resolve(connection(server.url, "good", endpoint="http://mine/object-store"))
    assert (site.endpoint, site.account) == ("http://mine/object-store/v1", "uuid-of-good")


def test_type_and_version_of_the_service(serve: Serve) -> None:
    two = {
        "type": "my-store",
        "endpoints": [
            {"publicURL": "http://one/v1", "versionId": "v1"},
            {"publicURL": "http://two/v2", "versionId": "v2"},
        ],
    }
    server = serve(identify("good", catalogue=[*CATALOGUE, two]))
    wanted = connection(server.url, "good", pithos_type="my-store", pithos_version="v2")
    assert identity.resolve(wanted).endpoint == "http://two/v2"
    with pytest.raises(errors.ConfigError, match=r"2 endpoints .* type my-store; set pithos_version"):
        identity.resolve(connection(server.url, "good", pithos_type="my-store"))
    with pytest.raises(errors.ConfigError, match="no service of type absent; set pithos_url"):
        identity.resolve(connection(server.url, "good", pithos_type="absent"))


@pytest.mark.parametrize("status", [404, 405])
def test_a_url_that_is_no_identity_service(serve: Serve, status: int) -> None:
    server = serve(lambda each: each.answer(status, "<html>"))
    with pytest.raises(errors.PithosError) as caught:
        identity.resolve(connection(server.url, "secret-token"))
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_nobody_there() -> None:
    with pytest.raises(errors.Unavailable, match="cannot connect"):
        identity.resolve(connection("http://127.0.0.1:1/", "a"), timeout=0.3)


def test_the_file_that_a_user_has(serve: Serve, tmp_path: Path) -> None:
    server = serve(identify("my-token"))
    rc = tmp_path / ".kamakirc"
    rc.write_text(
        f'[global]\nignore_ssl = on\n[cloud "local"]\nurl = {server.url}/identity/v2.0\ntoken = my-token\n'
    )
    assert identity.resolve(load(environ={"HOME": str(tmp_path)})).account == "uuid-of-my-token"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["access", "user", "id", "serviceCatalog", "type", "endpoints", "publicURL"]),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(answer=json_values, catalogue=json_values)
def test_answers_of_any_shape_raise_nothing_else(serve: Serve, answer: Any, catalogue: Any) -> None:
    for document in (answer, {"access": {"user": {"id": "me"}, "serviceCatalog": [catalogue]}}):
        try:
            identified = identity._parse(json.dumps(document).encode(), "t")
            identity._endpoint(connection(None), identified.catalogue)
        except errors.PithosError:
            pass
