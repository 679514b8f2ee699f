"""What the client's connection sees: framing for every kind of client, and back-pressure."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes.ollama import FakeOllama
from fakes.scripted import ScriptedNode, fin, wait

CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}]}


@asynccontextmanager
async def in_place_of(plane, *parts: bytes, reads_body: bool = True) -> AsyncIterator[None]:
    """The model's only node says exactly this, whatever it is asked."""
    steps = [step for part in parts for step in (part, wait(0.01))]
    is_last = not reads_body or b"close" in parts[0]
    script = [*steps, fin] if is_last else steps
    async with ScriptedNode(script, reads_body=reads_body) as node:
        await plane.apply(node)
        yield


RECORDS = (b'{"response":"a","done":false}\n', b'{"response":"","done":true}\n')
NDJSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
CHUNKS = tuple(b"%x\r\n%b\r\n" % (len(each), each) for each in RECORDS)
FRAMINGS = {
    "chunked": (NDJSON + b"Transfer-Encoding: chunked\r\n\r\n", *CHUNKS, b"0\r\n\r\n"),
    "chunked, in one piece": (
        NDJSON + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(CHUNKS) + b"0\r\n\r\n",
    ),
    "with a trailer": (
        NDJSON + b"Transfer-Encoding: chunked\r\n\r\n",
        *CHUNKS,
        b"0\r\nX-Trailer: 1\r\n\r\n",
    ),
    "cut across": (
        NDJSON + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS[0][:9],
        CHUNKS[0][9:] + CHUNKS[1][:1],
        CHUNKS[1][1:] + b"0\r",
        b"\n\r\n",
    ),
    "with its length": (
        NDJSON + b"Content-Length: %d\r\n\r\n" % len(b"".join(RECORDS)),
        *RECORDS,
    ),
    "until it closes": (NDJSON + b"Connection: close\r\n\r\n", *RECORDS),
    "after early hints": (
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n",
        NDJSON + b"Transfer-Encoding: chunked\r\n\r\n",
        *CHUNKS,
        b"0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_whatever_the_nodes_framing_the_client_gets_sound_chunks(
    plane, dial, framing
) -> None:
    async with in_place_of(plane, *FRAMINGS[framing]):
        wire = await dial(plane)
        for _ in range(2):
            wire.received = b""
            wire.post("/api/chat", CHAT)
            await wire.until(b"0\r\n\r\n")
            head, _, body = wire.received.partition(b"\r\n\r\n")
            assert b"Transfer-Encoding: chunked" in head
            assert b"Trailer" not in head
            assert unchunked(body) == b"".join(RECORDS)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_http_1_0_client_gets_the_same_without_chunks(plane, dial, framing) -> None:
    async with in_place_of(plane, *FRAMINGS[framing]):
        wire = await dial(plane)
        wire.post("/api/chat", CHAT, version="1.0", headers="Connection: keep-alive\r\n")
        head, _, body = (await wire.to_the_end()).partition(b"\r\n\r\n")
        assert b"Transfer-Encoding" not in head
        assert b"Connection: close" in head
        assert body == b"".join(RECORDS)


def unchunked(body: bytes) -> bytes:
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        content += body[:length]
        assert body[length : length + 2] == b"\r\n"
        body = body[length + 2 :]
    return content


async def test_an_http_1_0_client_may_keep_its_connection_for_whole_answers(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        for _ in range(2):
            wire.received = b""
            wire.post(
                "/api/chat",
                {**CHAT, "stream": False},
                version="1.0",
                headers="Connection: keep-alive\r\n",
            )
            received = await wire.until(b'"done":true')
            assert b"Connection: keep-alive" in received


@pytest.mark.parametrize("path", ["/api/tags", "/api/version", "/nowhere"])
async def test_head_tells_the_length_and_sends_nothing(plane, dial, path) -> None:
    """B74."""
    async with FakeOllama() as node:
        await plane.apply(node)
        got = await plane.get(path)
        wire = await dial(plane)
        wire.send(f"HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await wire.to_the_end()).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(got.body)}".encode() in head
        assert not body


async def test_a_switch_of_protocols_is_an_error_of_the_node(plane) -> None:
    """F22."""
    async with in_place_of(plane, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"):
        answer = await plane.chat()
        assert answer.status == 502
        assert answer.json()["code"] == "upstream_protocol_error"


async def test_a_node_that_refuses_a_large_body_early_is_heard(plane) -> None:
    """The rest of the body is not sent: the node does not read it."""
    refusal = b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 17\r\n\r\n{"error":"large"}'
    async with in_place_of(plane, refusal, reads_body=False):
        answer = await plane.chat(padding="x" * 900_000)
        assert answer.status == 413
        assert answer.json()["error"] == "large"


async def test_a_large_body_arrives(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.chat(stream=False, padding="x" * 900_000)
        assert answer.status == 200
        assert (await plane.line())["bytes_in"] > 900_000


async def test_a_stalled_client_holds_little_and_its_node_is_held_back(plane, dial) -> None:
    """S54. F35: at most 512 KiB a stream are held for a client that does not read."""
    record = b'{"response":"%b","done":false}\n' % (b"x" * 30_000)
    chunk = b"%x\r\n%b\r\n" % (len(record), record)
    head = NDJSON + b"Transfer-Encoding: chunked\r\n\r\n"
    async with in_place_of(plane, head, *[chunk * 20] * 40):
        wire = await dial(plane, 1_024)
        wire.pause()
        wire.post("/api/chat", CHAT)
        async with asyncio.timeout(5.0):
            while not plane.app.leases:
                await asyncio.sleep(0.01)
        held = 0
        while plane.app.leases:
            for connection in plane.app.doors.of_clients.connections:
                transport = connection.transport
                if transport is not None:
                    held = max(held, transport.get_write_buffer_size())
            await asyncio.sleep(0.01)
        assert 0 < held <= 512 * 1024
        line = await plane.line()
        assert line["outcome"] == "client_stalled"


async def test_a_client_that_reads_slowly_gets_everything(plane, dial) -> None:
    record = b'{"response":"%b","done":false}\n' % (b"x" * 30_000)
    chunk = b"%x\r\n%b\r\n" % (len(record), record)
    parts = (NDJSON + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk * 10] * 10, CHUNKS[1])
    async with in_place_of(plane, *parts, b"0\r\n\r\n"):
        wire = await dial(plane, 1_024)
        wire.post("/api/chat", CHAT)
        for _ in range(5):
            wire.pause()
            await asyncio.sleep(0.1)
            wire._writer.transport.resume_reading()
            await asyncio.sleep(0.05)
        received = await wire.until(b"0\r\n\r\n")
        body = unchunked(received.partition(b"\r\n\r\n")[2])
        assert body.count(b"\n") == 101
        assert json.loads(body.splitlines()[-1])["done"] is True


async def test_what_follows_a_request_to_upgrade_is_not_taken_for_a_request(plane, dial) -> None:
    """GHSA-mfx4-hv73-q22v: the connection ends with the answer."""
    wire = await dial(plane)
    wire.send(
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert (await wire.to_the_end()).count(b"HTTP/1.1 ") == 1


async def test_a_client_that_is_lost_is_not_written_to(plane, dial) -> None:
    """Between the loss and the end of its task the node may say more."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("stall", path="/api/chat", after=2)
        wire = await dial(plane)
        wire.post("/api/chat", CHAT)
        await wire.until(b'"done":false')
        (connection,) = plane.app.doors.of_clients.connections
        source, transport = connection.reply._source, connection.transport
        connection.connection_lost(None)
        assert source.sink is None
        assert not len(source._parts)
        transport.abort()
        await plane.idle()
        assert (await plane.line())["outcome"] == "client_abort"
