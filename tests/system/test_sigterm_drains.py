"""SIGTERM is a promise: what was begun is finished, nothing new is begun, the exit code is 0."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx2
from fakes.canary import Canary
from fakes.plane import MODEL
from fakes.processes import eventually, is_listening

if TYPE_CHECKING:
    from fakes.stack import Stack

AT_ONCE_S = 1.0


def test_running_streams_finish_and_the_exit_code_is_zero(stack: Stack) -> None:
    """F62."""
    node = stack.serving_node()
    node.pace(token_s=0.05)
    with stack.plane.stream(60) as stream:
        stream.read_records(2)

        stack.plane.process.terminate()

        eventually("not ready at once", lambda: _readiness(stack) == 503, AT_ONCE_S)
        eventually("no new clients", lambda: not is_listening(stack.plane.port), AT_ONCE_S)
        stream.read_to_end()
    assert stream.is_complete
    assert stream.records[-1]["done"] is True
    assert stack.plane.process.exit_code(5) == 0


def test_an_idle_instance_ends_at_once(stack: Stack) -> None:
    stack.serving_node()
    assert stack.plane.chat(MODEL).status_code == 200
    asked_at = time.monotonic()

    stack.plane.process.terminate()

    assert stack.plane.process.exit_code(5) == 0
    assert time.monotonic() - asked_at < 3


def test_the_second_instance_serves_on(stack: Stack) -> None:
    """F62."""
    stack.serving_node()
    second = stack.second_plane
    eventually("the second is ready", lambda: second.readiness().status_code == 200, 10)
    with Canary([second.port], MODEL) as canary:
        eventually("traffic flows", lambda: canary.served_since(0) > 10, 5)
        stack.plane.process.terminate()
        assert stack.plane.process.exit_code(5) == 0
        ended_at = time.monotonic()
        eventually("served on", lambda: canary.served_since(ended_at) > 25, 10)
        canary.assert_unharmed()


def _readiness(stack: Stack) -> int:
    try:
        return stack.plane.readiness().status_code
    except httpx2.HTTPError:
        return 0
