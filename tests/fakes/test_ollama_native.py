"""The native inference routes of the fake, held against the API reference, byte by byte."""

import json
import re

import aiohttp
import ollama
import pytest
from fakes.ollama import FakeOllama
from fakes.ollama_models import FakeModel
from fakes.process import OllamaProcess

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
METRICS = {
    *("total_duration", "load_duration", "prompt_eval_count"),
    *("prompt_eval_duration", "eval_count", "eval_duration"),
}
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


async def test_a_chat_streams_one_record_a_line_and_ends_with_metrics(node, http):
    async with http.post(
        f"{node.url}/api/chat", json={"model": "llama3.2", "messages": HELLO}
    ) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert set(answer.headers) <= {"Content-Type", "Transfer-Encoding", "Date", "Connection"}
        lines = (await answer.text()).splitlines()
    records = [json.loads(line) for line in lines]
    assert all(" " not in line.split('"content"')[0] for line in lines), "compact JSON"
    for piece in records[:-1]:
        assert list(piece) == ["model", "created_at", "message", "done"]
        assert piece["message"]["role"] == "assistant"
        assert piece["done"] is False
        assert STAMP.fullmatch(piece["created_at"])
    assert records[-1]["done"] is True
    assert records[-1]["done_reason"] == "stop"
    assert records[-1].keys() >= METRICS
    assert {record["model"] for record in records} == {"llama3.2"}, "the name as it was sent"
    assert records[-1]["eval_count"] == len(records) - 1


async def test_generate_streams_by_default_and_its_last_record_has_the_context(node, http):
    async with http.post(
        f"{node.url}/api/generate", json={"model": "Llama3.2", "prompt": "3 words"}
    ) as answer:
        records = [json.loads(line) async for line in answer.content]
    assert [record["response"] for record in records] == ["word1", " word2", " word3", ""]
    assert all(isinstance(number, int) for number in records[-1]["context"])


async def test_a_raw_generate_has_no_context_and_takes_no_template(node, http):
    ask = {"model": "llama3.2", "prompt": "2 words", "raw": True, "stream": False}
    async with http.post(f"{node.url}/api/generate", json=ask) as answer:
        assert "context" not in await answer.json()
    async with http.post(f"{node.url}/api/generate", json=ask | {"template": "x"}) as answer:
        assert answer.status == 400


async def test_without_streaming_the_answer_is_one_object(node, http):
    ask = {"model": "llama3.2", "messages": HELLO, "stream": False}
    async with http.post(f"{node.url}/api/chat", json=ask) as answer:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert "Content-Length" in answer.headers
        body = await answer.json()
    assert body["message"]["content"].endswith("You said: hello")
    assert body["done"] is True


async def test_num_predict_and_stop_end_an_answer(client):
    cut = await client.generate("llama3.2", "50 words", options={"num_predict": 3})
    assert (cut.response, cut.done_reason) == ("word1 word2 word3", "length")
    stopped = await client.generate("llama3.2", "50 words", options={"stop": [" word3"]})
    assert (stopped.response, stopped.done_reason) == ("word1 word2", "stop")


@pytest.mark.parametrize(
    ("path", "ask", "blank"),
    [
        ("/api/generate", {"prompt": ""}, {"response": ""}),
        ("/api/chat", {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
    ],
)
async def test_an_empty_prompt_loads_and_keep_alive_0_unloads(node, http, path, ask, blank):
    async def done(**extra: object) -> str:
        async with http.post(node.url + path, json={"model": "qwen3:8b"} | ask | extra) as answer:
            assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
            body = await answer.json()
            assert body.items() >= blank.items()
            return str(body["done_reason"])

    async def loaded() -> list[str]:
        async with http.get(f"{node.url}/api/ps") as answer:
            return [entry["name"] for entry in (await answer.json())["models"]]

    assert await done() == "load"
    assert await loaded() == ["qwen3:8b"]
    assert await done(keep_alive=0) == "unload"
    assert await loaded() == []
    assert await done(keep_alive=0) == "unload", "also when it was not loaded"


async def test_a_thinking_model_thinks_unless_told_not_to(client):
    thought = await client.chat("qwen3:8b", HELLO)
    assert thought.message.thinking
    plain = await client.chat("qwen3:8b", HELLO, think=False)
    assert not plain.message.thinking
    streamed = [part async for part in await client.chat("qwen3:8b", HELLO, stream=True)]
    kinds = ["thinking" if part.message.thinking else "content" for part in streamed]
    assert kinds == sorted(kinds, reverse=True), "all thoughts come first"
    with pytest.raises(ollama.ResponseError, match=r'"llama3\.2" does not support thinking'):
        await client.chat("llama3.2", HELLO, think=True)


async def test_a_tool_is_called_whole_and_its_result_is_answered_in_words(client):
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    parts = [
        part async for part in await client.chat("llama3.2", asked, tools=[WEATHER], stream=True)
    ]
    calls = [call for part in parts for call in part.message.tool_calls or []]
    assert len(calls) == 1
    assert calls[0].function.name == "get_weather"
    assert calls[0].function.arguments == {"city": "Paris", "days": 7}
    result = [*asked, {"role": "tool", "content": "sunny", "tool_name": "get_weather"}]
    final = await client.chat("llama3.2", result, tools=[WEATHER])
    assert final.message.content
    assert not final.message.tool_calls
    with pytest.raises(ollama.ResponseError, match="gemma3:latest does not support tools"):
        await client.chat("gemma3", asked, tools=[WEATHER])


async def test_structured_output_satisfies_the_schema(client):
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer"}, "tags": {"type": "array", "items": {}}},
        "required": ["age"],
    }
    answer = await client.chat("llama3.2", HELLO, format=schema)
    assert json.loads(answer.message.content or "")["age"] == 7
    anything = await client.generate("llama3.2", "hello", format="json")
    assert isinstance(json.loads(anything.response), dict)


async def test_the_log_probabilities_come_with_the_tokens(client):
    parts = await client.chat("llama3.2", HELLO, stream=True, logprobs=True, top_logprobs=2)
    first, *_ = [part async for part in parts]
    assert first.logprobs is not None
    assert first.logprobs[0].token == first.message.content
    assert len(first.logprobs[0].top_logprobs or []) == 2


async def test_embeddings_are_unit_vectors_in_the_order_of_the_inputs(client):
    many = await client.embed("nomic-embed-text", ["one", "two"])
    one = await client.embed("nomic-embed-text", "two")
    assert len(many.embeddings) == 2
    assert list(many.embeddings[1]) == list(one.embeddings[0])
    assert len(one.embeddings[0]) == 768
    assert sum(number**2 for number in one.embeddings[0]) == pytest.approx(1.0, abs=1e-5)
    short = await client.embed("nomic-embed-text", "two", dimensions=64)
    assert len(short.embeddings[0]) == 64
    old = await client.embeddings("nomic-embed-text", "two")
    assert list(old.embedding) == list(one.embeddings[0])
    assert (await client.embed("nomic-embed-text", [])).embeddings == []


ERRORS = [
    ("/api/generate", {"model": "gone", "prompt": "x"}, 404, "model 'gone' not found"),
    ("/api/generate", {"prompt": "x"}, 404, "model '' not found"),
    ("/api/chat", {"model": "Gone:1b"}, 404, "model 'Gone:1b' not found"),
    ("/api/chat", {"messages": HELLO}, 400, "model is required"),
    ("/api/chat", {"model": "bad name"}, 400, "invalid model name"),
    ("/api/embed", {"model": "gone"}, 404, 'model "gone" not found, try pulling it first'),
    ("/api/embeddings", {"model": "gone"}, 404, 'model "gone" not found, try pulling it first'),
    ("/api/embed", {"model": "nomic-embed-text", "input": 5}, 400, "invalid input type"),
    ("/api/show", {"name": "gone"}, 404, "model 'gone:latest' not found"),
    ("/api/show", {"model": ""}, 400, "model is required"),
    ("/api/delete", {"model": "gone"}, 404, "model 'gone' not found"),
    ("/api/copy", {"source": "gone", "destination": "a"}, 404, 'model "gone" not found'),
    (
        "/api/chat",
        {"model": "nomic-embed-text", "messages": HELLO},
        400,
        '"nomic-embed-text" does not support chat',
    ),
    (
        "/api/generate",
        {"model": "nomic-embed-text"},
        400,
        '"nomic-embed-text" does not support generate',
    ),
    (
        "/api/chat",
        {"model": "llama3.2", "messages": HELLO, "options": {"num_ctx": "x"}},
        500,
        'option "num_ctx" must be of type integer',
    ),
    (
        "/api/chat",
        {"model": "llama3.2", "messages": HELLO, "keep_alive": "-1"},
        400,
        'time: missing unit in duration "-1"',
    ),
    (
        "/api/chat",
        {"model": "llama3.2", "stream": "yes"},
        400,
        "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
    ),
    ("/api/chat", {"model": "x:cloud"}, 401, "unauthorized"),
    ("/api/chat", {"model": "x:cloud:local"}, 400, "use either :local or :cloud, not both"),
]


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: f"{case[0]} {case[3]}")
async def test_an_error_has_the_words_of_the_node(node, http, case):
    path, ask, status, text = case
    method = "DELETE" if path == "/api/delete" else "POST"
    async with http.request(method, node.url + path, json=ask) as answer:
        assert (answer.status, (await answer.json())["error"]) == (status, text)
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/api/chat", b"", "missing request body"),
        ("/api/chat", b'{"model":', "unexpected EOF"),
        ("/api/chat", b"nonsense", "invalid character 'n' looking for beginning of value"),
    ],
)
async def test_a_body_that_is_no_json_is_refused(node, http, path, body, text):
    async with http.post(node.url + path, data=body) as answer:
        assert (answer.status, (await answer.json())["error"]) == (400, text)


async def test_keys_match_without_case_and_the_last_one_wins(node, http):
    body = b'{"model":"gone","messages":[{"role":"user","content":"a"}],"MODEL":"llama3.2"}'
    async with http.post(f"{node.url}/api/chat", data=body) as answer:
        assert answer.status == 200
    sharp = '{"model":"llama3.2","message\u017f":[],"\u212aeep_alive":0}'.encode()
    async with http.post(f"{node.url}/api/chat", data=sharp) as answer:
        assert (await answer.json())["done_reason"] == "unload"


async def test_only_the_first_value_of_a_body_counts(node, http):
    body = b'{"model":"llama3.2","messages":[],"keep_alive":0} {"model":"gone"}'
    async with http.post(f"{node.url}/api/chat", data=body) as answer:
        assert answer.status == 200


async def test_html_characters_are_escaped_as_go_does(node, http):
    node.node.library.add(FakeModel("html", reply="a <b> & c"))
    ask = {"model": "html", "prompt": "x", "stream": False}
    async with http.post(f"{node.url}/api/generate", json=ask) as answer:
        raw = await answer.text()
    assert r"a \u003cb\u003e \u0026 c" in raw
    assert json.loads(raw)["response"] == "a <b> & c"


async def test_long_answers_are_chunked_and_short_ones_are_not(node, http):
    for words, header in ((5, "Content-Length"), (900, "Transfer-Encoding")):
        ask = {"model": "llama3.2", "prompt": f"{words} words", "stream": False}
        async with http.post(f"{node.url}/api/generate", json=ask) as answer:
            assert header in answer.headers
            assert len((await answer.json())["response"].split()) == words


def test_the_synchronous_client_works_against_a_process():
    with OllamaProcess(["llama3.2"], name="sync") as process, ollama.Client(process.url) as client:
        parts = list(client.chat("llama3.2", HELLO, stream=True))
        assert "".join(part.message.content or "" for part in parts).endswith("hello")
        assert [model.model for model in client.list().models] == ["llama3.2:latest"]


async def test_a_rendered_prompt_can_be_asked_for(node, http: aiohttp.ClientSession):
    ask = {"model": "llama3.2", "messages": HELLO, "_debug_render_only": True}
    async with http.post(f"{node.url}/api/chat", json=ask) as answer:
        assert "hello" in (await answer.json())["_debug_info"]["rendered_template"]


async def test_a_prefix_and_a_token_guard_every_route(http):
    async with FakeOllama(prefix="/pool/a", token="t0ken") as guarded:
        assert guarded.url.endswith("/pool/a")
        async with http.get(f"{guarded.url}/api/tags") as answer:
            assert answer.status == 401
        headers = {"Authorization": "Bearer t0ken"}
        async with http.get(f"{guarded.url}/api/tags", headers=headers) as answer:
            assert answer.status == 200
        root = guarded.url.removesuffix("/pool/a")
        async with http.get(f"{root}/api/tags", headers=headers) as answer:
            assert (answer.status, await answer.text()) == (404, "404 page not found")
