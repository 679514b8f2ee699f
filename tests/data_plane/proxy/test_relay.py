"""The answer on its way: complete, broken by the node, abandoned by the client."""

import asyncio
import json

import pytest
from fakes.ollama import FakeOllama

from shared.codes import SENTENCES

STREAMS = {
    "/api/chat": {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}]},
    "/api/generate": {"model": "llama3.2", "prompt": "Why?"},
    "/v1/chat/completions": {
        "model": "llama3.2",
        "stream": True,
        "messages": [{"role": "user", "content": "Why?"}],
    },
    "/v1/completions": {"model": "llama3.2", "stream": True, "prompt": "Why?"},
    "/v1/responses": {"model": "llama3.2", "stream": True, "input": "Why?"},
    "/v1/messages": {
        "model": "llama3.2",
        "stream": True,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "Why?"}],
    },
}
ENDS = {
    "/api/chat": b'"done":true',
    "/api/generate": b'"done":true',
    "/v1/chat/completions": b"data: [DONE]",
    "/v1/completions": b"data: [DONE]",
    "/v1/responses": b"response.completed",
    "/v1/messages": b"message_stop",
}


@pytest.mark.parametrize("path", STREAMS)
async def test_every_streaming_route_arrives_whole_and_ends_cleanly(plane, dial, path) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.post(path, STREAMS[path])
        received = await wire.until(b"0\r\n\r\n")
        assert wire.status == 200
        assert ENDS[path] in received
        assert b"X-Aivonx-Node: node-1" in received
        assert b"Server:" not in received
        line = await plane.line()
        assert (line["outcome"], line["route"], line["stream"]) == ("ok", path, True)
        if path not in {"/v1/chat/completions", "/v1/completions"}:  # these tell when asked to
            assert line["answer_tokens"] > 0


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", {"stream": False}),
        ("/api/generate", {"stream": False}),
        ("/api/embed", {"input": "a", "stream": False}),
        ("/api/embeddings", {"prompt": "a"}),
        ("/v1/chat/completions", {"stream": False}),
        ("/v1/completions", {"stream": False}),
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/responses", {"stream": False}),
        ("/v1/messages", {"stream": False}),
    ],
)
async def test_every_whole_answer_arrives_with_its_length(plane, path, fields) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post(path, {**STREAMS.get(path, {"model": "llama3.2"}), **fields})
        assert answer.status == 200, answer.text()
        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert answer.json()


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("reset", "upstream_truncated"),
        ("close", "upstream_truncated"),
        ("no_done", "upstream_truncated"),
        ("cut_short", "upstream_truncated"),
        ("bad_chunk", "upstream_protocol_error"),
    ],
)
async def test_a_stream_that_the_node_breaks_ends_visibly(plane, dial, path, kind, code) -> None:
    """F04, F18, F19, F20, in every dialect: an error record, no terminal record, no final chunk."""
    # Slow enough that the beginning is out before the break.
    async with FakeOllama(tokens_per_s=200) as node, FakeOllama() as other:
        await plane.apply(node, other)
        node.fault(kind, path=path, after=6)
        with plane.app.leases.take("n2", 0.0):
            wire = await dial(plane)
            wire.post(path, STREAMS[path])
            received = await wire.to_the_end(within_s=1.0)
        assert wire.status == 200
        assert ENDS[path] not in received
        assert not received.endswith(b"0\r\n\r\n")
        assert not wire.was_reset
        # Anthropic's shape has no place for a code: the sentence says it.
        said = SENTENCES[code] if path == "/v1/messages" else code
        assert said.encode() in last_record(received)
        assert not other.inference, "nothing is tried again after the first byte"
        line = await plane.line()
        assert line["outcome"] in {"truncated", "node_error"}
        assert line["code"] == code
        await plane.idle()


def last_record(received: bytes) -> bytes:
    """The payload of the last chunk, which must be whole."""
    body = received.partition(b"\r\n\r\n")[2]
    chunks = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        assert rest[int(size, 16) :].startswith(b"\r\n"), "the last chunk is whole"
        body = rest[int(size, 16) + 2 :]
    return chunks[-1]


async def test_the_error_record_is_what_native_clients_read(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("reset", path="/api/chat", after=2)
        wire = await dial(plane)
        wire.post("/api/chat", STREAMS["/api/chat"])
        record = json.loads(last_record(await wire.to_the_end()))
        assert record["error"].startswith("upstream node failed mid-stream")
        assert record["request_id"] in wire.received.decode().partition("\r\n\r\n")[0]


async def test_the_nodes_own_error_record_is_relayed(plane) -> None:
    """F25."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("error_record", path="/api/chat", after=2, text="model runner has stopped")
        answer = await plane.chat()
        assert answer.status == 200
        assert "model runner has stopped" in answer.text().splitlines()[-1]
        assert (await plane.line())["outcome"] == "node_error"
        assert [pair.failures for pair in plane.app.model_circuits.pairs.values()] == [1]
        assert len(node.inference) == 1, "it is not asked again"


async def test_bytes_after_the_end_are_dropped(plane) -> None:
    """F21."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("extra_bytes", path="/api/chat")
        for stream in (True, False):
            answer = await plane.chat(stream=stream)
            assert answer.status == 200
            assert "extra bytes" not in answer.text()
        node.clear_faults()
        assert (await plane.chat()).status == 200


async def test_a_record_of_ten_megabytes_passes(plane) -> None:
    """F23."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("long_line", path="/api/chat", after=1)
        answer = await plane.chat()
        assert answer.status == 200
        text = answer.text()
        assert len(text) > 10_000_000
        assert all(json.loads(line) for line in text.splitlines())
        assert (await plane.line())["outcome"] == "ok"


async def test_a_large_whole_answer_passes(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("long_line", path="/api/chat")
        answer = await plane.chat(stream=False)
        assert answer.status == 200
        assert len(answer.body) > 10_000_000


@pytest.mark.parametrize("abruptly", [True, False])
@pytest.mark.parametrize("when", ["before the first byte", "in the middle"])
async def test_a_client_that_leaves_frees_the_node_within_a_second(
    plane, dial, abruptly, when
) -> None:
    """F32, F33."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("stall", path="/api/chat", after=2 if when == "in the middle" else None)
        if when == "before the first byte":
            node.clear_faults()
            node.fault("silence", path="/api/chat")
        wire = await dial(plane)
        wire.post("/api/chat", STREAMS["/api/chat"])
        if when == "in the middle":
            await wire.until(b'"done":false')
        else:
            await until(lambda: node.active == 1)
        wire.leave(abruptly=abruptly)
        await until(lambda: node.active == 0, within_s=1.0)
        assert node.cancelled == 1
        assert (await plane.line())["outcome"] == "client_abort"
        assert not plane.app.circuits.down
        await plane.idle()


async def test_a_client_that_closes_its_writing_side_has_left(plane, dial) -> None:
    """F34."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("silence", path="/api/chat")
        wire = await dial(plane)
        wire.post("/api/chat", STREAMS["/api/chat"])
        await until(lambda: node.active == 1)
        wire.finish()
        await until(lambda: node.active == 0, within_s=1.0)
        assert (await plane.line())["outcome"] == "client_abort"


async def test_a_client_that_stops_reading_is_cut_off(plane, dial) -> None:
    """F35: after the stall limit, and meanwhile the node is not read on."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("long_line", path="/api/chat", after=1)
        wire = await dial(plane, 1_024)
        wire.pause()
        wire.post("/api/chat", STREAMS["/api/chat"])
        await until(plane.lines, within_s=5.0)
        line = await plane.line()
        assert line["outcome"] == "client_stalled"
        assert line["bytes_out"] < 9_000_000
        await until(lambda: node.active == 0, within_s=1.0)
        await plane.idle()


async def until(question, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not question():
            await asyncio.sleep(0.005)


async def test_an_http_1_0_client_gets_its_stream_until_the_connection_ends(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.post("/api/chat", STREAMS["/api/chat"], version="1.0")
        received = await wire.to_the_end()
        assert b"Transfer-Encoding" not in received
        assert json.loads(received.splitlines()[-1])["done"] is True


async def test_connections_are_used_again(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        for _ in range(3):
            wire.received = b""
            wire.post("/api/chat", STREAMS["/api/chat"])
            await wire.until(b"0\r\n\r\n")
        assert len(plane.lines()) == 3
