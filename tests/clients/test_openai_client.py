"""OpenAI's Python client against the whole system."""

import json

import openai
import pytest
from fakes.installation import NODES

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(system):
    with openai.OpenAI(base_url=f"{system.proxy}/v1", api_key="any", max_retries=0) as made:
        yield made


def test_it_chats(client):
    answer = client.chat.completions.create(model="llama3.2", messages=HELLO)
    assert answer.object == "chat.completion"
    assert (answer.choices[0].message.content or "").endswith("You said: hello")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.completion_tokens > 0


def test_it_chats_in_a_stream(client):
    stream = client.chat.completions.create(
        model="llama3.2",
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(said).endswith("You said: hello")
    assert chunks[-1].usage


async def test_it_chats_asynchronously(system):
    async with openai.AsyncOpenAI(base_url=f"{system.proxy}/v1", api_key="any") as client:
        stream = await client.chat.completions.create(model="llama3.2", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_it_calls_tools_and_obeys_a_schema(client):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
    called = client.chat.completions.create(
        model="llama3.2",
        messages=[{"role": "user", "content": "weather in Rome?"}],
        tools=[tool],
    )
    made = (called.choices[0].message.tool_calls or [])[0]
    assert json.loads(made.function.arguments) == {"city": "Rome"}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    formed = client.chat.completions.create(
        model="llama3.2",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert json.loads(formed.choices[0].message.content or "") == {"n": 7}


def test_it_completes_and_responds(client):
    assert client.completions.create(model="llama3.2", prompt="2 words").choices[0].text == (
        "word1 word2"
    )
    assert client.responses.create(model="llama3.2", input="2 words").output_text == "word1 word2"
    events = list(client.responses.create(model="llama3.2", input="2 words", stream=True))
    assert events[-1].type == "response.completed"


def test_it_embeds(client):
    answer = client.embeddings.create(model="nomic-embed-text", input=["one", "two"])
    assert [len(one.embedding) for one in answer.data] == [768, 768]


def test_it_lists_and_finds_models(client):
    listed = {model.id for model in client.models.list()}
    assert listed >= {model for models in NODES.values() for model in models}
    assert client.models.retrieve("llama3.2:latest").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gone")


def test_its_errors_are_those_of_openai(client, fragile):
    with pytest.raises(openai.NotFoundError, match="model 'gone' not found"):
        client.chat.completions.create(model="gone", messages=HELLO)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="llama3.2", messages=[])
    fragile.fault("busy")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="fragile", messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.request_id


@pytest.mark.parametrize("fault", ["reset", "close", "no_done", "error_record"])
def test_an_answer_that_breaks_is_an_error_and_never_a_short_success(client, fragile, fault):
    """Without help this client takes an end without `[DONE]` for a complete answer."""
    fragile.fault(fault, path="/v1/chat/completions", after=3)
    stream = client.chat.completions.create(
        model="fragile", messages=[{"role": "user", "content": "9 words"}], stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)
