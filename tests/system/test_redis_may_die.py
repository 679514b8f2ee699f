"""Redis carries the news and nothing else: killed, frozen or emptied, requests go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakes.canary import Canary
from fakes.plane import MODEL
from fakes.processes import eventually

from shared import keys

if TYPE_CHECKING:
    from fakes.stack import Stack

FROZEN_S = 6.0
"""Longer than any socket time-out that could hide on the path of a request."""

RESTORE_S = 30.0
SLOW_S = 2.0
"""No request may take this long on nodes that answer at once."""


def test_killing_redis_costs_no_request(stack: Stack) -> None:
    """F43."""
    stack.serving_node()
    stack.serving_node()
    with Canary([stack.plane.port], MODEL) as canary:
        eventually("traffic flows", lambda: canary.served_since(0) > 10, 5)
        stack.valkey.kill()
        killed_at = time.monotonic()
        eventually("served on", lambda: canary.served_since(killed_at) > 75, 10)
        stack.start_valkey()
        stack.assert_a_change_is_applied(within_s=15)
        canary.assert_unharmed(at_least=50)
        assert canary.slowest_s < SLOW_S


def test_a_frozen_redis_costs_no_request_and_no_time(stack: Stack) -> None:
    """F45."""
    stack.serving_node()
    stack.serving_node()
    with Canary([stack.plane.port], MODEL) as canary:
        eventually("traffic flows", lambda: canary.served_since(0) > 10, 5)
        stack.valkey.freeze()
        frozen_at = time.monotonic()
        asked_at = time.monotonic()
        assert stack.api.ask("PATCH", "/api/proxy/config", {"rise": 3}).status_code == 200
        assert time.monotonic() - asked_at < SLOW_S, "the API waits for Redis"
        eventually(
            "served on",
            lambda: canary.served_since(frozen_at) > FROZEN_S / 0.04 * 0.8,
            FROZEN_S * 3,
        )
        stack.valkey.thaw()
        stack.assert_a_change_is_applied(within_s=15)
        canary.assert_unharmed(at_least=50)
        assert canary.slowest_s < SLOW_S


def test_an_emptied_redis_is_filled_again_and_nothing_is_forgotten_meanwhile(stack: Stack) -> None:
    """F44."""
    stack.serving_node()
    with Canary([stack.plane.port], MODEL) as canary:
        eventually("traffic flows", lambda: canary.served_since(0) > 10, 5)
        before = stack.published()
        stack.redis.flushall()
        flushed_at = time.monotonic()
        # Or a later one: on a busy machine a sweep may have found something out meanwhile.
        eventually("the snapshot is back", lambda: stack.published() >= before, RESTORE_S)
        eventually("a sweep runs", lambda: stack.redis.get(keys.SWEEP_FINISHED_AT), RESTORE_S)
        eventually("served on", lambda: canary.served_since(flushed_at) > 25, 10)
        canary.assert_unharmed()
    stack.assert_a_change_is_applied()


def test_a_sweep_runs_after_every_restart_of_redis(stack: Stack) -> None:
    """F59."""
    for _ in range(5):
        stack.valkey.kill()
        stack.start_valkey()
        restarted_at = time.time()
        stack.await_sweep(restarted_at)
