"""Nothing on the path of a request asks the control plane: it may be killed under traffic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakes.canary import Canary
from fakes.plane import MODEL
from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack


def test_killing_control_plane_and_worker_costs_no_request(stack: Stack) -> None:
    """F54."""
    stack.serving_node()
    stack.serving_node()
    with Canary([stack.plane.port], MODEL) as canary:
        eventually("traffic flows", lambda: canary.served_since(0) > 10, 5)
        stack.control.kill()
        stack.worker.kill()
        killed_at = time.monotonic()
        eventually("served on", lambda: canary.served_since(killed_at) > 50, 10)
        stack.start_control()
        stack.worker.start()
        restarted_at = time.monotonic()
        stack.assert_a_change_is_applied(within_s=15)
        eventually("served on", lambda: canary.served_since(restarted_at) > 10, 10)
        canary.assert_unharmed(at_least=50)


def test_a_change_committed_while_nobody_could_publish_is_published_later(stack: Stack) -> None:
    """F53."""
    stack.worker.kill()
    node = stack.node("gemma3:latest")
    stack.api.node_add("unpublished", node.url)

    stack.worker.start()

    eventually("it serves", lambda: stack.plane.chat("gemma3").status_code == 200, 20)
