"""Nodes of different versions in one cluster: reference 2 (`/api/version`) and 8."""

from contextlib import ExitStack

import pytest
from fakes.ollama import FakeOllama

HELLO = [{"role": "user", "content": "hi"}]
YOUNG = {
    "/v1/responses": {"model": "llama3.2", "input": "hi"},
    "/v1/messages": {"model": "llama3.2", "messages": HELLO, "max_tokens": 9},
    "/api/chat": {"model": "llama3.2", "messages": HELLO, "think": False},
}


@pytest.mark.parametrize("path", YOUNG)
async def test_what_an_old_node_lacks_is_not_sent_to_it(plane, path) -> None:
    async with FakeOllama(version="0.8.0") as old, FakeOllama() as new:
        await plane.apply(old, new)
        assert (await plane.get("/api/version")).json() == {"version": "0.8.0"}
        with ExitStack() as load:
            for _ in range(5):  # the old one is idle, and would be chosen
                load.enter_context(plane.app.leases.take("n2", 0.0))
            for _ in range(3):
                assert (await plane.post(path, YOUNG[path])).status == 200
        assert len(new.inference) == 3
        assert not old.inference


async def test_what_all_know_goes_to_all(plane) -> None:
    async with FakeOllama(version="0.8.0") as old, FakeOllama() as new:
        await plane.apply(old, new)
        with plane.app.leases.take("n2", 0.0):
            assert (await plane.chat()).status == 200
        assert len(old.inference) == 1
        assert not new.inference


async def test_an_old_node_helps_out_when_no_newer_one_can(plane) -> None:
    """It leaves the field out, as it always did."""
    async with FakeOllama(version="0.8.0") as old, FakeOllama() as new:
        await plane.apply(old, new)
        await new.refuse()
        answer = await plane.chat(think=False)
        assert answer.status == 200
        assert len(old.inference) == 1


async def test_a_route_that_no_node_knows_is_said_in_the_dialect(plane) -> None:
    async with FakeOllama(version="0.8.0") as old:
        await plane.apply(old)
        answer = await plane.post("/v1/messages", YOUNG["/v1/messages"])
        assert (answer.status, answer.json()["error"]["type"]) == (404, "not_found_error")
        assert "too old" in answer.json()["error"]["message"]
        assert (await plane.chat()).status == 200
