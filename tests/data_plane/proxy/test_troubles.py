"""A model that fails at one node: the node's other models and the model's other nodes go on."""

import asyncio
import contextlib

import aiohttp
import pytest
from fakes.ollama import FakeOllama

CANONICAL = "registry.ollama.ai/library/llama3.2:latest"
CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}]}
MODELS = ["llama3.2", "qwen3:8b"]


async def asked(plane, model="llama3.2", times=1, **more):
    """Chats one after another while the second node looks busier, so that the first is chosen
    wherever nothing speaks against it; the nodes that answered.
    """
    nodes = []
    for _ in range(times):
        with plane.app.leases.take("n2", 0.0):
            answer = await plane.chat(model=model, **more)
        nodes.append(answer.headers.get("X-Aivonx-Node") if answer.status == 200 else answer.status)
    return nodes


async def ask_and_hang_on(plane) -> None:
    """A stream, which may be cut off, or come from the other node if it breaks early enough."""
    with contextlib.suppress(aiohttp.ClientPayloadError):
        async with plane.session.post(plane.url("/api/chat"), json=CHAT) as answer:
            await answer.read()


async def test_a_model_that_cannot_be_loaded_is_asked_of_others_and_the_rest_stays(plane) -> None:
    """F13."""
    async with FakeOllama(MODELS) as first, FakeOllama(MODELS) as second:
        await plane.apply(first, second)
        first.fault("load_fails", path="/api/chat", model="llama3.2")
        assert await asked(plane, times=5) == ["node-2"] * 5
        assert len(first.inference) == 1
        assert await asked(plane, "qwen3:8b", times=3) == ["node-1"] * 3
        assert plane.app.model_circuits.open == {CANONICAL: {"n1"}}
        assert not plane.app.circuits.down
        (line,) = plane.lines("model_circuit")
        assert (line["node"], line["model"], line["to"]) == ("node-1", CANONICAL, "open")
        assert line["reason"] == "cannot_load"


async def test_it_is_tried_again_and_taken_back_when_it_answers(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        first.fault("load_fails", path="/api/chat", times=1)
        assert await asked(plane) == ["node-2"]

        async def is_back():
            return await asked(plane) == ["node-1"]

        async with asyncio.timeout(10.0):
            while not await is_back():
                await asyncio.sleep(0.05)
        assert not plane.app.model_circuits.open
        assert [line["to"] for line in plane.lines("model_circuit")] == ["open", "closed"]


async def test_a_500_that_another_node_does_not_give_counts_and_three_are_enough(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        first.fault("status", path="/api/chat", status=500, text="something odd")
        assert await asked(plane, times=6) == ["node-2"] * 6
        assert len(first.inference) == 3
        assert plane.app.model_circuits.reasons() == {("n1", CANONICAL): "fails_alone"}


async def test_a_500_that_every_node_gives_is_the_requests_own_fault(plane) -> None:
    """F13."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        for node in (first, second):
            node.fault("status", path="/api/chat", status=500, text="option must be an integer")
        assert await asked(plane, times=5) == [500] * 5
        assert not plane.app.model_circuits.pairs


@pytest.mark.parametrize("kind", ["close", "bad_chunk", "error_record"])
async def test_streams_that_break_there_again_and_again_go_elsewhere(plane, kind) -> None:
    """F25. What has begun ends visibly; who comes later does not meet it."""
    async with FakeOllama(MODELS) as first, FakeOllama(MODELS) as second:
        await plane.apply(first, second)
        first.fault(kind, path="/api/chat", model="llama3.2", after=1)
        for _ in range(3):
            with plane.app.leases.take("n2", 0.0):
                await ask_and_hang_on(plane)
        assert len(first.inference) == 3
        assert plane.app.model_circuits.open == {CANONICAL: {"n1"}}
        assert await asked(plane, times=2) == ["node-2"] * 2
        assert await asked(plane, "qwen3:8b") == ["node-1"]


async def test_the_last_holder_is_never_taken_away(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        for node in (first, second):
            node.fault("load_fails", path="/api/chat")
        assert await asked(plane, times=3) == [500] * 3
        assert plane.app.model_circuits.open == {CANONICAL: {"n1", "n2"}}
        second.clear_faults()
        assert (await plane.chat()).status == 200


async def test_busy_is_no_fault(plane) -> None:
    """F12."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        first.fault("busy", path="/api/chat")
        assert await asked(plane, times=4) == ["node-2"] * 4
        assert not plane.app.model_circuits.pairs
        assert not plane.app.circuits.down


async def test_a_busy_holder_is_preferred_to_one_that_fails(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        plane.app.troubles.note("n1", CANONICAL, "test", is_certain=True)
        now = asyncio.get_running_loop().time()
        plane.app.findings.note_busy("n2", now, "5")
        assert await asked(plane) == ["node-2"]


async def test_slow_is_no_fault(plane) -> None:
    """F08."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        first.fault("delay", path="/api/chat", seconds=0.4)
        assert await asked(plane, times=2) == ["node-1"] * 2
        assert not plane.app.model_circuits.pairs


async def test_a_node_that_comes_back_begins_anew_with_its_models_and_slowly(make_plane) -> None:
    plane = await make_plane(AIVONX_SLOW_START_S="60")
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        plane.app.troubles.note("n1", CANONICAL, "test", is_certain=True)
        await first.refuse()
        plane.app.circuits.connection_failed("n1", 0.0, lambda: 0.0, "refused")
        await first.accept()
        await plane.until(lambda: not plane.app.circuits.down)
        assert not plane.app.model_circuits.open
        assert plane.app.policy.slow_start.shares.keys() == {"n1"}
        assert (await plane.chat()).headers["X-Aivonx-Node"] == "node-2"
        assert await asked(plane) == ["node-2"]  # though it has a request more than the other


async def test_a_load_that_hangs_opens_the_circuit_of_its_model(plane) -> None:
    async with FakeOllama(MODELS) as first, FakeOllama(MODELS) as second:
        await plane.apply(first, second)
        view = plane.app.state.current
        plane.app._load_hangs("n1", view.pools.models[CANONICAL].model.digest)
        assert plane.app.model_circuits.reasons() == {("n1", CANONICAL): "load_hangs"}
        assert await asked(plane) == ["node-2"]
