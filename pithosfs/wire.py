"""How names, values and answers look on the wire, in both directions.  No I/O.

Encoding is as the store decodes it: paths percent-encoded with their slashes
kept, header values percent-encoded (it decodes them once), conditions quoted.
Decoding trusts nothing: what is no Pithos answer raises ProtocolError.

Sizes are bytes, times nanoseconds since 1970 in UTC, hashes lower-case
hexadecimal.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from pithosfs import blocks
from pithosfs.blocks import Hashmap
from pithosfs.errors import BadRequest, NameTooLong, ProtocolError
from pithosfs.names import MAX_OBJECT_NAME

#: Characters the name of a container may have.
MAX_CONTAINER_NAME = 256
#: What an object is when nobody says.
DATA = "application/octet-stream"

_META = "x-object-meta-"
#: All of printable ASCII but the sign that starts an encoding.
_PLAIN = string.digits + string.ascii_letters + string.punctuation.replace("%", "") + " "
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_SECONDS = re.compile(r"(\d{1,12})(?:\.(\d+))?")
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing tells of an object.

    ``hash`` is the Merkle hash, "" if unknown; ``version`` 0 is unknown too.
    ``modified_ns`` is exact to the microsecond in listings, to the second in
    headers.  ``etag`` is another hash a condition may have to name: the MD5 of
    a server that is set up so, "" if there is none.
    """

    name: str
    size: int
    content_type: str
    hash: str
    uuid: str
    version: int
    modified_ns: int
    sharing: str | None = None
    public: str | None = None
    shared_by: str | None = None
    allowed_to: str | None = None
    modified_by: str | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    """What the headers of an object tell.

    ``meta`` has the X-Object-Meta-* headers, keys in lower case.  ``etag`` is
    the Merkle hash or an MD5, as the server is set up.
    """

    entry: Entry
    meta: Mapping[str, str]
    etag: str
    encoding: str | None = None
    disposition: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing.

    ``subdirs`` are virtual directories, with their final slash.  ``marker`` is
    where the next page starts, None after the last.  ``last_modified`` is the
    container's stamp, to be sent back as ``modified_since``; ``date`` the
    server's clock in seconds since 1970, None if it does not tell.
    """

    entries: list[Entry]
    subdirs: list[str]
    marker: str | None
    last_modified: str | None
    date: int | None


@dataclass(frozen=True, slots=True)
class Written:
    """The version a write has made, and its ETag ("" after a copy).

    ``damaged`` are versions it made before, of bytes that were not what was sent.
    """

    version: int
    etag: str
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object: its number and when it was written."""

    serial: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account; ``quota`` 0 is none.  All is empty for somebody else's."""

    bytes_used: int
    quota: int
    containers: int
    groups: Mapping[str, tuple[str, ...]]
    meta: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """A container; a listing of containers leaves ``meta`` and ``meta_keys`` empty.

    ``quota`` 0 is none.  ``meta_keys`` are the keys in use by its objects.
    """

    name: str
    count: int = 0
    bytes_used: int = 0
    block_size: int = blocks.BLOCK_SIZE
    quota: int = 0
    versioning: str = "auto"
    last_modified: str | None = None
    meta_keys: frozenset[str] = frozenset()
    meta: Mapping[str, str] = field(default_factory=dict)


# -- encoding --------------------------------------------------------------------


def path_of(container: str, name: str | None = None) -> str:
    """``/container`` or ``/container/object``, percent-encoded.

    Raises BadRequest for what the store would take for something else (an
    empty name for the container, a final newline for nothing), NameTooLong.
    """
    _check(container, "container", MAX_CONTAINER_NAME)
    if "/" in container:
        raise BadRequest(f"{container!r} is not the name of a container: it has a slash")
    path = "/" + quoted(container, safe="")
    if name is not None:
        _check(name, "object", MAX_OBJECT_NAME)
        path += "/" + quoted(name, safe="/")
    return path


def _check(name: str, what: str, longest: int) -> None:
    if not name:
        raise BadRequest(f"the name of the {what} is empty")
    if "\n" in name or "\0" in name:
        raise BadRequest(f"{name!r}: the store takes no line breaks in names")
    if len(name) > longest:
        raise NameTooLong(f"{name[:40]}…: the store takes {longest} characters in the name of the {what}")


def quoted(text: str, safe: str = "") -> str:
    """``text`` percent-encoded; BadRequest if it is not Unicode."""
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:
        raise BadRequest(f"{text!r} is not Unicode, which the store needs") from None


def query_of(flags: Iterable[str], parameters: Iterable[tuple[str, str | int | None]]) -> str:
    """A query string: names without a value, then those with one; None leaves a parameter out."""
    given = [f"{key}={quoted(str(value), safe='/')}" for key, value in parameters if value is not None]
    return "&".join([*flags, *given])


def header_value(text: str) -> str:
    """``text`` as a header value that the store decodes back to it."""
    inner = text.strip(" ")
    start = len(text) - len(text.lstrip(" ")) if inner else len(text)
    return "%20" * start + quoted(inner, safe=_PLAIN) + "%20" * (len(text) - start - len(inner))


def meta_headers(meta: Mapping[str, str] | None, prefix: str = "X-Object-Meta-") -> dict[str, str]:
    """Metadata as headers; an empty value removes a key where the store merges."""
    return {prefix + quoted(key, safe="-_"): header_value(value) for key, value in (meta or {}).items()}


def content_type_header(content_type: str) -> str:
    """A content type as it may stand in a header; BadRequest if it cannot."""
    if not content_type.isascii() or not content_type.isprintable():
        raise BadRequest(f"{content_type!r} is not a content type")
    return content_type


def etag_condition(etags: str | Sequence[str]) -> str:
    """Hashes as a condition any of which may hold: quoted, unless it is ``*``."""
    if etags == "*":
        return "*"
    return ", ".join(f'"{each}"' for each in ([etags] if isinstance(etags, str) else etags))


# -- decoding --------------------------------------------------------------------


def json_of(body: bytes | bytearray, label: str) -> Any:
    """The JSON in a body, whatever content type it came with."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError(f"{label}: the answer is not JSON") from None


def number(value: object, what: str) -> int:
    """A whole number, not negative, of 63 bits, as the kernel and databases take; it may come as text."""
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise ProtocolError(f"the answer's {what} is not a number")


def _optional_number(value: object, what: str) -> int:
    return 0 if value is None else number(value, what)


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    raise ProtocolError(f"the answer's {what} is not text")


def _optional_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def hash_of(value: object) -> str:
    """A hash in lower case; ProtocolError if it is none."""
    text = value.lower() if isinstance(value, str) else ""
    if not _HEX.fullmatch(text) or len(text) % 2:
        raise ProtocolError("the answer has a hash that is none")
    return text


def time_ns(value: object) -> int | None:
    """A time in nanoseconds, from seconds (``"1795333707.724022"``), ISO 8601 or an HTTP date."""
    text = repr(value) if isinstance(value, float) else str(value)
    if match := _SECONDS.fullmatch(text):
        return int(match[1]) * 10**9 + int((match[2] or "0")[:9].ljust(9, "0"))
    for parse in (datetime.datetime.fromisoformat, email.utils.parsedate_to_datetime):
        try:
            moment = parse(text)
        except (ValueError, TypeError):
            continue
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    return None


def date_of(headers: Mapping[str, str]) -> int | None:
    """The server's clock, in seconds since 1970."""
    moment = time_ns(headers.get("date"))
    return None if moment is None else moment // 10**9


def entry_of(item: Mapping[str, Any]) -> Entry:
    """An object in a listing; only name and size must be there."""
    stamp = item.get("x_object_version_timestamp")
    merkle = item.get("x_object_hash")
    return Entry(
        name=_text(item.get("name"), "name"),
        size=number(item.get("bytes"), "size"),
        content_type=_optional_text(item.get("content_type")) or DATA,
        hash=hash_of(merkle) if merkle else "",
        uuid=_optional_text(item.get("x_object_uuid")) or "",
        version=_optional_number(item.get("x_object_version"), "version"),
        modified_ns=time_ns(stamp) or time_ns(item.get("last_modified")) or 0,
        sharing=_optional_text(item.get("x_object_sharing")),
        public=_optional_text(item.get("x_object_public")),
        shared_by=_optional_text(item.get("x_object_shared_by")),
        allowed_to=_optional_text(item.get("x_object_allowed_to")),
        modified_by=_optional_text(item.get("x_object_modified_by")),
        etag=(_optional_text(item.get("hash")) or "").lower(),
    )


def info_of(name: str, headers: Mapping[str, str], size: int | None = None) -> Info:
    """An object's headers; ``size`` where Content-Length is not the object's own."""
    value = _decoder(headers)
    etag = (headers.get("etag") or "").removeprefix("W/").strip('"').lower()
    merkle = value("x-object-hash")
    stamp = headers.get("x-object-version-timestamp")
    entry = Entry(
        name=name,
        size=number(headers.get("content-length"), "length") if size is None else size,
        content_type=value("content-type") or DATA,
        hash=hash_of(merkle) if merkle else "",
        uuid=value("x-object-uuid") or "",
        version=_optional_number(headers.get("x-object-version"), "version"),
        modified_ns=time_ns(stamp) or time_ns(headers.get("last-modified")) or 0,
        sharing=value("x-object-sharing"),
        public=value("x-object-public"),
        shared_by=value("x-object-shared-by"),
        allowed_to=value("x-object-allowed-to"),
        modified_by=value("x-object-modified-by"),
        etag=etag,
    )
    return Info(entry, meta_of(headers, _META), etag, value("content-encoding"), value("content-disposition"))


def _decoder(headers: Mapping[str, str]) -> Any:
    """A function from a header's name to its decoded value, None if it is missing or empty."""

    def value(name: str) -> str | None:
        return unquote(headers.get(name) or "") or None

    return value


def meta_of(headers: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Headers that begin with ``prefix``: the rest of the name in lower case, the value decoded."""
    return {
        unquote(key[len(prefix) :]).lower(): unquote(value)
        for key, value in headers.items()
        if key.lower().startswith(prefix)
    }


def hashmap_of(document: Any) -> Hashmap:
    """The hashmap in an answer; the one hash the store gives an empty object is left out."""
    if not isinstance(document, dict) or not isinstance(document.get("hashes"), list):
        raise ProtocolError("the answer is no hashmap")
    size = number(document.get("bytes"), "size")
    block_size = number(document.get("block_size", blocks.BLOCK_SIZE), "block size")
    if not block_size:
        raise ProtocolError("the hashmap has no block size")
    _check_algorithm(document.get("block_hash", blocks.ALGORITHM))
    hashes = tuple(hash_of(each) for each in document["hashes"]) if size else ()
    if any(len(each) != len(blocks.ZERO_HASH) for each in hashes):
        raise ProtocolError("the hashmap has a hash of the wrong length")
    if len(hashes) != blocks.block_count(size, block_size):
        raise ProtocolError(f"the hashmap has {len(hashes)} hashes for {size} bytes")
    return Hashmap(size, hashes, block_size)


def _check_algorithm(name: Any) -> None:
    """Which hashes a server gives its blocks is a setting of its own; nobody is known to have changed it."""
    if str(name).lower() != blocks.ALGORITHM:
        raise ProtocolError(
            f"the server hashes blocks by {str(name)[:20]!r}, pithosfs knows {blocks.ALGORITHM} only:"
            " use kamaki with it"
        )


def versions_of(document: Any) -> list[Version]:
    """The versions in the answer to ``version=list``, as they come: oldest first."""
    pairs = document.get("versions") if isinstance(document, dict) else None
    if not isinstance(pairs, list):
        raise ProtocolError("the answer is no list of versions")
    return [_version_of(pair) for pair in pairs]


def _version_of(pair: Any) -> Version:
    if not isinstance(pair, list | tuple) or len(pair) < 2:
        raise ProtocolError("the answer has a version that is none")
    moment = time_ns(pair[1])
    if moment is None:
        raise ProtocolError("the answer has a version without a time")
    return Version(number(pair[0], "version"), moment)


def account_of(headers: Mapping[str, str]) -> AccountInfo:
    """An account's headers."""
    groups = meta_of(headers, "x-account-group-")
    return AccountInfo(
        bytes_used=_optional_number(headers.get("x-account-bytes-used"), "usage"),
        quota=_optional_number(headers.get("x-account-policy-quota"), "quota"),
        containers=_optional_number(headers.get("x-account-container-count"), "count"),
        groups={name: tuple(each for each in users.split(",") if each) for name, users in groups.items()},
        meta=meta_of(headers, "x-account-meta-"),
    )


def container_of(name: str, headers: Mapping[str, str]) -> ContainerInfo:
    """A container's headers."""
    _check_algorithm(headers.get("x-container-block-hash") or blocks.ALGORITHM)
    keys = unquote(headers.get("x-container-object-meta") or "")
    return ContainerInfo(
        name=name,
        count=_optional_number(headers.get("x-container-object-count"), "count"),
        bytes_used=_optional_number(headers.get("x-container-bytes-used"), "usage"),
        block_size=number(headers.get("x-container-block-size", blocks.BLOCK_SIZE), "block size"),
        quota=_optional_number(headers.get("x-container-policy-quota"), "quota"),
        versioning=headers.get("x-container-policy-versioning") or "auto",
        last_modified=headers.get("last-modified"),
        meta_keys=frozenset(key.strip().lower() for key in keys.split(",") if key.strip()),
        meta=meta_of(headers, "x-container-meta-"),
    )


def container_item(item: Any) -> ContainerInfo:
    """A container in a listing; of somebody else's only the name is known."""
    if not isinstance(item, dict):
        raise ProtocolError("the answer has a container that is none")
    policy = item.get("x_container_policy")
    policy = policy if isinstance(policy, dict) else {}
    return ContainerInfo(
        name=_text(item.get("name"), "name"),
        count=_optional_number(item.get("count"), "count"),
        bytes_used=_optional_number(item.get("bytes"), "usage"),
        quota=_optional_number(policy.get("quota"), "quota"),
        versioning=str(policy.get("versioning") or "auto"),
        last_modified=_optional_text(item.get("last_modified")),
    )
