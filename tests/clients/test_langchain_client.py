"""LangChain's Ollama package against the whole system."""

import base64
import json

import ollama
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings


@pytest.fixture
async def opened():
    """Made objects are closed at the end; they have no way of their own to be."""
    made = []
    yield made.append
    for one in made:
        one._client.close()
        await one._async_client.close()


@pytest.fixture
async def chat(system, opened):
    made = ChatOllama(model="llama3.2", base_url=system.proxy, temperature=0)
    opened(made)
    return made


def test_it_invokes(chat):
    answer = chat.invoke("hello")
    assert str(answer.content).endswith("You said: hello")
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] > 0


def test_it_streams(chat):
    parts = list(chat.stream("5 words"))
    assert "".join(str(part.content) for part in parts) == "word1 word2 word3 word4 word5"
    assert any(part.response_metadata.get("done_reason") == "stop" for part in parts)


async def test_it_streams_asynchronously(chat):
    parts = [part async for part in chat.astream("2 words")]
    assert "".join(str(part.content) for part in parts) == "word1 word2"


async def test_it_checks_its_model_at_the_start(system, opened):
    made = ChatOllama(model="llama3.2", base_url=system.proxy, validate_model_on_init=True)
    opened(made)
    assert made.invoke("1 words").content == "word1"


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"rain in {city}"


async def test_it_calls_a_tool_and_tells_the_result(chat):
    armed = chat.bind_tools([get_weather])
    asked = HumanMessage("What is the weather in Oslo?")
    said = armed.invoke([asked])
    (call,) = said.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
    result = ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"])
    assert str(armed.invoke([asked, said, result]).content).endswith("You said: rain in Oslo")


async def test_its_answer_obeys_a_schema(chat):
    schema = {"title": "Number", "type": "object", "properties": {"n": {"type": "integer"}}}
    formed = chat.with_structured_output(schema, method="json_schema")
    assert formed.invoke("a number") == {"n": 7}


async def test_it_thinks(system, opened):
    made = ChatOllama(model="qwen3:8b", base_url=system.proxy, reasoning=True)
    opened(made)
    answer = made.invoke("2 words")
    assert answer.content == "word1 word2"
    assert answer.additional_kwargs["reasoning_content"].startswith("The user wrote")


async def test_an_image_reaches_the_node_as_it_was(system, opened):
    data = base64.b64encode(bytes(range(256)) * 100).decode()
    made = ChatOllama(model="gemma3:4b", base_url=system.proxy)
    opened(made)
    parts = [
        {"type": "text", "text": "2 words"},
        {"type": "image_url", "image_url": f"data:image/png;base64,{data}"},
    ]
    assert made.invoke([HumanMessage(content=parts)]).content == "word1 word2"
    asked = [seen for seen in system.nodes["steady"].requests() if seen.path == "/api/chat"][-1]
    assert json.loads(asked.body)["messages"][0]["images"] == [data]


async def test_an_unknown_model_is_an_error(system, opened):
    made = ChatOllama(model="gone", base_url=system.proxy)
    opened(made)
    with pytest.raises(ollama.ResponseError, match="model 'gone' not found"):
        made.invoke("hello")


async def test_it_embeds(system, opened):
    embeddings = OllamaEmbeddings(model="nomic-embed-text", base_url=system.proxy)
    opened(embeddings)
    assert len(embeddings.embed_query("one")) == 768
    assert len(embeddings.embed_documents(["one", "two"])) == 2
