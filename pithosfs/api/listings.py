"""Listings of accounts, containers and objects.

Those of objects are filtered by prefix once more (the store mixes up
characters above U+FFFF) and go on behind a virtual directory, not at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pithosfs import wire
from pithosfs.api.calls import JSON, Calls, Query, list_of, then
from pithosfs.errors import BadRequest, ProtocolError
from pithosfs.wire import ContainerInfo, Entry, Page

#: Most entries a listing returns at once.
PAGE = 10_000

_LAST_CHARACTER = "\U0010ffff"


class Listings(Calls):
    """What an account has."""

    def containers(self, *, shared: bool = False, until: int | None = None) -> list[ContainerInfo]:
        """All containers; of somebody else's account those with something for us."""
        found: list[ContainerInfo] = []
        while True:
            marker = found[-1].name if found else None
            query = [JSON, ("limit", PAGE), ("marker", marker), ("until", then(until))]
            answer = self._send("GET", query=query, flags=["shared"] if shared else [])
            page = [wire.container_item(each) for each in list_of(answer, "the account")]
            if marker is not None and page and page[-1].name <= marker:
                raise ProtocolError("the list of containers does not go on")
            found += page
            if len(page) < PAGE:
                return found

    def sharing_accounts(self) -> list[str]:
        """The accounts that share something with us."""
        answer = self._send("GET", query=[JSON, ("limit", PAGE)], base=self.endpoint + "/")
        items = list_of(answer, "the accounts")
        return [
            each["name"] for each in items if isinstance(each, dict) and isinstance(each.get("name"), str)
        ]

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
            JSON,
            ("limit", limit),
            ("marker", marker),
            ("prefix", askable(prefix) or None),
            ("delimiter", "/" if delimiter else None),
            ("until", then(until)),
            ("meta", meta),
        ]
        flags = [name for name, wanted in (("shared", shared), ("public", public)) if wanted]
        headers = {"If-Modified-Since": modified_since} if modified_since else {}
        answer = self._send("GET", container, query=query, flags=flags, headers=headers)
        if answer.status == 304:
            return None
        return _page(list_of(answer, container), answer.headers, prefix, marker, min(limit, PAGE))

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
        modified_since: str | None = None,
    ) -> Iterator[Page]:
        """All pages of a listing, one request each; parameters as of :meth:`list_page`.

        With ``modified_since`` there is no page if nothing changed.
        """
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
                modified_since=modified_since,
            )
            if page is None and modified_since:
                return
            if page is None:
                raise ProtocolError(
                    f"{container}: the server answers 304 to a listing without a condition", 304
                )
            yield page
            marker, modified_since = page.marker, None
            if marker is None:
                return

    def first(self, container: str, prefix: str, *, until: int | None = None) -> Entry | None:
        """The first object whose name begins with ``prefix``, that of this very name before all others.

        None if there is none.  One request, but where the store begins with names that have not the prefix.
        """
        marker: str | None = None
        while True:
            page = self.list_page(container, prefix=prefix, marker=marker, limit=1, until=until)
            if page is None or page.entries:
                return page.entries[0] if page else None
            if page.marker is None or page.marker > prefix:
                return None
            marker = max(page.marker, _before(prefix))

    def entry(self, container: str, name: str, *, until: int | None = None) -> Entry | None:
        """The object of exactly this name, as listings show it; None if there is none."""
        found = self.first(container, name, until=until)
        return found if found is not None and found.name == name else None


def _before(name: str) -> str:
    """A text that comes before ``name``; hardly any other name is between them."""
    last = ord(name[-1]) if name else 0
    if last <= 1:
        return name[:-1]
    return name[:-1] + chr(0xD7FF if last == 0xE000 else last - 1) + _LAST_CHARACTER


def askable(prefix: str) -> str:
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
