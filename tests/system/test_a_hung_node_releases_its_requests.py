"""A node that is frozen keeps its connections open: only probing it finds out.

The waits are those of the fast config: three failed probes, 0.3 s apart, of at most 0.5 s each.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from fakes.plane import MODEL
from fakes.processes import eventually
from fakes.stack import hold_requests

if TYPE_CHECKING:
    from fakes.stack import Stack

RELEASE_S = 5.0
"""Three probes take 2.4 s at most; the rest is for two busy cores."""

SHIPPED = {"probe_interval_s": 5.0, "probe_timeout_s": 2.0, "fall": 3}
SHIPPED_RELEASE_S = 17.0 + 3.0
"""The promise: up to 5 s until the first probe, two intervals, the last time-out. And the rest."""


def test_requests_waiting_on_a_frozen_node_are_answered_by_another(stack: Stack) -> None:
    """F06."""
    hung, other = stack.serving_node(), stack.serving_node()
    streams = hold_requests(stack, hung, other)

    other.pace()  # this one answers again
    hung.freeze()
    frozen_at = time.monotonic()

    for stream in streams:
        with stream:
            stream.read_to_end()
            assert stream.status == 200
            assert stream.records[-1]["done"] is True
    assert time.monotonic() - frozen_at < RELEASE_S
    assert other.served() == len(streams)


@pytest.mark.timeout(120)
def test_with_the_shipped_waits_it_takes_seventeen_seconds(stack: Stack) -> None:
    """F06."""
    stack.api.config_change(**SHIPPED)
    hung, other = stack.serving_node(), stack.serving_node()
    streams = hold_requests(stack, hung, other)
    other.pace()
    hung.freeze()
    frozen_at = time.monotonic()

    for stream in streams:
        with stream:
            stream.read_to_end()
            assert stream.status == 200
            assert stream.records[-1]["done"] is True
    print(f"released after {time.monotonic() - frozen_at:.1f} s")
    assert time.monotonic() - frozen_at < SHIPPED_RELEASE_S


def test_with_no_other_node_the_client_is_told_then_and_not_minutes_later(stack: Stack) -> None:
    """F06."""
    hung = stack.serving_node()
    hung.hold_first_byte()
    with stack.plane.stream(5) as stream:
        eventually("the node holds it", lambda: hung.active() == 1, 5)
        hung.freeze()
        frozen_at = time.monotonic()
        stream.read_to_end()

    assert stream.status == 504
    assert time.monotonic() - frozen_at < RELEASE_S


def test_a_stream_whose_node_freezes_ends_visibly_broken(stack: Stack) -> None:
    """F07."""
    hung = stack.serving_node()
    hung.pace(token_s=0.05)
    with stack.plane.stream(200) as stream:
        stream.read_records(3)
        hung.freeze()
        frozen_at = time.monotonic()
        stream.read_to_end()

    assert time.monotonic() - frozen_at < RELEASE_S
    assert stream.records[-1]["code"] == "upstream_stalled"
    assert not stream.is_complete


def test_a_slow_node_is_left_alone(stack: Stack) -> None:
    """F08."""
    slow = stack.serving_node()
    slow.pace(first_byte_s=4.0)

    began_at = time.monotonic()
    answer = stack.plane.chat(MODEL)

    assert answer.status_code == 200
    assert time.monotonic() - began_at >= 4.0
    assert slow.served() == 1
