"""A node added through the API serves within two seconds, on either database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakes.marks import on_both_databases
from fakes.processes import eventually
from fakes.stack import APPLY_S

if TYPE_CHECKING:
    from fakes.stack import Stack


@on_both_databases
def test_a_node_added_through_the_api_serves_within_two_seconds(stack: Stack) -> None:
    node = stack.node("gemma3:latest")
    assert stack.plane.chat("gemma3").status_code == 404

    began_at = time.monotonic()
    stack.api.node_add("first", node.url)
    eventually(
        "the model is served", lambda: stack.plane.chat("gemma3").status_code == 200, APPLY_S
    )
    assert time.monotonic() - began_at < APPLY_S
    assert node.served() >= 1


def test_an_unreachable_node_is_saved_in_standby_with_the_reason(stack: Stack) -> None:
    node = stack.node()
    node.kill()

    added = stack.api.node_add("dead", node.url)

    assert added["probe"]["outcome"] == "refused"
    assert stack.plane.chat("llama3.2").status_code in {404, 503}
