"""What the store knows of an object, as extended attributes ``user.pithos.*``.

=========================  ==================================================================
``user.pithos.hash``       the Merkle hash of the content
``user.pithos.version``    the number of the version
``user.pithos.uuid``       the object's identity, which a rename keeps
``user.pithos.modified_by``  the account that wrote it
``user.pithos.url``        where the store's API has it (wants a token)
``user.pithos.sharing``    who may read and write it, ``read=…;write=…``; can be set
``user.pithos.public``     its public link; setting it to 1 publishes, to 0 ends that
=========================  ==================================================================

They can be asked for, but are not listed: ``cp -a`` and ``rsync -X`` would try
to copy them, and a copy has facts of its own.
"""

from __future__ import annotations

from pithosfs import sharing, wire
from pithosfs.api import Client, Entry
from pithosfs.errors import BadRequest, InvalidArgument, NotSupported
from pithosfs.names import ObjectRef

PREFIX = "user.pithos."
SHARING, PUBLIC = PREFIX + "sharing", PREFIX + "public"

_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


def is_fact(name: str) -> bool:
    """Whether an attribute's full name is one of these, or could become one."""
    return name.startswith(PREFIX)


def read(name: str, client: Client, ref: ObjectRef, entry: Entry) -> bytes | None:
    """One fact about an object, None if there is nothing to tell."""
    value = {
        "hash": entry.hash,
        "version": str(entry.version or ""),
        "uuid": entry.uuid,
        "modified_by": entry.modified_by,
        "url": url_of(client, ref),
        "sharing": entry.sharing,
        "public": entry.public,
    }.get(name.removeprefix(PREFIX))
    return value.encode("utf-8", "surrogateescape") if value else None


def url_of(client: Client, ref: ObjectRef) -> str:
    """Where the API has an object."""
    return f"{client.endpoint}/{wire.quoted(client.account_id)}{wire.path_of(ref.container, ref.name)}"


def write(name: str, value: bytes, client: Client, ref: ObjectRef) -> None:
    """Publish or share an object; NotSupported for facts nobody can set."""
    text = value.decode("utf-8", "replace").strip()
    if name == SHARING:
        try:
            client.update(ref.container, ref.name, sharing=text)
        except BadRequest as error:
            raise InvalidArgument(f"{SHARING} is read=WHO,…;write=WHO,… and not {text[:60]}") from error
    elif name == PUBLIC and text.lower() in _ON:
        sharing.publish(client, ref)
    elif name == PUBLIC and text.lower() in _OFF:
        sharing.unpublish(client, ref)
    elif name == PUBLIC:
        raise InvalidArgument(f"{PUBLIC} is set to 1 or 0")
    else:
        raise NotSupported(f"{name} says what the store knows; it cannot be set")
