"""Active counts are those of the whole fleet: a node that one keeps busy, another leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.plane import MODEL
from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack

BUSY = 4
ASKED = 6
SEEN_S = 4.0
"""A report every second, and one look at the others' every second."""


def test_least_active_counts_the_requests_of_the_other_instance(stack: Stack) -> None:
    busy = stack.serving_node()
    busy.pace(token_s=0.1)
    streams = [stack.plane.stream(300) for _ in range(BUSY)]
    for stream in streams:
        stream.read_records(1)
    idle = stack.serving_node()
    second = stack.second_plane
    eventually("the second is ready", lambda: second.readiness().status_code == 200, 10)
    eventually("the state counts them", lambda: stack.active_counts().get(busy.id) == BUSY, SEEN_S)

    def all_go_to_the_idle_node() -> bool:
        before = idle.served()
        for _ in range(ASKED):
            assert second.chat(MODEL).status_code == 200
        return idle.served() == before + ASKED

    # Several in a row: one alone may get there by the dice, before the counts are known.
    eventually("the second knows it", all_go_to_the_idle_node, SEEN_S)
    assert all_go_to_the_idle_node()
    for stream in streams:
        stream.close()
    eventually("the state counts none", lambda: not stack.active_counts().get(busy.id), SEEN_S)


def test_an_instance_that_was_killed_stops_counting(stack: Stack) -> None:
    """F61."""
    busy = stack.serving_node()
    busy.pace(token_s=0.1)
    second = stack.second_plane
    eventually("the second is ready", lambda: second.readiness().status_code == 200, 10)
    with second.stream(600) as stream:
        stream.read_records(1)
        eventually("it is counted", lambda: stack.active_counts().get(busy.id) == 1, SEEN_S)
        second.process.kill()

    eventually("it counts no more", lambda: not stack.active_counts().get(busy.id), 17)
