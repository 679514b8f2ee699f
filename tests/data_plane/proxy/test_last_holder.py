"""What speaks against every holder keeps none of them out: somebody is always asked."""

import asyncio
from itertools import product

import msgspec
import pytest
from fakes.ollama import FakeOllama

from shared import wire
from shared.snapshot import Strategy, Verdict
from tests.data_plane.conftest import QUICK, SNAPSHOT_KEY, snapshot_of

CANONICAL = "registry.ollama.ai/library/llama3.2:latest"
AGAINST = ("nothing", "busy", "failing", "both")


def speak_against(plane, node_id: str, what: str) -> None:
    if what in {"busy", "both"}:
        plane.app.findings.note_busy(node_id, asyncio.get_running_loop().time(), "5")
    if what in {"failing", "both"}:
        plane.app.troubles.note(node_id, CANONICAL, "test", is_certain=True)


def expected(*against: str) -> set[str]:
    """Who may be chosen: of the least that speaks against any, busy being less than failing."""
    least = min(map(AGAINST.index, against))
    if least >= AGAINST.index("failing"):
        least = AGAINST.index("failing")  # whoever fails is all the same then
        return {f"node-{n}" for n, what in enumerate(against, 1) if AGAINST.index(what) >= least}
    return {f"node-{n}" for n, what in enumerate(against, 1) if AGAINST.index(what) == least}


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_the_least_evil_is_asked(plane, strategy) -> None:
    config = msgspec.structs.replace(QUICK, strategy=strategy)
    async with FakeOllama() as first, FakeOllama() as second:
        for one, other in product(AGAINST, repeat=2):
            await plane.apply(config=config)  # without nodes: whatever was found out is forgotten
            await plane.apply(first, second, config=config)
            speak_against(plane, "n1", one)
            speak_against(plane, "n2", other)
            answer = await plane.chat()
            assert answer.status == 200, (one, other)
            assert answer.headers["X-Aivonx-Node"] in expected(one, other), (one, other)


async def judged_down(plane, *nodes: FakeOllama, config=QUICK) -> None:
    """A snapshot by which the sweep keeps all of these nodes out."""
    snapshot = await snapshot_of(nodes, config=config, revision=100)
    out = [
        msgspec.structs.replace(node, verdict=Verdict.UNHEALTHY, reason="timeout")
        for node in snapshot.nodes
    ]
    sealed = wire.seal(msgspec.structs.replace(snapshot, nodes=tuple(out)), SNAPSHOT_KEY.encode())
    assert await plane.app.state.offer(sealed, "test")


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_in_a_panic_too(plane, strategy) -> None:
    """F30."""
    config = msgspec.structs.replace(QUICK, strategy=strategy)
    async with FakeOllama() as first, FakeOllama() as second:
        await judged_down(plane, first, second, config=config)
        plane.app.selection.verdicts_are_stale = True
        for what in AGAINST:
            for node_id in ("n1", "n2"):
                speak_against(plane, node_id, what)
            assert (await plane.chat()).status == 200
        await plane.until(lambda: len(plane.lines()) == len(AGAINST))
        assert {line["reason"] for line in plane.lines()} == {"panic"}


async def test_in_a_panic_a_node_that_is_dead_after_all_costs_no_answer(plane) -> None:
    """F30."""
    async with FakeOllama() as first, FakeOllama() as second:
        await judged_down(plane, first, second)
        plane.app.selection.verdicts_are_stale = True
        await first.refuse()
        with plane.app.leases.take("n2", 0.0):  # else the dice may never ask the first
            assert (await plane.chat()).status == 200
        assert not first.inference
        assert plane.app.circuits.reasons == {"n1": "refused"}


async def test_verdicts_of_now_are_believed_of_the_last_holder_too(plane) -> None:
    """The sweep asks in its own way, and tells why; only its silence makes us doubt it."""
    async with FakeOllama() as node:
        await judged_down(plane, node)
        plane.app.selection.verdicts_are_stale = False
        answer = await plane.chat()
        assert (answer.status, answer.json()["code"]) == (503, "no_healthy_node")
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
        assert not node.inference
