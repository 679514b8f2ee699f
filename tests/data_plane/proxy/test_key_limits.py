"""A key that asks for more than it may is refused at once, in its dialect; others do not notice."""

import asyncio
import time

import pytest
from fakes.ollama import FakeOllama

from shared.credentials import mint
from shared.snapshot import ApiKey

HOG, OTHER = mint(), mint()
CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}], "stream": False}
MESSAGE = {**CHAT, "max_tokens": 5}
PATHS = {"/api/chat": CHAT, "/v1/chat/completions": CHAT, "/v1/messages": MESSAGE}


def keys(**limits) -> tuple[ApiKey, ...]:
    return (
        ApiKey(id=HOG.id, sha256=HOG.sha256, **limits),
        ApiKey(id=OTHER.id, sha256=OTHER.sha256),
    )


def by(key) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text}"}


def words_of(path: str, body) -> tuple[str, str]:
    """The sentence and the type or code, where each dialect has them."""
    match path:
        case "/api/chat":
            return body["error"], body["code"]
        case "/v1/chat/completions":
            assert body["error"]["code"] == "rate_limited"
            return body["error"]["message"], body["error"]["code"]
        case _:
            assert body["type"] == "error"
            assert body["error"]["type"] == "rate_limit_error"
            return body["error"]["message"], "rate_limited"


@pytest.mark.parametrize("path", PATHS)
async def test_a_minutes_requests_and_no_more(plane, path) -> None:
    """F39, S52."""
    async with FakeOllama() as node:
        await plane.apply(node, keys=keys(requests_per_minute=3))
        for _ in range(3):
            assert (await plane.post(path, PATHS[path], **by(HOG))).status == 200
        answer = await plane.post(path, PATHS[path], **by(HOG))
        assert answer.status == 429
        assert words_of(path, answer.json()) == (
            "this API key may make 3 requests a minute; slow down, or ask an operator for more",
            "rate_limited",
        )
        assert 15 <= int(answer.headers["Retry-After"]) <= 20
        assert len(node.inference) == 3
        assert (await plane.post(path, PATHS[path], **by(OTHER))).status == 200
        await plane.until(lambda: len(plane.lines()) == 5)
        (line,) = [line for line in plane.lines() if line["status"] == 429]
        assert (line["code"], line["outcome"]) == ("rate_limited", "rejected")
        assert line["key_id"] == HOG.id


@pytest.mark.parametrize("path", PATHS)
async def test_requests_at_once_and_no_more_and_none_is_held(plane, path) -> None:
    """F39, S52."""
    async with FakeOllama() as node:
        await plane.apply(node, keys=keys(max_active=2))
        node.fault("delay", seconds=30.0, times=2)
        held = [asyncio.create_task(plane.post(path, PATHS[path], **by(HOG))) for _ in range(2)]
        await plane.until(lambda: len(node.inference) == 2)
        began_at = time.monotonic()
        answer = await plane.post(path, PATHS[path], **by(HOG))
        assert time.monotonic() - began_at < 5.0
        assert answer.status == 429
        assert "2 requests under way" in words_of(path, answer.json())[0]
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
        assert (await plane.post(path, PATHS[path], **by(OTHER))).status == 200
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await plane.until(lambda: plane.app.limits.active_count(HOG.id) == 0)
        assert (await plane.post(path, PATHS[path], **by(HOG))).status == 200


async def test_a_place_comes_back_however_a_request_ends(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, keys=keys(max_active=1))

        async def asked(body=CHAT, path="/api/chat", **more):
            return (await plane.post(path, body, **by(HOG), **more)).status

        assert await asked({**CHAT, "stream": True}) == 200
        assert await asked(b"{broken") == 400
        assert await asked({**CHAT, "model": "unknown"}) == 404
        assert await asked({**CHAT, "model": "llama3.2"}, path="/api/show") == 200
        node.fault("status", path="/api/chat", times=1)
        assert await asked() == 500
        await node.refuse()
        assert await asked() == 503
        await node.accept()
        await plane.until(lambda: not plane.app.circuits.down)
        assert await asked() == 200
        assert plane.app.limits.active_count(HOG.id) == 0


async def test_the_catalogue_is_free(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, keys=keys(requests_per_minute=1))
        assert (await plane.post("/api/chat", CHAT, **by(HOG))).status == 200
        for _ in range(5):
            assert (await plane.get("/api/tags", **by(HOG))).status == 200
        assert (await plane.post("/api/chat", CHAT, **by(HOG))).status == 429


async def test_a_limit_that_is_lifted_holds_no_longer(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, keys=keys(requests_per_minute=1))
        assert (await plane.post("/api/chat", CHAT, **by(HOG))).status == 200
        assert (await plane.post("/api/chat", CHAT, **by(HOG))).status == 429
        await plane.apply(node, keys=keys())
        for _ in range(3):
            assert (await plane.post("/api/chat", CHAT, **by(HOG))).status == 200


async def test_a_refused_request_whose_body_is_under_way_is_answered_and_closed(
    plane, dial
) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, keys=keys(max_active=0))
        client = await dial(plane)
        client.send(
            b"POST /api/chat HTTP/1.1\r\nHost: proxy\r\nContent-Length: 100000\r\n"
            b"Authorization: Bearer " + HOG.text.encode() + b"\r\n\r\n{"
        )
        await client.until(b"rate_limited")
        assert client.status == 429
        assert not node.inference
