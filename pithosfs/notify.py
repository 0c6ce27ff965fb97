"""Telling a service manager how a process is doing (systemd's ``sd_notify``).

See sd_notify(3): words in a datagram to the socket that ``$NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*words: str) -> None:
    """Send ``READY=1`` and the like; does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # a name without a file
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(address)
        manager.sendall("\n".join(words).encode())
