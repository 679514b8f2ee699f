"""Ollama's own Python client, synchronous and asynchronous, against the whole system."""

import base64
import json

import ollama
import pytest
from fakes.installation import APPLY_S, NODES
from fakes.processes import eventually

HELLO = [{"role": "user", "content": "hello"}]
IMAGE = bytes(range(256)) * 2_000
"""Half a megabyte: more than one read, and a bigger body than careless servers take."""
MODELS = {model for models in NODES.values() for model in models}


@pytest.fixture
def client(system):
    with ollama.Client(system.proxy, timeout=20) as native:
        yield native


@pytest.fixture
async def async_client(system):
    async with ollama.AsyncClient(system.proxy) as native:
        yield native


def test_it_lists_every_model_once(client):
    listed = [model.model for model in client.list().models]
    assert set(listed) >= MODELS
    assert len(listed) == len(set(listed))


def test_it_shows_a_model(client):
    shown = client.show("qwen3:8b")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.details
    assert shown.details.parameter_size == "8.2B"


def test_it_sees_what_is_loaded(client, system):
    with system.operator() as operator:
        operator.patch("/api/proxy/config", json={"model_refresh_interval_s": 2}).raise_for_status()
    client.generate("gemma3:4b", "hello", keep_alive="10m")
    loaded = eventually(
        "ps lists the model",
        lambda: [one for one in client.ps().models if one.model == "gemma3:4b"],
        APPLY_S + 10,
    )
    assert len(loaded) == 1
    assert loaded[0].size_vram == loaded[0].size


def test_it_generates_whole_and_streamed(client):
    whole = client.generate("llama3.2", "5 words")
    assert whole.response == "word1 word2 word3 word4 word5"
    assert (whole.done, whole.done_reason, whole.eval_count) == (True, "stop", 5)
    parts = list(client.generate("llama3.2", "5 words", stream=True))
    assert "".join(part.response for part in parts) == whole.response
    assert [part.done for part in parts] == [False] * 5 + [True]


def test_it_chats_whole_and_streamed(client):
    whole = client.chat("llama3.2", HELLO)
    assert whole.message.content
    assert whole.message.content.endswith("You said: hello")
    parts = list(client.chat("llama3.2", HELLO, stream=True))
    text = "".join(part.message.content or "" for part in parts)
    assert text.endswith("You said: hello")
    assert parts[-1].done


def test_a_name_may_be_spelt_as_ollama_allows(client):
    for name in (
        "LLAMA3.2",
        "llama3.2:latest",
        "library/llama3.2",
        "registry.ollama.ai/library/llama3.2",
    ):
        assert client.generate(name, "1 words").model == name


def test_it_thinks_calls_tools_and_obeys_a_schema(client):
    assert client.chat("qwen3:8b", HELLO).message.thinking

    def get_weather(city: str) -> str:
        """The weather in a city."""
        return city

    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    called = client.chat("llama3.2", asked, tools=[get_weather]).message.tool_calls or []
    assert called[0].function.arguments == {"city": "Paris"}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    formed = client.chat("llama3.2", HELLO, format=schema)
    assert json.loads(formed.message.content or "") == {"n": 7}


def test_a_tool_is_called_and_its_result_is_told(client):
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    parts = list(client.chat("llama3.2", messages, tools=[tool], stream=True))
    (call,) = [call for part in parts for call in part.message.tool_calls or []]
    messages += [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_name": call.function.name, "content": "rain"},
    ]
    told = client.chat("llama3.2", messages, tools=[tool])
    assert (told.message.content or "").endswith("You said: rain")


def test_an_image_reaches_the_node_as_it_was(client, system, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(IMAGE)
    by_path = {"role": "user", "content": "2 words", "images": [picture]}
    assert client.chat("gemma3:4b", [by_path]).message.content == "word1 word2"
    assert client.generate("gemma3:4b", "2 words", images=[IMAGE]).response == "word1 word2"
    chatted, generated = (
        json.loads(
            [seen for seen in system.nodes["steady"].requests() if seen.path == path][-1].body
        )
        for path in ("/api/chat", "/api/generate")
    )
    assert base64.b64decode(chatted["messages"][0]["images"][0]) == IMAGE
    assert base64.b64decode(generated["images"][0]) == IMAGE


def test_thinking_comes_before_the_answer_and_may_be_switched_off(client):
    parts = list(client.chat("qwen3:8b", HELLO, think=True, stream=True))
    thoughts = [bool(part.message.thinking) for part in parts]
    assert thoughts.index(False) == sum(thoughts), "no thought after the first word"
    assert not client.chat("qwen3:8b", HELLO, think=False).message.thinking
    assert client.generate("qwen3:8b", "hello", think="low").thinking


def test_a_model_is_loaded_and_let_go(client):
    assert client.generate("llama3.2").done_reason == "load"
    assert client.generate("llama3.2", keep_alive=0).done_reason == "unload"


def test_it_embeds(client):
    many = client.embed("nomic-embed-text", ["one", "two"])
    assert [len(vector) for vector in many.embeddings] == [768, 768]
    assert client.embed("nomic-embed-text", "two").embeddings[0] == many.embeddings[1]
    assert client.embeddings("nomic-embed-text", "two").embedding == many.embeddings[1]
    assert len(client.embed("nomic-embed-text", "two", dimensions=256).embeddings[0]) == 256


def test_its_errors_are_those_of_ollama(client):
    for ask in (
        lambda: client.chat("gone", HELLO),
        lambda: client.generate("gone", "x"),
        lambda: list(client.chat("gone", HELLO, stream=True)),
        lambda: client.show("gone"),
        lambda: client.embed("gone", "x"),
    ):
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            ask()
        assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support tools") as caught:
        client.chat("gemma3:4b", HELLO, tools=[{"type": "function", "function": {"name": "f"}}])
    assert caught.value.status_code == 400


def test_a_busy_node_is_a_503(client, fragile):
    fragile.fault("busy", path="/api/chat")
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("fragile", HELLO)
    assert caught.value.status_code == 503


@pytest.mark.parametrize("fault", ["reset", "close", "bad_chunk", "cut_short", "error_record"])
def test_an_answer_that_breaks_is_an_error_and_never_a_short_success(client, fragile, fault):
    fragile.fault(fault, path="/api/chat", after=3)
    parts = client.chat("fragile", [{"role": "user", "content": "9 words"}], stream=True)
    said = []
    with pytest.raises(ollama.ResponseError):
        said.extend(part.message.content for part in parts)
    # Of what arrives in one piece with garbage, nothing may be passed on.
    assert said == ["word1", " word2", " word3"][: len(said)]


async def test_it_lists_shows_and_sees_asynchronously(async_client):
    assert {model.model for model in (await async_client.list()).models} >= MODELS
    assert (await async_client.show("llama3.2")).modelinfo
    assert (await async_client.ps()).models is not None


async def test_it_generates_and_chats_asynchronously(async_client):
    whole = await async_client.generate("llama3.2", "3 words")
    assert whole.response == "word1 word2 word3"
    generated = await async_client.generate("llama3.2", "3 words", stream=True)
    assert "".join([part.response async for part in generated]) == whole.response
    chatted = await async_client.chat("llama3.2", HELLO, stream=True)
    parts = [part async for part in chatted]
    assert "".join(part.message.content or "" for part in parts).endswith("hello")
    assert parts[-1].done
    assert (await async_client.chat("llama3.2", HELLO)).message.content


async def test_it_embeds_and_fails_asynchronously(async_client):
    assert len((await async_client.embed("nomic-embed-text", "x")).embeddings[0]) == 768
    with pytest.raises(ollama.ResponseError, match="model 'gone' not found"):
        await async_client.chat("gone", HELLO)
