"""Removing or disabling a node takes it out for new requests; what it is saying is not cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakes.plane import MODEL
from fakes.processes import eventually
from fakes.stack import APPLY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes.node_process import NodeProcess
    from fakes.stack import Stack

WORDS = 60


def _remove(stack: Stack, node: NodeProcess) -> None:
    stack.api.node_remove(node.id)


def _disable(stack: Stack, node: NodeProcess) -> None:
    stack.api.node_change(node.id, active=False)


@pytest.mark.parametrize("take_out", [_remove, _disable])
def test_the_stream_finishes_and_no_new_request_comes(
    stack: Stack, take_out: Callable[[Stack, NodeProcess], None]
) -> None:
    """F31, C28."""
    leaving = stack.serving_node()
    leaving.pace(token_s=0.05)
    with stack.plane.stream(WORDS) as stream:
        stream.read_records(2)
        take_out(stack, leaving)
        eventually("the model is gone", lambda: not stack.plane.models(), APPLY_S)
        staying = stack.serving_node()
        served_before = leaving.served()
        for _ in range(6):
            assert stack.plane.chat(MODEL).status_code == 200
        assert not stream.is_complete, "the stream ended too early to prove anything"
        stream.read_to_end()

    assert stream.is_complete
    assert stream.records[-1]["done"] is True
    assert len(stream.records) >= WORDS
    assert leaving.served() == served_before == 1
    assert staying.served() == 6


def test_a_node_enabled_again_serves_again(stack: Stack) -> None:
    node = stack.serving_node()
    stack.api.node_change(node.id, active=False)
    eventually("refused", lambda: stack.plane.chat(MODEL).status_code != 200, APPLY_S)

    stack.api.node_change(node.id, active=True)

    eventually("served", lambda: stack.plane.chat(MODEL).status_code == 200, APPLY_S)
