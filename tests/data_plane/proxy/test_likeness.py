"""A proxy beside a node: what is refused, missing or odd is said in the same way by both.

Our answers carry a code and a request id more, which no client minds. Where we mean to differ
stands in `DIFFERENT`, with the reason.
"""

import json
from typing import Any

import aiohttp
import pytest
from fakes.ollama import FakeOllama

BLOB = f"sha256:{'0' * 64}"
LIKE = [
    ("GET", "/", None),
    ("HEAD", "/", None),
    ("GET", "/api/version", None),
    ("HEAD", "/api/version", None),
    ("GET", "/api/status", None),
    ("GET", "/api/ps", None),
    ("POST", "/api/show", {}),
    ("POST", "/api/show", {"model": "gone"}),
    ("POST", "/api/show", {"model": "../x"}),
    ("POST", "/api/show", b""),
    ("POST", "/api/pull", {}),
    ("POST", "/api/pull", {"model": ""}),
    ("POST", "/api/pull", {"model": "../x"}),
    ("POST", "/api/pull", {"name": "gone"}),
    ("POST", "/api/pull", {"model": "gone", "stream": False}),
    ("POST", "/api/pull", b""),
    ("POST", "/api/create", {}),
    ("POST", "/api/create", {"model": "x"}),
    ("POST", "/api/create", {"model": "x", "stream": False}),
    ("POST", "/api/create", {"model": "x", "from": "gone"}),
    ("POST", "/api/create", {"model": "x", "from": "../y"}),
    ("POST", "/api/create", {"model": "x", "files": {"a": BLOB}}),
    ("POST", "/api/copy", {"source": "gone", "destination": "b"}),
    ("POST", "/api/copy", b""),
    ("DELETE", "/api/delete", {}),
    ("DELETE", "/api/delete", {"model": "gone"}),
    ("DELETE", "/api/delete", {"name": "gone"}),
    ("DELETE", "/api/delete", b""),
    ("POST", "/api/delete", {"model": "gone"}),
    ("HEAD", f"/api/blobs/{BLOB}", None),
    ("HEAD", "/api/blobs/abc", None),
    ("POST", f"/api/blobs/{BLOB}", b"abc"),
    ("POST", "/api/blobs/abc", b"abc"),
    ("GET", f"/api/blobs/{BLOB}", None),
    ("POST", "/api/generate", {}),
    ("POST", "/api/generate", {"model": "gone"}),
    ("POST", "/api/chat", {}),
    ("POST", "/api/chat", {"model": "gone"}),
    ("POST", "/api/embed", {"model": "gone"}),
    ("POST", "/api/embed", {"model": "llama3.2", "input": 7}),
    ("POST", "/api/embed", {"model": "llama3.2", "input": [1] * 200}),
    ("POST", "/api/embeddings", {"model": "gone"}),
    ("GET", "/v1/models/gone", None),
    ("POST", "/v1/embeddings", {"model": "gone", "input": "a"}),
    ("POST", "/v1/embeddings", {"model": "llama3.2", "input": []}),
    ("POST", "/v1/chat/completions", {"model": "llama3.2", "messages": []}),
    ("POST", "/v1/responses", {}),
    ("POST", "/v1/responses", {"model": "gone", "input": "x"}),
    ("POST", "/v1/messages", {}),
    ("GET", "/nope", None),
    ("PUT", "/api/chat", None),
    ("POST", "/api/tags", None),
]
DIFFERENT = [
    # A load balancer's HEAD does no harm; Ollama answers it on other routes only.
    ("HEAD", "/api/ps", None, 405, 200),
    # An answer that begins with 200 and fails cannot be undone: what is known is said at once.
    ("POST", "/api/push", {"model": "gone"}, 200, 404),
    ("POST", "/api/push", {"model": "gone", "stream": False}, 500, 404),
    # No name, no model: the reference says so of generate, and SDKs know what to do with it.
    ("POST", "/api/embed", {}, 400, 404),
]


async def answered(session: aiohttp.ClientSession, url: str, method: str, body: Any) -> Any:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    async with session.request(method, url, data=data) as answer:
        text = (await answer.read()).decode()
        said = [_plain(line) for line in text.splitlines()]
        return answer.status, answer.headers.get("Content-Type"), said


def _plain(line: str) -> Any:
    """A line without what only a proxy has to say."""
    if not line.startswith("{"):
        return line
    record = json.loads(line)
    for key in ("code", "request_id"):
        record.pop(key, None)
    if isinstance(record.get("error"), dict):
        record["error"].pop("code", None)
    return record


@pytest.mark.parametrize(("method", "path", "body"), LIKE)
async def test_it_is_said_as_a_node_says_it(plane, method, path, body) -> None:
    async with FakeOllama() as behind, FakeOllama() as beside:
        await plane.apply(behind)
        ours = await answered(plane.session, plane.url(path), method, body)
        assert ours == await answered(plane.session, f"{beside.url}{path}", method, body)


@pytest.mark.parametrize("case", DIFFERENT)
async def test_where_we_mean_to_differ(plane, case) -> None:
    method, path, body, theirs, ours = case
    async with FakeOllama() as behind, FakeOllama() as beside:
        await plane.apply(behind)
        found = (
            (await answered(plane.session, f"{beside.url}{path}", method, body))[0],
            (await answered(plane.session, plane.url(path), method, body))[0],
        )
        assert found == (theirs, ours)
