"""An account's client: containers, and what is done with objects as wholes.

* MOVE, COPY and operations on whole subtrees are sent once.  When their
  answer is lost, the error says ``maybe_done``; for a MOVE it is found out.
* After a lost answer a DELETE that finds nothing has succeeded.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote

from pithosfs import wire
from pithosfs.api.calls import is_second, then, written_of
from pithosfs.api.listings import Listings
from pithosfs.api.writing import Writing
from pithosfs.config import Connection
from pithosfs.errors import InvalidArgument, NotFound, StoreError, Unavailable
from pithosfs.identity import resolve
from pithosfs.transport import Transport, check_request_line
from pithosfs.wire import AccountInfo, ContainerInfo, Entry, Written

log = logging.getLogger(__name__)

#: Seconds allowed to operations on whole subtrees; they may take minutes.
LONG_TIMEOUT = 1800.0
#: Seconds between looks whether a move whose answer was lost has been carried out.
_ARRIVAL_PAUSES = (0.1, 0.4, 1.0, 2.0, 4.0)
_SUBTREE = ("delimiter", "/")


def connect(connection: Connection, *, timeout: float = 60.0, pool: int = 16) -> Client:
    """A client for the account that ``connection`` (of :func:`pithosfs.config.load`) is about.

    Asks the identity service where settings leave something open.  ``timeout``
    is in seconds, ``pool`` is how many requests may be under way at once.
    """
    site = resolve(connection, timeout=timeout)
    transport = Transport(
        connection.token,
        token=site.token,
        timeout=timeout,
        pool=pool,
        ca_certs=connection.ca_certs,
        verify=connection.verify,
    )
    return Client(transport, site.endpoint, site.account)


class Client(Listings, Writing):
    """One account at one endpoint (``https://host/…/v1``, without the account)."""

    # -- the account -----------------------------------------------------------

    def account(self, until: int | None = None) -> AccountInfo:
        """Usage, quota and groups; as they were at ``until`` (seconds)."""
        answer = self._send("HEAD", query=[("until", then(until))])
        return wire.account_of(answer.headers)

    def set_groups(self, groups: Mapping[str, Sequence[str]]) -> None:
        """Set groups of users, for sharing; an empty one is removed, others stay."""
        users = {name: ",".join(members) for name, members in groups.items()}
        self._send("POST", flags=["update"], headers=wire.meta_headers(users, "X-Account-Group-"))

    # -- containers --------------------------------------------------------------

    def container(self, name: str, until: int | None = None) -> ContainerInfo:
        """A container's counters, policy and block size; NotFound, Forbidden."""
        answer = self._send("HEAD", name, query=[("until", then(until))])
        return wire.container_of(name, answer.headers)

    def create_container(self, name: str) -> None:
        """Make a container; no error if it is there."""
        self._send("PUT", name)

    def update_container(
        self,
        name: str,
        *,
        meta: Mapping[str, str] | None = None,
        quota: int | None = None,
        versioning: str | None = None,
    ) -> None:
        """Change a container's metadata ("" removes), quota (0: none) and versioning (auto, none)."""
        headers = wire.meta_headers(meta, "X-Container-Meta-")
        if quota is not None:
            headers["X-Container-Policy-Quota"] = str(quota)
        if versioning is not None:
            headers["X-Container-Policy-Versioning"] = versioning
        self._send("POST", name, flags=["update"], headers=headers)

    def delete_container(self, name: str, *, contents: bool = False) -> None:
        """Delete an empty container (else Conflict); ``contents`` empties it and lets it stand."""
        if contents:
            self._send("DELETE", name, query=[_SUBTREE], timeout=LONG_TIMEOUT, repeatable=False)
        else:
            self._delete_once_or_found_gone(name, None)

    # -- whole objects ----------------------------------------------------------------

    def move(
        self,
        container: str,
        name: str,
        to_container: str,
        to_name: str,
        *,
        content_type: str | None = None,
        meta: Mapping[str, str] | None = None,
        recursive: bool = False,
        is_it: Callable[[Entry], bool] | None = None,
    ) -> int | None:
        """Rename an object, with ``recursive`` all below it as well; replaces what is there.

        Sharing and public URL are lost, UUID and metadata kept (``meta`` is
        merged).  Returns the new version if the store tells it.  It is sent
        once; if its answer is lost, ``is_it`` is asked whether what is at the
        destination is the object.
        """
        headers = _placing(content_type, meta)
        headers["Destination"] = wire.path_of(to_container, to_name)
        check_request_line(self._request("HEAD", to_container, to_name))  # it must be within reach there
        try:
            answer = self._send(
                "MOVE",
                container,
                name,
                query=[_SUBTREE] if recursive else [],
                headers=headers,
                timeout=LONG_TIMEOUT if recursive else None,
            )
        except StoreError as error:
            if is_it is None or not error.maybe_done:
                raise
            return self._arrived(error, to_container, to_name, is_it)
        # The store puts a Python tuple there, "([282], 11L, 11L)"; the first number is the version.
        digits = re.search(r"\d+", unquote(answer.headers.get("x-object-version", "")))
        return int(digits[0]) if digits else None

    def _arrived(self, error: StoreError, container: str, name: str, is_it: Callable[[Entry], bool]) -> int:
        """After the lost answer to a move: the version it made, or ``error`` if it made none.

        The store may still be at it; it shows the old state until it is done.
        """
        for pause in _ARRIVAL_PAUSES:
            self.transport.pause(pause)
            try:
                entry = self.head(container, name).entry
                if not is_it(entry):
                    continue
            except (NotFound, Unavailable):
                continue
            log.info("%s/%s: the answer to a move was lost, but it was carried out", container, name)
            return entry.version
        raise error

    def copy(
        self,
        container: str,
        name: str,
        to_container: str,
        to_name: str,
        *,
        version: int | None = None,
        content_type: str | None = None,
        meta: Mapping[str, str] | None = None,
        recursive: bool = False,
        from_account: str | None = None,
        if_none_match: str | None = None,
    ) -> Written:
        """Copy an object or one of its versions; no data moves.

        ``if_none_match="*"`` refuses (Stale) to replace an object.
        """
        headers = _placing(content_type, meta)
        headers["X-Copy-From"] = wire.path_of(container, name)
        if version is not None:
            headers["X-Source-Version"] = str(version)
        if from_account is not None:
            headers["X-Source-Account"] = wire.header_value(from_account)
        if if_none_match is not None:
            headers["If-None-Match"] = wire.etag_condition(if_none_match)
        answer = self._send(
            "PUT",
            to_container,
            to_name,
            query=[_SUBTREE] if recursive else [],
            headers=headers,
            timeout=LONG_TIMEOUT if recursive else None,
            repeatable=False,
        )
        return written_of(answer)

    def delete(
        self, container: str, name: str, *, recursive: bool = False, repeat_within: float = math.inf
    ) -> None:
        """Delete an object, with ``recursive`` all below it as well; its history stays.

        If that fails it is sent again, but no later than ``repeat_within`` seconds after the first
        time: by then the object may be another one.  The error is TooLate.
        """
        wire.path_of(container, name)
        if recursive:
            self._send("DELETE", container, name, query=[_SUBTREE], timeout=LONG_TIMEOUT, repeatable=False)
        else:
            self._delete_once_or_found_gone(container, name, repeat_within)

    def purge(self, container: str, name: str | None, until: int) -> None:
        """Destroy history up to ``until`` (seconds).

        Of an object that includes the live version if it is that old; of a
        container (``name`` None) the live objects stay.  InvalidArgument unless ``until`` is a
        positive whole number: without one the request would delete the object or the container.
        """
        if not is_second(until) or until <= 0:
            raise InvalidArgument(f"{until!r} is no second after 1970 up to which history could be destroyed")
        self._send(
            "DELETE", container, name, query=[("until", until)], timeout=LONG_TIMEOUT, repeatable=False
        )

    def update(
        self,
        container: str,
        name: str,
        *,
        meta: Mapping[str, str] | None = None,
        sharing: str | None = None,
        public: bool | None = None,
    ) -> None:
        """Merge metadata ("" removes a key), set sharing ("" ends it), publish or unpublish."""
        headers = wire.meta_headers(meta)
        if sharing is not None:
            headers["X-Object-Sharing"] = wire.header_value(sharing)
        if public is not None:
            headers["X-Object-Public"] = "true" if public else "false"
        if headers:
            self._send("POST", container, name, flags=["update"], headers=headers)

    def _delete_once_or_found_gone(
        self, container: str, name: str | None, repeat_within: float = math.inf
    ) -> None:
        try:
            self._send("DELETE", container, name, repeat_within=repeat_within)
        except NotFound as error:
            if not error.maybe_done:
                raise


def _placing(content_type: str | None, meta: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of a MOVE or COPY, which keeps what is not given."""
    headers = wire.meta_headers(meta)
    if content_type is not None:
        headers["Content-Type"] = wire.content_type_header(content_type)
    return headers
