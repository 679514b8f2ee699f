"""Sockets that are bound but do not listen yet."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.environ import Bind


def bound(bind: Bind, *, shares_port: bool = False) -> socket.socket:
    """A socket at this address; with `shares_port`, beside others of ours. Raises OSError."""
    host = "127.0.0.1" if bind.host == "localhost" else bind.host
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shares_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, bind.port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return sock
