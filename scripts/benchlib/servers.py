"""The server behind the proxy: the embedded one, started here, or one that runs already."""

from __future__ import annotations

import configparser
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from .processes import Failed, Process
from .store import Place

CLOUD = 'cloud "local"'


@contextmanager
def embedded(work: Path, request_cost: str = "") -> Iterator[Place]:
    """The project's own server on a free port, giving MD5 ETags, without which rclone cannot write.

    Each request takes ``request_cost`` (as the server's own option has it) beyond what it needs.
    """
    folder = work / "server"
    kamakirc = folder / "kamakirc"
    command = [sys.executable, "-m", "pithosfs.server", str(folder), "--port", "0", "--md5-etags"]
    if request_cost:
        command += ["--request-cost", request_cost]
    process = Process(command, work / "server.log")
    try:
        process.wait_until(lambda: kamakirc.exists() and _answers(kamakirc), "starting the server")
        yield _place(kamakirc)
    finally:
        process.stop()


def external(endpoint: str, account: str, token_file: Path, identity: str) -> Place:
    """A server that runs already."""
    if not endpoint.startswith("http://"):
        raise Failed("--endpoint must begin with http://: the counting proxy does not speak TLS")
    token = token_file.read_text().strip()
    return Place(endpoint.rstrip("/"), identity or endpoint, account, token)


def _answers(kamakirc: Path) -> bool:
    try:
        _place(kamakirc)
    except (urllib3.exceptions.HTTPError, KeyError, ValueError):
        return False
    return True


def _place(kamakirc: Path) -> Place:
    """Ask the identity service where the store is, as kamaki does."""
    config = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",))
    config.read(kamakirc)
    url, token = config[CLOUD]["url"].rstrip("/"), config[CLOUD]["token"]
    body = json.dumps({"auth": {"token": {"id": token}}}).encode()
    headers = {"Content-Type": "application/json", "X-Auth-Token": token}
    tokens = url if url.endswith("/v2.0") else f"{url}/v2.0"
    answer = urllib3.request("POST", f"{tokens}/tokens", body=body, headers=headers, timeout=5, retries=False)
    access: dict[str, Any] = json.loads(answer.data)["access"]
    store = next(each for each in access["serviceCatalog"] if each["type"] == "object-store")
    endpoint = str(store["endpoints"][0]["publicURL"]).rstrip("/")
    return Place(endpoint if endpoint.endswith("/v1") else f"{endpoint}/v1", url, access["user"]["id"], token)
