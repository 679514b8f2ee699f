"""Requests that wait for a slot, on real sockets: who is held, in which order, till when.

The only slot of a node is taken by an answer that stalls until `clear_faults`.
"""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import msgspec
import pytest
from fakes.ollama import FakeOllama

from data_plane.protocol.dialects import FILLERS
from data_plane.protocol.matching import lookup
from shared.credentials import mint
from shared.snapshot import ApiKey, ProxyConfig, Strategy

PREDICTED = ProxyConfig(
    strategy=Strategy.PREDICTED,
    connect_timeout_s=0.3,
    probe_interval_s=0.1,
    probe_timeout_s=0.2,
    client_stall_timeout_s=0.5,
)
POSITION, WAIT = "X-Aivonx-Queue-Position", "X-Aivonx-Queue-Wait"
ESTIMATE = "X-Aivonx-Queue-Estimate"
HELLO = [{"role": "user", "content": "3 words"}]
DIALECTS = {
    "/api/chat": {"model": "llama3.2", "messages": HELLO},
    "/api/generate": {"model": "llama3.2", "prompt": "3 words", "stream": False},
    "/v1/chat/completions": {"model": "llama3.2", "messages": HELLO, "stream": True},
    "/v1/responses": {"model": "llama3.2", "input": "3 words"},
    "/v1/messages": {"model": "llama3.2", "messages": HELLO, "max_tokens": 9},
}


def saying(text: str, **fields):
    return {"model": "llama3.2", "messages": [{"role": "user", "content": text}], **fields}


def like(**fields) -> ProxyConfig:
    return msgspec.structs.replace(PREDICTED, **fields)


def metric(plane, name: str) -> float:
    """The sum of a metric's samples; a name may carry labels."""
    lines = plane.app.metrics.exposition().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def waits(plane, count: int) -> bool:
    return metric(plane, "aivonx_waiting ") == count


@asynccontextmanager
async def taken(plane, node: FakeOllama, count: int = 1):
    """That many requests are at work at the node, and stay so until its faults are cleared."""
    node.fault("stall", after=1, times=count)
    tasks = [asyncio.create_task(plane.chat()) for _ in range(count)]
    try:
        await plane.until(lambda: node.active == count)
        yield
    finally:
        node.clear_faults()
    for answer in await asyncio.gather(*tasks):
        assert answer.status == 200


async def asked(plane, text: str, *, key: str = "", count: int = 1, waiting: int = 0):
    """Ask, one after another, and see each of them wait behind the `waiting` before."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    tasks = []
    for number in range(count):
        body = saying(text, stream=False)
        tasks.append(asyncio.create_task(plane.post("/api/chat", body, **headers)))
        await plane.until(lambda most=waiting + number + 1: waits(plane, most))
    return tasks


def texts(node: FakeOllama) -> list[str]:
    """What the node was asked, in the order in which it was."""
    return [json.loads(seen.body)["messages"][0]["content"] for seen in node.inference]


def key_of(made, **fields) -> ApiKey:
    return ApiKey(id=made.id, sha256=made.sha256, **fields)


async def test_what_finds_no_slot_waits_here_and_not_at_the_node(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        async with taken(plane, node):
            tasks = await asked(plane, "next", count=3)
            assert node.active == 1
            assert len(node.inference) == 1
        answers = await asyncio.gather(*tasks)
    assert [answer.status for answer in answers] == [200] * 3
    assert [answer.headers[POSITION] for answer in answers] == ["0", "1", "2"]
    assert all(float(answer.headers[WAIT]) > 0 for answer in answers)
    estimates = [float(answer.headers[ESTIMATE]) for answer in answers]
    assert estimates == sorted(estimates)
    assert estimates[0] > 0
    assert node.peak == 1
    assert metric(plane, "aivonx_queue_wait_seconds_count") == 3


async def test_the_access_line_says_how_long_it_was_held(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        async with taken(plane, node):
            (task,) = await asked(plane, "next")
        held_s = float((await task).headers[WAIT])
        await plane.idle()
    lines = plane.lines()
    assert [line.get("waited_s") for line in lines] == [None, pytest.approx(held_s, abs=0.001)]


async def test_whoever_was_not_held_is_told_nothing_of_it(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        headers = (await plane.chat()).headers
        assert POSITION not in headers
        assert WAIT not in headers


@pytest.mark.parametrize(
    ("config", "max_parallel"),
    [(PREDICTED, None), (like(strategy=Strategy.LEAST_ACTIVE), 1), (like(max_waiting=0), 1)],
    ids=["slots unknown", "least_active", "nobody may wait"],
)
async def test_then_nothing_is_held(plane, config, max_parallel) -> None:
    async with FakeOllama(num_parallel=3) as node:
        await plane.apply(node, config=config, max_parallel=max_parallel)
        async with taken(plane, node, count=3):
            assert waits(plane, 0)


async def test_what_takes_no_slot_is_not_held(plane) -> None:
    """Nor does it wait behind those that are."""
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        async with taken(plane, node):
            tasks = await asked(plane, "next", count=2)
            assert (await plane.post("/api/show", {"model": "llama3.2"})).status == 200
            assert waits(plane, 2)
        await asyncio.gather(*tasks)


async def test_slots_that_were_learned_are_as_good_as_told(make_plane) -> None:
    """And a restart knows them."""
    plane = await make_plane()
    async with FakeOllama(tokens_per_s=50.0) as node:
        await plane.apply(node, config=PREDICTED)
        for _ in range(3):  # both at the node, and one of them had to wait there
            await asyncio.gather(*[plane.chat(stream=False) for _ in range(2)])
        await plane.idle()
        await plane.app.memory.keep()
        again = await make_plane()
        await again.apply(node, config=PREDICTED)
        # Now and then one is sent to a full node all the same, to see whether it has more slots.
        async with taken(again, node, count=2):
            (task,) = await asked(again, "next")
        assert (await task).status == 200


async def test_a_client_that_leaves_frees_its_place_at_once(plane, dial) -> None:
    """F33."""
    async with FakeOllama() as node:
        await plane.apply(node, config=like(max_waiting=1), max_parallel=1)
        async with taken(plane, node):
            wire = await dial(plane)
            wire.post("/api/chat", saying("left"))
            await plane.until(lambda: waits(plane, 1))
            assert (await plane.chat()).status == 503
            wire.leave(abruptly=True)
            await plane.until(lambda: waits(plane, 0))
            (task,) = await asked(plane, "stayed")
        assert (await task).status == 200
        assert "left" not in texts(node)
        await plane.idle()
    assert sorted(line["outcome"] for line in plane.lines()) == ["client_abort", "ok", "ok", "shed"]


@pytest.mark.parametrize("path", DIALECTS)
async def test_a_full_queue_refuses_in_the_callers_words(plane, path) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=like(max_waiting=1), max_parallel=1)
        async with taken(plane, node):
            (task,) = await asked(plane, "next")
            answer = await plane.post(path, DIALECTS[path])
            assert answer.status == 503
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert "overloaded" in answer.text()
            assert metric(plane, 'aivonx_queue_refused_total{reason="full"}') == 1
        await task


async def test_what_would_wait_too_long_is_refused_at_once(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=like(max_wait_s=0.1), max_parallel=1)
        async with taken(plane, node):
            # 150 tokens are expected of the answer that is being written.
            answer = await plane.chat()
            assert answer.status == 503
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert metric(plane, 'aivonx_queue_refused_total{reason="too_long"}') == 1
            assert waits(plane, 0)


async def test_nobody_is_held_for_longer_than_the_limit(plane) -> None:
    """What was predicted to be short is not believed for ever."""
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        for _ in range(30):  # answers of three tokens are expected then
            await plane.chat(messages=HELLO)
        await plane.apply(node, config=like(max_wait_s=1.5), max_parallel=1)
        async with taken(plane, node):
            answer = await plane.chat(messages=HELLO)
            assert answer.status == 503
            assert answer.json()["code"] == "overloaded"
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert metric(plane, 'aivonx_queue_refused_total{reason="timeout"}') == 1
        await plane.idle()
    assert [line["waited_s"] >= 1.5 for line in plane.lines() if "waited_s" in line] == [True]


async def test_the_higher_priority_goes_first(plane) -> None:
    plain, urgent = mint(), mint()
    keys = (key_of(plain), key_of(urgent, priority=5))
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1, keys=keys)
        node.fault("stall", after=1, times=1)
        tasks = [asyncio.create_task(plane.post("/api/chat", saying("first"), **bearer(plain)))]
        await plane.until(lambda: node.active == 1)
        tasks += await asked(plane, "plain", key=plain.text, count=3)
        tasks += await asked(plane, "urgent", key=urgent.text, waiting=3)
        node.clear_faults()
        await asyncio.gather(*tasks)
        assert texts(node)[1:] == ["urgent", "plain", "plain", "plain"]


def bearer(made) -> dict[str, str]:
    return {"Authorization": f"Bearer {made.text}"}


async def test_a_hog_does_not_delay_others(plane) -> None:
    """Ten of one key wait already; each of two other keys is served before the hog's second."""
    hog, alice, bob = mint(), mint(), mint()
    async with FakeOllama() as node:
        keys = tuple(map(key_of, (hog, alice, bob)))
        await plane.apply(node, config=PREDICTED, max_parallel=1, keys=keys)
        node.fault("stall", after=1, times=1)
        tasks = [asyncio.create_task(plane.post("/api/chat", saying("first"), **bearer(hog)))]
        await plane.until(lambda: node.active == 1)
        tasks += await asked(plane, "hog", key=hog.text, count=10)
        tasks += await asked(plane, "alice", key=alice.text, waiting=10)
        tasks += await asked(plane, "bob", key=bob.text, waiting=11)
        node.clear_faults()
        assert {answer.status for answer in await asyncio.gather(*tasks)} == {200}
        assert sorted(texts(node)[1:4]) == ["alice", "bob", "hog"]


async def test_a_model_does_not_wait_behind_another(plane) -> None:
    async with FakeOllama() as full, FakeOllama(models=["qwen3:8b"]) as free:
        await plane.apply(full, free, config=PREDICTED, max_parallel=1)
        async with taken(plane, full):
            tasks = await asked(plane, "next", count=3)
            assert (await plane.chat(model="qwen3:8b")).status == 200
        await asyncio.gather(*tasks)


async def test_a_node_that_joins_takes_those_that_wait(plane) -> None:
    async with FakeOllama() as node, FakeOllama() as other:
        async with plane.session.post(f"{other.url}/api/chat", json=saying("load")) as answer:
            await answer.read()
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        async with taken(plane, node):
            (task,) = await asked(plane, "next")
            await plane.apply(node, other, config=PREDICTED, max_parallel=1)
            answer = await task
            assert (answer.status, answer.headers["X-Aivonx-Node"]) == (200, "node-2")


async def test_those_that_wait_for_a_node_that_dies_are_told(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        node.fault("stall", after=1, times=1)
        first = asyncio.create_task(plane.chat())
        await plane.until(lambda: node.active == 1)
        tasks = await asked(plane, "next", count=2)
        await node.refuse()
        answers = await asyncio.gather(*tasks)
        assert {answer.status for answer in answers} <= {502, 503}
        await asyncio.gather(first, return_exceptions=True)


async def test_the_drain_sends_those_away_that_wait(make_plane) -> None:
    plane = await make_plane()
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        node.fault("stall", after=1, times=1)
        first = asyncio.create_task(plane.chat())
        await plane.until(lambda: node.active == 1)
        tasks = await asked(plane, "next", count=2)
        draining = asyncio.create_task(plane.app.drain())
        for answer in await asyncio.gather(*tasks):
            assert (answer.status, answer.json()["code"]) == (503, "draining")
            assert int(answer.headers["Retry-After"]) >= 1
        assert metric(plane, 'aivonx_queue_refused_total{reason="draining"}') == 2
        await asyncio.gather(first, draining, return_exceptions=True)
        assert len(node.inference) == 1


async def test_until_the_drain_deadline_those_that_are_held_are_served(make_plane) -> None:
    plane = await make_plane(AIVONX_DRAIN_TIMEOUT_S="20")
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        async with taken(plane, node):
            tasks = await asked(plane, "next", count=2)
            draining = asyncio.create_task(plane.app.drain())
            await plane.until(lambda: plane.app.lifecycle.is_draining)
        assert [answer.status for answer in await asyncio.gather(*tasks)] == [200, 200]
        await draining


async def test_a_refusal_behind_fillers_is_said_within_the_answer(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        for _ in range(30):  # answers of three tokens are expected then
            await plane.chat(messages=HELLO)
        config = like(max_wait_s=1.5, filler_ndjson_s=0.05)
        await plane.apply(node, config=config, max_parallel=1)
        async with taken(plane, node):
            wire = await dial(plane)
            wire.post("/api/chat", saying("3 words"))
            said = await wire.to_the_end()
        assert wire.status == 200
        assert b'"code":"overloaded"' in said
        assert not said.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_the_silence_of_waiting_is_filled(plane, dial, path) -> None:
    config = like(filler_ndjson_s=0.05, filler_sse_s=0.05)
    async with FakeOllama() as node:
        await plane.apply(node, config=config, max_parallel=1)
        async with taken(plane, node):
            wire = await dial(plane)
            wire.post(path, DIALECTS[path])
            filler = FILLERS[lookup("POST", path).route.framing]
            await wire.until(b"%x\r\n%b\r\n" % (len(filler), filler) * 2)
            assert waits(plane, 1)
        await wire.until(b"\r\n0\r\n\r\n")
        assert wire.status == 200


async def test_bodies_of_those_that_wait_count_as_held(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED, max_parallel=1)
        async with taken(plane, node):
            before = plane.app.gate.body_bytes
            (task,) = await asked(plane, "long " * 2_000)
            assert plane.app.gate.body_bytes >= before + 10_000
        await task
        await plane.idle()


async def test_whatever_comes_and_goes_nothing_is_left_behind(plane, dial) -> None:
    """Half of the clients leave, at any moment."""
    dice = random.Random(7)  # noqa: S311 - the same in every run
    async with FakeOllama(tokens_per_s=400.0) as first, FakeOllama(tokens_per_s=200.0) as second:
        await plane.apply(first, second, config=PREDICTED, max_parallel=1)

        async def come_and_go() -> None:
            wire = await dial(plane)
            wire.post("/api/chat", saying("4 words"))
            if dice.random() < 0.5:
                await asyncio.sleep(dice.random() * 0.2)
                wire.leave(abruptly=True)
            else:
                await wire.until(b"\r\n0\r\n\r\n", within_s=20.0)

        await asyncio.gather(*[come_and_go() for _ in range(60)])
        await plane.until(lambda: waits(plane, 0))
        await plane.idle()
        assert (await plane.chat()).status == 200
        await plane.idle()
    assert len(plane.lines()) == 61
    assert {line["outcome"] for line in plane.lines()} == {"ok", "client_abort"}
    assert [place.active for place in plane.app.policy._shadow.places.values()] == [0, 0]
