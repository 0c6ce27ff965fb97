"""Paths and object names: the mapping between them, and what cannot be a path.

A path component and the component of an object name between two slashes are
the same text, but for what one of the two sides cannot hold.  Both directions
escape with one rare character, ``‛`` (U+201B):

==============================  =======================================
cannot be in an object name     byte that is no UTF-8, newline, return
  -> in the object name         ``‛`` and the byte in hexadecimal (``‛E9``)
cannot be a path component      the empty one (``a//b``, ``a/``), ``.``, ``..``
  -> in the path                ``‛``, ``‛.``, ``‛..``
==============================  =======================================

A ``‛`` that would be taken for an escape is doubled, so both mappings are
one-to-one.  Two objects that still want one path (an object ``a`` beside
objects ``a/...``) are kept apart by :func:`distinct`: the directory has the
plain name, the file gets a ``‛`` behind it.  Text is never normalised: NFC
and NFD are different names, as on a disk.

Path text is what the operating system gives, undecodable bytes as lone
surrogates (PEP 383).
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple
from urllib.parse import quote

from pithosfs.errors import NameTooLong

ESCAPE = "‛"

#: The store refuses longer names (characters) ...
MAX_OBJECT_NAME = 1024
#: ... and front ends refuse longer request lines (bytes, percent-encoded).
MAX_REQUEST_PATH = 3800
#: The longest path component, in bytes, as on any Linux disk.
MAX_COMPONENT = 255
#: The longest one that is shown, where other clients made longer ones.
MAX_SHOWN = 1024

_UNSTORABLE = re.compile(f"({ESCAPE}*)(?:([\udc80-\udcff\n\r])|(0A|0D|[89A-F][0-9A-F]))")
_ESCAPED = re.compile(f"({ESCAPE}+)(0A|0D|[89A-F][0-9A-F])")
_UNPATHABLE = re.compile(f"({ESCAPE}*)(\\.?\\.?)")


class ObjectRef(NamedTuple):
    """Where an object is: its container, its name in it, and whose account that is.

    An empty ``account`` is the one the mount is of; an empty ``name`` the
    container itself; an empty ``container`` the account itself.
    """

    container: str
    name: str
    account: str = ""

    def child(self, component: str) -> ObjectRef:
        """The object ``component`` below this directory."""
        return self._replace(name=f"{self.name}/{component}" if self.name else component)

    @property
    def prefix(self) -> str:
        """What the names of all objects below this directory begin with."""
        return f"{self.name}/" if self.name else ""

    @property
    def parent(self) -> ObjectRef:
        """The directory an object is in; of a container, the account."""
        if not self.name:
            return self._replace(container="")
        return self._replace(name=self.name.rpartition("/")[0])

    def is_below(self, top: ObjectRef) -> bool:
        """Whether this is ``top`` or something below it."""
        return (
            self == top
            or (not top.container and self.account == top.account)
            or (self[::2] == top[::2] and (not top.name or self.name.startswith(top.prefix)))
        )

    def moved(self, old: ObjectRef, new: ObjectRef) -> ObjectRef:
        """Where this, which is ``old`` or below it, is after ``old`` became ``new``."""
        return new._replace(name=new.name + self.name[len(old.name) :])

    def __str__(self) -> str:
        return "/".join(each for each in (self.account, self.container, self.name) if each)


def to_object(component: str) -> str:
    """The object-name component for a path component."""
    stripped = component.lstrip(ESCAPE)
    if stripped in ("", ".", "..") and stripped != component:
        return component[1:]
    return _UNSTORABLE.sub(_escape, component)


def _escape(match: re.Match[str]) -> str:
    run, raw, literal = match.groups()
    if raw is None:  # text that only looks like an escape
        return run * 2 + literal if run else str(literal)
    code = ord(raw) - 0xDC00 if raw > "\r" else ord(raw)
    return f"{run * 2}{ESCAPE}{code:02X}"


def to_path(component: str) -> str:
    """The path component for an object-name component; inverse of :func:`to_object`."""
    if ESCAPE not in component and component not in ("", ".", ".."):
        return component
    match = _UNPATHABLE.fullmatch(component)
    if match:
        return ESCAPE + component
    return _ESCAPED.sub(_unescape, component)


def _unescape(match: re.Match[str]) -> str:
    run, code = match.groups()
    if len(run) % 2 == 0:
        return str(run[: len(run) // 2]) + str(code)
    value = int(code, 16)
    return run[: len(run) // 2] + (chr(0xDC00 + value) if value >= 0x80 else chr(value))


def distinct(component: str, taken: Container[str]) -> str:
    """``component``, or what it is shown as where that name is taken."""
    while component in taken:
        component += ESCAPE
    return component


def split(path: str) -> list[str]:
    """The components of an absolute path."""
    return [each for each in path.split("/") if each]


def check_length(component: str) -> None:
    """NameTooLong if a disk would not take this component."""
    if len(component) * 4 > MAX_COMPONENT and _bytes(component) > MAX_COMPONENT:
        raise NameTooLong(f"the name {component[:40]}… is longer than {MAX_COMPONENT} bytes")


def showable(component: str) -> bool:
    """Whether the kernel takes the component of somebody else's object in a listing."""
    return len(component) * 4 <= MAX_SHOWN or _bytes(component) <= MAX_SHOWN


def is_text(name: str) -> bool:
    """Whether the name can be bytes of a path at all: JSON can also write halves of characters, and NUL."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def _bytes(component: str) -> int:
    return len(component.encode("utf-8", "surrogateescape"))


def storable(ref: ObjectRef) -> bool:
    """Whether a request for this object fits what stores and front ends accept."""
    return len(ref.name) <= MAX_OBJECT_NAME and len(quote(ref.name, safe="/")) <= MAX_REQUEST_PATH
