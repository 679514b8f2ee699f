"""The wire to a node, with every byte kept that was sent there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

from fakes import readings

if TYPE_CHECKING:
    from types import TracebackType

    from fakes.ollama import FakeOllama

PROBES: Final = frozenset(
    b"GET %b HTTP/1.1" % path
    for path in (b"/api/version", b"/api/ps", b"/api/tags", b"/api/health")
)


class Tap:
    """Stands where a fake node stands; passes everything on."""

    def __init__(self, node: FakeOllama) -> None:
        self._fake = node
        self._server: asyncio.Server | None = None
        self._sent: list[bytearray] = []
        self._serving: set[asyncio.Task[None]] = set()
        self.url = ""

    @property
    def node(self) -> Any:
        """The state of the node behind."""
        return self._fake.node

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def take(self) -> list[bytes]:
        """What was sent since the last time, each time until the node answered.

        Left out is what is a probe from its first byte to its last, and nothing besides.
        """
        taken, self._sent = self._sent, []
        return [bytes(each) for each in taken if not _is_probe(bytes(each))]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._fake.port)
            wire = _Wire()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._there(reader, forth, wire))
                    group.create_task(_back(back, writer, wire))
            finally:
                forth.close()
        except asyncio.CancelledError:
            return  # only the end of the tap cancels; streams complain of a cancelled task
        finally:
            self._serving.discard(task)
            writer.close()

    async def _there(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, wire: _Wire
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                wire.sent(data, self._sent)
                target.write(data)
                await target.drain()
            target.close()


def _is_probe(message: bytes) -> bool:
    return (
        message.partition(b"\r\n")[0] in PROBES
        and readings.is_whole(message)
        and readings.shape(message).body == b""
    )


class _Wire:
    """One connection: what comes before an answer belongs together."""

    def __init__(self) -> None:
        self._now: bytearray | None = None

    def sent(self, data: bytes, kept: list[bytearray]) -> None:
        """Keep it, with what came since the last answer."""
        if self._now is None:
            self._now = bytearray()
            kept.append(self._now)
        self._now += data

    def answered(self) -> None:
        """What comes now is another request."""
        self._now = None


async def _back(source: asyncio.StreamReader, target: asyncio.StreamWriter, wire: _Wire) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            wire.answered()
            target.write(data)
            await target.drain()
        target.close()
