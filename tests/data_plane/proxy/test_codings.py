"""Clients that compress what they ask (Codex sends zstd): reference 0, 6.6 and 6.7."""

import gzip
import importlib
import json
import sys

import pytest
from fakes.ollama import FakeOllama

zstd = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)
PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
ASKS = {
    "/api/chat": {"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/chat/completions": {
        "model": "llama3.2",
        "messages": [{"role": "user", "content": "hi"}],
    },
    "/v1/responses": {"model": "llama3.2", "input": "hi"},
    "/api/show": {"model": "llama3.2"},
}


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize("path", ASKS)
async def test_a_compressed_body_is_served_and_goes_on_as_it_is(plane, coding, path) -> None:
    """A node would take zstd on some routes and gzip on none."""
    async with FakeOllama() as node:
        await plane.apply(node)
        body = PACK[coding](json.dumps(ASKS[path]).encode())
        for _ in range(2):  # the second comes over a connection that is known
            answer = await plane.post(path, body, **{"Content-Encoding": coding})
            assert answer.status == 200
        seen = [each for each in node.requests if each.path == path][-1]
        assert json.loads(seen.body) == ASKS[path]
        assert seen.header("Content-Encoding") is None
        assert seen.header("Content-Length") == str(len(seen.body))


@pytest.mark.parametrize("coding", PACK)
async def test_a_large_one_lies_on_disk_and_arrives_whole(plane, coding) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        ask = {"model": "llama3.2", "prompt": "hi", "images": ["A" * 9_000_000]}
        answer = await plane.post(
            "/api/generate", PACK[coding](json.dumps(ask).encode()), **{"Content-Encoding": coding}
        )
        assert answer.status == 200
        assert json.loads(node.inference[0].body) == ask


@pytest.mark.parametrize("coding", PACK)
async def test_a_bomb_is_refused_by_what_it_stands_for(make_plane, coding) -> None:
    plane = await make_plane(AIVONX_MAX_BODY_BYTES="2000000")
    async with FakeOllama() as node:
        await plane.apply(node)
        bomb = PACK[coding](b" " * 100_000_000)
        assert len(bomb) < 200_000
        answer = await plane.post("/v1/responses", bomb, **{"Content-Encoding": coding})
        assert answer.status == 413
        assert answer.json()["error"]["code"] == "payload_too_large"
        assert answer.headers["Connection"] == "close"
        assert not node.requests
        await plane.idle()


@pytest.mark.parametrize("coding", PACK)
async def test_a_body_that_is_not_compressed_so_is_refused_in_the_dialect(plane, coding) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post("/v1/messages", b'{"model":"a"}', **{"Content-Encoding": coding})
        assert answer.status == 400
        assert "Content-Encoding" in answer.json()["error"]["message"]
        assert not node.requests


async def test_other_codings_are_refused_with_those_that_are_taken(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post("/api/chat", b"...", **{"Content-Encoding": "br"})
        assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "gzip, zstd")
        assert answer.json()["code"] == "unsupported_content_encoding"
