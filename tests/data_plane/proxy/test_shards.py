"""Large batches of texts to embed, shared by the nodes that hold the same version."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from fakes.ollama import FakeOllama
from fakes.ollama_models import made

from shared.snapshot import ProxyConfig

MODEL = "nomic-embed-text"
TEXTS = [f"text number {number}" for number in range(200)]
BATCH = {"model": MODEL, "input": TEXTS}
PATIENT = ProxyConfig(connect_timeout_s=5.0, probe_timeout_s=5.0)
"""A node that embeds two hundred texts on a busy machine is not dead."""


def embedder(**more) -> FakeOllama:
    return FakeOllama([MODEL], **more)


def shared(node: FakeOllama) -> int:
    return sum(len(json.loads(seen.body)["input"]) for seen in node.inference)


async def vectors_of_one_node(plane, path="/api/embed", **more):
    """What a single node says to the whole."""
    async with embedder() as alone:
        await plane.apply(alone, config=PATIENT)
        answer = await plane.post(path, {**BATCH, **more})
        assert "X-Aivonx-Shards" not in answer.headers
        return answer.json()


async def test_the_vectors_of_many_nodes_are_those_of_one(plane) -> None:
    expected = await vectors_of_one_node(plane)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(embedder()) for _ in range(3)]
        await plane.apply(*nodes, config=PATIENT)
        answer = await plane.post("/api/embed", BATCH)
        assert answer.headers["X-Aivonx-Shards"] == "3"
        assert answer.headers["X-Aivonx-Attempts"] == "3"
        assert [shared(node) for node in nodes] in [[66, 67, 67], [67, 66, 67], [67, 67, 66]]
        got = answer.json()
        assert got["embeddings"] == expected["embeddings"]
        assert got["prompt_eval_count"] == expected["prompt_eval_count"]
        await plane.until(lambda: len(plane.lines()) == 2)
        line = plane.lines()[-1]
        assert (line["outcome"], line["reason"]) == ("ok", "sharded")
        assert line["prompt_tokens"] == expected["prompt_eval_count"]
        assert sorted(line["node"].split(",")) == ["node-1", "node-2", "node-3"]


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_openais_route_too(plane, encoding) -> None:
    path, more = "/v1/embeddings", {"encoding_format": encoding}
    expected = await vectors_of_one_node(plane, path, **more)
    async with embedder() as first, embedder() as second:
        await plane.apply(first, second, config=PATIENT)
        answer = await plane.post(path, {**BATCH, **more})
        assert answer.headers["X-Aivonx-Shards"] == "2"
        assert answer.json() == expected


async def test_a_small_batch_stays_whole(plane) -> None:
    async with embedder() as first, embedder() as second:
        await plane.apply(first, second, config=PATIENT)
        answer = await plane.post("/api/embed", {**BATCH, "input": TEXTS[:63]})
        assert (answer.status, len(answer.json()["embeddings"])) == (200, 63)
        assert len(first.inference) + len(second.inference) == 1


async def test_another_version_of_the_model_gets_no_share(plane) -> None:
    async with embedder() as one, embedder() as two, embedder() as odd:
        odd.node.library.add(replace(made(MODEL), digest="f" * 64))
        await plane.apply(one, two, odd, config=PATIENT)
        assert (await plane.post("/api/embed", BATCH)).headers["X-Aivonx-Shards"] == "2"
        assert shared(odd) == 0


async def test_a_shard_is_tried_at_another_node(plane) -> None:
    expected = await vectors_of_one_node(plane)
    async with embedder() as good, embedder() as bad:
        await plane.apply(good, bad, config=PATIENT)
        bad.fault("reset")
        answer = await plane.post("/api/embed", BATCH)
        assert answer.headers["X-Aivonx-Attempts"] == "3"
        assert answer.json()["embeddings"] == expected["embeddings"]
        assert shared(good) == len(TEXTS)


async def test_a_shard_that_broke_off_in_the_middle_is_tried_again(plane) -> None:
    """Its answer is longer than what is held back for a client."""
    texts = [f"text number {number}" for number in range(600)]
    async with embedder() as good, embedder() as bad:
        await plane.apply(good, bad, config=PATIENT)
        fault = bad.fault("reset", path="/api/embed", after=1_000)
        answer = await plane.post("/api/embed", {**BATCH, "input": texts})
        assert (answer.status, len(answer.json()["embeddings"])) == (200, 600)
        assert fault.hits == 1
        assert shared(good) == 600


async def test_the_nodes_word_on_one_shard_is_its_word_on_the_whole(plane) -> None:
    async with embedder() as first, embedder() as second:
        await plane.apply(first, second, config=PATIENT)
        texts = [*TEXTS[:-1], "long " * 3_000]
        answer = await plane.post("/api/embed", {**BATCH, "input": texts, "truncate": False})
        assert answer.status == 400
        assert answer.json()["error"] == "the input length exceeds the context length"
        await plane.idle()


async def test_when_no_node_is_left_the_whole_fails(plane) -> None:
    async with embedder() as first, embedder() as second:
        await plane.apply(first, second, config=PATIENT)
        for node in (first, second):
            node.fault("busy")
        answer = await plane.post("/api/embed", BATCH)
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1


async def test_a_client_that_leaves_frees_every_node(plane) -> None:
    async with embedder() as first, embedder() as second:
        await plane.apply(first, second, config=PATIENT)
        for node in (first, second):
            node.fault("silence")
        asking = asyncio.create_task(plane.post("/api/embed", BATCH))
        await plane.until(lambda: first.active == second.active == 1)
        assert sum(plane.app.leases.own_counts().values()) == 2
        asking.cancel()
        await plane.idle()
        await plane.until(lambda: first.cancelled == second.cancelled == 1)
        await plane.until(plane.lines)
        assert plane.lines()[-1]["outcome"] == "client_abort"


async def test_what_is_gathered_stays_within_the_memory_for_bodies(make_plane) -> None:
    plane = await make_plane(AIVONX_BODY_BUDGET_BYTES="1000000")
    async with embedder() as first, embedder() as second:
        await plane.apply(first, second, config=PATIENT)
        texts = [f"text number {number}" for number in range(600)]
        answer = await plane.post("/api/embed", {**BATCH, "input": texts})
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        await plane.idle()
        assert (await plane.post("/api/embed", {**BATCH, "input": "one"})).status == 200
