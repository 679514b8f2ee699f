"""Many that are held make a further node load their model, on real sockets.

The only slot of the node that has the model in memory is taken by an answer that stalls. The others
hold another model, and are known to have no room beside it. A load there is predicted to take some
9 s (the model has 12 GB), and takes no time here.
"""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from fakes.ollama import FakeOllama
from fakes.ollama_models import FakeModel

from data_plane.proxy.waiting import LOOK_EVERY_S
from data_plane.routing import policy
from shared.snapshot import ProxyConfig, Strategy

PREDICTED = ProxyConfig(strategy=Strategy.PREDICTED)
FEW, MANY = 12, 90
TAUGHT = 8
LOADING = "/api/generate"
OTHERS = ("mistral", "qwen3"), ("gemma3", "tinyllama")


@pytest.fixture(autouse=True)
def nothing_is_in_use(monkeypatch) -> None:
    """Whatever has no request just now makes room."""
    monkeypatch.setattr(policy, "KEPT_S", 0.0)


def fake(*more: str) -> FakeOllama:
    """Some 0.1 s for each answer, predicted at 0.4 s."""
    models = [FakeModel("llama3.2:latest", size=12_000_000_000), *more]
    return FakeOllama(models, tokens_per_s=60.0, max_loaded=1)


def cold(which: int = 0) -> FakeOllama:
    return fake(*OTHERS[which])


def loads(*nodes: FakeOllama) -> int:
    return sum(seen.path == LOADING for node in nodes for seen in node.inference)


def chats(node: FakeOllama) -> int:
    return sum(seen.path == "/api/chat" for seen in node.inference)


def metric(plane, name: str) -> int:
    lines = plane.app.metrics.exposition().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


def waiting(plane) -> int:
    return metric(plane, "aivonx_waiting ")


@asynccontextmanager
async def held(plane, warm: FakeOllama, *others: FakeOllama, count: int, options=None):
    """So many requests are held for the node that is known."""
    more = {"options": options} if options else {}
    await plane.apply(warm, config=PREDICTED, max_parallel=1)
    for _ in range(TAUGHT):
        assert (await plane.chat(**more)).status == 200
    for models in zip(*OTHERS[: len(others)], strict=True):
        await plane.apply(warm, *others, config=PREDICTED, max_parallel=1)
        for model in models:
            assert (await plane.chat(model=model)).status == 200
    await plane.apply(warm, *others, config=PREDICTED, max_parallel=1)
    for node in others:
        node.requests.clear()
    warm.fault("stall", after=1, times=1, path="/api/chat")
    tasks = [asyncio.create_task(plane.chat(**more))]
    await plane.until(lambda: warm.active == 1)
    tasks += [asyncio.create_task(plane.chat(**more)) for _ in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for node in (warm, *others):
            node.clear_faults()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_long_queue_loads_a_further_copy_which_then_serves_it(plane) -> None:
    async with (
        fake() as warm,
        cold() as other,
        cold(1) as third,
        held(plane, warm, other, third, count=MANY),
    ):
        await plane.until(lambda: chats(other) + chats(third) > 3)
        assert loads(other, third) >= 1
        assert chats(warm) == 1
        line = plane.lines("preload")[0]
        assert line["held"] > FEW
        assert line["wait_s"] > line["load_s"] > 5.0
        assert metric(plane, 'aivonx_preloads_total{outcome="loaded"}') >= 1


async def test_a_load_is_begun_once_however_long_it_takes(plane) -> None:
    async with fake() as warm, cold() as other, cold(1) as third:
        for node in (other, third):
            node.fault("stall", path=LOADING)
        async with held(plane, warm, other, third, count=MANY):
            await plane.until(lambda: loads(other, third) == 1)
            await asyncio.sleep(4 * LOOK_EVERY_S)
            assert loads(other, third) == 1


async def test_a_short_queue_does_not_pay_for_a_load(plane) -> None:
    async with fake() as warm, cold() as other, held(plane, warm, other, count=FEW):
        await plane.until(lambda: waiting(plane) == FEW)
        await asyncio.sleep(4 * LOOK_EVERY_S)
        assert not other.inference


@pytest.mark.parametrize("fault", ["status", "reset"])
async def test_a_load_that_fails_is_said_and_not_tried_again_at_once(plane, fault) -> None:
    async with fake() as warm, cold() as other:
        other.fault(fault, path=LOADING, **({"status": 500} if fault == "status" else {}))
        async with held(plane, warm, other, count=MANY):
            await plane.until(lambda: metric(plane, 'aivonx_preloads_total{outcome="failed"}') == 1)
            await asyncio.sleep(4 * LOOK_EVERY_S)
            assert len(plane.lines("preload")) == 1
        (line,) = plane.lines("preload_failed")
        assert line["reason"]


@pytest.mark.parametrize("options", [{}, {"num_ctx": 8192}])
async def test_the_copy_is_loaded_with_the_options_of_those_that_wait(plane, options) -> None:
    async with (
        fake() as warm,
        cold() as other,
        held(plane, warm, other, count=MANY, options=options),
    ):
        await plane.until(lambda: loads(other) == 1)
        (seen,) = [each for each in other.inference if each.path == LOADING]
        wanted = {"options": options} if options else {}
        assert json.loads(seen.body) == {"model": "llama3.2", "stream": False, **wanted}


async def test_nothing_is_left_behind(plane) -> None:
    async with fake() as warm, cold() as other:
        other.fault("stall", path=LOADING)
        async with held(plane, warm, other, count=MANY):
            await plane.until(lambda: loads(other) == 1)
        await plane.idle()
        await plane.until(lambda: not other.active)
    assert waiting(plane) == 0
