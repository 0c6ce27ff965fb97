"""What a file is besides its bytes, and how the store keeps it.  No I/O.

* Modification time and mode travel as parameters of the content type,
  ``text/plain; mtime=1795334389.539240123; mode=0644``: listings show it, so
  a directory of ten thousand files needs no request a file, and a server-side
  move keeps it.
* ``X-Object-Meta-Mtime`` says the time again for rclone and its kin; what
  they write there is read, too.
* Directories and symbolic links are content types of their own.
* Extended attributes ``user.*`` are ``X-Object-Meta-*``.  Plain ones (a short
  name in lower case, a printable value) stand as they are; any other is
  encoded into keys that survive what the store does to keys and values
  (case lost, ``_`` becomes ``-``, ``~`` removed, 256 characters a value).
"""

from __future__ import annotations

import base64
import binascii
import functools
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pithosfs.errors import AttributeTooBig, InvalidArgument

DIRECTORY_TYPE = "application/directory"
SYMLINK_TYPE = "inode/symlink"
DEFAULT_TYPE = "application/octet-stream"
_DIRECTORY_TYPES = (DIRECTORY_TYPE, "application/folder")

#: The store's limits on user metadata: keys an object, characters a value.
MAX_META_KEYS = 32
MAX_META_VALUE = 256
_MAX_META_KEY = 100  # the store: 128 with the "X-Object-Meta-" before it, and some room

MTIME_META = "mtime"
_SECONDS = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9})\d*)?")
_MODE = re.compile(r"0?[0-7]{3,4}")
#: As :attr:`Attributes.content_type` writes it: the quick way for thousands of files of one listing.
_USUAL = re.compile(r"([^;\s]+); mtime=(\d{1,12})\.(\d{9}); mode=(0[0-7]{3})", re.ASCII)
_PLAIN_KEY = re.compile(r"[a-z0-9][a-z0-9.-]*")
_PLAIN_VALUE = re.compile(rb"[!-}](?:[ -}]*[!-}])?")
_EMPTY = "-"  # the store removes a key whose value is empty
_ENCODED_KEY = re.compile(r"pfs-([a-z2-7]+)-(\d+)")


class Kind(Enum):
    """What an object is shown as."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Attributes:
    """Content type proper, modification time in ns since 1970, and mode bits (0o7777).

    ``None`` where the store says nothing.
    """

    base_type: str = DEFAULT_TYPE
    mtime_ns: int | None = None
    mode: int | None = None

    @property
    def kind(self) -> Kind:
        """What the content type makes of the object."""
        return kind_of(self.base_type)

    def with_changes(self, mtime_ns: int | None = None, mode: int | None = None) -> Attributes:
        """A copy with what is given changed."""
        return Attributes(
            self.base_type,
            self.mtime_ns if mtime_ns is None else mtime_ns,
            self.mode if mode is None else mode,
        )

    @property
    def content_type(self) -> str:
        """The content type that says all this."""
        text = self.base_type
        if self.mtime_ns is not None:
            text += f"; mtime={format_time(self.mtime_ns)}"
        if self.mode is not None:
            text += f"; mode={self.mode & 0o7777:04o}"
        return text


@functools.lru_cache(1000)
def kind_of(base_type: str) -> Kind:
    """What an object of this content type is shown as."""
    plain = base_type.partition(";")[0].strip().lower()
    if plain in _DIRECTORY_TYPES:
        return Kind.DIRECTORY
    return Kind.SYMLINK if plain == SYMLINK_TYPE else Kind.FILE


def parse(content_type: str) -> Attributes:
    """Read a content type as the store gives it; never fails."""
    if usual := _USUAL.fullmatch(content_type):
        base, whole, fraction, bits = usual.groups()
        return Attributes(base, int(whole) * 10**9 + int(fraction), int(bits, 8))
    if ";" not in content_type:
        return Attributes(content_type.strip() or DEFAULT_TYPE)
    kept: list[str] = []
    mtime_ns = mode = None
    for part in content_type.split(";"):
        key, _, value = part.strip().partition("=")
        if key == "mtime" and (seconds := parse_time(value)) is not None:
            mtime_ns = seconds
        elif key == "mode" and _MODE.fullmatch(value):
            mode = int(value, 8)
        elif part.strip():
            kept.append(part.strip())
    return Attributes("; ".join(kept) or DEFAULT_TYPE, mtime_ns, mode)


def guess_type(name: str) -> str:
    """The content type a new file of this name gets."""
    guessed, encoding = mimetypes.guess_type(name, strict=False)
    return guessed if guessed and not encoding else DEFAULT_TYPE


def format_time(time_ns: int) -> str:
    """Nanoseconds since 1970 as seconds with nine decimals."""
    sign = "-" if time_ns < 0 else ""
    seconds, fraction = divmod(abs(time_ns), 10**9)
    return f"{sign}{seconds}.{fraction:09d}"


def parse_time(text: str) -> int | None:
    """Seconds since 1970, with or without decimals, as nanoseconds; None if it is no time."""
    match = _SECONDS.fullmatch(text.strip())
    if not match:
        return None
    sign, seconds, fraction = match.groups()
    value = int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))
    return -value if sign else value


def meta_for(attributes: Attributes, other: Mapping[str, str]) -> dict[str, str]:
    """All metadata to send with an object: ``other`` and what rclone wants to find."""
    meta = {key: value for key, value in other.items() if key != MTIME_META}
    # Where others have used up all keys, it is in the content type.
    room = len(meta) < MAX_META_KEYS
    if attributes.mtime_ns is not None and attributes.kind is Kind.FILE and room:
        meta[MTIME_META] = format_time(attributes.mtime_ns)
    return meta


# -- extended attributes ----------------------------------------------------------


def read_xattrs(meta: Mapping[str, str]) -> dict[str, bytes]:
    """The ``user.*`` attributes in an object's metadata, by full name."""
    found: dict[str, bytes] = {}
    encoded: dict[str, dict[int, str]] = {}
    for key, value in meta.items():
        match = _ENCODED_KEY.fullmatch(key)
        if match:
            encoded.setdefault(match[1], {})[int(match[2])] = value
        elif key != MTIME_META:
            found[f"user.{key}"] = value.encode("utf-8", "surrogateescape")
    for packed, parts in encoded.items():
        try:
            name = _unpack(packed).decode("utf-8", "surrogateescape")
            joined = "".join(parts[index] for index in range(len(parts)))
            found[f"user.{name}"] = b"" if joined == _EMPTY else base64.b64decode(joined, validate=True)
        except (KeyError, ValueError, binascii.Error):
            continue  # somebody else's keys that only look like ours
    return found


def set_xattr(meta: Mapping[str, str], name: str, value: bytes) -> dict[str, str]:
    """``meta`` with attribute ``name`` (``user.…``) set.

    InvalidArgument if it has no name behind that; AttributeTooBig if it does not fit.
    """
    if name == "user.":
        raise InvalidArgument("an attribute must have a name behind user.")
    changed = remove_xattr(meta, name)
    key = name.removeprefix("user.")
    if _is_plain(key, value):
        changed[key] = value.decode("ascii")
    else:
        text = base64.b64encode(value).decode("ascii")
        packed = _pack(key.encode("utf-8", "surrogateescape"))
        parts = [text[at : at + MAX_META_VALUE] for at in range(0, len(text), MAX_META_VALUE)] or [""]
        for index, part in enumerate(parts):
            changed[f"pfs-{packed}-{index}"] = part or _EMPTY
        if len(packed) + 8 > _MAX_META_KEY:
            raise AttributeTooBig(f"the name of attribute {name} is too long for the store")
    if len(changed) > MAX_META_KEYS - 1:  # one is for the time
        raise AttributeTooBig(f"attribute {name} does not fit into the {MAX_META_KEYS} keys the store keeps")
    return changed


def remove_xattr(meta: Mapping[str, str], name: str) -> dict[str, str]:
    """``meta`` without attribute ``name``."""
    key = name.removeprefix("user.")
    packed = _pack(key.encode("utf-8", "surrogateescape"))
    return {
        each: value
        for each, value in meta.items()
        if (each != key or key == MTIME_META)  # user.mtime is encoded, as the plain key is the time
        and not ((match := _ENCODED_KEY.fullmatch(each)) and match[1] == packed)
    }


def _is_plain(key: str, value: bytes) -> bool:
    return (
        _PLAIN_KEY.fullmatch(key) is not None
        and key != MTIME_META
        and not key.startswith("pfs-")
        and len(key) <= _MAX_META_KEY
        and 0 < len(value) <= MAX_META_VALUE
        and _PLAIN_VALUE.fullmatch(value) is not None
    )


def _pack(name: bytes) -> str:
    return base64.b32encode(name).decode("ascii").rstrip("=").lower()


def _unpack(packed: str) -> bytes:
    return base64.b32decode(packed.upper() + "=" * (-len(packed) % 8))
