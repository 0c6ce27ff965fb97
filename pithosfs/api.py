"""The Pithos API: one method a request, types instead of headers.

Nothing is kept between calls, so one client serves any number of threads.

* A name no request can carry raises NameTooLong or BadRequest before anything
  is sent; so does an empty one, which would turn an operation on an object
  into one on its container.
* Listings are filtered by prefix once more (the store mixes up characters
  above U+FFFF) and go on behind a virtual directory, not at it.
* MOVE, COPY and operations on whole subtrees are sent once.  When their
  answer is lost, the error says ``maybe_done``; for a MOVE it is found out.
* What the store says it got is compared with what was sent, and damaged data
  is sent again.
* After a lost answer a PUT under a condition that finds its own success, and
  a DELETE that finds nothing, have succeeded.

Sizes are bytes, times nanoseconds since 1970, hashes lower-case hexadecimal.
Every method raises a :class:`~pithosfs.errors.StoreError`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from pithosfs import blocks, wire
from pithosfs.answers import error_of
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.config import Connection
from pithosfs.errors import BadRequest, MissingBlocks, NotFound, ProtocolError, Stale, StoreError, Unavailable
from pithosfs.identity import resolve
from pithosfs.transport import Request, Response, StreamedBody, Transport, check_request_line
from pithosfs.wire import AccountInfo, ContainerInfo, Entry, Info, Page, Version, Written

log = logging.getLogger(__name__)

#: Most entries a listing returns at once.
PAGE = 10_000
#: Seconds allowed to operations on whole subtrees; they may take minutes.
LONG_TIMEOUT = 1800.0
DIRECTORY = "application/directory"
#: Seconds between looks whether a move whose answer was lost has been carried out.
_ARRIVAL_PAUSES = (0.1, 0.4, 1.0, 2.0, 4.0)
#: How often bytes are sent that arrive damaged each time.
_INTEGRITY_ATTEMPTS = 3
_MD5_DIGITS = 32

_LAST_CHARACTER = "\U0010ffff"
_JSON = ("format", "json")
_SUBTREE = ("delimiter", "/")

Query = Sequence[tuple[str, str | int | None]]


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


class Client:
    """One account at one endpoint (``https://host/…/v1``, without the account)."""

    def __init__(self, transport: Transport, endpoint: str, account: str) -> None:
        self.transport = transport
        self.endpoint = endpoint.rstrip("/")
        self.account_id = account

    # -- the account -----------------------------------------------------------

    def account(self, until: int | None = None) -> AccountInfo:
        """Usage, quota and groups; as they were at ``until`` (seconds)."""
        answer = self._send("HEAD", query=[("until", until)])
        return wire.account_of(answer.headers)

    def containers(self, *, shared: bool = False, until: int | None = None) -> list[ContainerInfo]:
        """All containers; of somebody else's account those with something for us."""
        found: list[ContainerInfo] = []
        while True:
            marker = found[-1].name if found else None
            query = [_JSON, ("limit", PAGE), ("marker", marker), ("until", until)]
            answer = self._send("GET", query=query, flags=["shared"] if shared else [])
            page = [wire.container_item(each) for each in _list_of(answer, "the account")]
            if marker is not None and page and page[-1].name <= marker:
                raise ProtocolError("the list of containers does not go on")
            found += page
            if len(page) < PAGE:
                return found

    def sharing_accounts(self) -> list[str]:
        """The accounts that share something with us."""
        answer = self._send("GET", query=[_JSON, ("limit", PAGE)], base=self.endpoint + "/")
        items = _list_of(answer, "the accounts")
        return [
            each["name"] for each in items if isinstance(each, dict) and isinstance(each.get("name"), str)
        ]

    def set_groups(self, groups: Mapping[str, Sequence[str]]) -> None:
        """Set groups of users, for sharing; an empty one is removed, others stay."""
        users = {name: ",".join(members) for name, members in groups.items()}
        self._send("POST", flags=["update"], headers=wire.meta_headers(users, "X-Account-Group-"))

    # -- containers --------------------------------------------------------------

    def container(self, name: str, until: int | None = None) -> ContainerInfo:
        """A container's counters, policy and block size; NotFound, Forbidden."""
        answer = self._send("HEAD", name, query=[("until", until)])
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

    # -- listings ------------------------------------------------------------------

    def list_page(
        self,
        container: str,
        *,
        prefix: str = "",
        delimiter: bool = False,
        marker: str | None = None,
        limit: int = PAGE,
        until: int | None = None,
        meta: str | None = None,
        shared: bool = False,
        public: bool = False,
        modified_since: str | None = None,
    ) -> Page | None:
        """A page of a listing, in the byte order of UTF-8; None if nothing changed.

        ``prefix`` is any beginning of a name; with ``delimiter`` it names a
        directory and ends in a slash (or is empty), and what lies deeper shows
        as its virtual directory only.  ``meta`` is a query as the store knows
        it (``key``, ``!key``, ``key=value``, with commas).  ``modified_since`` is
        the ``last_modified`` of an earlier page: None is returned if the
        container has not changed since, to the second.
        """
        if delimiter and prefix.startswith("/"):
            raise BadRequest(
                f"{container}/{prefix}: the store lists no directory whose name begins with a slash"
            )
        if delimiter and prefix and not prefix.endswith("/"):
            prefix += "/"
        query: Query = [
            _JSON,
            ("limit", limit),
            ("marker", marker),
            ("prefix", _askable(prefix) or None),
            ("delimiter", "/" if delimiter else None),
            ("until", until),
            ("meta", meta),
        ]
        flags = [name for name, wanted in (("shared", shared), ("public", public)) if wanted]
        headers = {"If-Modified-Since": modified_since} if modified_since else {}
        answer = self._send("GET", container, query=query, flags=flags, headers=headers)
        if answer.status == 304:
            return None
        return _page(_list_of(answer, container), answer.headers, prefix, marker, min(limit, PAGE))

    def list_all(
        self,
        container: str,
        *,
        prefix: str = "",
        delimiter: bool = False,
        until: int | None = None,
        meta: str | None = None,
        shared: bool = False,
        public: bool = False,
        limit: int = PAGE,
    ) -> Iterator[Page]:
        """All pages of a listing, one request each; parameters as of :meth:`list_page`."""
        marker: str | None = None
        while True:
            page = self.list_page(
                container,
                prefix=prefix,
                delimiter=delimiter,
                marker=marker,
                limit=limit,
                until=until,
                meta=meta,
                shared=shared,
                public=public,
            )
            if page is None:
                raise ProtocolError(
                    f"{container}: the server answers 304 to a listing without a condition", 304
                )
            yield page
            marker = page.marker
            if marker is None:
                return

    # -- reading -------------------------------------------------------------------

    def head(self, container: str, name: str, version: int | None = None) -> Info:
        """What is known of an object, or of one of its versions."""
        answer = self._send("HEAD", container, name, query=[("version", version)])
        return wire.info_of(name, answer.headers)

    def hashmap(self, container: str, name: str, version: int | None = None) -> tuple[Info, Hashmap]:
        """An object's blocks, and what is known of it."""
        query = [("version", version), _JSON]
        answer = self._send("GET", container, name, query=query, flags=["hashmap"])
        content = wire.hashmap_of(wire.json_of(answer.body, f"{container}/{name}"))
        return wire.info_of(name, answer.headers, content.size), content

    def versions(self, container: str, name: str) -> list[Version]:
        """The history of a name, oldest first; still there after a deletion."""
        answer = self._send("GET", container, name, query=[("version", "list"), _JSON])
        return wire.versions_of(wire.json_of(answer.body, f"{container}/{name}"))

    def read(
        self, container: str, name: str, start: int, stop: int, version: int | None = None
    ) -> bytes | bytearray:
        """Bytes ``start`` to ``stop`` (exclusive) of an object; BadRange if it has not all of them."""
        if start == stop:
            return b""
        return self.transport.send(self._range(container, name, start, stop, version)).body

    @contextlib.contextmanager
    def open_range(
        self, container: str, name: str, start: int, stop: int, version: int | None = None
    ) -> Iterator[StreamedBody]:
        """Bytes ``start`` to ``stop`` as they arrive: ``readinto(memoryview) -> int``.

        For long ranges: one request for many blocks.  ``start < stop``.
        """
        with self.transport.stream(self._range(container, name, start, stop, version)) as body:
            yield body

    def _range(self, container: str, name: str, start: int, stop: int, version: int | None) -> Request:
        if not 0 <= start < stop:
            raise BadRequest(f"bytes {start} to {stop} are no range")
        return self._request(
            "GET",
            container,
            name,
            query=[("version", version)],
            headers={"Range": f"bytes={start}-{stop - 1}"},
            expected=stop - start,
            check=_range_checker(f"{container}/{name}", start, stop),
        )

    # -- writing -------------------------------------------------------------------

    def put_object(
        self,
        container: str,
        name: str,
        data: Buffer,
        *,
        content_type: str,
        meta: Mapping[str, str] | None = None,
        if_match: str | Sequence[str] | None = None,
        if_none_match: str | None = None,
        expected: str | None = None,
    ) -> Written:
        """Write an object with its data in one request; all its metadata is replaced.

        Conditions are Merkle hashes (of several any may hold), or ``*``; Stale if they do not hold.
        ``expected`` is the Merkle hash of ``data`` where it is known.  Data that
        was damaged on the way is written again, over that one version only.
        """
        merkle = expected or blocks.hashmap_of(data).merkle
        headers = _writing(content_type, meta, if_match, if_none_match)
        damaged: tuple[int, ...] = ()
        for attempt in range(_INTEGRITY_ATTEMPTS):
            try:
                written = self._written(self._send("PUT", container, name, headers=headers, body=data))
            except Stale as error:
                if not error.maybe_done:
                    raise
                size = memoryview(data).nbytes
                written = self._own_success(error, container, name, (merkle, size, content_type))
            if _agrees(written.etag, merkle, data):
                return replace(written, damaged=damaged)
            damaged += (written.version,)
            log.warning("%s/%s was damaged on its way (%d)", container, name, attempt + 1)
            headers = _writing(content_type, meta, written.etag, None)
        raise ProtocolError(f"{container}/{name}: the store gets other bytes than are sent, each time")

    def put_hashmap(
        self,
        container: str,
        name: str,
        hashmap: Hashmap,
        *,
        content_type: str,
        meta: Mapping[str, str] | None = None,
        if_match: str | Sequence[str] | None = None,
        if_none_match: str | None = None,
    ) -> Written:
        """Write an object whose blocks the store has; all its metadata is replaced.

        Raises MissingBlocks for those it has not, Stale if a condition does
        not hold.
        """
        headers = _writing(content_type, meta, if_match, if_none_match)
        body = _hashmap_body(hashmap.size, hashmap.hashes)
        try:
            answer = self._put_map(container, name, headers, body)
        except Stale as error:
            if not error.maybe_done:
                raise
            return self._own_success(error, container, name, (hashmap.merkle, hashmap.size, content_type))
        if answer.status == 409:
            raise _missing(answer, hashmap.hashes, f"{container}/{name}")
        written = self._written(answer)
        if len(written.etag) == len(hashmap.merkle) and written.etag != hashmap.merkle:
            raise ProtocolError(f"{container}/{name}: the store got another hashmap than was sent", 201)
        return written

    def missing_blocks(
        self, container: str, name: str, hashes: Sequence[str], *, block_size: int = blocks.BLOCK_SIZE
    ) -> list[str]:
        """Which of these blocks the store has not, each once and in order.  Nothing is written.

        Asked by a hashmap for ``name`` that can never become an object, for
        it also names a hash that no block has.
        """
        asked = [*hashes, blocks.IMPOSSIBLE_HASH]
        body = _hashmap_body(len(asked) * block_size, asked)
        answer = self._put_map(container, name, {"Content-Type": wire.DATA}, body)
        if answer.status != 409:
            raise ProtocolError(f"{container}/{name}: the store has a block that cannot be", answer.status)
        missing = _missing(answer, asked, f"{container}/{name}").hashes
        return [each for each in missing if each != blocks.IMPOSSIBLE_HASH]

    def _put_map(self, container: str, name: str, headers: Mapping[str, str], body: bytes) -> Response:
        return self._send(
            "PUT",
            container,
            name,
            query=[_JSON],
            flags=["hashmap"],
            headers=headers,
            body=body,
            allow=frozenset({409}),
        )

    def _own_success(self, error: Stale, container: str, name: str, sent: tuple[str, int, str]) -> Written:
        """After a repeated PUT found its condition broken: the version it made itself the first time.

        ``sent`` is hash, size and content type; any other version is somebody else's.
        """
        info = self.head(container, name)
        entry = info.entry
        if (entry.hash, entry.size, entry.content_type) != sent:
            raise error
        return Written(entry.version, info.etag)

    def post_block(
        self, container: str, data: Buffer, *, expected: str | None = None, algorithm: str = blocks.ALGORITHM
    ) -> str:
        """Store a block of at most the container's block size; returns its hash.

        ``expected`` saves hashing it again where the hash is known.  Zero
        bytes at the end are not sent, for the hash leaves them out too; but
        an empty body would store nothing, so of an all-zero block one stays.
        What was damaged on the way is sent again.
        """
        body = memoryview(data).cast("B")[: max(1, blocks.stripped_length(data))]
        wanted = expected or blocks.block_hash(data, algorithm)
        for _ in range(_INTEGRITY_ATTEMPTS):
            answer = self._send(
                "POST",
                container,
                query=[_JSON],
                flags=["update"],
                headers={"Content-Type": wire.DATA},
                body=body if len(body) else b"\0",
            )
            stored = [wire.hash_of(each) for each in _list_of(answer, container)]
            if stored == [wanted]:
                return wanted
            log.warning("a block was damaged on its way to %s", container)
        raise ProtocolError(f"{container}: the store gives a block another hash than {wanted}")

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
        uuid: str | None = None,
    ) -> int | None:
        """Rename an object, with ``recursive`` all below it as well; replaces what is there.

        Sharing and public URL are lost, UUID and metadata kept (``meta`` is
        merged).  Returns the new version if the store tells it.  It is sent
        once; if its answer is lost and the object's ``uuid`` is given, the
        destination tells whether it was carried out.
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
            if uuid is None or not error.maybe_done:
                raise
            return self._arrived(error, to_container, to_name, uuid)
        # The store puts a Python tuple there, "([282], 11L, 11L)"; the first number is the version.
        digits = re.search(r"\d+", unquote(answer.headers.get("x-object-version", "")))
        return int(digits[0]) if digits else None

    def _arrived(self, error: StoreError, container: str, name: str, uuid: str) -> int:
        """After the lost answer to a move: the version it made, or ``error`` if it made none.

        The store may still be at it; it shows the old state until it is done.
        """
        for pause in _ARRIVAL_PAUSES:
            self.transport.pause(pause)
            try:
                entry = self.head(container, name).entry
            except (NotFound, Unavailable):
                continue
            if entry.uuid == uuid:
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
        return self._written(answer)

    def delete(self, container: str, name: str, *, recursive: bool = False) -> None:
        """Delete an object, with ``recursive`` all below it as well; its history stays."""
        wire.path_of(container, name)
        if recursive:
            self._send("DELETE", container, name, query=[_SUBTREE], timeout=LONG_TIMEOUT, repeatable=False)
        else:
            self._delete_once_or_found_gone(container, name)

    def purge(self, container: str, name: str | None, until: int) -> None:
        """Destroy history up to ``until`` (seconds).

        Of an object that includes the live version if it is that old; of a
        container (``name`` None) the live objects stay.
        """
        self._send(
            "DELETE", container, name, query=[("until", int(until))], timeout=LONG_TIMEOUT, repeatable=False
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

    # -- requests --------------------------------------------------------------------

    def _delete_once_or_found_gone(self, container: str, name: str | None) -> None:
        try:
            self._send("DELETE", container, name)
        except NotFound as error:
            if not error.maybe_done:
                raise

    def _written(self, answer: Response) -> Written:
        etag = (answer.headers.get("etag") or "").strip('"').lower()
        return Written(wire.number(answer.headers.get("x-object-version"), "version"), etag)

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
        body: Buffer | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
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
            allow=allow,
            expected=expected,
            check=check,
        )


def _writing(
    content_type: str,
    meta: Mapping[str, str] | None,
    if_match: str | Sequence[str] | None,
    if_none_match: str | None,
) -> dict[str, str]:
    """The headers of a PUT."""
    headers = {"Content-Type": wire.content_type_header(content_type), **wire.meta_headers(meta)}
    if if_match is not None:
        headers["If-Match"] = wire.etag_condition(if_match)
    if if_none_match is not None:
        headers["If-None-Match"] = wire.etag_condition(if_none_match)
    return headers


def _agrees(etag: str, merkle: str, data: Buffer) -> bool:
    """Whether an ETag is that of ``data``: its Merkle hash or, as the server is set up, its MD5."""
    if len(etag) == len(merkle):
        return etag == merkle
    if len(etag) == _MD5_DIGITS:
        return etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
    return True


def _placing(content_type: str | None, meta: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of a MOVE or COPY, which keeps what is not given."""
    headers = wire.meta_headers(meta)
    if content_type is not None:
        headers["Content-Type"] = wire.content_type_header(content_type)
    return headers


def _hashmap_body(size: int, hashes: Sequence[str]) -> bytes:
    return json.dumps({"bytes": size, "hashes": list(hashes)}, separators=(",", ":")).encode()


def _missing(answer: Response, asked: Sequence[str], label: str) -> MissingBlocks:
    """The blocks a 409 names, of those asked for; Conflict if it means something else."""
    document = wire.json_of(answer.body, label)
    if not isinstance(document, list):
        raise error_of(409, bytes(answer.body), label)
    named = {wire.hash_of(each) for each in document}
    missing = [each for each in dict.fromkeys(asked) if each in named]
    if not missing:
        raise ProtocolError(f"{label}: the store lacks blocks it was not asked for", 409)
    return MissingBlocks(f"{label}: the store lacks {len(missing)} blocks", missing)


def _list_of(answer: Response, label: str) -> list[Any]:
    """The JSON list in an answer; an empty body is an empty list."""
    if not answer.body:
        return []
    document = wire.json_of(answer.body, label)
    if not isinstance(document, list):
        raise ProtocolError(f"{label}: the answer is no list")
    return document


def _askable(prefix: str) -> str:
    """What of ``prefix`` the store can be asked for; the rest is filtered here.

    It fails on a prefix that ends in a character above U+FFFF, and drops a
    slash at the beginning, so that it would list something else.
    """
    if prefix.startswith("/"):
        return ""
    while prefix and prefix[-1] > "\uffff":
        prefix = prefix[:-1]
    return prefix


def _page(items: list[Any], headers: Mapping[str, str], prefix: str, marker: str | None, limit: int) -> Page:
    entries: list[Entry] = []
    subdirs: list[str] = []
    following: str | None = None
    for item in items:
        if not isinstance(item, dict):
            raise ProtocolError("the listing has an entry that is none")
        if isinstance(subdir := item.get("subdir"), str):
            following = subdir + _LAST_CHARACTER
            if subdir.startswith(prefix) and subdir != prefix:
                subdirs.append(subdir)
        else:
            entry = wire.entry_of(item)
            following = entry.name
            if entry.name.startswith(prefix):
                entries.append(entry)
    if len(items) < limit:
        following = None
    if following is not None and marker is not None and following <= marker:
        raise ProtocolError("the listing does not go on")
    return Page(entries, subdirs, following, headers.get("last-modified"), wire.date_of(headers))


def _range_checker(label: str, start: int, stop: int) -> Callable[[int, Mapping[str, str]], None]:
    """A check that an answer brings just the bytes asked for."""

    def check(status: int, headers: Mapping[str, str]) -> None:
        if status == 200 and start == 0 and headers.get("content-length") == str(stop):
            return  # the whole object, which is what was asked for
        if status != 206:
            raise ProtocolError(f"{label}: the server does not answer ranges")
        said = headers.get("content-range", "")
        if not re.fullmatch(rf"bytes\s+{start}-{stop - 1}/(\d+|\*)", said.strip(), re.IGNORECASE):
            raise ProtocolError(f"{label}: another range came than asked for ({said[:60]})")

    return check


__all__ = [
    "AccountInfo",
    "Client",
    "ContainerInfo",
    "Entry",
    "Info",
    "Page",
    "Version",
    "Written",
    "connect",
]
