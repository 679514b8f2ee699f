"""Which nodes get a model, through the proxy, against real nodes."""

import json
from typing import Any

import pytest
from fakes.ollama import FakeOllama

from shared.snapshot import ProxyConfig


def records(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.splitlines()]


def paths(node: FakeOllama) -> list[str]:
    return [f"{request.method} {request.path}" for request in node.requests]


@pytest.mark.parametrize(
    ("query", "pulling"),
    [
        ("?nodes=node-2", [2]),
        ("?nodes=n1,node-3,n1", [1, 3]),
        ("?replicas=1", [2]),
        ("", [1, 2, 3]),
    ],
)
async def test_the_query_says_which_nodes(plane, query, pulling) -> None:
    async with (
        FakeOllama(["llama3.2", "qwen3:8b"]) as one,
        FakeOllama(["tinyllama"]) as two,
        FakeOllama(["llama3.2", "qwen3:8b"]) as three,
    ):
        await plane.apply(one, two, three)
        answer = await plane.post(f"/api/pull{query}", {"model": "tinyllama"})
        assert records(answer)[-1] == {"status": "success"}
        asked = [
            i for i, node in enumerate((one, two, three), 1) if "POST /api/pull" in paths(node)
        ]
        assert asked == pulling


@pytest.mark.parametrize(
    ("pull_replicas", "query", "pulling"),
    [
        (1, "", [3]),
        (2, "", [2, 3]),
        (9, "", [1, 2, 3]),
        (1, "?replicas=0", [1, 2, 3]),
        (1, "?replicas=2", [2, 3]),
        (1, "?nodes=node-1", [1]),
    ],
)
async def test_the_proxy_config_says_how_many_nodes_where_the_query_does_not(
    plane, pull_replicas, query, pulling
) -> None:
    async with (
        FakeOllama(["llama3.2", "qwen3:8b"]) as one,
        FakeOllama(["llama3.2"]) as two,
        FakeOllama([]) as three,
    ):
        nodes = (one, two, three)
        await plane.apply(*nodes, config=ProxyConfig(pull_replicas=pull_replicas))
        answer = await plane.post(f"/api/pull{query}", {"model": "tinyllama"})
        assert records(answer)[-1] == {"status": "success"}
        assert [i for i, node in enumerate(nodes, 1) if "POST /api/pull" in paths(node)] == pulling


async def test_a_model_that_nodes_have_is_pulled_anew_at_all_of_them(plane) -> None:
    """Else one pull of one node would make their versions drift apart."""
    async with FakeOllama(["qwen3"]) as one, FakeOllama(["qwen3"]) as two, FakeOllama([]) as three:
        await plane.apply(one, two, three, config=ProxyConfig(pull_replicas=1))
        await plane.post("/api/pull", {"model": "qwen3"})
        asked = ["POST /api/pull" in paths(node) for node in (one, two, three)]
        assert asked == [True, True, False]


async def test_a_model_is_made_at_as_many_nodes_as_the_proxy_config_says(plane) -> None:
    async with FakeOllama(["llama3.2"]) as one, FakeOllama(["llama3.2"]) as two:
        await plane.apply(one, two, config=ProxyConfig(pull_replicas=1))
        body = {"model": "mine", "from": "llama3.2", "system": "Be brief."}
        assert records(await plane.post("/api/create", body))[-1] == {"status": "success"}
        assert ["POST /api/create" in paths(node) for node in (one, two)] == [True, False]


@pytest.mark.parametrize(
    "query",
    [
        "?nodes=nobody",
        "?nodes=",
        "?replicas=-1",
        "?replicas=x",
        "?replicas=1000000000",
        "?replicas=2",
        "?nodes=a&replicas=1",
    ],
)
async def test_nodes_that_make_no_sense_are_refused(plane, query) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post(f"/api/pull{query}", {"model": "tinyllama"})
        assert (answer.status, answer.json()["code"]) == (400, "invalid_nodes")
        assert not node.requests
