"""A client that leaves ends its request: no node works for nobody, no count stays up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack

CANCEL_S = 1.0


def test_leaving_mid_stream_cancels_the_request_at_the_node(stack: Stack) -> None:
    """F32."""
    node = stack.serving_node()
    node.pace(token_s=0.05)
    stream = stack.plane.stream(500)
    stream.read_records(3)
    eventually("it is counted", lambda: stack.plane.active_count(node.id) == 1, 3)

    stream.close()

    eventually("the node is told", lambda: node.active() == 0, CANCEL_S)
    assert node.cancelled() == 1
    eventually("the count is back", lambda: stack.plane.active_count(node.id) == 0, 3)


def test_leaving_before_the_first_byte_cancels_it_too(stack: Stack) -> None:
    """F33."""
    node = stack.serving_node()
    node.hold_first_byte()
    stream = stack.plane.stream(5)
    eventually("the node has it", lambda: node.active() == 1, 3)

    stream.close()

    eventually("the node is told", lambda: node.active() == 0, CANCEL_S)
    eventually("the count is back", lambda: stack.plane.active_count(node.id) == 0, 3)


def test_many_that_leave_at_once_leave_nothing_behind(stack: Stack) -> None:
    node = stack.serving_node()
    node.pace(token_s=0.05)
    streams = [stack.plane.stream(500) for _ in range(20)]
    for stream in streams:
        stream.read_records(1)
    for stream in streams:
        stream.close()

    eventually("the node is free", lambda: node.active() == 0, 2 * CANCEL_S)
    eventually("the count is back", lambda: stack.plane.active_count(node.id) == 0, 3)
