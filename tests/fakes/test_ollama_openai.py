"""The OpenAI-compatible routes of the fake, through OpenAI's own client and on the wire."""

import json

import openai
import pytest

HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


async def test_a_chat_answers_in_one_object(openai_client):
    answer = await openai_client.chat.completions.create(model="llama3.2", messages=HELLO)
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.system_fingerprint == "fp_ollama"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.choices[0].message.content or "").endswith("hello")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_chat_streams_frames_then_usage_then_done(node, http):
    ask = {
        "model": "llama3.2",
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with http.post(f"{node.url}/v1/chat/completions", json=ask) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        blocks = (await answer.text()).split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    frames = [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]
    assert {frame["object"] for frame in frames} == {"chat.completion.chunk"}
    assert frames[0]["choices"][0]["delta"]["role"] == "assistant"
    assert frames[-2]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert frames[-1]["choices"] == []
    assert frames[-1]["usage"]["completion_tokens"] == len(frames) - 2
    assert len({frame["id"] for frame in frames}) == 1


async def test_the_client_reads_the_stream(openai_client):
    stream = await openai_client.chat.completions.create(
        model="llama3.2", messages=HELLO, stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).endswith("hello")
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_tool_call_has_its_arguments_as_text(openai_client):
    asked = [{"role": "user", "content": "weather in Rome?"}]
    answer = await openai_client.chat.completions.create(
        model="llama3.2", messages=asked, tools=[WEATHER]
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    call = (answer.choices[0].message.tool_calls or [])[0]
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    stream = await openai_client.chat.completions.create(
        model="llama3.2", messages=asked, tools=[WEATHER], stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_reasoning_and_limits_and_structured_output(openai_client):
    create = openai_client.chat.completions.create
    thought = await create(model="qwen3:8b", messages=HELLO)
    assert thought.choices[0].message.model_extra["reasoning"]
    cut = await create(
        model="llama3.2", messages=[{"role": "user", "content": "9 words"}], max_tokens=2
    )
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (
        "word1 word2",
        "length",
    )
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    formed = await create(
        model="llama3.2",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert json.loads(formed.choices[0].message.content or "") == {"n": 7}


async def test_completions_whole_and_streamed(openai_client):
    whole = await openai_client.completions.create(model="llama3.2", prompt="2 words")
    assert (whole.object, whole.choices[0].text) == ("text_completion", "word1 word2")
    stream = await openai_client.completions.create(model="llama3.2", prompt="2 words", stream=True)
    texts = [chunk.choices[0].text async for chunk in stream]
    assert "".join(texts) == "word1 word2"


async def test_embeddings_in_base64_are_those_in_numbers(openai_client):
    model = "nomic-embed-text"
    packed = await openai_client.embeddings.create(model=model, input=["a", "b"])
    plain = await openai_client.embeddings.create(
        model=model, input=["a", "b"], encoding_format="float"
    )
    assert [one.index for one in packed.data] == [0, 1]
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding)
    assert packed.usage.prompt_tokens == 2
    with pytest.raises(openai.BadRequestError, match="encoding_format"):
        await openai_client.embeddings.create(model=model, input="a", encoding_format="int8")


async def test_models_are_listed_and_found(node, http, openai_client):
    listed = [model.id async for model in await openai_client.models.list()]
    assert sorted(listed) == [
        "gemma3:latest",
        "llama3.2:latest",
        "nomic-embed-text:latest",
        "qwen3:8b",
        "voxtral:latest",
    ]
    one = await openai_client.models.retrieve("llama3.2")
    assert (one.id, one.owned_by) == ("llama3.2:latest", "library")
    for name in listed:
        node.node.library.remove(name)
    async with http.get(f"{node.url}/v1/models") as answer:
        assert (await answer.json())["data"] is None, "null, not [], as the node has it"
    async with http.get(f"{node.url}/v1/models/a%2Fb") as answer:
        assert (answer.status, await answer.text()) == (404, "404 page not found")


async def test_errors_have_the_openai_shape(node, http, openai_client):
    with pytest.raises(openai.NotFoundError, match="model 'gone' not found"):
        await openai_client.chat.completions.create(model="gone", messages=HELLO)
    async with http.post(f"{node.url}/v1/chat/completions", json={"model": "gone"}) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"] == {
            "message": "[] is too short - 'messages'",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    async with http.post(f"{node.url}/v1/completions", data=b"") as answer:
        assert (await answer.json())["error"]["message"] == "EOF"


async def test_a_response_whole_and_in_events(openai_client):
    whole = await openai_client.responses.create(model="qwen3:8b", input="hello")
    assert whole.output_text.endswith("hello")
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    stream = await openai_client.responses.create(model="qwen3:8b", input="hello", stream=True)
    events = [event async for event in stream]
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == whole.output_text


async def test_a_response_calls_a_function(openai_client):
    tool = {"type": "function", "name": "get_weather", "parameters": {}, "strict": False}
    asked = [{"role": "user", "content": "weather?"}]
    whole = await openai_client.responses.create(model="llama3.2", input=asked, tools=[tool])
    assert (whole.output[0].type, whole.output[0].name) == ("function_call", "get_weather")
    stream = await openai_client.responses.create(
        model="llama3.2", input=asked, tools=[tool], stream=True
    )
    kinds = [event.type async for event in stream]
    assert "response.function_call_arguments.done" in kinds
