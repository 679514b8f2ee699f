"""A worker killed in the middle of a sweep leaves no lock behind; two beats do no work twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakes.processes import eventually

from shared import keys

if TYPE_CHECKING:
    from fakes.stack import Stack

NEXT_SWEEP_S = 25.0
"""Start of a worker, what is left of the beat's lock (10 s) and the claim, one interval."""


def test_the_next_sweep_runs_after_a_kill_in_the_middle_of_one(stack: Stack) -> None:
    """F56."""
    stack.api.config_change(probe_timeout_s=3)
    hung = stack.serving_node()
    hung.freeze()
    eventually(
        "a sweep is under way", lambda: stack.redis.exists(keys.claim("nodes.sweep_health")), 10
    )
    stack.worker.kill()
    killed_at = time.time()

    stack.worker.start()

    eventually("a sweep finished", lambda: stack.swept_at() > killed_at, NEXT_SWEEP_S)


def test_two_workers_with_a_beat_each_check_a_node_no_oftener_than_one(stack: Stack) -> None:
    """F57."""
    node = stack.serving_node()
    stack.api.config_change(health_interval_s=2, probe_interval_s=60)
    second = stack.worker_named("worker-2")
    second.start()
    eventually("it is up", lambda: "ready." in second.tail(), 30)
    begin, first_sweep = node.checked(), stack.swept_at()

    eventually("sweeps go on", lambda: stack.swept_at() > first_sweep + 4, 20)

    sweeps = (stack.swept_at() - first_sweep) / 2 + 1
    assert node.checked() - begin <= sweeps + 1
    second.stop()
