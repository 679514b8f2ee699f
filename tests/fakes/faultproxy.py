"""A TCP proxy that misbehaves on demand: between a plane and a node, Redis or a database.

async with FaultProxy("127.0.0.1", 6379) as link:
    link.url("redis"); link.latency_s = 0.2; link.black_hole(); link.heal()
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_READ_BYTES = 65_536


@dataclass(eq=False, slots=True)
class _Pair:
    """One client's connection and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    # A dead pair is open towards the client and forwards nothing, not even an end.
    dead: bool = False
    pumps: list[asyncio.Task[None]] = field(default_factory=list)


class FaultProxy:
    """Forwards to one host and port; the knobs may be turned while connections are open."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """Nothing listens before the `async with`. With `tls` clients must speak it; the server is
        spoken to in the clear.
        """
        self._host = host
        self._port = port
        self._tls = tls
        self._pairs: set[_Pair] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0
        self.accepted = 0
        self.latency_s = 0.0
        self.bytes_per_s = 0.0
        self.slice_bytes = 0
        self.limit_bytes: int | None = None

    async def __aenter__(self) -> Self:
        """Listen on a port that the kernel chose."""
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        await self.down()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._pairs)

    def url(self, scheme: str) -> str:
        """The proxy's own address."""
        return f"{scheme}://127.0.0.1:{self.port}"

    async def up(self) -> None:
        """Listen, after `down` on the same port."""
        self._listener = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse new connections and close the open ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for pair in self._pairs:
            pair.client.close()
            pair.server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def black_hole(self) -> None:
        """Accept everything, forward nothing, until `heal`."""
        self._flowing.clear()

    def half_open(self) -> None:
        """Every open connection loses its peer without a FIN or RST; new ones work."""
        for pair in self._pairs:
            pair.dead = True
            pair.server.close()

    def reset(self) -> None:
        """RST on every open connection, on both sides."""
        for pair in self._pairs:
            _reset(pair.client)
            _reset(pair.server)

    def heal(self) -> None:
        """All knobs back to nothing; what a black hole held flows on."""
        self.latency_s = self.bytes_per_s = 0.0
        self.slice_bytes = 0
        self.limit_bytes = None
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
        try:
            self.accepted += 1
            await self._flowing.wait()
            # Only `down` cancels; Python 3.11's streams complain of a task that ends cancelled.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                back, forth = await asyncio.open_connection(self._host, self._port)
                await self._forward(_Pair(writer, forth), reader, back)
        finally:
            writer.close()
            if task is not None:
                self._serving.discard(task)

    async def _forward(
        self, pair: _Pair, reader: asyncio.StreamReader, back: asyncio.StreamReader
    ) -> None:
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(pair, reader, pair.server, limited=False))
                group.create_task(self._pump(pair, back, pair.client, limited=True))
        finally:
            self._pairs.discard(pair)
            pair.server.close()

    async def _pump(
        self,
        pair: _Pair,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        *,
        limited: bool,
    ) -> None:
        """One direction, until its end, which is passed on as a half-close."""
        passed = 0
        with contextlib.suppress(OSError):
            while data := await source.read(_READ_BYTES):
                await self._flowing.wait()
                limit = self.limit_bytes if limited else None
                if limit is not None:
                    data = data[: max(limit - passed, 0)]
                if not pair.dead:
                    await self._send(data, target)
                    passed += len(data)
                if limit is not None and passed >= limit:
                    pair.client.close()
                    pair.server.close()
                    return
            await self._flowing.wait()
            if not pair.dead and target.can_write_eof():
                target.write_eof()
        if pair.dead and limited:
            # The vanished peer stays silent; only the client's own end ends this pair.
            await target.wait_closed()

    async def _send(self, data: bytes, target: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.latency_s)
        size = self.slice_bytes or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            target.write(piece)
            await target.drain()
            await asyncio.sleep(len(piece) / self.bytes_per_s if self.bytes_per_s else 0)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
