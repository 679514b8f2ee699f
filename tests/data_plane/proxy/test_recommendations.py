"""`/api/experimental/model-recommendations`: any node's word, kept."""

import asyncio

from fakes.ollama import FakeOllama

PATH = "/api/experimental/model-recommendations"


async def test_a_node_is_asked_once_for_all_who_ask(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        answers = await asyncio.gather(*(plane.get(PATH) for _ in range(5)))
        assert {answer.status for answer in answers} == {200}
        assert answers[0].json()["recommendations"][0]["model"] == "gemma3"
        assert first.node.paths[PATH] + second.node.paths[PATH] == 1


async def test_the_next_node_is_asked_when_one_does_not_say(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        first.fault("reset", path=PATH)
        assert (await plane.get(PATH)).status == 200
        assert second.node.paths[PATH] == 1


async def test_nodes_that_are_too_old_are_not_asked(plane) -> None:
    async with FakeOllama(version="0.20.0") as old:
        await plane.apply(old)
        answer = await plane.get(PATH)
        assert (answer.status, answer.json()["code"]) == (404, "node_too_old")
        assert old.node.paths[PATH] == 0


async def test_without_a_node_that_answers_there_is_no_answer(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await node.refuse()
        answer = await plane.get(PATH)
        assert (answer.status, answer.json()["code"]) == (503, "no_healthy_node")
        await node.accept()
        assert (await plane.get(PATH)).status == 200
