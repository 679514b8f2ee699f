"""What answers teach between two snapshots, and when it is forgotten."""

import asyncio

import pytest
from fakes.snapshots import make_loaded, make_snapshot

from data_plane.lifecycle import Lifecycle
from data_plane.proxy.findings import BUSY_MAX_S, BUSY_MIN_S, LOOK_KEPT_S, Findings
from data_plane.routing.pools import Pools

CANONICAL = "registry.ollama.ai/library/llama3:latest"


class Asked:
    """A prober that counts."""

    def __init__(self) -> None:
        self.count = 0

    async def loaded(self, _node):
        self.count += 1
        return (make_loaded("llama3"),)


@pytest.fixture
def prober() -> Asked:
    return Asked()


@pytest.fixture
def findings(prober: Asked) -> Findings:
    return Findings(prober, Lifecycle(lambda _name, _error: None))


def pools_of(snapshot) -> Pools:
    return Pools.build(snapshot)


@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [("", BUSY_MIN_S), ("3", 3.0), ("999", BUSY_MAX_S), ("soon", BUSY_MIN_S), ("-1", BUSY_MIN_S)],
)
def test_a_busy_node_is_left_alone_within_bounds(findings, retry_after, pause_s) -> None:
    findings.note_busy("n1", 100.0, retry_after)
    assert findings.busy(100.0 + pause_s - 0.01) == {"n1"}
    assert not findings.busy(100.0 + pause_s)


def test_a_lost_model_comes_back_with_a_snapshot_that_knows_better(findings) -> None:
    snapshot = make_snapshot({"a": ["llama3"], "b": ["llama3"]})
    (first, _) = snapshot.nodes
    findings.note_missing(first.id, CANONICAL)
    findings.use(None, snapshot, pools_of(snapshot))
    assert findings.without(CANONICAL) == {first.id}
    assert findings.refresh_wanted() == (first.id,)
    smaller = make_snapshot({"b": ["llama3"]}, revision=2)
    findings.use(snapshot, smaller, pools_of(smaller))
    assert not findings.without(CANONICAL)


async def test_a_node_is_looked_at_once_and_only_for_news(findings, prober) -> None:
    snapshot = make_snapshot({"a": ["llama3"]})
    pools = pools_of(snapshot)
    findings.use(None, snapshot, pools)
    (node,) = pools.active
    for _ in range(5):
        findings.note_answered(node, CANONICAL, is_unload=False)
    async with asyncio.timeout(2.0):
        while not findings.loaded:
            await asyncio.sleep(0)
    assert findings.has_loaded(node.id, CANONICAL)
    findings.note_answered(node, CANONICAL, is_unload=False)
    await asyncio.sleep(0)
    assert prober.count == 1
    findings._looked_at[node.id] -= LOOK_KEPT_S
    findings.forget_old_looks()
    assert not findings.loaded


async def test_a_snapshot_that_tells_of_loaded_models_replaces_our_look(findings) -> None:
    before = make_snapshot({"a": ["llama3"]})
    findings.use(None, before, pools_of(before))
    (node,) = pools_of(before).active
    findings.loaded[node.id] = ()
    same = make_snapshot({"a": ["llama3"]}, revision=2)
    findings.use(before, same, pools_of(same))
    assert node.id in findings.loaded, "nothing new is known there"
    told = make_snapshot({"a": ["llama3"]}, fields={"a": {"loaded": (make_loaded("llama3"),)}})
    findings.use(same, told, pools_of(told))
    assert node.id not in findings.loaded
