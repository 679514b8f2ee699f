"""OpenAI's Python client against the whole system."""

import base64
import json

import openai
import pytest
from fakes.installation import NODES

HELLO = [{"role": "user", "content": "hello"}]
WHERE = {"type": "object", "properties": {"city": {"type": "string"}}}


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
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WHERE}}
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


def test_a_streamed_tool_call_comes_whole_and_its_result_is_told(client):
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WHERE}}
    messages = [{"role": "user", "content": "weather in Rome?"}]
    with client.chat.completions.stream(
        model="llama3.2", messages=messages, tools=[tool]
    ) as stream:
        said = stream.get_final_completion().choices[0]
    assert said.finish_reason == "tool_calls"
    (call,) = said.message.tool_calls or []
    messages += [
        {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
    ]
    told = client.chat.completions.create(model="llama3.2", messages=messages, tools=[tool])
    assert (told.choices[0].message.content or "").endswith("You said: rain")


def test_an_image_reaches_the_node_as_it_was(client, system):
    url = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 100).decode()
    parts = [{"type": "text", "text": "2 words"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(
        model="gemma3:4b", messages=[{"role": "user", "content": parts}]
    )
    assert answer.choices[0].message.content == "word1 word2"
    path = "/v1/chat/completions"
    asked = [seen for seen in system.nodes["steady"].requests() if seen.path == path][-1]
    assert json.loads(asked.body)["messages"][0]["content"] == parts


def test_reasoning_is_beside_the_answer(client):
    message = client.chat.completions.create(model="qwen3:8b", messages=HELLO).choices[0].message
    assert message.model_extra["reasoning"].startswith("The user wrote")
    quiet = client.chat.completions.create(
        model="qwen3:8b", messages=HELLO, reasoning_effort="none"
    )
    assert "reasoning" not in quiet.choices[0].message.model_extra


def test_it_completes_in_a_stream_with_usage(client):
    chunks = list(
        client.completions.create(
            model="llama3.2",
            prompt="3 words",
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [choice.text for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "word1 word2 word3"
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 3


def test_a_response_is_streamed_with_tools_and_usage(client):
    tool = {"type": "function", "name": "get_weather", "parameters": WHERE, "strict": False}
    with client.responses.stream(
        model="llama3.2", input="weather in Rome?", tools=[tool]
    ) as stream:
        final = stream.get_final_response()
    (call,) = final.output
    assert (call.type, json.loads(call.arguments)) == ("function_call", {"city": "Rome"})
    assert final.usage
    assert final.usage.output_tokens == 1
    told = client.responses.create(
        model="llama3.2",
        tools=[tool],
        input=[
            {"role": "user", "content": "weather in Rome?"},
            call.model_dump(include={"type", "call_id", "name", "arguments"}),
            {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
        ],
    )
    assert told.output_text.endswith("You said: rain")


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
    # Asked for nothing, the SDK takes base64 over the wire; both must be the same numbers.
    spelt = client.embeddings.create(
        model="nomic-embed-text", input=["one", "two"], encoding_format="float"
    )
    assert [one.embedding for one in spelt.data] == [one.embedding for one in answer.data]


def test_it_transcribes(client, tmp_path):
    """The SDK names the model behind the file; a longer one than is held in one read."""
    sound = tmp_path / "speech.wav"
    sound.write_bytes(b"RIFF" + bytes(range(256)) * 4_096)
    create = client.audio.transcriptions.create
    with sound.open("rb") as file:
        heard = create(model="voxtral", file=file, language="en", prompt="Rome")
    assert heard.text == f"{sound.stat().st_size} bytes of sound"
    plain = create(model="voxtral", file=("a.wav", b"RIFF"), response_format="text")
    assert plain.strip() == "4 bytes of sound"
    with pytest.raises(openai.NotFoundError, match="model 'gone' not found"):
        create(model="gone", file=("a.wav", b"RIFF"))
    with pytest.raises(openai.BadRequestError):
        create(model="llama3.2", file=("a.wav", b"RIFF"))


async def test_it_transcribes_asynchronously(system):
    async with openai.AsyncOpenAI(base_url=f"{system.proxy}/v1", api_key="any") as client:
        sound = ("a.wav", b"x" * 300_000)
        heard = await client.audio.transcriptions.create(model="voxtral", file=sound)
    assert heard.text == "300000 bytes of sound"


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
    fragile.fault("busy", path="/v1/chat/completions")
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
