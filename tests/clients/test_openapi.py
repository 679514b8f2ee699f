"""What the whole system answers is what the data plane's OpenAPI document says."""

import json

import httpx2
import pytest
from jsonschema import Draft202012Validator

MESSAGES = [{"role": "user", "content": "3 words"}]
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
WHOLE = {"stream": False}
STREAM = {"stream": True}
LLAMA = {"model": "llama3.2"}
QWEN = {"model": "qwen3:8b"}
NOMIC = {"model": "nomic-embed-text"}
ASKS = [
    ("GET", "/", None),
    ("GET", "/openapi.json", None),
    ("GET", "/api/version", None),
    ("GET", "/api/tags", None),
    ("GET", "/api/ps", None),
    ("POST", "/api/show", QWEN),
    ("POST", "/api/generate", QWEN | {"prompt": "3 words"}),
    ("POST", "/api/generate", LLAMA | WHOLE | {"prompt": "3 words", "logprobs": True}),
    ("POST", "/api/generate", LLAMA),
    ("POST", "/api/chat", QWEN | {"messages": MESSAGES}),
    ("POST", "/api/chat", LLAMA | WHOLE | {"messages": MESSAGES, "tools": [TOOL]}),
    ("POST", "/api/embed", NOMIC | {"input": ["one", "two"]}),
    ("POST", "/api/embeddings", NOMIC | {"prompt": "one"}),
    ("POST", "/v1/chat/completions", QWEN | {"messages": MESSAGES}),
    ("POST", "/v1/chat/completions", QWEN | STREAM | {"messages": MESSAGES}),
    ("POST", "/v1/completions", LLAMA | {"prompt": "3 words"}),
    ("POST", "/v1/completions", LLAMA | STREAM | {"prompt": "3 words"}),
    ("POST", "/v1/responses", QWEN | {"input": "3 words"}),
    ("POST", "/v1/responses", QWEN | STREAM | {"input": "3 words"}),
    ("POST", "/v1/embeddings", NOMIC | {"input": "one", "encoding_format": "base64"}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/llama3.2", None),
    ("POST", "/v1/messages", QWEN | {"messages": MESSAGES, "max_tokens": 99}),
    ("POST", "/v1/messages", QWEN | STREAM | {"messages": MESSAGES, "max_tokens": 99}),
]
GONE = {"model": "gone", "prompt": "x", "input": "x", "max_tokens": 9, "messages": MESSAGES}


@pytest.fixture(scope="module")
def document(system):
    return httpx2.get(f"{system.proxy}/openapi.json").raise_for_status().json()


@pytest.fixture
def proxy(system):
    with httpx2.Client(base_url=system.proxy, timeout=20) as client:
        yield client


def values_in(kind: str, body: str) -> list:
    """The JSON values of an answer: one, or one for each record of a stream."""
    match kind:
        case "application/x-ndjson":
            return [json.loads(line) for line in body.splitlines()]
        case "text/event-stream":
            data = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
            return [json.loads(text) for text in data if text != "[DONE]"]
        case "text/plain":
            return [body]
        case _:
            return [json.loads(body)]


def check(document, schema, answer) -> None:
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind in schema, "a content type that the document does not have"
    validator = Draft202012Validator(
        schema[kind]["schema"] | {"components": document["components"]}
    )
    values = values_in(kind, answer.text)
    assert values
    for value in values:
        validator.validate(value)


def content_of(document, answer) -> dict:
    name = answer["$ref"].rpartition("/")[2] if "$ref" in answer else ""
    return (document["components"]["responses"][name] if name else answer)["content"]


@pytest.mark.parametrize(("method", "path", "body"), ASKS)
def test_an_answer_is_what_the_document_says(document, proxy, method, path, body):
    answer = proxy.request(method, path, json=body).raise_for_status()
    path = "/v1/models/{model}" if path.startswith("/v1/models/") else path
    responses = document["paths"][path][method.lower()]["responses"]
    check(document, content_of(document, responses["200"]), answer)


@pytest.mark.parametrize("path", sorted({path for method, path, _ in ASKS if method == "POST"}))
def test_an_error_is_what_the_document_says(document, proxy, path):
    answer = proxy.post(path, json=GONE)
    assert answer.status_code == 404
    responses = document["paths"][path]["post"]["responses"]
    check(document, content_of(document, responses["default"]), answer)


@pytest.mark.parametrize("path", sorted({path for method, path, _ in ASKS if method == "POST"}))
def test_what_the_document_demands_is_demanded(document, proxy, path):
    """A body that lacks what the document calls required is refused."""
    assert proxy.post(path, json={}).is_client_error
