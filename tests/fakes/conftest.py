"""One node of each kind for the tests that hold the fakes against the reference."""

from collections.abc import AsyncIterator

import aiohttp
import anthropic
import ollama
import openai
import pytest
from fakes.ollama import FakeOllama

MODELS = (
    *("llama3.2:latest", "qwen3:8b", "gemma3:latest", "nomic-embed-text:latest"),
    "voxtral:latest",
)


@pytest.fixture
async def node() -> AsyncIterator[FakeOllama]:
    """A node that answers at once."""
    async with FakeOllama(MODELS, num_parallel=4) as fake:
        yield fake


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client that neither retries nor decompresses."""
    async with aiohttp.ClientSession(
        auto_decompress=False, connector=aiohttp.TCPConnector(force_close=True)
    ) as session:
        yield session


@pytest.fixture
async def client(node: FakeOllama) -> AsyncIterator[ollama.AsyncClient]:
    """Ollama's own client."""
    async with ollama.AsyncClient(node.url) as native:
        yield native


@pytest.fixture
async def openai_client(node: FakeOllama) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client, without its retries."""
    async with openai.AsyncOpenAI(
        base_url=f"{node.url}/v1", api_key="any", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def anthropic_client(node: FakeOllama) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's client, without its retries."""
    async with anthropic.AsyncAnthropic(base_url=node.url, api_key="any", max_retries=0) as client:
        yield client
