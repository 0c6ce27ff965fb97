"""Listings, hashmaps, versions and errors as text, JSON and XML.

The layout of the XML, blank lines included, is the real server's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

CONTENT_TYPES = {
    "text": "text/plain; charset=UTF-8",
    "json": "application/json; charset=UTF-8",
    "xml": "application/xml; charset=UTF-8",
}
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'

Item = Mapping[str, Any]


def as_json(value: Any) -> bytes:
    """JSON as the real server writes it: ASCII, a space after each comma and colon."""
    return json.dumps(value).encode()


def error(serialization: str, key: str, message: str, code: int, details: str) -> bytes:
    """The body of an error: XML, or JSON for everything else."""
    if serialization == "xml":
        return (
            f'{_XML}<{key} code="{code}">\n  <message>{_xml(message)}</message>\n'
            f"  <details>{_xml(details)}</details>\n</{key}>\n"
        ).encode()
    return as_json({key: {"message": message, "code": code, "details": details}})


def lines(names: Sequence[str]) -> bytes:
    """Names, one a line."""
    return "".join(f"{name}\n" for name in names).encode()


def accounts_xml(user: str, items: Sequence[Item]) -> bytes:
    """Accounts that share something with ``user``."""
    body = "".join(f"  \n  <account>\n{_fields(item)}  </account>\n" for item in items)
    return f'{_XML}\n<accounts user="{_attribute(user)}">\n{body}  \n</accounts>\n'.encode()


def containers_xml(account: str, items: Sequence[Item]) -> bytes:
    """Containers of an account."""
    body = "".join(f"  \n  <container>\n{_fields(item)}  </container>\n" for item in items)
    return f'{_XML}\n<account name="{_attribute(account)}">\n{body}  \n</account>\n'.encode()


def objects_xml(container: str, items: Sequence[Item]) -> bytes:
    """Objects and subdirectories of a container."""
    body = ""
    for item in items:
        if "subdir" in item:
            body += f'  \n  \n  <subdir name="{_attribute(item["subdir"])}" />\n  \n'
        else:
            body += f"  \n  \n  <object>\n{_fields(item)}  </object>\n  \n"
    return f'{_XML}\n<container name="{_attribute(container)}">\n{body}  \n</container>\n'.encode()


def items_xml(values: Sequence[str]) -> bytes:
    """Plain values, as the hashes of posted blocks."""
    body = "".join(f"  \n  <item>{_xml(value)}</item>\n" for value in values)
    return f"{_XML}\n<items>\n{body}  \n</items>\n".encode()


def versions_xml(name: str, versions: Sequence[tuple[int, str]]) -> bytes:
    """The history of an object."""
    body = "".join(f'  \n  <version timestamp="{stamp}">{serial}</version>\n' for serial, stamp in versions)
    return f'{_XML}\n<object name="{_attribute(name)}">\n{body}  \n</object>\n'.encode()


def hashmap_xml(name: str, hashmap: Item) -> bytes:
    """The hashmap of an object."""
    body = "".join(f"  \n  <hash>{_xml(each)}</hash>\n" for each in hashmap["hashes"])
    return (
        f'{_XML}\n<object name="{_attribute(name)}" bytes="{hashmap["bytes"]}" '
        f'block_size="{hashmap["block_size"]}" block_hash="{hashmap["block_hash"]}">\n{body}  \n</object>\n'
    ).encode()


def _fields(item: Item) -> str:
    return "".join(_field(name, value) for name, value in item.items()) + "  \n"


def _field(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = "".join(
            f"      <key>{_xml(key)}</key><value>{_xml(str(each))}</value>\n" for key, each in value.items()
        )
        return f"  \n    <{name}>\n{pairs}      \n    </{name}>\n"
    return f"  \n    <{name}>{_xml(str(value))}</{name}>\n"


def _xml(text: str) -> str:
    return escape(text, {'"': "&quot;", "'": "&#39;"})


_attribute = _xml
