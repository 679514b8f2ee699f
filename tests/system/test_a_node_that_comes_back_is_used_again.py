"""Standby is not for ever: a node that answers again returns without anybody doing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.canary import Canary
from fakes.plane import MODEL
from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack

RETURN_S = 10.0
"""Back-off of the probes and two good ones; then the sweep's verdict, every 2 s, rise 2."""


def test_a_restarted_node_returns_by_itself(stack: Stack) -> None:
    node, other = stack.serving_node(), stack.serving_node()
    other.pace(first_byte_s=0.1)  # requests overlap: else all go where it is loaded
    node.kill()
    with Canary([stack.plane.port], MODEL) as canary:
        eventually("it is known to be down", lambda: node.id in stack.standby(), 10)

        node.restart()

        eventually("it is used again", lambda: node.served() > 3, RETURN_S)
        canary.assert_unharmed()


def test_a_thawed_node_returns_by_itself(stack: Stack) -> None:
    node = stack.serving_node()
    node.freeze()
    eventually("it is known to be down", lambda: node.id in stack.standby(), 15)
    assert stack.plane.chat(MODEL).status_code == 503

    node.thaw()

    eventually("it serves", lambda: stack.plane.chat(MODEL).status_code == 200, RETURN_S)
