"""LangChain's Ollama package against the whole system."""

import pytest
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


async def test_it_embeds(system, opened):
    embeddings = OllamaEmbeddings(model="nomic-embed-text", base_url=system.proxy)
    opened(embeddings)
    assert len(embeddings.embed_query("one")) == 768
    assert len(embeddings.embed_documents(["one", "two"])) == 2
