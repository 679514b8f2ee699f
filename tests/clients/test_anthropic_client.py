"""Anthropic's Python client against the whole system."""

import base64
import json

import anthropic
import pytest

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(system):
    with anthropic.Anthropic(base_url=system.proxy, api_key="any", max_retries=0) as made:
        yield made


def test_it_gets_a_message(client):
    answer = client.messages.create(model="llama3.2", max_tokens=100, messages=HELLO)
    assert answer.content[0].text.endswith("You said: hello")
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0


def test_it_gets_a_message_in_a_stream(client):
    with client.messages.stream(model="llama3.2", max_tokens=100, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text.endswith("You said: hello")
    assert final.stop_reason == "end_turn"


async def test_it_works_asynchronously(system):
    async with anthropic.AsyncAnthropic(base_url=system.proxy, api_key="any") as client:
        answer = await client.messages.create(model="llama3.2", max_tokens=2, messages=HELLO)
    assert answer.stop_reason == "max_tokens"


def test_it_uses_a_tool(client):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    answer = client.messages.create(
        model="llama3.2",
        max_tokens=100,
        messages=[{"role": "user", "content": "weather in Oslo?"}],
        tools=[{"name": "get_weather", "input_schema": schema}],
    )
    assert (answer.stop_reason, answer.content[0].input) == ("tool_use", {"city": "Oslo"})


def test_a_streamed_tool_call_comes_whole_and_its_result_is_told(client):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"name": "get_weather", "input_schema": schema}]
    messages = [{"role": "user", "content": "weather in Oslo?"}]
    with client.messages.stream(
        model="llama3.2", max_tokens=100, messages=messages, tools=tools
    ) as stream:
        asked = stream.get_final_message()
    (call,) = asked.content
    assert (asked.stop_reason, call.input) == ("tool_use", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    messages += [
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    told = client.messages.create(model="llama3.2", max_tokens=100, messages=messages, tools=tools)
    assert told.stop_reason == "end_turn"
    assert told.content[0].text.endswith("You said: rain")


def test_it_thinks_when_asked_to(client):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = client.messages.create(
        model="qwen3:8b", max_tokens=2048, messages=HELLO, thinking=thinking, system="Be brief."
    )
    assert [block.type for block in answer.content] == ["thinking", "text"]


def test_an_image_reaches_the_node_as_it_was(client, system):
    data = base64.b64encode(bytes(range(256)) * 100).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "2 words"}]
    answer = client.messages.create(
        model="gemma3:4b", max_tokens=9, messages=[{"role": "user", "content": parts}]
    )
    assert answer.content[0].text == "word1 word2"
    asked = [seen for seen in system.nodes["steady"].requests() if seen.path == "/v1/messages"][-1]
    assert json.loads(asked.body)["messages"][0]["content"] == parts


def test_its_errors_are_those_of_anthropic(client, fragile):
    with pytest.raises(anthropic.NotFoundError, match="model 'gone' not found"):
        client.messages.create(model="gone", max_tokens=9, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="llama3.2", max_tokens=9, messages=[])
    fragile.fault("busy", path="/v1/messages")
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="fragile", max_tokens=9, messages=HELLO)
    assert caught.value.status_code == 503


@pytest.mark.parametrize("fault", ["reset", "close", "no_done"])
def test_an_answer_that_breaks_is_an_error_and_never_a_short_success(client, fragile, fault):
    fragile.fault(fault, path="/v1/messages", after=4)
    with (
        client.messages.stream(
            model="fragile", max_tokens=99, messages=[{"role": "user", "content": "9 words"}]
        ) as stream,
        pytest.raises(anthropic.APIError),
    ):
        stream.until_done()
