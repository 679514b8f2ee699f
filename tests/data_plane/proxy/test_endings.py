"""Answers that end badly on `/v1/*` and natively, as the reference's paragraph 4.2 lists them."""

import anthropic
import openai
import pytest
from fakes.ollama import FakeOllama

HELLO = [{"role": "user", "content": "9 words"}]
ASKS = {
    "/api/chat": {"model": "llama3.2", "messages": HELLO, "stream": False},
    "/api/generate": {"model": "llama3.2", "prompt": "9 words", "stream": False},
    "/v1/chat/completions": {"model": "llama3.2", "messages": HELLO},
    "/v1/completions": {"model": "llama3.2", "prompt": "9 words"},
    "/v1/messages": {"model": "llama3.2", "messages": HELLO, "max_tokens": 99},
}


@pytest.mark.parametrize("path", ASKS)
async def test_an_answer_that_was_given_up_is_asked_of_another_node(plane, path) -> None:
    """4.2, last line: the repeat guard gives 200 with `done: false` (or no finish_reason)."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        first.fault("no_done", times=1)
        with plane.app.leases.take("n2", 0.0):
            answer = await plane.post(path, ASKS[path])
        assert answer.status == 200
        assert answer.headers["X-Aivonx-Attempts"] == "2"
        assert len(second.inference) == 1


@pytest.mark.parametrize("path", ASKS)
async def test_the_second_node_that_gives_up_is_believed(plane, path) -> None:
    """4.2: trying on and on could loop for the same reason on every node."""
    async with FakeOllama() as first, FakeOllama() as second, FakeOllama() as third:
        await plane.apply(first, second, third)
        for node in (first, second, third):
            node.fault("no_done")
        answer = await plane.post(path, ASKS[path])
        assert answer.status == 502
        assert "broke the answer off" in answer.text()
        assert sum(len(node.inference) for node in (first, second, third)) == 2
        line = await plane.line()
        assert (line["outcome"], line["code"]) == ("truncated", "answer_given_up")
        assert not plane.app.circuits.down


async def test_a_prompt_that_is_only_rendered_is_no_broken_answer(plane) -> None:
    """1.3: `_debug_render_only` answers with `done: false`, and that is all there is."""
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.chat(stream=False, _debug_render_only=True)
        assert answer.status == 200
        assert answer.json()["_debug_info"]["rendered_template"]


@pytest.mark.parametrize("fault", ["reset", "close", "no_done", "error_record"])
@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_openais_sdk_raises_for_a_stream_that_breaks(plane, kind, fault) -> None:
    """4.2 and 6.6: an end without `[DONE]` or response.completed would pass for a whole answer."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault(fault, after=3)
        url = plane.url("/v1")
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            if kind == "chat":
                stream = await client.chat.completions.create(
                    model="llama3.2", messages=HELLO, stream=True
                )
            else:
                stream = await client.responses.create(
                    model="llama3.2", input="9 words", stream=True
                )
            with pytest.raises(openai.APIError, match="incomplete|injected"):
                async for _ in stream:
                    pass


@pytest.mark.parametrize("fault", ["reset", "close", "no_done", "error_record"])
async def test_anthropics_sdk_raises_for_a_stream_that_breaks(plane, fault) -> None:
    """4.2: nothing at all tells an Anthropic client, unless we do."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault(fault, after=3)
        async with anthropic.AsyncAnthropic(
            base_url=plane.url(""), api_key="any", max_retries=0
        ) as client:
            stream = await client.messages.create(
                model="llama3.2", max_tokens=99, messages=HELLO, stream=True
            )
            with pytest.raises(anthropic.APIStatusError):
                async for _ in stream:
                    pass


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("fault", ["reset", "close", "cut_short"])
async def test_a_whole_answer_that_breaks_is_never_a_short_success(plane, path, fault) -> None:
    """4.2, row of node death: nothing was sent yet, so the status says it."""
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault(fault, path=path)
        answer = await plane.post(path, ASKS[path])
        assert answer.status == 502
        assert answer.json()


async def test_a_router_that_does_not_know_the_route_says_nothing_of_the_model(plane) -> None:
    """8: a text/plain 404 on a known route means that the node is too old for it."""
    async with FakeOllama() as old, FakeOllama() as new:
        await plane.apply(old, new)
        old.node.version = "0.13.2"  # and nobody has noticed
        with plane.app.leases.take("n2", 0.0):
            answer = await plane.post("/v1/responses", {"model": "llama3.2", "input": "hi"})
        assert answer.status == 200
        assert answer.headers["X-Aivonx-Attempts"] == "2"
        assert not plane.app.findings.without("registry.ollama.ai/library/llama3.2:latest")
        new.node.version = "0.9.0"
        refused = await plane.post("/v1/responses", {"model": "llama3.2", "input": "hi"})
        assert refused.status == 404
        assert refused.json()["error"]["code"] == "node_too_old"
        assert refused.json()["error"]["type"] == "not_found_error"


async def test_plain_text_stays_with_the_router(plane) -> None:
    """0: unknown paths and wrong methods are text/plain, everything else is JSON."""
    async with FakeOllama() as node:
        await plane.apply(node)
        unknown = await plane.get("/api/foo")
        assert (unknown.headers["Content-Type"], unknown.body) == (
            "text/plain",
            b"404 page not found",
        )
        wrong = await plane.get("/v1/messages", "PUT")
        assert (wrong.status, wrong.headers["Content-Type"], wrong.body) == (
            405,
            "text/plain",
            b"405 method not allowed",
        )
