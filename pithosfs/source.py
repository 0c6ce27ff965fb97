"""What is to be mounted: the SOURCE as it is given, looked at on the server before anything is built."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass

from pithosfs import moments
from pithosfs.api import Client
from pithosfs.blocks import BLOCK_SIZE
from pithosfs.errors import ConfigError, Forbidden, NotFound
from pithosfs.names import ObjectRef
from pithosfs.namespace import directory_attributes
from pithosfs.nodes import of_entry
from pithosfs.options import MountOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A container, a directory of one or a whole account, at ``until`` (seconds since 1970; None: now).

    ``block_size`` is that of its objects, in bytes.
    """

    top: ObjectRef
    block_size: int
    until: int | None = None

    def __str__(self) -> str:
        shown = str(self.top) or "/"
        return shown if self.until is None else f"{shown}@{moments.name_of(self.until * moments.SECOND)}"


def find_source(client: Client, text: str, options: MountOptions) -> Source:
    """Look at what ``text`` names; made if the options say so.

    Raises ConfigError for what cannot be mounted, NotFound for what is not there, and what the store raised.
    """
    top = _parse(text)
    if options.shared and top.container:
        raise ConfigError("--shared shows what others share: mount it as /, or one of them with --account")
    block_size = _block_size(client, top, create=options.create)
    if top.name and options.at is None:
        _check_directory(client, top, create=options.create)
    return Source(top, block_size, None if options.at is None else _moment(client, top, options.at))


def _parse(text: str) -> ObjectRef:
    """``CONTAINER[/PREFIX]``, or ``/`` for the whole account; ConfigError if it is empty."""
    if not text:
        raise ConfigError("SOURCE is empty: name a container, or / for the whole account")
    container, _, prefix = text.strip("/").partition("/")
    return ObjectRef(container, prefix.strip("/"))


def _block_size(client: Client, top: ObjectRef, *, create: bool) -> int:
    """Ask for the container (or the account) once; returns its block size.

    It is a setting of the server, as is the hash of blocks: of an account, any container tells.
    """
    if not top.container:
        client.account()
        # Nothing of it may be ours yet, or only something in a container; or that went just now.
        with contextlib.suppress(NotFound, Forbidden):
            for each in client.containers()[:1]:
                return client.container(each.name).block_size
        return BLOCK_SIZE
    try:
        return client.container(top.container).block_size
    except NotFound as error:
        if not create:
            raise NotFound(
                f"there is no container {top.container}; --create makes it", error.status
            ) from error
    client.create_container(top.container)
    return client.container(top.container).block_size


def _check_directory(client: Client, top: ObjectRef, *, create: bool) -> None:
    """Ask once for the part of a container that is to be mounted; made if it is to be and is not there."""
    page = client.list_page(top.container, prefix=top.prefix, limit=1)
    if page is not None and page.entries:
        return
    try:
        entry = client.head(top.container, top.name).entry
    except NotFound as error:
        if not create:
            text = f"there is no directory {top.name} in {top.container}; --create makes it"
            raise NotFound(text, error.status) from error
        kept = directory_attributes(mtime_ns=time.time_ns())
        client.put_object(top.container, top.name, b"", content_type=kept.content_type, meta={})
        return
    if not of_entry(top, entry).is_directory:
        raise ConfigError(f"{top} is a file; what is mounted is a container, or a directory of it")


def _moment(client: Client, top: ObjectRef, text: str) -> int:
    """The second ``--at`` names, checked: the server's clock has passed it, the container was there."""
    try:
        until = moments.parse(text, time.time_ns()) // moments.SECOND
    except ValueError as error:
        raise ConfigError(f"--at: {error}") from None
    if not top.container:
        return until
    try:
        page = client.list_page(top.container, limit=1, until=until)
    except NotFound as error:
        raise NotFound(f"there was no container {top.container} at {text}", error.status) from error
    if client.container(top.container).versioning == "none":
        log.warning("%s keeps no versions: what was changed or deleted since is missing", top.container)
    return until if page is None or page.date is None else min(until, page.date)
