"""What is said of the next request is what then happens to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from fakes.ollama import FakeOllama

from shared.questions import Bar, Outcome, Question
from shared.snapshot import ProxyConfig, Strategy

if TYPE_CHECKING:
    from shared.questions import Answer


def asked(plane, model: str = "llama3.2", **fields: int) -> Answer:
    question = Question(id="0" * 32, instance="", model=model, **fields)
    answer = plane.app.foresight.answer(question)
    assert answer is not None
    return answer


def bars(answer: Answer) -> dict[str, Bar | None]:
    return {each.name: each.bar for each in answer.candidates}


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_the_next_request_goes_where_it_is_said_to_go(plane, strategy) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=ProxyConfig(strategy=strategy, explain=True))
        await plane.chat()
        await plane.idle()
        plane.app.leases.others_reported({"n1": 3})
        plane.app.latencies.sweep_reported({"n1": 2.0, "n2": 1.0})
        said = asked(plane)
        assert (said.outcome, said.strategy) == (Outcome.SENT, strategy.value)
        assert set(bars(said).values()) == {None}
        best = said.candidates[0]
        assert (best.node_id, best.bar) == (said.node_id, None)
        assert said.because
        if strategy is Strategy.PREDICTED:
            assert best.ttft_s is not None
            assert "node-" in said.runner_up
        answer = await plane.chat()
        assert answer.headers["X-Aivonx-Node"] == best.name
        assert answer.headers["X-Aivonx-Reason"].startswith(said.reason)


async def test_asking_changes_nothing(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=ProxyConfig(strategy=Strategy.PREDICTED))
        await plane.chat()
        await plane.idle()
        learned, counts = plane.app.policy.learned(), dict(plane.app.leases.counts)
        for _ in range(50):
            asked(plane, prompt_tokens=1_000, num_ctx=8_192)
        assert plane.app.policy.learned() == learned
        assert dict(plane.app.leases.counts) == counts


async def test_who_is_kept_out_is_named_with_the_reason(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second, FakeOllama() as third:
        await plane.apply(first, second, third)
        now = plane.app.selection._now()
        plane.app.circuits.connection_failed("n1", now, lambda: 0.0, "refused")
        plane.app.findings.note_missing("n2", asked_canonical())
        said = asked(plane)
        assert said.node_id == "n3"
        assert said.reason == "only_holder"
        assert bars(said) == {"node-3": None, "node-1": Bar.DOWN, "node-2": Bar.MODEL_GONE}
        assert {each.detail for each in said.candidates if each.bar is Bar.DOWN} == {"refused"}


async def test_a_model_that_fails_is_not_tried_by_a_question(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        circuits, now = plane.app.model_circuits, plane.app.selection._now()
        circuits.failed(
            "n1", asked_canonical(), now, lambda: 0.0, reason="crashed", is_certain=True
        )
        said = asked(plane)
        assert (said.node_id, bars(said)["node-1"]) == ("n2", Bar.FAILING)
        circuits.pairs["n1", asked_canonical()].due_at = now
        asked(plane)
        assert circuits.pairs["n1", asked_canonical()].due_at == now


async def test_a_request_that_would_be_held_is_said_to_be_held(plane) -> None:
    async with FakeOllama() as node:
        config = ProxyConfig(strategy=Strategy.PREDICTED, max_waiting=5)
        await plane.apply(node, config=config, max_parallel=1)
        node.fault("stall", after=1, times=1)
        busy = asyncio.create_task(plane.chat())
        await plane.until(lambda: node.active == 1)
        said = asked(plane)
        node.clear_faults()
        assert (await busy).status == 200
        assert (said.outcome, said.node_id) == (Outcome.HELD, "n1")


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_model_that_nobody_has_is_unknown_and_every_node_says_so(plane, strategy) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=ProxyConfig(strategy=strategy))
        said = asked(plane, "nobody-has-it")
        assert (said.outcome, said.node_id) == (Outcome.UNKNOWN_MODEL, "")
        assert set(bars(said).values()) == {Bar.NO_MODEL}


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_model_of_the_cloud_goes_to_any_node(plane, strategy) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=ProxyConfig(strategy=strategy))
        said = asked(plane, "gpt-oss:120b-cloud")
        assert (said.outcome, said.node_id in {"n1", "n2"}) == (Outcome.SENT, True)
        assert set(bars(said).values()) == {None}


async def test_a_name_that_is_none_has_no_answer(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        question = Question(id="0" * 32, instance="", model="a//b")
        assert plane.app.foresight.answer(question) is None


def asked_canonical() -> str:
    return "registry.ollama.ai/library/llama3.2:latest"
