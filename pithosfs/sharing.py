"""Who else may read or write an object, and links that need no token.

Permissions of a directory's object hold for everything below it.  The store
keeps users by their UUIDs and groups as ``UUID:GROUP``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from pithosfs.api import Client, Entry
from pithosfs.attributes import DIRECTORY_TYPE
from pithosfs.errors import BadRequest, Forbidden, NotFound, Stale
from pithosfs.names import ObjectRef

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Who may read, and who may read and write: UUIDs, ``UUID:GROUP``, or ``*``."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Permissions:
        """What the store says: ``read=A,B; write=C``."""
        found: dict[str, tuple[str, ...]] = {}
        for part in (text or "").split(";"):
            kind, _, users = part.strip().partition("=")
            found[kind.strip()] = tuple(each.strip() for each in users.split(",") if each.strip())
        return cls(found.get("read", ()), found.get("write", ()))

    def __str__(self) -> str:
        parts = (("read", self.read), ("write", self.write))
        return ";".join(f"{kind}={','.join(users)}" for kind, users in parts if users)


def permissions(client: Client, ref: ObjectRef) -> Permissions:
    """Who may do what with an object now; also what a directory above it grants."""
    return Permissions.parse(client.head(ref.container, ref.name).entry.sharing)


def own_permissions(client: Client, ref: ObjectRef) -> Permissions:
    """What was granted for this very object; nothing if it has none yet."""
    try:
        entry = client.head(ref.container, ref.name).entry
    except NotFound:
        return Permissions()  # a directory that is known only from the names below it
    return Permissions() if entry.shared_by else Permissions.parse(entry.sharing)


def share(client: Client, ref: ObjectRef, wanted: Permissions) -> None:
    """Set the permissions of an object; none at all ends sharing.

    A directory that is known only from the names below it gets an object.
    """
    _require_object(client, ref)
    client.update(ref.container, ref.name, sharing=str(wanted))


def publish(client: Client, ref: ObjectRef) -> str:
    """Give an object a link that opens without a token, and return it.

    Forbidden for others' objects: the store would do it where one may write,
    but tell the link to nobody but the owner.
    """
    if client.head(ref.container, ref.name).entry.allowed_to:
        raise Forbidden(f"{ref} belongs to somebody else: only its owner can publish it", 403)
    client.update(ref.container, ref.name, public=True)
    link = client.head(ref.container, ref.name).entry.public
    if not link:
        raise NotFound(f"the store gives no link for {ref}", 404)
    return link


def unpublish(client: Client, ref: ObjectRef) -> None:
    """End an object's public link."""
    client.update(ref.container, ref.name, public=False)


def _require_object(client: Client, ref: ObjectRef) -> None:
    try:
        client.head(ref.container, ref.name)
    except NotFound:
        if client.first(ref.container, ref.prefix) is None:
            raise
        try:
            client.put_object(ref.container, ref.name, b"", content_type=DIRECTORY_TYPE, if_none_match="*")
        except Stale:
            return  # somebody else made it just now


def user_ids(
    names: Sequence[str], client: Client, look_up: Callable[[list[str]], dict[str, str]]
) -> list[str]:
    """The store's names of users and groups: UUIDs as they are, own groups, display names looked up.

    BadRequest names those nobody knows.
    """
    groups = client.account().groups if any(_is_name(each) for each in names) else {}
    unknown = [each for each in names if _is_name(each) and each.lower() not in groups]
    found = look_up(unknown) if unknown else {}
    missing = [each for each in unknown if each not in found]
    if missing:
        raise BadRequest(f"there is no user or group {', '.join(missing)}")
    return [
        each
        if not _is_name(each)
        else f"{client.account_id}:{each.lower()}"
        if each.lower() in groups
        else found[each]
        for each in names
    ]


def _is_name(text: str) -> bool:
    return text != EVERYBODY and ":" not in text and _UUID.fullmatch(text) is None


# -- what is shared -----------------------------------------------------------------------


def shared_by_me(client: Client) -> Iterator[tuple[str, Entry]]:
    """Container and entry of each object that is shared or public, what a shared directory holds left out."""
    for container in client.containers():
        shared = client.list_all(container.name, shared=True)
        public = client.list_all(container.name, public=True)
        entries = {entry.name: entry for page in chain(shared, public) for entry in page.entries}
        for entry in entries.values():
            if entry.public or (entry.sharing and not entry.shared_by):
                yield container.name, entry


def shared_with_me(client: Client) -> Iterator[tuple[str, str, Entry]]:
    """Account, container and entry of what others share, what a shared directory holds left out."""
    for account in client.sharing_accounts():
        theirs = Client(client.transport, client.endpoint, account)
        try:
            for container in theirs.containers():
                for page in theirs.list_all(container.name):
                    for entry in page.entries:
                        if entry.allowed_to:
                            yield account, container.name, entry
        except Forbidden:
            continue  # it ended just now
