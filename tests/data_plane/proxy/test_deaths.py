"""A thousand deaths of nodes before their first byte, and no client that notices one."""

import itertools
import json
from typing import Any

import pytest
from fakes.ollama import FakeOllama

from shared.snapshot import ProxyConfig

DEATHS = 1_000
KINDS = ("reset", "close", "garbage")
UNHURRIED = ProxyConfig(probe_interval_s=1.0, probe_timeout_s=5.0, fall=20)
"""A busy machine must not look like a dead node: the deaths are those of this test."""


@pytest.mark.timeout(300)
async def test_a_thousand_deaths_before_the_first_byte_cost_no_answer(make_plane: Any) -> None:
    """F03, F09, F17: each strikes whichever of three nodes is chosen first."""
    plane = await make_plane()
    async with FakeOllama() as first, FakeOllama() as second, FakeOllama() as third:
        nodes = (first, second, third)
        await plane.apply(*nodes, config=UNHURRIED)
        deaths = 0
        for turn in itertools.cycle(itertools.product(KINDS, (True, False), nodes)):
            kind, stream, node = turn
            for each in nodes:
                each.clear_faults()  # one that was not chosen keeps its fault
            fault = node.fault(kind, path="/api/chat", times=1)
            answer = await plane.chat(stream=stream)
            assert answer.status == 200, (turn, answer.body)
            assert json.loads(answer.body.splitlines()[-1])["done"] is True, turn
            deaths += fault.hits
            if deaths == DEATHS:
                break
        # The others broke a pooled connection: that is replaced without being counted.
        assert sum(line["attempts"] > 1 for line in plane.lines()) > DEATHS / 4
        assert {line["outcome"] for line in plane.lines()} == {"ok"}
