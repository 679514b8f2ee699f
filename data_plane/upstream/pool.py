"""Idle connections to one node, the one used last in front: the others may grow cold and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from data_plane.upstream.connection import NodeConnection

IDLE_CONNECTION_S: Final = 30.0
"""Ollama never closes idle connections itself; this is only so that we do not hoard them."""

MAX_IDLE: Final = 4_096
"""Per node. As many may have been busy at once; more than that is not kept for the next rush."""


class Pool:
    """The idle connections, and all others that are open, to close them at the end.

    Made inside the running loop.
    """

    def __init__(self) -> None:
        self.open: set[NodeConnection] = set()
        self._idle: list[NodeConnection] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._now = asyncio.get_running_loop().time

    def take(self) -> NodeConnection | None:
        """One that can be used."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def rests(self, connection: NodeConnection, is_reusable: bool) -> None:  # noqa: FBT001 - a callback
        """A connection has ended its exchange, or has ended."""
        if not is_reusable:
            self.open.discard(connection)
            return  # if it was idle, `take` and the sweep pass over it
        if self._is_closed or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.idle_since = self._now()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_CONNECTION_S, self._drop_cold)

    def _drop_cold(self) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.time() - IDLE_CONNECTION_S
        # In the order in which they came to rest, the coldest first.
        cold = next(
            (n for n, each in enumerate(self._idle) if each.idle_since > limit), len(self._idle)
        )
        for connection in self._idle[:cold]:
            connection.abort()
        del self._idle[:cold]
        self._sweep = (
            loop.call_at(self._idle[0].idle_since + IDLE_CONNECTION_S, self._drop_cold)
            if self._idle
            else None
        )

    def close(self) -> None:
        """Close what is idle now and whatever comes to rest from here on."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def abort_all(self) -> None:
        """Close every connection, busy or not."""
        self.close()
        for connection in tuple(self.open):
            connection.abort()
