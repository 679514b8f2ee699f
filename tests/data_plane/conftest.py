"""A data plane in this process, on real sockets, with its snapshot handed to it directly."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.ollama import FakeOllama
from fakes.scripted import ScriptedNode

from data_plane import settings as reading
from data_plane.app import App
from data_plane.telemetry.logs import Log
from shared import inventory, wire
from shared.snapshot import ApiKey, AvailableModel, Model, Node, ProxyConfig, Snapshot

SNAPSHOT_KEY = "a snapshot key of enough bytes"
QUICK = ProxyConfig(
    connect_timeout_s=1.0,
    probe_interval_s=0.1,
    probe_timeout_s=0.2,
    stream_idle_timeout_s=30.0,
    client_stall_timeout_s=0.5,
)
"""Production knobs, shortened."""

WRITTEN_AT_ONCE_BYTES = 1_000_000
"""What aiohttp's client writes without a warning."""


class MemorySink:
    """Log lines, kept."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.dropped = 0

    def write(self, line: bytes) -> None:
        self.lines.append(json.loads(line))

    def write_later(self, make: Callable[[], bytes]) -> None:
        self.write(make())

    def close(self) -> None:
        """Nothing to write."""


async def snapshot_of(
    nodes: Sequence[FakeOllama | ScriptedNode | Node],
    *,
    config: ProxyConfig = QUICK,
    keys: tuple[ApiKey, ...] = (),
    revision: int = 1,
    epoch: str = "e1",
    max_parallel: int | None = None,
) -> Snapshot:
    """What the control plane would publish after it has looked at these nodes."""
    models: dict[Model, int] = {}
    made = []
    for index, node in enumerate(nodes):
        if isinstance(node, Node):
            made.append(node)
            continue
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{node.url}/api/tags") as answer:
                tags = inventory.parse_tags(await answer.read())
            async with session.get(f"{node.url}/api/ps") as answer:
                loaded = inventory.parse_ps(await answer.read())
        node.node.requests.clear()
        made.append(
            Node(
                id=f"n{index + 1}",
                name=f"node-{index + 1}",
                address=node.url,
                version=node.node.version,
                available=tuple(
                    AvailableModel(models.setdefault(model, len(models)), modified_at)
                    for model, modified_at in tags
                ),
                loaded=loaded,
                max_parallel=max_parallel,
            )
        )
    return Snapshot(
        epoch=epoch,
        revision=revision,
        built_at=1_790_000_000.0,
        config=config,
        models=tuple(models),
        nodes=tuple(made),
        keys=keys,
    )


@dataclass(frozen=True)
class Answered:
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Plane:
    """A running data plane and a client's view of it."""

    def __init__(self, app: App, sink: MemorySink, session: aiohttp.ClientSession) -> None:
        self.app = app
        self.session = session
        self._sink = sink
        self._revision = 0

    @property
    def port(self) -> int:
        return self.app.ports[0]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def apply(self, *nodes: FakeOllama | ScriptedNode | Node, **more: Any) -> Snapshot:
        """Put a snapshot of these nodes in force."""
        self._revision += 1
        snapshot = await snapshot_of(nodes, revision=self._revision, **more)
        assert await self.app.state.offer(wire.seal(snapshot, SNAPSHOT_KEY.encode()), "test")
        return snapshot

    async def chat(self, **fields: Any) -> Answered:
        """A native chat, read to its end."""
        return await self.post("/api/chat", chat_body(**fields))

    async def post(self, path: str, body: Any, **headers: str) -> Answered:
        data: Any = body if isinstance(body, bytes) else json.dumps(body).encode()
        if len(data) > WRITTEN_AT_ONCE_BYTES:
            data = io.BytesIO(data)
        async with self.session.post(self.url(path), data=data, headers=headers) as answer:
            return Answered(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answered:
        async with self.session.request(method, self.url(path), headers=headers) as answer:
            return Answered(answer.status, answer.headers, await answer.read())

    def lines(self, event: str = "request") -> list[dict[str, Any]]:
        """Log lines of one event."""
        return [line for line in self._sink.lines if line["event"] == event]

    async def line(self) -> dict[str, Any]:
        """The access line of the only request so far."""
        await eventually(self.lines)
        (line,) = self.lines()
        return line

    async def until(self, question: Callable[[], Any]) -> None:
        """Wait for a condition."""
        await eventually(question)

    async def idle(self) -> None:
        """Wait until nothing is in flight; fails if something is left behind."""
        await eventually(lambda: not self.app.gate.in_flight and not len(self.app.leases))
        assert self.app.gate.body_bytes == self.app.gate.spool_bytes == 0
        assert self.app.gate.retrying == 0


def chat_body(model: str = "llama3.2", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Why?"}], **fields}


async def eventually(question: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait for a condition; fails at the deadline."""
    async with asyncio.timeout(within_s):
        while not (answer := question()):
            await asyncio.sleep(0.005)
    return answer


def settings(directory: Path, **environ: str) -> reading.Settings:
    return reading.load(
        {
            "REDIS_URL": "redis://127.0.0.1:1/0",  # nothing listens there
            "AIVONX_SNAPSHOT_KEY": SNAPSHOT_KEY,
            "AIVONX_DATA_DIR": str(directory),
            "AIVONX_PROXY_BIND": "127.0.0.1:0",
            "AIVONX_METRICS_BIND": "127.0.0.1:0",
            "AIVONX_INSTANCE": "test",
            "AIVONX_DRAIN_TIMEOUT_S": "0.2",
            "AIVONX_SLOW_START_S": "0",  # tests add nodes at all times, and expect them to serve
            "AIVONX_MAX_MEMORY_BYTES": "0",  # what else runs here must not matter
            "AIVONX_HOSTS": "proxy,a",  # which the requests written byte by byte call us
            **environ,
        }
    )


MakePlane = Callable[..., Awaitable[Plane]]


@pytest.fixture
async def make_plane(tmp_path: Path) -> AsyncIterator[MakePlane]:
    """Start data planes; each is stopped at the end, and must have left nothing behind."""
    started: list[tuple[Plane, aiohttp.ClientSession]] = []

    async def make(**environ: str) -> Plane:
        sink = MemorySink()
        app = App(settings(tmp_path, **environ), Log(sink, as_json=True, level="INFO"))
        await app.start()
        session = aiohttp.ClientSession(auto_decompress=False)
        plane = Plane(app, sink, session)
        started.append((plane, session))
        return plane

    yield make
    for plane, session in started:
        await session.close()
        await plane.idle()
        await plane.app.stop()
        assert plane.app.lifecycle.task_count == 0
        assert not plane.lines("task_failed")
        assert not plane.lines("request_failed")


@pytest.fixture
async def plane(make_plane: MakePlane) -> Plane:
    return await make_plane()


class Wire:
    """A client that sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._has_left = False
        self.received = b""
        self.was_reset = False

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def post(self, path: str, body: Any, *, version: str = "1.1", headers: str = "") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(
            f"POST {path} HTTP/{version}\r\nHost: proxy\r\n{headers}"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )

    async def until(self, needle: bytes, within_s: float = 5.0) -> bytes:
        """Read until the needle has come."""
        async with asyncio.timeout(within_s):
            while needle not in self.received:
                chunk = await self._reader.read(65_536)
                assert chunk, self.received
                self.received += chunk
        return self.received

    async def more(self) -> bool:
        """Read what has come; False at the end of the connection."""
        try:
            chunk = await self._reader.read(65_536)
        except ConnectionResetError:
            self.was_reset, chunk = True, b""
        self.received += chunk
        return bool(chunk)

    async def to_the_end(self, within_s: float = 5.0) -> bytes:
        """Read until the connection ends, cleanly or not."""
        try:
            async with asyncio.timeout(within_s):
                while chunk := await self._reader.read(65_536):
                    self.received += chunk
        except ConnectionResetError:
            self.was_reset = True
        return self.received

    @property
    def status(self) -> int:
        return int(self.received.split(b" ", 2)[1])

    def finish(self) -> None:
        """Close the writing side."""
        self._writer.write_eof()

    def pause(self) -> None:
        """Stop reading: the window fills."""
        self._writer.transport.pause_reading()

    def leave(self, *, abruptly: bool = False) -> None:
        if self._has_left:
            return  # asyncio cannot abort what it has closed
        self._has_left = True
        if abruptly:
            self._writer.transport.abort()
        else:
            self._writer.close()


@pytest.fixture
async def dial() -> AsyncIterator[Callable[[Plane], Awaitable[Wire]]]:
    """Open raw connections; closed at the end."""
    opened: list[Wire] = []

    async def open_one(plane: Plane, limit: int = 65_536) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port, limit=limit)
        opened.append(Wire(reader, writer))
        return opened[-1]

    yield open_one
    for each in opened:
        each.leave(abruptly=True)
