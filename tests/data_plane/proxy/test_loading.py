"""The load and unload forms of generate and chat: reference 1.2, 1.3 and 2."""

import json

import pytest
from fakes.ollama import FakeOllama

from shared.credentials import mint
from shared.snapshot import ApiKey, Scope

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


@pytest.mark.parametrize(
    ("query", "loading"),
    [
        ("?nodes=node-1,n3", [1, 3]),
        ("?replicas=2", [1, 2]),
        ("?replicas=0", [1, 2, 3]),
        ("?ts=1", None),
    ],
)
async def test_the_query_says_where_to_load(plane, query, loading) -> None:
    async with FakeOllama() as one, FakeOllama() as two, FakeOllama() as three:
        await plane.apply(one, two, three)
        answer = await plane.post(f"/api/generate{query}", {"model": "llama3.2"})
        assert (answer.status, answer.json()["done_reason"]) == (200, "load")
        found = [i for i, node in enumerate((one, two, three), 1) if loaded(node)]
        assert found == loading if loading is not None else len(found) == 1


async def test_the_query_says_where_to_unload(plane) -> None:
    async with FakeOllama() as one, FakeOllama() as two:
        await plane.apply(one, two)
        await plane.post("/api/generate?replicas=2", {"model": "llama3.2"})
        body = {"model": "llama3.2", "keep_alive": 0}
        answer = await plane.post("/api/generate?nodes=node-2", body)
        assert (answer.status, answer.json()["done_reason"]) == (200, "unload")
        assert (loaded(one), loaded(two)) == (["llama3.2:latest"], [])


@pytest.mark.parametrize(
    ("query", "keep_alive"),
    [("?nodes=x", {}), ("?replicas=3", {}), ("?nodes=node-2", {}), ("?replicas=1", 0)],
)
async def test_nodes_that_cannot_be_meant_are_refused(plane, query, keep_alive) -> None:
    async with FakeOllama() as one, FakeOllama(["qwen3:8b"]) as other:
        await plane.apply(one, other)
        body = {"model": "llama3.2"} | ({} if keep_alive == {} else {"keep_alive": keep_alive})
        answer = await plane.post(f"/api/generate{query}", body)
        assert (answer.status, answer.json()["code"]) == (400, "invalid_nodes")
        assert not one.requests


async def test_a_node_that_cannot_load_is_named_and_the_other_loads(plane) -> None:
    async with FakeOllama() as good, FakeOllama() as bad:
        await plane.apply(good, bad)
        await bad.refuse()
        answer = await plane.post("/api/generate?nodes=node-1,node-2", {"model": "llama3.2"})
        assert answer.status == 502
        assert "node-2" in answer.json()["error"]
        assert "done on node-1" in answer.json()["error"]
        assert loaded(good) == ["llama3.2:latest"]


@pytest.mark.parametrize(
    ("scope", "query", "body", "status"),
    [
        (Scope.INFERENCE, "", {}, 200),
        (Scope.INFERENCE, "?nodes=node-1", {}, 403),
        (Scope.INFERENCE, "", {"keep_alive": 0}, 403),
        (Scope.MANAGE, "", {}, 200),
        (Scope.MANAGE, "?replicas=1", {}, 200),
        (Scope.MANAGE, "", {"keep_alive": 0}, 200),
    ],
)
async def test_to_unload_or_say_where_to_load_is_to_manage(
    plane, scope, query, body, status
) -> None:
    made = mint()
    key = ApiKey(id=made.id, sha256=made.sha256, scopes=(scope,))
    async with FakeOllama() as node:
        await plane.apply(node, keys=(key,))
        headers = {"Authorization": f"Bearer {made.text}"}
        answer = await plane.post(f"/api/generate{query}", {"model": "llama3.2", **body}, **headers)
        assert answer.status == status
        if status == 403:
            assert answer.json()["code"] == "scope_required"
