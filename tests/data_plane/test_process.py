"""The real process: what an aiohttp test server or an event loop of the test's own would hide."""

import asyncio
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest
from cryptography.fernet import Fernet
from fakes.ollama import FakeOllama

from data_plane import native
from shared import wire
from shared.snapshot import ProxyConfig, Snapshot

from .conftest import SNAPSHOT_KEY, chat_body, eventually, snapshot_of

CHAT = chat_body()


class Process:
    """One `python -m data_plane`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict] = []
        self.port = self.metrics_port = 0

    async def read_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def of(self, event: str) -> list[dict]:
        return [line for line in self.lines if line["event"] == event]


Start = Callable[..., "asyncio.Future[Process]"]


def environment(directory: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDEVMODE": "1",
        native.SETTING: "on" if native.is_used() else "off",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "AIVONX_SNAPSHOT_KEY": SNAPSHOT_KEY,
        "AIVONX_DATA_DIR": str(directory),
        "AIVONX_PROXY_BIND": "127.0.0.1:0",
        "AIVONX_METRICS_BIND": "127.0.0.1:0",
        "AIVONX_MAX_MEMORY_BYTES": "0",  # what else runs here must not matter
        **more,
    }


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start data planes from a last good snapshot on disk."""
    started: list[tuple[Process, asyncio.Task]] = []

    async def begin(snapshot: Snapshot | None = None, **more: str) -> Process:
        if snapshot is not None:
            directory = tmp_path / "data_plane"
            directory.mkdir(exist_ok=True)
            sealed = wire.seal(snapshot, SNAPSHOT_KEY.encode())
            (directory / "snapshot.sealed").write_bytes(sealed)
        process = Process(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "data_plane"),
                env=environment(tmp_path, **more),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
            )
        )
        started.append((process, asyncio.create_task(process.read_log())))
        (line,) = await eventually(lambda: process.of("listening"), within_s=20.0)
        process.port = int(line["proxy"].rpartition(":")[2])
        process.metrics_port = int(line["metrics"].rpartition(":")[2])
        return process

    yield begin
    for process, reading in started:
        if process.process.returncode is None:
            process.process.kill()
        await process.process.wait()
        await reading
        assert not process.of("task_failed")
        # In debug mode asyncio says so when a busy machine makes one step take 100 ms.
        messages = [line["message"] for line in process.of("library_message")]
        assert [message for message in messages if not message.startswith("Executing ")] == []


async def open_stream(process: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    body = json.dumps(CHAT).encode()
    writer.write(
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    return reader, writer


async def readiness(process: Process, session: aiohttp.ClientSession) -> tuple[int, dict]:
    url = f"http://127.0.0.1:{process.metrics_port}/readyz?verbose"
    async with session.get(url) as answer:
        return answer.status, await answer.json()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_from_disk_it_serves_within_a_second_or_two(start, session) -> None:
    async with FakeOllama() as node:
        process = await start(await snapshot_of([node]))
        async with session.post(process.url("/api/chat"), json=CHAT) as answer:
            assert answer.status == 200
            await answer.read()
        status, body = await readiness(process, session)
        assert (status, body["ready"], body["revision"]) == (200, True, 1)
        async with session.get(f"http://127.0.0.1:{process.metrics_port}/metrics") as answer:
            text = await answer.text()
        assert 'aivonx_requests_total{outcome="ok",route="/api/chat",status="200"} 1.0' in text
        assert 'aivonx_active_requests{node="node-1"} 0.0' in text


def peak_bytes(process: Process) -> int:
    """The most memory that it has had at one time."""
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


async def test_large_bodies_at_once_take_no_memory_worth_mentioning(start, session) -> None:
    """20 of 15 MB: in memory they would be 300 MB, and as many again on their way out."""
    data = json.dumps(chat_body(stream=False, padding="x" * 15_000_000)).encode()

    async def send() -> int:
        body = io.BytesIO(data)
        async with session.post(process.url("/api/chat"), data=body) as answer:
            await answer.read()
            return answer.status

    async with FakeOllama(num_parallel=20) as node:
        # The node has to read 300 MB in Python: its probes may wait, which is not what is tested.
        process = await start(await snapshot_of([node], config=ProxyConfig()))
        assert await send() == 200
        before = peak_bytes(process)
        assert await asyncio.gather(*(send() for _ in range(20))) == [200] * 20
        assert peak_bytes(process) - before < 60 * 1024 * 1024


async def test_without_a_snapshot_it_is_alive_and_not_ready(start, session) -> None:
    process = await start()
    status, body = await readiness(process, session)
    assert status == 503
    assert body["checks"]["snapshot"] == "no snapshot has been applied"
    async with session.get(f"http://127.0.0.1:{process.metrics_port}/livez") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("when", ["before the first byte", "in the middle"])
async def test_a_vanished_client_cancels_the_request_at_the_node(start, when) -> None:
    """F32, F33, against the real runner: aiohttp's default is to let the handler run on."""
    async with FakeOllama() as node:
        process = await start(await snapshot_of([node]))
        if when == "in the middle":
            node.fault("stall", path="/api/chat", after=2)
        else:
            node.fault("silence", path="/api/chat")
        reader, writer = await open_stream(process)
        if when == "in the middle":
            await reader.readuntil(b'"done":false')
        else:
            await eventually(lambda: node.active == 1)
        writer.transport.abort()
        await eventually(lambda: node.active == 0, within_s=1.0)
        (line,) = await eventually(lambda: process.of("request"))
        assert line["outcome"] == "client_abort"


async def test_a_drain_finishes_what_runs_and_takes_nothing_new(start, session) -> None:
    """F62."""
    async with FakeOllama(tokens_per_s=10) as node:
        process = await start(await snapshot_of([node]))
        reader, writer = await open_stream(process)
        await reader.readuntil(b'"done":false')
        process.process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.of("draining"))
        status, body = await readiness(process, session)
        assert (status, body["checks"]["phase"]) == (503, "draining")
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(process.url("/api/chat"), json=CHAT)
        rest = await reader.read(-1)
        assert b'"done":true' in rest
        assert rest.endswith(b"0\r\n\r\n")
        writer.close()
        async with asyncio.timeout(5.0):
            assert await process.process.wait() == 0


async def test_during_the_drain_delay_new_requests_are_still_served(start, session) -> None:
    async with FakeOllama() as node:
        process = await start(await snapshot_of([node]), AIVONX_DRAIN_DELAY_S="0.5")
        process.process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.of("draining"))
        async with session.post(process.url("/api/chat"), json=CHAT) as answer:
            assert answer.status == 200
            assert answer.headers["Connection"] == "close"
            await answer.read()
        async with asyncio.timeout(5.0):
            assert await process.process.wait() == 0


async def test_at_the_drain_deadline_the_rest_ends_visibly(start) -> None:
    """F62."""
    async with FakeOllama() as node:
        process = await start(await snapshot_of([node]), AIVONX_DRAIN_TIMEOUT_S="0.3")
        node.fault("stall", path="/api/chat", after=2)
        reader, writer = await open_stream(process)
        await reader.readuntil(b'"done":false')
        process.process.send_signal(signal.SIGTERM)
        rest = await reader.read(-1)
        assert b'"code":"proxy_shutdown"' in rest
        assert not rest.endswith(b"0\r\n\r\n")
        writer.close()
        async with asyncio.timeout(5.0):
            assert await process.process.wait() == 0
        await eventually(lambda: process.of("request"))
        assert process.of("request")[0]["outcome"] == "drained"


async def test_a_second_signal_ends_at_once(start) -> None:
    async with FakeOllama() as node:
        process = await start(await snapshot_of([node]))
        node.fault("silence", path="/api/chat")
        _reader, writer = await open_stream(process)
        await eventually(lambda: node.active == 1)
        process.process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.of("draining"))
        began_at = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        await process.process.wait()
        assert time.monotonic() - began_at < 2.0
        writer.close()


async def test_a_node_token_is_opened_and_sent(start, session) -> None:
    """S49."""
    fernet_key = Fernet.generate_key()
    async with FakeOllama(token="node-secret") as node:
        async with FakeOllama() as open_node:
            listed = await snapshot_of([open_node])
        sealed_token = Fernet(fernet_key).encrypt(b"node-secret").decode()
        known = msgspec.structs.replace(
            listed.nodes[0], address=node.url, sealed_token=sealed_token
        )
        snapshot = msgspec.structs.replace(listed, nodes=(known,), config=ProxyConfig())
        process = await start(snapshot, AIVONX_NODE_TOKEN_KEYS=fernet_key.decode())
        async with session.post(process.url("/api/chat"), json=CHAT) as answer:
            assert answer.status == 200
            await answer.read()
        assert node.inference[0].header("Authorization") == "Bearer node-secret"
        assert "node-secret" not in json.dumps(process.lines)


async def test_a_wrong_setting_is_one_clear_line(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "data_plane"),
        env=environment(tmp_path, AIVONX_PROXY_BIND="nonsense"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 78
    assert said.decode().startswith("data_plane: AIVONX_PROXY_BIND: must be host:port")
    assert len(said.splitlines()) == 1


async def test_no_django_no_celery_and_no_ciphers_in_the_process() -> None:
    """S51."""
    script = (
        "import sys, data_plane.__main__\n"
        "print([name for name in ('django', 'celery', 'psycopg', 'cryptography.fernet') "
        "if name in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", script),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert said.strip() == b"[]"
