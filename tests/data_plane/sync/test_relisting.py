"""What a node has told us itself, until a snapshot knows better."""

import pytest
from fakes.ollama import FakeOllama
from fakes.snapshots import make_snapshot

from data_plane.proxy import relisting
from data_plane.sync import applied
from shared import keys, wire
from shared.model_names import canonical_name
from shared.snapshot import Model

KEY = b"a snapshot key of enough bytes"
NEW = Model(name="qwen3:8b", canonical=canonical_name("qwen3:8b"), digest="d" * 64)


async def offer(plane, models: dict[str, list[str]], revision: int) -> None:
    assert await plane.app.state.offer(
        wire.seal(make_snapshot(models, revision=revision), KEY), "t"
    )


def names(*texts: str) -> set[str]:
    return {canonical_name(text) for text in texts}


def held(plane) -> set[str]:
    return set(plane.app.state.current.pools.models)


@pytest.fixture
async def told(plane):
    """A plane whose node a has told that it holds nothing but NEW."""
    await offer(plane, {"a": ["llama3"], "b": ["mistral"]}, 1)
    [node_id] = [node.id for node in plane.app.state.current.snapshot.nodes if node.name == "a"]
    plane.app.state.note_listed(node_id, ((NEW, "2026-01-01T00:00:00Z"),))
    await plane.app.state.relist()
    return plane


async def test_it_is_routed_by_at_once(told) -> None:
    assert held(told) == names("mistral:latest", "qwen3:8b")
    assert told.app.state.current.snapshot.revision == 1


async def test_a_snapshot_that_says_of_the_node_what_it_said_before_does_not_undo_it(told) -> None:
    await offer(told, {"a": ["llama3"], "b": ["mistral", "phi4"]}, 2)
    assert held(told) == names("mistral:latest", "phi4:latest", "qwen3:8b")


async def test_a_snapshot_of_before_the_change_does_not_undo_it(told, monkeypatch) -> None:
    """What the control plane saw a moment ago is published a moment later."""
    await offer(told, {"a": ["llama3", "phi4"], "b": ["mistral"]}, 2)
    assert held(told) == names("mistral:latest", "qwen3:8b")
    monkeypatch.setattr(applied, "LISTED_LEAST_S", 0.0)
    await offer(told, {"a": ["llama3", "phi4"], "b": ["mistral"]}, 3)
    assert held(told) == names("mistral:latest", "qwen3:8b")  # it has not looked since
    await offer(told, {"a": ["qwen3:8b", "phi4"], "b": ["mistral"]}, 4)
    assert held(told) == names("mistral:latest", "phi4:latest", "qwen3:8b")


async def test_a_snapshot_that_says_something_new_of_the_node_is_right(told, monkeypatch) -> None:
    monkeypatch.setattr(applied, "LISTED_LEAST_S", 0.0)
    await offer(told, {"a": ["gemma3"], "b": ["mistral"]}, 2)
    assert held(told) == names("gemma3:latest", "mistral:latest")
    await offer(told, {"a": ["llama3"], "b": ["mistral"]}, 3)
    assert held(told) == names("llama3:latest", "mistral:latest")


async def test_it_is_forgotten_when_no_snapshot_confirms_it(told, monkeypatch) -> None:
    monkeypatch.setattr(applied, "LISTED_LEAST_S", 0.0)
    monkeypatch.setattr(applied, "LISTED_KEPT_S", 0.0)
    await offer(told, {"a": ["llama3"], "b": ["mistral"]}, 2)
    assert held(told) == names("llama3:latest", "mistral:latest")


async def test_what_was_found_missing_before_counts_no_more(plane) -> None:
    async with FakeOllama(["a"]) as node:
        await plane.apply(node)
        node.node.library.remove("a")
        assert (await plane.chat(model="a")).status == 404
        assert plane.app.findings.without(canonical_name("a")) == {"n1"}
        answer = await plane.post("/api/create", {"model": "a", "from": "a", "stream": False})
        assert answer.status == 500, "there is nothing to make it of"
        assert not plane.app.findings.without(canonical_name("a"))


async def test_nodes_are_looked_at_again_when_snapshots_count_again(plane, monkeypatch) -> None:
    monkeypatch.setattr(relisting, "LISTED_LEAST_S", 0.2)
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.post("/api/pull", {"model": "tinyllama"})
        node.node.library.remove("tinyllama")  # by somebody else
        await plane.until(lambda: canonical_name("tinyllama") not in held(plane))


async def test_the_control_plane_is_told(make_plane, engine) -> None:
    plane = await make_plane(REDIS_URL=engine.url)
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.post("/api/pull", {"model": "tinyllama"})
        await plane.until(lambda: engine.client.smembers(keys.STALE_INVENTORY) == {b"n1"})
        assert 0 < engine.client.ttl(keys.STALE_INVENTORY) <= keys.STALE_INVENTORY_TTL_S
