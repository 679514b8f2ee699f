"""Where a process listens: sockets that are bound, and the servers behind them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from aiohttp import web

from data_plane.settings import LISTEN_BACKLOG

if TYPE_CHECKING:
    from shared.environ import Bind

LAST_WORDS_S: Final = 2.0
"""After the drain deadline: for the error records of the answers that were cut off."""


def bound(bind: Bind, *, shares_port: bool = False) -> socket.socket:
    """A socket at this address that does not listen yet; with `shares_port`, beside others of
    ours. Raises OSError.
    """
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


class Doors:
    """The servers of one process: the operators' is opened first, the clients' last."""

    def __init__(self) -> None:
        self._runners: list[web.ServerRunner] = []
        self._sites: list[web.SockSite] = []

    async def open(self, server: web.Server, sock: socket.socket) -> None:
        """Listen with this server."""
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=LAST_WORDS_S)
        await runner.setup()
        site = web.SockSite(runner, sock, backlog=LISTEN_BACKLOG)
        await site.start()
        self._runners.append(runner)
        self._sites.append(site)

    @property
    def names(self) -> list[str]:
        """The addresses, as URLs."""
        return [site.name for site in self._sites]

    @property
    def ports(self) -> list[int]:
        """The ports, as they are bound."""
        return [runner.addresses[0][1] for runner in self._runners]

    @property
    def of_clients(self) -> web.Server:
        """The server that was opened last. Raises RuntimeError before there is one."""
        server = self._runners[-1].server if self._runners else None
        if server is None:
            raise RuntimeError("nothing is open: call `open` first")
        return server

    async def shut_out(self) -> None:
        """Accept no more clients; idle connections are closed, busy ones after their answer."""
        await self._sites[-1].stop()
        self.of_clients.pre_shutdown()

    async def close(self) -> None:
        """End all servers."""
        for runner in reversed(self._runners):
            await runner.cleanup()
