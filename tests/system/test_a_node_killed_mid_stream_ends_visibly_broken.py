"""Nobody may take half an answer for a whole one: a node that dies midway is told to the client.

In every dialect: an error record as the last thing, no mark of completion, no final chunk.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakes.raw import RawStream
    from fakes.stack import Stack

DEADLINE_S = 2.0


def _broken_stream(stack: Stack, path: str, begun: bytes) -> RawStream:
    # There is another node: a begun answer is still never continued there.
    nodes = (stack.serving_node(), stack.serving_node())
    for node in nodes:
        node.pace(token_s=0.05)
    with stack.plane.stream(200, path) as stream:
        stream.read_until(begun)
        holder, spared = sorted(nodes, key=lambda node: node.active(), reverse=True)
        holder.kill()
        stream.read_to_end()
    assert stream.status == 200
    assert stream.has_ended, "the connection stayed open"
    assert not stream.is_complete, "a broken answer ended with a clean final chunk"
    assert spared.served(path) == 0
    return stream


def test_a_native_stream_ends_with_an_error_record(stack: Stack) -> None:
    """F04."""
    stream = _broken_stream(stack, "/api/chat", b'"done":false')

    last = stream.records[-1]
    assert last["code"] == "upstream_truncated"
    assert isinstance(last["error"], str)
    assert last["request_id"]
    assert not any(record.get("done") is True for record in stream.records)


def test_an_openai_stream_ends_with_an_error_event(stack: Stack) -> None:
    """F04."""
    stream = _broken_stream(stack, "/v1/chat/completions", b"data: ")

    events = [line for line in stream.body.split(b"\n\n") if line.startswith(b"data: ")]
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["code"] == "upstream_truncated"
    assert b"[DONE]" not in stream.body


def test_an_anthropic_stream_ends_with_an_error_event(stack: Stack) -> None:
    """F04."""
    stream = _broken_stream(stack, "/v1/messages", b"event: content_block_delta")

    assert b"event: error\n" in stream.body.split(b"\n\n")[-2] + b"\n"
    assert b"message_stop" not in stream.body
