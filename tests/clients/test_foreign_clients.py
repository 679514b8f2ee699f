"""LlamaIndex and LiteLLM as clients, in an environment of their own: see `fakes.foreign`."""

import pytest
from fakes import foreign

WORDS = "word1 word2 word3 word4 word5"

# The first of these tests may have to install the environment.
pytestmark = pytest.mark.timeout(600)


def outcomes_of(system, program):
    fragile = system.nodes["fragile"]
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        fragile.fault("reset", path=path, after=3)
    try:
        return foreign.results(program, system.proxy)
    finally:
        fragile.clear_faults()


@pytest.fixture(scope="module")
def llama_index(system):
    return outcomes_of(system, "llama_index_client.py")


@pytest.fixture(scope="module")
def litellm(system):
    return outcomes_of(system, "litellm_client.py")


@pytest.mark.parametrize(
    ("step", "value"),
    [
        ("completes", WORDS),
        ("completes_in_a_stream", WORDS),
        ("chats_in_a_stream", [WORDS, "stop"]),
        ("learns_the_context_window", 40_960),
        ("calls_a_tool", ["get_weather", {"city": "Rome"}]),
        ("obeys_a_schema", 7),
        ("thinks", ["thinking", "text"]),
        ("sends_an_image", "word1 word2"),
    ],
)
def test_llama_index(llama_index, step, value):
    assert llama_index[step] == {"value": value}


def test_llama_index_chats(llama_index):
    said, tokens = llama_index["chats"]["value"]
    assert said.endswith("You said: hello")
    assert tokens > 0


def test_llama_index_fails_as_ollamas_own_client_does(llama_index):
    missing, broken = llama_index["does_not_find"], llama_index["breaks"]
    assert (missing["error"][0], broken["error"][0]) == ("ResponseError", "ResponseError")
    assert "model 'gone' not found (status code: 404)" in missing["text"]
    assert "mid-stream" in broken["text"]


@pytest.mark.parametrize(
    ("step", "value"),
    [
        ("native_streams", WORDS),
        ("native_calls_a_tool", ["get_weather", {"city": "Rome"}]),
        ("native_obeys_a_schema", {"n": 7}),
        ("native_generates", WORDS),
        ("native_embeds", [768, 768]),
        ("openai_chats", WORDS),
        ("openai_streams", WORDS),
        ("anthropic_chats", WORDS),
        ("anthropic_streams", WORDS),
    ],
)
def test_litellm(litellm, step, value):
    assert litellm[step] == {"value": value}


def test_litellm_chats_and_thinks(litellm):
    said, tokens = litellm["native_chats"]["value"]
    assert said.endswith("You said: hello")
    assert tokens > 0
    assert litellm["native_thinks"]["value"].startswith("The user wrote")


@pytest.mark.parametrize("way", ["native", "openai", "anthropic"])
def test_litellm_raises(litellm, way):
    assert litellm[f"{way}_does_not_find"]["error"][0] == "NotFoundError"
    broken = litellm[f"{way}_breaks"]
    assert "APIError" in broken["error"]
    assert "mid-stream" in broken["text"]
