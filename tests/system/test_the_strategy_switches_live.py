"""The strategy is part of the proxy config: a switch holds for the next request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.plane import MODEL
from fakes.processes import eventually
from fakes.stack import hold_requests

if TYPE_CHECKING:
    from fakes.node_process import NodeProcess
    from fakes.stack import Stack

KNOWN_S = 60.0
"""A sweep every 2 s; a data plane reads what it measured every 10 s, and weighs it with what it has
seen before: a value from the moment before the node became slow takes three more to outweigh."""


def test_lowest_latency_prefers_the_nearer_node_and_least_active_spreads(stack: Stack) -> None:
    near = stack.serving_node()
    far = stack.serving_node()
    far.pace(probe_s=0.2)
    stack.api.config_change(strategy="lowest_latency")
    eventually(
        "the data plane knows the difference",
        lambda: _latency_s(stack, far) > _latency_s(stack, near) + 0.1 > 0.1,
        KNOWN_S,
    )
    stack.await_applied()
    near_before, far_before = near.served(), far.served()
    for _ in range(6):
        assert stack.plane.chat(MODEL).status_code == 200
    assert (near.served() - near_before, far.served() - far_before) == (6, 0)

    stack.api.config_change(strategy="least_active")
    stack.await_applied()

    for stream in hold_requests(stack, near, far):  # which asserts that each holds its share
        stream.close()


def _latency_s(stack: Stack, node: NodeProcess) -> float:
    report = stack.plane.report()
    seen = report.nodes.get(node.id) if report else None
    return seen.latency_s or 0.0 if seen else 0.0
