"""`/api/status`: reference 1 and 2."""

import asyncio

import pytest
from fakes.ollama import FakeOllama

from shared.credentials import mint
from shared.snapshot import ApiKey


def asked(node: FakeOllama) -> int:
    return node.node.paths["/api/status"]


@pytest.mark.parametrize(
    ("first", "second", "cloud"),
    [
        ("none", "none", {"disabled": False, "source": "none"}),
        ("none", "env", {"disabled": True, "source": "env"}),
        ("config", "config", {"disabled": True, "source": "config"}),
        ("config", "env", {"disabled": True, "source": "both"}),
    ],
)
async def test_it_is_switched_off_where_one_node_is(plane, first, second, cloud) -> None:
    async with FakeOllama() as one, FakeOllama() as two:
        one.node.cloud_off_by, two.node.cloud_off_by = first, second
        await plane.apply(one, two)
        answer = await plane.get("/api/status")
        assert (answer.status, answer.json()) == (200, {"cloud": cloud})


async def test_nodes_are_asked_once_for_all_who_ask(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answers = await asyncio.gather(*(plane.get("/api/status") for _ in range(5)))
        assert {answer.status for answer in answers} == {200}
        assert asked(node) == 1


async def test_a_node_that_is_old_gone_or_odd_has_switched_nothing_off(plane) -> None:
    async with FakeOllama(version="0.17.2") as old, FakeOllama() as gone, FakeOllama() as odd:
        await plane.apply(old, gone, odd)
        await gone.refuse()
        odd.fault("garbage", path="/api/status")
        answer = await plane.get("/api/status")
        assert answer.json() == {"cloud": {"disabled": False, "source": "none"}}
        assert not asked(old)


async def test_it_takes_a_key_where_keys_are_asked_for(plane) -> None:
    alice = mint()
    async with FakeOllama() as node:
        await plane.apply(node, keys=(ApiKey(id=alice.id, sha256=alice.sha256),))
        assert (await plane.get("/api/status")).status == 401
        header = {"Authorization": f"Bearer {alice.text}"}
        assert (await plane.get("/api/status", **header)).status == 200
        assert (await plane.get("/api/status", "POST", **header)).status == 405
