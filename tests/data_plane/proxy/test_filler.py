"""Filling the silence while a model loads: reference 4.3."""

import json

import anthropic
import ollama
import openai
import pytest
from fakes.ollama import FakeOllama

from data_plane.protocol.dialects import FILLERS
from data_plane.protocol.matching import lookup
from shared.snapshot import ProxyConfig

HELLO = [{"role": "user", "content": "3 words"}]
FILLED = ProxyConfig(
    connect_timeout_s=0.3,
    probe_interval_s=0.1,
    probe_timeout_s=0.2,
    client_stall_timeout_s=0.5,
    filler_sse_s=0.1,
    filler_ndjson_s=0.1,
)
STREAMS = {
    "/api/chat": {"model": "llama3.2", "messages": HELLO},
    "/v1/chat/completions": {"model": "llama3.2", "messages": HELLO, "stream": True},
    "/v1/responses": {"model": "llama3.2", "input": "3 words", "stream": True},
    "/v1/messages": {"model": "llama3.2", "messages": HELLO, "max_tokens": 9, "stream": True},
}


def filler_of(path: str) -> bytes:
    return FILLERS[lookup("POST", path).route.framing]


@pytest.mark.parametrize("path", STREAMS)
async def test_by_default_nothing_is_said_before_the_node_says_it(plane, path) -> None:
    async with FakeOllama(load_s=0.3) as node:
        await plane.apply(node)
        answer = await plane.post(path, STREAMS[path])
        assert answer.body[:1] not in b" :"


@pytest.mark.parametrize("path", STREAMS)
async def test_a_long_load_is_filled_and_then_answered(plane, path) -> None:
    async with FakeOllama(load_s=0.5) as node:
        await plane.apply(node, config=FILLED)
        answer = await plane.post(path, STREAMS[path])
        assert answer.status == 200
        assert answer.body.startswith(2 * filler_of(path))
        line = await plane.line()
        assert (line["outcome"], line["attempts"]) == ("ok", 1)


@pytest.mark.parametrize("path", STREAMS)
async def test_another_node_may_still_be_tried(plane, path) -> None:
    """Nothing of an answer is out."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=FILLED)
        first.fault("load_fails", seconds=0.3)
        with plane.app.leases.take("n2", 0.0):
            answer = await plane.post(path, STREAMS[path])
        assert answer.status == 200
        assert answer.body.startswith(filler_of(path))
        assert (await plane.line())["outcome"] == "ok"
        assert len(second.inference) == 1


async def test_silence_between_records_is_filled_at_their_edge(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=FILLED)
        node.fault("stall", path="/api/chat", after=2)
        wire = await dial(plane)
        wire.post("/api/chat", STREAMS["/api/chat"])
        await wire.until(b"1\r\n \r\n1\r\n \r\n")
        node.clear_faults()
        await wire.until(b"0\r\n\r\n")
        body = b"".join(wire.received.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2])
        records = [json.loads(line) for line in body.splitlines() if line.strip()]
        assert records[-1]["done"] is True


async def test_an_answer_that_is_not_streamed_is_never_begun_early(plane) -> None:
    async with FakeOllama(load_s=0.4) as node:
        await plane.apply(node, config=FILLED)
        whole = await plane.chat(stream=False)
        assert whole.body.startswith(b"{")
        node.fault("load_fails", seconds=0.3)
        assert (await plane.chat(stream=False)).status == 500


async def test_a_model_that_is_only_loaded_says_so_behind_the_filler(plane) -> None:
    async with FakeOllama(load_s=0.4) as node:
        await plane.apply(node, config=FILLED)
        async with ollama.AsyncClient(plane.url("")) as client:
            parts = [part async for part in await client.generate("llama3.2", stream=True)]
        assert [part.done_reason for part in parts] == ["load"]


async def native_chat(plane) -> None:
    async with ollama.AsyncClient(plane.url("")) as client:
        async for _ in await client.chat("llama3.2", HELLO, stream=True):
            pass


async def openai_chat(plane) -> None:
    url = plane.url("/v1")
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        async for _ in await client.chat.completions.create(
            model="llama3.2", messages=HELLO, stream=True
        ):
            pass


async def openai_response(plane) -> None:
    url = plane.url("/v1")
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        async for _ in await client.responses.create(model="llama3.2", input="hi", stream=True):
            pass


async def anthropic_message(plane) -> None:
    url = plane.url("")
    async with anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client:
        async for _ in await client.messages.create(
            model="llama3.2", messages=HELLO, max_tokens=9, stream=True
        ):
            pass


RAISES = [
    (native_chat, ollama.ResponseError),
    (openai_chat, openai.APIError),
    (openai_response, openai.APIError),
    (anthropic_message, anthropic.APIStatusError),
]


@pytest.mark.parametrize("fault", ["load_fails", "missing", "busy"])
@pytest.mark.parametrize(("ask", "error"), RAISES)
async def test_what_fails_late_is_raised_by_every_sdk(plane, ask, error, fault) -> None:
    """The status is out, so the error stands in the stream, in the dialect, and cuts it off."""
    async with FakeOllama() as node:
        await plane.apply(node, config=FILLED)
        node.fault(fault, seconds=0.3)
        with pytest.raises(error):
            await ask(plane)
        line = await plane.line()
        assert line["status"] == 200
        assert line["outcome"] != "ok"
        assert line["code"]


async def test_a_client_that_leaves_in_the_silence_frees_the_node(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=FILLED)
        node.fault("silence")
        wire = await dial(plane)
        wire.post("/api/chat", STREAMS["/api/chat"])
        await wire.until(b"1\r\n \r\n1\r\n \r\n")
        wire.leave(abruptly=True)
        assert (await plane.line())["outcome"] == "client_abort"
        await plane.idle()
