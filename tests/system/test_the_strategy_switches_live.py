"""The strategy is part of the proxy config: a switch holds for the next request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.plane import MODEL
from fakes.processes import eventually
from fakes.stack import APPLY_S

if TYPE_CHECKING:
    from fakes.stack import Stack


def test_lowest_latency_prefers_the_nearer_node_and_least_active_spreads(stack: Stack) -> None:
    near = stack.serving_node()
    far = stack.serving_node()
    far.pace(probe_s=0.2)
    stack.api.config_change(strategy="lowest_latency")
    eventually(
        "the difference is known",
        lambda: (stack.latencies().get(far.id) or 0) > (stack.latencies().get(near.id) or 9) + 0.1,
        10,
    )
    stack.await_applied()
    near_before, far_before = near.served(), far.served()
    for _ in range(6):
        assert stack.plane.chat(MODEL).status_code == 200
    assert (near.served() - near_before, far.served() - far_before) == (6, 0)

    stack.api.config_change(strategy="least_active")
    stack.await_applied()

    def is_far_used() -> bool:
        assert stack.plane.chat(MODEL).status_code == 200
        return far.served() > far_before

    eventually("both are used", is_far_used, APPLY_S)
