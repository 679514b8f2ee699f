"""The scheduler of the fake: slots, loads, eviction, keep_alive, the queue. No sleeping to win."""

import asyncio
import time

import aiohttp
import ollama
import pytest
from fakes.ollama import FakeOllama
from fakes.ollama_models import FakeModel

PROMPT = "5 words"


async def until(question, deadline_s=5.0):
    """Ask again and again until it is true."""
    async with asyncio.timeout(deadline_s):
        while not question():
            await asyncio.sleep(0.005)


@pytest.fixture
async def opened():
    """Several clients for one node, closed at the end."""
    clients: list[ollama.AsyncClient] = []

    def open_client(node: FakeOllama) -> ollama.AsyncClient:
        clients.append(ollama.AsyncClient(node.url))
        return clients[-1]

    yield open_client
    for client in clients:
        await client.close()


async def test_a_loaded_model_serves_as_many_at_once_as_it_has_slots(opened):
    async with FakeOllama(["a"], num_parallel=2, tokens_per_s=20) as node:
        client = opened(node)
        await client.generate("a", "")
        (runner,) = node.node.scheduler._loaded.values()
        began = time.monotonic()
        tasks = [asyncio.create_task(client.generate("a", PROMPT)) for _ in range(4)]
        await until(lambda: len(runner.waiting) == 2)
        assert runner.free_slots == 0
        await asyncio.gather(*tasks)
    assert time.monotonic() - began >= 0.5, "two rounds of a quarter of a second"
    assert node.peak == 4, "waiting for a slot counts as active"


async def test_slots_are_given_in_order(opened):
    async with FakeOllama(["a"], tokens_per_s=200) as node:
        client, ended = opened(node), []

        async def ask(number: int) -> None:
            await client.generate("a", PROMPT)
            ended.append(number)

        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(ask(number)))
            await until(lambda number=number: len(node.requests) == number + 1)
        await asyncio.gather(*tasks)
    assert ended == [0, 1, 2, 3]


async def test_the_first_answer_pays_for_the_load(opened):
    async with FakeOllama(["a"], load_s=0.2) as node:
        client = opened(node)
        cold = await client.generate("a", PROMPT)
        warm = await client.generate("a", PROMPT)
    assert cold.load_duration > 200_000_000 > warm.load_duration
    assert node.node.scheduler.loads == 1


async def test_one_load_at_a_time_while_loaded_models_go_on(opened):
    slow = FakeModel("slow", load_s=0.3)
    async with FakeOllama(["warm", "next", slow]) as node:
        client = opened(node)
        await client.generate("warm", PROMPT)
        order = []

        async def ask(model: str) -> None:
            await client.generate(model, PROMPT)
            order.append(model)

        tasks = [asyncio.create_task(ask("slow"))]
        await until(lambda: node.active == 1)
        tasks += [asyncio.create_task(ask("next")), asyncio.create_task(ask("warm"))]
        await asyncio.gather(*tasks)
    assert order == ["warm", "slow", "next"]


async def test_a_model_that_is_loading_is_not_in_ps(opened):
    async with FakeOllama(["a"], load_s=0.2) as node:
        task = asyncio.create_task(opened(node).generate("a", PROMPT))
        await until(lambda: node.active == 1)
        assert node.node.scheduler.listed() == []
        await task
        assert [entry["name"] for entry in node.node.scheduler.listed()] == ["a:latest"]


async def test_a_full_queue_is_503_but_never_for_a_loaded_model(opened):
    async with FakeOllama(["warm", "a", "b", "c"], max_queue=1) as node:
        client = opened(node)
        await client.generate("warm", PROMPT)
        node.node.speed.load_s = 0.3
        loading = asyncio.create_task(client.generate("a", PROMPT))
        await until(lambda: node.active == 1)
        queued = asyncio.create_task(client.generate("b", PROMPT))
        await until(lambda: node.active == 2)
        with pytest.raises(ollama.ResponseError, match=r"server busy, please try again\.  maximum"):
            await client.generate("c", PROMPT)
        assert (await client.generate("warm", PROMPT)).done
        await asyncio.gather(loading, queued)


async def test_the_one_with_the_shortest_keep_alive_is_evicted(opened):
    async with FakeOllama(["a", "b", "c"], max_loaded=2) as node:
        client = opened(node)
        await client.generate("a", PROMPT, keep_alive="1h")
        await client.generate("b", PROMPT, keep_alive="1m")
        await client.generate("c", PROMPT, keep_alive=-1)
        names = [entry["name"] for entry in node.node.scheduler.listed()]
    assert names == ["c:latest", "a:latest"]


async def test_other_load_options_mean_a_reload(opened):
    async with FakeOllama(["a"]) as node:
        client = opened(node)
        for context in (4_096, 8_192, 8_192):
            await client.generate("a", PROMPT, options={"num_ctx": context})
        await client.generate("a", PROMPT, options={"num_ctx": 8_192, "temperature": 0})
    assert node.node.scheduler.loads == 2


async def test_keep_alive_ends_by_itself(opened):
    async with FakeOllama(["a"], keep_alive_s=0.1) as node:
        await opened(node).generate("a", PROMPT)
        assert node.node.scheduler.listed()
        await until(lambda: not node.node.scheduler.listed())


async def test_keep_alive_0_unloads_behind_the_answer(opened):
    async with FakeOllama(["a"]) as node:
        await opened(node).generate("a", PROMPT, keep_alive=0)
        await until(lambda: not node.node.scheduler.listed())


async def test_a_copy_shares_the_runner_of_its_weights(opened):
    async with FakeOllama(["a"]) as node:
        client = opened(node)
        await client.copy("a", "b")
        await client.generate("a", PROMPT)
        await client.generate("b", PROMPT)
        assert node.node.scheduler.loads == 1
        assert [entry["name"] for entry in node.node.scheduler.listed()] == ["a:latest"]


@pytest.mark.parametrize("knobs", [{"load_s": 5.0}, {"tokens_per_s": 5.0}])
async def test_a_client_that_leaves_stops_the_work_at_once(knobs):
    async with FakeOllama(["a"], **knobs) as node:
        async with aiohttp.ClientSession() as http:
            ask = http.post(f"{node.url}/api/generate", json={"model": "a", "prompt": "99 words"})
            task = asyncio.create_task(ask.__aenter__())
            await until(lambda: node.active == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await until(lambda: node.active == 0, 1.0)
        assert node.cancelled == 1
        assert node.node.scheduler.loads == (0 if "load_s" in knobs else 1)


async def test_tokens_come_at_the_speed_that_was_set(opened):
    async with FakeOllama(["a"], tokens_per_s=200, prompt_tokens_per_s=100) as node:
        answer = await opened(node).generate("a", "40 words")
    # At least: a busy machine may be late, a node is never early.
    assert answer.eval_duration >= 199_000_000
    assert answer.prompt_eval_duration >= 19_000_000
