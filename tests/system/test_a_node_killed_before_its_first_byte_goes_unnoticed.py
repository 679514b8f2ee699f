"""A node that dies with requests in hand costs no client anything: another node answers them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakes.canary import Canary
from fakes.plane import MODEL
from fakes.processes import eventually
from fakes.stack import hold_requests

if TYPE_CHECKING:
    from fakes.stack import Stack


def test_requests_waiting_for_their_first_byte_are_answered_by_another_node(stack: Stack) -> None:
    """F03."""
    dying, other = stack.serving_node(), stack.serving_node()
    streams = hold_requests(stack, dying, other)

    other.pace()  # this one answers again
    dying.kill()

    for stream in streams:
        with stream:
            stream.read_to_end()
            assert stream.status == 200
            assert stream.is_complete
            assert stream.records[-1]["done"] is True
    assert other.served() == len(streams)


def test_a_node_killed_under_traffic_costs_no_answer(stack: Stack) -> None:
    dying, other = stack.serving_node(), stack.serving_node()
    for node in (dying, other):  # requests overlap: else all go where it is loaded
        node.pace(first_byte_s=0.1)
    with Canary([stack.plane.port], MODEL) as canary:
        eventually("both are used", lambda: dying.served() > 5, 10)
        # Between the chunks of an answer a kill is visible, by design: this node has not begun any.
        dying.hold_first_byte()
        eventually("the node holds one", lambda: dying.active() >= 1, 5)
        killed_at = time.monotonic()
        dying.kill()
        eventually("served on", lambda: canary.served_since(killed_at) > 25, 10)
        canary.assert_unharmed()
