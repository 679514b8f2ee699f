"""The node is killed in the middle of an answer: every client hears of it, none takes the half."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anthropic
import ollama
import openai
import pytest
from fakes.installation import START_S
from fakes.javascript import OllamaInNode, ThrownError
from fakes.processes import eventually
from langchain_ollama import ChatOllama

LONG = "100000 words"
MESSAGES = [{"role": "user", "content": LONG}]


@pytest.fixture
def mortal(system, fragile):
    """The only holder of `fragile`, slow enough to be killed in time; it is back afterwards."""
    fragile.steer(speed={"tokens_per_s": 50})
    yield fragile
    fragile.start()
    with ollama.Client(system.proxy) as client:
        eventually("the node serves again", lambda: _answers(client), START_S)


def _answers(client: ollama.Client) -> bool:
    try:
        return client.generate("fragile", "1 words").response == "word1"
    except ollama.ResponseError:
        return False


def with_ollama(address):
    with ollama.Client(address) as client:
        yield from client.chat("fragile", MESSAGES, stream=True)


def with_openai_chat(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        yield from client.chat.completions.create(model="fragile", messages=MESSAGES, stream=True)


def with_openai_completions(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        yield from client.completions.create(model="fragile", prompt=LONG, stream=True)


def with_openai_responses(address):
    """Its iterator hands the failure over as the last event; what awaits the answer raises."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        for event in client.responses.create(model="fragile", input=LONG, stream=True):
            if event.type == "response.failed":
                raise openai.OpenAIError(event.response.error.message)
            yield event


def with_anthropic(address):
    with (
        anthropic.Anthropic(base_url=address, api_key="any", max_retries=0) as client,
        client.messages.stream(model="fragile", max_tokens=99_999, messages=MESSAGES) as stream,
    ):
        yield from stream


def with_langchain(address):
    chat = ChatOllama(model="fragile", base_url=address)
    try:
        yield from chat.stream(LONG)
    finally:
        chat._client.close()


@pytest.mark.parametrize(
    ("parts_of", "error"),
    [
        (with_ollama, ollama.ResponseError),
        (with_openai_chat, openai.APIError),
        (with_openai_completions, openai.APIError),
        (with_openai_responses, openai.OpenAIError),
        (with_anthropic, anthropic.APIError),
        (with_langchain, ollama.ResponseError),
    ],
)
async def test_it_raises(system, mortal, parts_of, error):
    parts = parts_of(system.proxy)
    next(parts)
    mortal.kill()
    with pytest.raises(error):
        list(parts)


def test_javascript_throws(system, mortal, node_modules, tmp_path: Path):
    begun = tmp_path / "begun"
    js = OllamaInNode(node_modules, host=system.proxy)
    body = f"""
        const fs = await import("node:fs");
        const messages = [{{ role: "user", content: "{LONG}" }}];
        const stream = await client.chat({{ model: "fragile", messages, stream: true }});
        for await (const part of stream) fs.writeFileSync("{begun}", "yes");
    """
    with ThreadPoolExecutor() as pool:
        program = pool.submit(js, body)
        eventually("the first part is there", begun.exists, START_S)
        mortal.kill()
        with pytest.raises(ThrownError, match="mid-stream"):
            program.result()
