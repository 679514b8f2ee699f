"""What is read of an event; all else that it holds is none of our business."""

import msgspec
import pytest

from data_plane.protocol import sse_events
from data_plane.protocol.usage import of_tokens


def test_a_completion_says_what_it_cost() -> None:
    event = sse_events.read_completion(
        b'{"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"new":{}}}'
    )
    usage = of_tokens(event.usage)
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 4)
    assert bytes(event.error) == b""


def test_an_anthropic_event_says_its_type_and_what_the_input_cost() -> None:
    event = sse_events.read_anthropic(
        b'{"type":"message_start","message":{"role":"assistant","usage":{"input_tokens":5}}}'
    )
    assert event.type == "message_start"
    assert of_tokens(event.message.usage).prompt_tokens == 5


def test_a_response_that_failed_says_why() -> None:
    event = sse_events.read_responses(
        b'{"type":"response.failed","response":{"error":{"message":"no"},"output":[]}}'
    )
    assert event.type == "response.failed"
    assert bytes(event.response.error) == b'{"message":"no"}'


@pytest.mark.parametrize(
    "read", [sse_events.read_completion, sse_events.read_anthropic, sse_events.read_responses]
)
def test_what_is_no_object_is_refused(read) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(b"[1, 2]")
