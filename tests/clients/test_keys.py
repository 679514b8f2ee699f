"""How each client sends an API key, and what it hears without one."""

import anthropic
import httpx2
import ollama
import openai
import pytest
from fakes import foreign
from fakes.installation import APPLY_S
from fakes.javascript import OllamaInNode, ThrownError
from fakes.processes import eventually
from langchain_ollama import ChatOllama

HELLO = [{"role": "user", "content": "1 words"}]


@pytest.fixture(scope="module")
def key(system):
    """The only key there is; it may use one model. Afterwards the proxy is open again."""
    tags = f"{system.proxy}/api/tags"
    wish = {"name": "clients", "allowed_models": ["llama3.2"]}
    with system.operator() as operator:
        made = operator.post("/api/account/keys", json=wish).raise_for_status()
        text = made.json()["key"]
        eventually("a key is required", lambda: httpx2.get(tags).status_code == 401, APPLY_S)
        with httpx2.Client(headers={"Authorization": f"Bearer {text}"}) as keyed:
            eventually("the key is known", lambda: keyed.get(tags).is_success, APPLY_S)
        yield text
        operator.delete(f"/api/account/keys/{made.json()['id']}").raise_for_status()
    eventually("the proxy is open again", lambda: httpx2.get(tags).is_success, APPLY_S)


def test_ollama_sends_it_as_a_header_or_in_its_address(system, key):
    headers = {"Authorization": f"Bearer {key}"}
    with ollama.Client(system.proxy, headers=headers) as client:
        assert client.chat("llama3.2", HELLO).message.content == "word1"
    with ollama.Client(f"{system.proxy}/k/{key}") as client:
        assert client.chat("llama3.2", HELLO).message.content == "word1"
        assert [model.model for model in client.list().models] == ["llama3.2:latest"]
    with ollama.Client(system.proxy) as client, pytest.raises(ollama.ResponseError) as caught:
        client.chat("llama3.2", HELLO)
    assert caught.value.status_code == 401


def test_ollama_js_sends_it_as_a_header_or_in_its_address(system, key, node_modules):
    generate = 'return client.generate({ model: "llama3.2", prompt: "1 words" })'
    for config in (
        {"host": system.proxy, "headers": {"Authorization": f"Bearer {key}"}},
        {"host": f"{system.proxy}/k/{key}"},
    ):
        assert OllamaInNode(node_modules, **config)(generate)["response"] == "word1"
    with pytest.raises(ThrownError, match="API key is required") as caught:
        OllamaInNode(node_modules, host=system.proxy)(generate)
    assert caught.value.status == 401


def test_openai_sends_it_as_a_bearer(system, key):
    base_url = f"{system.proxy}/v1"
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model="llama3.2", messages=HELLO)
        assert answer.choices[0].message.content == "word1"
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model="qwen3:8b", messages=HELLO)
        assert refused.value.status_code in {403, 404}, "a model that the key may not use"
    with (
        openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_anthropic_sends_it_as_x_api_key(system, key):
    with anthropic.Anthropic(base_url=system.proxy, api_key=key, max_retries=0) as client:
        answer = client.messages.create(model="llama3.2", max_tokens=9, messages=HELLO)
        assert answer.content[0].text == "word1"
    with (
        anthropic.Anthropic(base_url=system.proxy, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="llama3.2", max_tokens=9, messages=HELLO)


async def test_langchain_sends_it_as_the_password_of_its_address(system, key):
    address = system.proxy.replace("http://", f"http://anyone:{key}@")
    chat = ChatOllama(model="llama3.2", base_url=address)
    assert chat.invoke("1 words").content == "word1"
    chat._client.close()
    await chat._async_client.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("program", "step"),
    [("llama_index_client.py", "completes"), ("litellm_client.py", "native_generates")],
)
def test_foreign_clients_have_it_in_their_address(system, key, program, step):
    words = "word1 word2 word3 word4 word5"
    assert foreign.results(program, f"{system.proxy}/k/{key}")[step] == {"value": words}
    assert "API key is required" in foreign.results(program, system.proxy)[step]["text"]


def test_no_node_ever_sees_a_key(system, key):
    headers = {"Authorization": f"Bearer {key}", "X-Api-Key": key}
    with ollama.Client(system.proxy, headers=headers) as client:
        client.chat("llama3.2", HELLO)
    for node in system.nodes.values():
        for seen in node.requests():
            assert key not in repr(seen)
            assert seen.header("Authorization") is None
