"""The simulated nodes on real sockets, their clients, and whether ranks agree."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from fakes.processes import free_port
from routing import agreement
from routing.load import NATIVE, OPENAI, Load, bodies_of, body_of
from routing.metrics import figures_of
from routing.nodes import cluster_of, listen
from routing.scenarios import RTX_4090, Preset, requests_of
from routing.simulate import Answer, Trial, asked_of
from routing.suite import BY_NAME

SWIFT = replace(RTX_4090, prefill=1e6, decode=1e5, load_rate=1e12)
ONE_NODE = replace(BY_NAME["S1"], nodes=(("swift", SWIFT),))
COUNT = 6


@asynccontextmanager
async def cluster(preset: Preset = SWIFT, *, is_peer: bool = False):
    """One node: its state, and a session of clients."""
    scenario = replace(ONE_NODE, nodes=(("swift", preset),))
    nodes = cluster_of(scenario, requests_of(scenario, 1, COUNT))
    ports, runners = await listen(nodes, is_peer=is_peer)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports['swift']}") as session:
        try:
            yield nodes["swift"], session, ports["swift"]
        finally:
            for runner in runners:
                await runner.cleanup()


def first_body(path: str) -> dict:
    return body_of(requests_of(ONE_NODE, 1, COUNT)[0], path)


@pytest.mark.parametrize("path", [NATIVE, OPENAI])
async def test_every_request_gets_its_whole_answer(path) -> None:
    asked = [
        each if each.request.after is None else replaced(each)
        for each in asked_of(ONE_NODE, 1, COUNT)
    ]
    async with cluster() as (node, _, port):
        target = type("Target", (), {"port": port, "key": "none"})
        load = Load(target, path, asked, {path: bodies_of(asked, path)})
        tally = await load.run(asyncio.get_running_loop().time())
    assert tally.faults == []
    assert [answer.is_whole for answer in tally.answers] == [True] * COUNT
    assert all(0 < answer.ttft_s <= answer.e2e_s for answer in tally.answers)
    assert (node.facts.served, node.sim.loads) == (COUNT, 1)
    assert sorted(node.facts.cached) == list(range(COUNT))


def replaced(asked):
    """A later turn without a thought before it."""
    asked.request = replace(asked.request, think_s=0.0)
    return asked


async def test_the_last_record_says_what_ollama_says() -> None:
    async with cluster() as (_, session, _):
        async with session.post(NATIVE, json=first_body(NATIVE)) as response:
            lines = [json.loads(line) async for line in response.content]
        async with session.post(NATIVE, json={**first_body(NATIVE), "stream": False}) as response:
            whole = await response.json()
    request = requests_of(ONE_NODE, 1, COUNT)[0]
    assert lines[-1]["prompt_eval_count"] == whole["prompt_eval_count"] == request.prompt_tokens
    assert lines[-1]["eval_count"] == request.output_tokens
    assert lines[-1]["load_duration"] > 1e9 > whole["load_duration"]
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]


@pytest.mark.parametrize("wants_usage", [True, False])
async def test_usage_comes_to_who_asks_for_it(wants_usage) -> None:
    body = {**first_body(OPENAI), "stream_options": {"include_usage": wants_usage}}
    async with cluster() as (_, session, _), session.post(OPENAI, json=body) as response:
        text = await response.text()
    assert text.endswith("data: [DONE]\n\n")
    assert ('"usage"' in text) is wants_usage


async def test_a_client_that_leaves_frees_its_slot() -> None:
    slow = replace(SWIFT, decode=0.1, slots=1)
    async with cluster(slow) as (node, session, _):
        async with session.post(NATIVE, json=first_body(NATIVE)) as response:
            await response.content.readline()
            (runner,) = node.sim.runners.values()
            assert not runner.free
            response.close()
        async with asyncio.timeout(20):
            while not runner.free:
                await asyncio.sleep(0.01)


async def test_faults_come_and_go() -> None:
    async with cluster() as (node, session, _):

        async def fault(**wrong) -> int:
            async with session.post("/_/fault", json=wrong) as response:
                return response.status

        async def status() -> int:
            async with session.post(NATIVE, json=first_body(NATIVE)) as response:
                await response.read()
                return response.status

        assert await fault(status=500) == 200
        assert await status() == 500
        await fault(status=0, slower=4)
        assert node.sim.slower == 4
        assert await status() == 200
        await fault(resets=True)
        with pytest.raises(aiohttp.ClientError):
            await status()
        await fault(resets=False, hangs=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(status(), 0.3)
        await fault(hangs=False)
        assert await status() == 200
        assert await fault(nonsense=1) == 400


@pytest.mark.parametrize(("is_peer", "status"), [(True, 200), (False, 404)])
async def test_only_for_peers_there_is_health(is_peer, status) -> None:
    async with cluster(is_peer=is_peer) as (_, session, _), session.get("/health") as response:
        assert response.status == status


async def test_who_cannot_be_reached_or_refuses_is_a_miss() -> None:
    asked = [each for each in asked_of(ONE_NODE, 1, COUNT) if each.request.after is None][:1]
    bodies = {NATIVE: bodies_of(asked, NATIVE)}
    nobody = type("Target", (), {"port": free_port(), "key": "none"})
    at = asyncio.get_running_loop().time() - asked[0].request.at
    tally = await Load(nobody, NATIVE, asked, bodies).run(at)
    assert not tally.answers[0].is_whole
    async with cluster() as (node, _, port):
        node.fail({"status": 503})
        target = type("Target", (), {"port": port, "key": "none"})
        at = asyncio.get_running_loop().time() - asked[0].request.at
        tally = await Load(target, NATIVE, asked, bodies).run(at)
    assert not tally.answers[0].is_whole
    assert "503" in tally.faults[0]


def test_ranks_of_equals_are_shared_and_order_is_all_that_counts() -> None:
    assert agreement.ranks([3.0, 1.0, 3.0]) == [2.5, 1.0, 2.5]
    assert agreement.spearman([1, 2, 3], [10, 20, 900]) == pytest.approx(1.0)
    assert agreement.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert agreement.spearman([1, 1, 1], [3, 2, 1]) == 0.0


def test_a_miss_counts_against_goodput_and_not_into_times() -> None:
    good, missed = (Answer(asked, 10.0) for asked in asked_of(ONE_NODE, 1, 2))
    good.first_at, good.ended_at, good.is_whole = 10.5, 11.0, True
    good.cached = good.asked.tokens // 2
    figures = figures_of(Trial([good, missed], 3, [1.0], 60.0, 60.0))
    assert (figures.ttft_mean, figures.e2e_p99, figures.goodput) == (0.5, 1.0, 0.5)
    assert (figures.loads, figures.hits) == (3, pytest.approx(0.5, abs=0.01))
