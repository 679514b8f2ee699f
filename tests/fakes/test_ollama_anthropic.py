"""The Anthropic-compatible route of the fake, through Anthropic's own client and on the wire."""

import re

import anthropic
import pytest

HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def test_a_message_answers_in_one_object(anthropic_client):
    answer = await anthropic_client.messages.create(
        model="llama3.2", max_tokens=100, messages=HELLO, system="be brief"
    )
    assert re.fullmatch(r"msg_[0-9a-f]{24}", answer.id)
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.content[0].text.endswith("hello")
    assert answer.usage.input_tokens == 3


async def test_a_message_streams_its_events_in_order(node, http):
    ask = {"model": "llama3.2", "max_tokens": 100, "messages": HELLO, "stream": True}
    async with http.post(f"{node.url}/v1/messages?beta=true", json=ask) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        text = await answer.text()
    kinds = re.findall(r"^event: (\w+)$", text, re.MULTILINE)
    order = list(dict.fromkeys(kinds))
    assert order == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_the_client_reads_the_stream(anthropic_client):
    async with anthropic_client.messages.stream(
        model="llama3.2", max_tokens=100, messages=HELLO
    ) as stream:
        text = "".join([part async for part in stream.text_stream])
        final = await stream.get_final_message()
    assert text.endswith("hello")
    assert final.stop_reason == "end_turn"


async def test_thinking_tools_and_the_limit(anthropic_client):
    create = anthropic_client.messages.create
    thought = await create(
        model="qwen3:8b",
        max_tokens=2_000,
        messages=HELLO,
        thinking={"type": "enabled", "budget_tokens": 1_024},
    )
    assert [block.type for block in thought.content] == ["thinking", "text"]
    cut = await create(
        model="llama3.2", max_tokens=2, messages=[{"role": "user", "content": "9 words"}]
    )
    assert (cut.content[0].text, cut.stop_reason) == ("word1 word2", "max_tokens")
    called = await create(
        model="llama3.2",
        max_tokens=100,
        messages=[{"role": "user", "content": "weather in Oslo?"}],
        tools=[WEATHER],
    )
    assert (called.stop_reason, called.content[0].input) == ("tool_use", {"city": "Oslo"})


async def test_a_streamed_tool_call_is_a_block_of_its_own(anthropic_client):
    async with anthropic_client.messages.stream(
        model="llama3.2",
        max_tokens=100,
        messages=[{"role": "user", "content": "weather in Oslo?"}],
        tools=[WEATHER],
    ) as stream:
        final = await stream.get_final_message()
    assert final.content[0].input == {"city": "Oslo"}
    assert final.stop_reason == "tool_use"


async def test_errors_have_the_anthropic_shape(node, http, anthropic_client):
    with pytest.raises(anthropic.NotFoundError, match="model 'gone' not found"):
        await anthropic_client.messages.create(model="gone", max_tokens=9, messages=HELLO)
    async with http.post(f"{node.url}/v1/messages", json={"model": "llama3.2"}) as answer:
        body = await answer.json()
    assert answer.status == 400
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert re.fullmatch(r"req_[0-9a-f]{24}", body["request_id"])
