"""Nodes with different versions of a model under one name: reference 2.1, and the proxy config."""

from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace

import pytest
from fakes.ollama import FakeOllama
from fakes.ollama_models import FakeModel, made

from shared.snapshot import DriftPolicy, ProxyConfig

MODELS = ("llama3.2", "nomic-embed-text")
CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]}
EMBED = {"model": "nomic-embed-text", "input": "hi"}


def version(name: str, digest: str, modified_at: float) -> FakeModel:
    return replace(made(name), digest=digest * 64, modified_at=modified_at)


async def fleet(stack: AsyncExitStack) -> list[FakeOllama]:
    """Two nodes with the old version of everything, and one with the new."""
    nodes = []
    for number, digest in enumerate("aab"):
        models = [version(name, digest, 1_790_000_000.0 + number) for name in MODELS]
        nodes.append(await stack.enter_async_context(FakeOllama(models)))
    return nodes


@pytest.mark.parametrize(
    ("policy", "digest", "chatting", "embedding"),
    [
        (DriftPolicy.MAJORITY, "a", {"node-1", "node-2"}, {"node-1", "node-2"}),
        (DriftPolicy.NEWEST, "b", {"node-3"}, {"node-3"}),
        (DriftPolicy.ANY, "a", {"node-1", "node-2", "node-3"}, {"node-1", "node-2"}),
    ],
)
async def test_operators_say_which_version_is_served(
    plane, policy, digest, chatting, embedding
) -> None:
    async with AsyncExitStack() as stack:
        nodes = await fleet(stack)
        config = ProxyConfig(digest_drift=policy)
        await plane.apply(*nodes, config=config)
        listed = (await plane.get("/api/tags")).json()["models"]
        assert [model["digest"] for model in listed] == [digest * 64] * 2
        assert await used_in_turn(plane, "/api/chat", CHAT) == chatting
        assert await used_in_turn(plane, "/api/embed", EMBED) == embedding


async def used_in_turn(plane, path, body) -> set[str]:
    """The nodes that answer when whoever has answered stays busy."""
    used = set()
    with ExitStack() as load:
        for _ in range(3):
            answer = await plane.post(path, body)
            assert answer.status == 200
            node = answer.headers["X-Aivonx-Node"]
            load.enter_context(plane.app.leases.take(node.replace("node-", "n"), 0.0))
            used.add(node)
    return used


async def test_no_show_is_remembered_while_any_version_may_answer(
    plane,
) -> None:
    async with AsyncExitStack() as stack:
        nodes = await fleet(stack)
        config = ProxyConfig(digest_drift=DriftPolicy.ANY)
        await plane.apply(*nodes, config=config)
        for _ in range(2):
            assert (await plane.post("/api/show", {"model": "llama3.2"})).status == 200
        assert sum(seen.path == "/api/show" for node in nodes for seen in node.requests) == 2


async def test_the_policy_is_changed_while_everything_runs(plane) -> None:
    async with AsyncExitStack() as stack:
        nodes = await fleet(stack)
        for policy, digest in ((DriftPolicy.NEWEST, "b"), (DriftPolicy.MAJORITY, "a")):
            config = ProxyConfig(digest_drift=policy)
            await plane.apply(*nodes, config=config)
            listed = (await plane.get("/api/tags")).json()["models"]
            assert {model["digest"] for model in listed} == {digest * 64}
