"""Bodies that are too large to hold: on disk while they arrive, sent as often as it takes."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from fakes.ollama import FakeOllama

from data_plane.proxy import intake
from data_plane.settings import HELD_BODY_BYTES
from data_plane.upstream import connection as connections
from shared import wire as sealing

SIZE = HELD_BODY_BYTES + 1_000_000
ANSWER = b'{"message":{"content":"a"},"done":true}\n'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def large(**fields: object) -> bytes:
    """A chat whose image makes it large, written as nobody but its author would."""
    messages = [{"role": "user", "content": "Why?", "images": ["QUJD" * (SIZE // 4)]}]
    return json.dumps(
        {"MODEL": "llama3.2", "messages": messages, "stream": False, **fields}
    ).encode()


class Heard:
    """What nodes were sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int
    ) -> None:
        self.bodies.append(await reader.readexactly(length))
        writer.write(WHOLE % (len(ANSWER), ANSWER))


async def break_off(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _length: int
) -> None:
    await reader.readexactly(SIZE // 2)
    writer.transport.abort()


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _length: int) -> None:
    await reader.readexactly(100_000)
    refusal = b'{"error":"too many images"}'
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (27, refusal))


async def fall_asleep(
    _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _length: int
) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def nodes(plane, *serves: Serve) -> AsyncIterator[None]:
    """Nodes that have the model and treat whatever they are asked as these say, each in turn."""
    asked: list[Serve] = list(serves)
    conversations: dict[asyncio.Task, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations[asyncio.current_task()] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    writer.write(WHOLE % (20, b'{"version":"0.33.0"}'))
                    continue
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await (asked.pop(0) if len(asked) > 1 else asked[0])(reader, writer, length)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with FakeOllama() as one, FakeOllama() as other, server:
        await plane.apply(one, other)
        current = plane.app.state.current.snapshot
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        changed = msgspec.structs.replace(
            current,
            nodes=tuple(msgspec.structs.replace(node, address=address) for node in current.nodes),
            revision=current.revision + 1,
        )
        assert await plane.app.state.offer(
            sealing.seal(changed, plane.app.settings.snapshot_key), "test"
        )
        yield
        plane.app.forwarder.forget(frozenset())
        for conversation, writer in conversations.items():
            writer.transport.abort()
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await asyncio.sleep(0)


def spools() -> list[str]:
    """Nameless files that are open."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(each.readlink()))
    return [link for link in links if "data_plane/" in link and link.endswith("(deleted)")]


async def chunked(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_large_body_arrives_put_together_anew(plane, is_chunked) -> None:
    body, heard = large(), Heard()
    async with nodes(plane, heard.answer):
        data = chunked(body) if is_chunked else io.BytesIO(body)
        async with plane.session.post(plane.url("/api/chat"), data=data) as answer:
            assert answer.status == 200
            assert await answer.read() == ANSWER
    (sent,) = heard.bodies
    assert sent.startswith(b'{"model":"llama3.2","messages":[{')
    assert json.loads(sent) == {"model": "llama3.2", **_without_model(body)}
    assert (await plane.line())["bytes_in"] == len(body)
    await plane.idle()
    assert not spools()
    assert not plane.app.gate.spool_bytes


def _without_model(body: bytes) -> dict[str, object]:
    return {key: value for key, value in json.loads(body).items() if key != "MODEL"}


async def test_while_it_is_sent_it_lies_on_disk_and_not_in_memory(plane) -> None:
    async with nodes(plane, fall_asleep):
        asking = asyncio.ensure_future(plane.post("/api/chat", large()))
        async with asyncio.timeout(5.0):
            while not len(plane.app.leases):
                await asyncio.sleep(0.005)
        assert len(spools()) == 1
        assert (plane.app.gate.body_bytes, plane.app.gate.spool_bytes) == (0, len(large()))
        asking.cancel()
        await plane.idle()
        async with asyncio.timeout(5.0):
            while spools():
                await asyncio.sleep(0.005)


async def test_another_node_gets_all_of_it_when_the_first_breaks_off(plane) -> None:
    heard = Heard()
    async with nodes(plane, break_off, heard.answer):
        answer = await plane.post("/api/chat", large())
        assert (answer.status, answer.headers["X-Aivonx-Attempts"]) == (200, "2")
    assert len(heard.bodies) == 1
    assert json.loads(heard.bodies[0])["messages"] == json.loads(large())["messages"]


async def test_a_node_that_reads_no_further_is_left_for_another(plane, monkeypatch) -> None:
    monkeypatch.setattr(connections, "SEND_STALL_S", 0.1)
    heard = Heard()
    async with nodes(plane, fall_asleep, heard.answer):
        answer = await plane.post("/api/chat", large(padding="x" * 6_000_000))
        assert (answer.status, answer.headers["X-Aivonx-Attempts"]) == (200, "2")


async def test_a_refusal_before_all_of_it_is_sent_is_relayed(plane) -> None:
    async with nodes(plane, refuse):
        answer = await plane.post("/api/chat", large(padding="x" * 6_000_000))
        assert (answer.status, answer.json()["error"]) == (400, "too many images")


@pytest.mark.parametrize("when", [100, HELD_BODY_BYTES, SIZE])
@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_client_that_leaves_on_the_way_leaves_nothing(plane, dial, when, abruptly) -> None:
    heard = Heard()
    async with nodes(plane, heard.answer):
        wire = await dial(plane)
        body = large()
        wire.send(
            b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1)
        )
        wire.send(body[:when])
        async with asyncio.timeout(5.0):
            while not plane.app.gate.spool_bytes:
                await asyncio.sleep(0.005)
        wire.leave(abruptly=abruptly)
        await plane.idle()
        async with asyncio.timeout(5.0):
            while spools():
                await asyncio.sleep(0.005)
        assert (await plane.line())["outcome"] == "client_abort"
        assert not heard.bodies


async def test_a_client_that_stops_sending_is_told_so(plane, dial, monkeypatch) -> None:
    monkeypatch.setattr(intake, "BODY_DEADLINE_S", 0.1)
    monkeypatch.setattr(intake, "BODY_DEADLINE_PER_BYTE_S", 0.0)
    wire = await dial(plane)
    async with FakeOllama() as node:
        await plane.apply(node)
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n{" % SIZE)
        await wire.until(b"request_timeout")
        assert wire.status == 408
    await plane.idle()
    assert not spools()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (large(model="other"), "duplicate_key"),
        (large()[:-1], "invalid_json"),
        (large() + b"{}", "invalid_json"),
        (b"[" + large() + b"]", "invalid_request"),
        (b" " * SIZE, "invalid_json"),
        (large(stream="yes"), "invalid_request"),
    ],
)
async def test_a_large_body_that_is_no_good_reaches_no_node(plane, body, code) -> None:
    heard = Heard()
    async with nodes(plane, heard.answer):
        answer = await plane.post("/api/chat", body)
        assert (answer.status, answer.json()["code"]) == (400, code)
    assert not heard.bodies
    assert not spools()


async def test_white_space_does_not_make_a_body_large(plane) -> None:
    heard = Heard()
    async with nodes(plane, heard.answer):
        body = b'{"model":' + b" " * SIZE + b'"llama3.2","messages":[{}],"stream":false}'
        assert (await plane.post("/api/chat", body)).status == 200
    assert heard.bodies == [b'{"model":"llama3.2","messages":[{}],"stream":false}']


async def test_bodies_on_disk_have_a_budget(make_plane) -> None:
    plane = await make_plane(AIVONX_SPOOL_BUDGET_BYTES=str(SIZE - 100_000))
    async with nodes(plane, Heard().answer):
        for data in (io.BytesIO(large()), chunked(large())):
            async with plane.session.post(plane.url("/api/chat"), data=data) as answer:
                assert answer.status == 503
                assert "too many large requests" in await answer.text()


async def test_a_disk_that_takes_nothing_is_said(plane) -> None:
    async with nodes(plane, Heard().answer):
        plane.app.gate.spool_dir = Path("/proc/nowhere")
        answer = await plane.post("/api/chat", large())
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        assert "spool" in (await plane.line())["detail"]


async def test_a_body_beyond_100_mib_passes_where_it_is_allowed(make_plane) -> None:
    plane = await make_plane(AIVONX_MAX_BODY_BYTES=str(200 * 1024 * 1024))

    async def swallow(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int
    ) -> None:
        assert length > 100 * 1024 * 1024
        while length > 0:
            length -= len(await reader.read(length))
        writer.write(WHOLE % (len(ANSWER), ANSWER))

    async def growing() -> AsyncIterator[bytes]:
        yield b'{"model":"llama3.2","stream":false,"messages":[{"content":"'
        for _ in range(101):
            yield b"x" * (1024 * 1024)
        yield b'"}]}'

    async with (
        nodes(plane, swallow),
        plane.session.post(plane.url("/api/chat"), data=growing()) as answer,
    ):
        assert answer.status == 200
