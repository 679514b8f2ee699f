"""The load and unload forms of generate and chat: reference 1.2, 1.3 and 2."""

import json

import pytest
from fakes.ollama import FakeOllama

FORMS = {"/api/generate": {"prompt": ""}, "/api/chat": {"messages": []}}
SAID = {"/api/generate": "response", "/api/chat": "message"}


def loaded(node: FakeOllama) -> list[str]:
    return [entry["name"] for entry in node.node.scheduler.listed()]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("more", [{}, {"stream": False}, {"stream": True}])
async def test_a_load_is_one_object_from_one_node(plane, path, more) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        answer = await plane.post(path, {"model": "llama3.2", **FORMS[path], **more})
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("application/json")
        assert (answer.json()["done"], answer.json()["done_reason"]) == (True, "load")
        assert sorted([loaded(first), loaded(second)]) == [[], ["llama3.2:latest"]]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("keep_alive", [0, "0", "0s", 0.0])
async def test_an_unload_reaches_copies_that_nobody_told_us_of(plane, path, keep_alive) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        ask = {"model": "llama3.2", **FORMS[path]}
        for node in (first, second):
            async with plane.session.post(f"{node.url}{path}", json=ask) as answer:
                assert answer.status == 200
        answer = await plane.post(path, {**ask, "keep_alive": keep_alive})
        said = answer.json()
        assert (answer.status, said["done"], said["done_reason"]) == (200, True, "unload")
        assert SAID[path] in said
        assert loaded(first) == loaded(second) == []


async def test_a_node_that_is_away_does_not_keep_the_others_from_it(plane) -> None:
    async with FakeOllama() as away, FakeOllama() as here:
        await plane.apply(away, here)
        await plane.post("/api/generate", {"model": "llama3.2"})
        async with plane.session.post(f"{here.url}/api/generate", json={"model": "llama3.2"}):
            await away.refuse()
        answer = await plane.post("/api/generate", {"model": "llama3.2", "keep_alive": 0})
        assert (answer.status, answer.json()["done_reason"]) == (200, "unload")
        assert loaded(here) == []


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("keep_alive", [{}, {"keep_alive": 0}])
async def test_an_unknown_model_is_not_found_either_way(plane, path, keep_alive) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post(path, {"model": "gone", **FORMS[path], **keep_alive})
        assert (answer.status, answer.json()["error"]) == (404, "model 'gone' not found")


async def test_a_model_that_only_embeds_is_loaded_by_embedding_nothing(plane) -> None:
    async with FakeOllama(["nomic-embed-text"]) as node:
        await plane.apply(node)
        refused = await plane.post("/api/generate", {"model": "nomic-embed-text"})
        assert refused.status == 400
        assert "does not support generate" in refused.json()["error"]
        answer = await plane.post("/api/embed", {"model": "nomic-embed-text", "input": []})
        assert (answer.status, answer.json()["embeddings"]) == (200, [])
        assert loaded(node) == ["nomic-embed-text:latest"]
        body = {"model": "nomic-embed-text", "keep_alive": 0}
        assert (await plane.post("/api/generate", body)).json()["done_reason"] == "unload"
        assert loaded(node) == []


async def test_how_long_a_model_stays_is_the_nodes_to_judge(plane) -> None:
    """A word that Ollama does not take is its 400; what it takes goes on as it came."""
    async with FakeOllama() as node:
        await plane.apply(node)
        refused = await plane.post("/api/generate", {"model": "llama3.2", "keep_alive": "-1"})
        assert refused.status == 400
        answer = await plane.post("/api/generate", {"model": "llama3.2", "keep_alive": "1h30m"})
        assert answer.json()["done_reason"] == "load"
        assert json.loads(node.inference[-1].body)["keep_alive"] == "1h30m"
