"""The Pithos API: one method a request, types instead of headers.

:class:`Client` has all of it; listings, what is read and what is written are
in modules of their own below it, and ``calls`` has what all requests share.
Nothing is kept between calls, so one client serves any number of threads.

Sizes are bytes, times nanoseconds since 1970, hashes lower-case hexadecimal.
Every method raises a :class:`~pithosfs.errors.StoreError`.
"""

from pithosfs.api.client import Client, connect
from pithosfs.api.listings import PAGE
from pithosfs.wire import AccountInfo, ContainerInfo, Entry, Info, Page, Version, Written

__all__ = [
    "PAGE",
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
