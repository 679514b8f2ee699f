"""Ollama's own JavaScript client, in Node, against the whole system.

Unlike the Python one it throws when a stream ends without its last record.
"""

import base64
import json

import pytest
from fakes.installation import NODES
from fakes.javascript import OllamaInNode, ThrownError

IMAGE = base64.b64encode(bytes(range(256)) * 4).decode()
MODELS = {model for models in NODES.values() for model in models}


@pytest.fixture(scope="module")
def js(system, node_modules):
    return OllamaInNode(node_modules, host=system.proxy)


def test_it_lists_every_model_once(js):
    listed = [model["model"] for model in js("return (await client.list()).models")]
    assert set(listed) >= MODELS
    assert len(listed) == len(set(listed))


def test_it_shows_a_model_and_the_version(js):
    shown = js('return client.show({ model: "qwen3:8b" })')
    assert shown["capabilities"] == ["completion", "tools", "thinking"]
    assert shown["model_info"]["general.architecture"] == "qwen3"
    assert js("return client.version()") == {"version": "0.33.0"}


def test_it_sees_what_is_loaded(js):
    loaded = js(
        """
        await client.generate({ model: "gemma3:4b", prompt: "1 words", keep_alive: "10m" });
        return (await client.ps()).models;
        """
    )
    assert "gemma3:4b" in {model["model"] for model in loaded}


def test_it_generates_whole_and_streamed(js):
    ask = '{ model: "llama3.2", prompt: "5 words"'
    whole = js(f"return client.generate({ask} }})")
    assert whole["response"] == "word1 word2 word3 word4 word5"
    parts = js(f"return collect(await client.generate({ask}, stream: true }}))")
    assert "".join(part["response"] for part in parts) == whole["response"]
    assert [part["done"] for part in parts] == [False] * 5 + [True]


def test_it_chats_whole_and_streamed(js):
    ask = '{ model: "llama3.2", messages: [{ role: "user", content: "hello" }]'
    whole = js(f"return client.chat({ask} }})")
    assert whole["message"]["content"].endswith("You said: hello")
    parts = js(f"return collect(await client.chat({ask}, stream: true }}))")
    assert "".join(part["message"]["content"] for part in parts).endswith("You said: hello")
    assert parts[-1]["done_reason"] == "stop"


def test_it_calls_a_tool_and_tells_the_result(js):
    first, second = js(
        """
        const tools = [{ type: "function", function: {
          name: "get_weather",
          parameters: { type: "object", properties: { city: { type: "string" } } },
        } }];
        const messages = [{ role: "user", content: "What is the weather in Paris?" }];
        const first = await client.chat({ model: "llama3.2", messages, tools });
        messages.push(first.message, { role: "tool", tool_name: "get_weather", content: "rain" });
        return [first, await client.chat({ model: "llama3.2", messages, tools })];
        """
    )
    called = first["message"]["tool_calls"][0]["function"]
    assert (called["name"], called["arguments"]) == ("get_weather", {"city": "Paris"})
    assert second["message"]["content"].endswith("You said: rain")


def test_an_image_reaches_the_node_as_it_was(js, system):
    said = js(
        f"""
        const images = [new Uint8Array(Buffer.from("{IMAGE}", "base64"))];
        const messages = [{{ role: "user", content: "2 words", images }}];
        return client.chat({{ model: "gemma3:4b", messages }});
        """
    )
    assert said["message"]["content"] == "word1 word2"
    asked = [seen for seen in system.nodes["steady"].requests() if seen.path == "/api/chat"][-1]
    assert json.loads(asked.body)["messages"][0]["images"] == [IMAGE]


def test_it_thinks_and_may_be_told_not_to(js):
    ask = '{ model: "qwen3:8b", messages: [{ role: "user", content: "2 words" }]'
    parts = js(f"return collect(await client.chat({ask}, think: true, stream: true }}))")
    thoughts = [part["message"].get("thinking", "") for part in parts]
    assert "".join(thoughts).startswith("The user wrote")
    assert "".join(part["message"]["content"] for part in parts) == "word1 word2"
    assert "thinking" not in js(f"return client.chat({ask}, think: false }})")["message"]
    with pytest.raises(ThrownError, match="does not support thinking") as caught:
        js(f"return client.chat({ask.replace('qwen3:8b', 'llama3.2')}, think: true }})")
    assert caught.value.status == 400


def test_its_answer_obeys_a_schema(js):
    said = js(
        """
        const format = { type: "object", properties: { n: { type: "integer" } } };
        const messages = [{ role: "user", content: "hello" }];
        return client.chat({ model: "llama3.2", messages, format });
        """
    )
    assert json.loads(said["message"]["content"]) == {"n": 7}


def test_it_embeds(js):
    many = js('return client.embed({ model: "nomic-embed-text", input: ["one", "two"] })')
    assert [len(vector) for vector in many["embeddings"]] == [768, 768]
    old = js('return client.embeddings({ model: "nomic-embed-text", prompt: "two" })')
    assert old["embedding"] == many["embeddings"][1]


def test_it_may_stop_in_the_middle(js):
    ended_as = js(
        """
        const messages = [{ role: "user", content: "100000 words" }];
        const stream = await client.chat({ model: "llama3.2", messages, stream: true });
        let seen = 0;
        try {
          for await (const part of stream) if (++seen === 3) client.abort();
        } catch (error) {
          return error.name;
        }
        """
    )
    assert ended_as == "AbortError"
    assert js('return client.generate({ model: "llama3.2", prompt: "1 words" })')["done"]


@pytest.mark.parametrize(
    "call",
    [
        'chat({ model: "gone", messages: [{ role: "user", content: "x" }] })',
        'chat({ model: "gone", messages: [{ role: "user", content: "x" }], stream: true })',
        'generate({ model: "gone", prompt: "x" })',
        'show({ model: "gone" })',
        'embed({ model: "gone", input: "x" })',
    ],
)
def test_an_unknown_model_is_a_404(js, call):
    with pytest.raises(ThrownError, match="not found") as caught:
        js(f"return client.{call}")
    assert caught.value.status == 404


@pytest.mark.parametrize("fault", ["reset", "close", "no_done", "error_record"])
def test_an_answer_that_breaks_throws(js, fragile, fault):
    fragile.fault(fault, path="/api/chat", after=3)
    with pytest.raises(ThrownError):
        js(
            """
            const messages = [{ role: "user", content: "9 words" }];
            return collect(await client.chat({ model: "fragile", messages, stream: true }));
            """
        )
