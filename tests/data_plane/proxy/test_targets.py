"""Which nodes get a model, through the proxy, against real nodes."""

import json
from typing import Any

import pytest
from fakes.ollama import FakeOllama
from fakes.snapshots import make_snapshot

from data_plane.proxy import targets
from data_plane.proxy.targets import Wish
from data_plane.routing.pools import Pools
from shared.model_names import canonical_name
from shared.snapshot import Node, ProxyConfig, Verdict


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
        "?node=node-1",
        "?replica=1",
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


# nodes that are left out


def away(number: int, **more: Any) -> Node:
    address = "http://127.0.0.1:1"
    return Node(
        id=f"n{number}", name=f"node-{number}", address=address, verdict=Verdict.UNHEALTHY, **more
    )


async def test_a_node_that_is_away_is_named_before_the_end(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, away(2), away(3), away(4, wished=False))
        lines = records(await plane.post("/api/pull", {"model": "tinyllama"}))
        assert lines[-1] == {"status": "success"}
        assert lines[-2]["left_out"] == ["node-2", "node-3"]
        assert lines[-2]["status"].endswith("(do this again later): node-2, node-3")
        whole = await plane.post("/api/pull", {"model": "tinyllama", "stream": False})
        assert whole.json() == {"status": "success", "left_out": ["node-2", "node-3"]}


@pytest.mark.parametrize(
    ("query", "config"),
    [("?replicas=1", ProxyConfig()), ("", ProxyConfig(pull_replicas=1)), ("?nodes=node-1", None)],
)
async def test_where_others_take_its_place_nobody_is_left_out(plane, query, config) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, away(2), config=config or ProxyConfig())
        answer = await plane.post(f"/api/pull{query}", {"model": "tinyllama", "stream": False})
        assert answer.json() == {"status": "success"}


@pytest.mark.parametrize(
    ("wish", "base", "left_out"),
    [
        (Wish(), "", ("also-away", "away")),
        (Wish(replicas=0, at_least=1), "", ("also-away", "away")),
        (Wish(replicas=1), "", ("away",)),  # its version would stay the old one
        (Wish(at_least=1), "", ("away",)),
        (Wish(), "base", ("also-away",)),  # made only where the base is
        (Wish(("one",)), "", ()),
    ],
)
def test_who_is_left_out(wish, base, left_out) -> None:
    holdings = {
        "one": ["qwen3", "base"],
        "away": ["qwen3"],
        "also-away": ["base"],
        "off": ["qwen3"],
    }
    pools = Pools.build(make_snapshot(holdings, unhealthy=["away"], disabled=["off"]))
    canonical, based = canonical_name("qwen3"), canonical_name(base) if base else ""
    assert targets.left_out(wish, pools, canonical, {"also-away"}, based) == left_out
