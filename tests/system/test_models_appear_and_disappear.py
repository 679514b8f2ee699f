"""What a node has on its disk is looked at again and again; no one has to say that it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack

REFRESH_S = 8.0
"""A refresh every 2 s in the fast config, the beat's own 2 s, and one to be applied."""


def test_a_pulled_model_is_served_and_a_deleted_one_is_not(stack: Stack) -> None:
    node = stack.serving_node("llama3.2:latest")
    assert stack.plane.chat("qwen3:8b").status_code == 404

    node.pull("qwen3:8b")
    eventually("it is listed", lambda: "qwen3:8b" in stack.plane.models(), REFRESH_S)
    assert stack.plane.chat("qwen3:8b").status_code == 200

    node.delete("qwen3:8b")
    eventually("it is gone", lambda: "qwen3:8b" not in stack.plane.models(), REFRESH_S)
    assert stack.plane.chat("qwen3:8b").status_code == 404
    assert stack.plane.chat("llama3.2").status_code == 200


def test_a_model_gone_before_anyone_looked_is_asked_of_another_node(stack: Stack) -> None:
    stack.api.config_change(model_refresh_interval_s=3600)
    poorer = stack.serving_node("mistral:latest")
    other = stack.serving_node("mistral:latest")

    poorer.delete("mistral:latest")

    other.hold_first_byte()  # so that the second goes to the poorer one, if the first did not
    streams = [stack.plane.stream(3, model="mistral") for _ in range(2)]
    eventually("the other one has both", lambda: other.active() == len(streams), 5)
    other.pace()
    for stream in streams:
        with stream:
            stream.read_to_end()
            assert stream.is_complete
    eventually(
        "the node is looked at again, early",
        lambda: not stack.models_of(poorer.id),
        REFRESH_S,
    )
