"""The end of a stream of the compatible families, however the network cuts it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.endings import Usage
from data_plane.protocol.sse import AnthropicScanner, OpenAIScanner, ResponsesScanner


def data(document):
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def event(document):
    return b"event: " + document["type"].encode() + b"\n" + data(document)


def delta(content):
    return data({"object": "chat.completion.chunk", "choices": [{"delta": {"content": content}}]})


OPENAI = b"".join(
    [
        delta("Hello"),
        delta("[DONE]"),
        data({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        data({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}),
        b"data: [DONE]\n\n",
    ]
)

ANTHROPIC = b"".join(
    [
        event(
            {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 0}}}
        ),
        event({"type": "content_block_delta", "delta": {"text": '"type":"message_stop"'}}),
        event({"type": "message_delta", "usage": {"input_tokens": 11, "output_tokens": 7}}),
        event({"type": "message_stop"}),
    ]
)

RESPONSES = b"".join(
    [
        event({"type": "response.created", "response": {"error": None, "usage": None}}),
        event({"type": "response.output_text.delta", "delta": "response.completed"}),
        event(
            {
                "type": "response.completed",
                "response": {"error": None, "usage": {"input_tokens": 11, "output_tokens": 7}},
            }
        ),
    ]
)

USAGE = Usage(prompt_tokens=11, completion_tokens=7)
FAMILIES = [
    pytest.param(OpenAIScanner, OPENAI, id="openai"),
    pytest.param(AnthropicScanner, ANTHROPIC, id="anthropic"),
    pytest.param(ResponsesScanner, RESPONSES, id="responses"),
]


def fed(kind, *chunks, **limits):
    scanner = kind(**limits)
    for chunk in chunks:
        scanner.feed(chunk)
    scanner.end()
    return scanner


@pytest.mark.parametrize(("kind", "stream"), FAMILIES)
def test_a_stream_cut_anywhere_is_done(kind, stream):
    for cut in range(1, len(stream)):
        scanner = fed(kind, stream[:cut], stream[cut:])
        assert (scanner.done, scanner.usage, scanner.error) == (True, USAGE, None), cut


@pytest.mark.parametrize(("kind", "stream"), FAMILIES)
def test_a_stream_fed_byte_by_byte_is_done_only_with_its_last_event(kind, stream):
    scanner = kind()
    for index in range(len(stream)):
        assert not scanner.done
        scanner.feed(stream[index : index + 1])
        if index == len(stream) - 2:
            break
    scanner.feed(stream[-1:])
    assert scanner.done


@pytest.mark.parametrize(("kind", "stream"), FAMILIES)
def test_a_stream_that_breaks_off_is_not_done(kind, stream):
    last = stream.rstrip(b"\n").rfind(b"\n") if kind is not OpenAIScanner else len(stream) - 10
    for length in range(0, last, 3):
        assert not fed(kind, stream[:length]).done


@pytest.mark.parametrize(("kind", "stream"), FAMILIES)
def test_lines_that_end_in_cr_lf_are_read(kind, stream):
    assert fed(kind, stream.replace(b"\n", b"\r\n")).done


@pytest.mark.parametrize(("kind", "stream"), FAMILIES)
def test_no_space_after_the_colon_is_needed(kind, stream):
    assert fed(kind, stream.replace(b"data: ", b"data:")).done


@given(st.text(), st.lists(st.integers(1, 40), max_size=40))
def test_no_content_and_no_cutting_fools_the_scanner(content, sizes):
    stream = delta(content) + OPENAI
    chunks, start = [], 0
    for size in sizes:
        chunks.append(stream[start : start + size])
        start += size
    chunks.append(stream[start:])
    assert fed(OpenAIScanner, *chunks).done
    assert not fed(OpenAIScanner, delta(content)).done


@pytest.mark.parametrize(
    "line",
    [
        b"data: [DONE] not\n\n",
        b": [DONE]\n\n",
        b"[DONE]\n\n",
        b"event: [DONE]\n\n",
        b'data: "[DONE]"\n\n',
    ],
)
def test_only_a_data_line_of_done_alone_is_the_end(line):
    assert not fed(OpenAIScanner, line).done


def test_without_usage_events_there_is_no_usage():
    assert fed(OpenAIScanner, delta("a"), b"data: [DONE]\n\n").usage is None


@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        (OpenAIScanner, data({"error": {"message": "it broke", "type": "api_error"}})),
        (AnthropicScanner, event({"type": "error", "error": {"message": "it broke"}})),
        (
            ResponsesScanner,
            event({"type": "response.failed", "response": {"error": {"message": "it broke"}}}),
        ),
        (ResponsesScanner, b'data: {"type":"error","message":"it broke","error":null}\n\n'),
    ],
)
def test_an_error_event_is_told_and_ends_nothing(kind, stream):
    scanner = fed(kind, stream)
    assert (scanner.done, scanner.error) == (False, "it broke")


def test_an_error_event_without_a_text_is_an_error_all_the_same():
    assert (
        fed(AnthropicScanner, b'data: {"type":"error","error":null}\n\n').error == "unknown error"
    )


def test_an_answer_cut_by_its_limit_is_whole():
    stream = event({"type": "response.incomplete", "response": {"usage": {"output_tokens": 5}}})
    scanner = fed(ResponsesScanner, stream)
    assert scanner.done
    assert scanner.usage.completion_tokens == 5


def test_the_estimate_of_the_input_stands_until_the_count_comes():
    start = event({"type": "message_start", "message": {"usage": {"input_tokens": 9}}})
    end = event({"type": "message_delta", "usage": {"output_tokens": 7}})
    assert fed(AnthropicScanner, start, end).usage == Usage(prompt_tokens=9, completion_tokens=7)


@pytest.mark.parametrize(("kind", "stream"), FAMILIES)
def test_an_own_event_never_grows_onto_a_broken_one(kind, stream):
    scanner = kind()
    assert scanner.separator == b""
    scanner.feed(stream[:20])
    assert scanner.separator == b"\n\n"
    scanner.feed(stream[20 : stream.index(b"\n\n") + 2])
    assert scanner.separator == b""


def test_a_giant_last_event_is_judged_as_it_passes():
    giant = b'data: {"type":"response.completed","response":{"x":"' + b"y" * 9_000 + b'"}}\n\n'
    parts = (giant[:3_000], giant[3_000:8_000], giant[8_000:])
    assert fed(ResponsesScanner, *parts, max_line_bytes=1_000).done


def test_a_giant_event_of_chat_ends_nothing():
    giant = delta("[DONE]" * 1_000)
    parts = (giant[:3_000], giant[3_000:])
    assert not fed(OpenAIScanner, *parts, max_line_bytes=1_000).done
    assert fed(OpenAIScanner, *parts, b"data: [DONE]\n\n", max_line_bytes=1_000).done


@pytest.mark.parametrize(("kind", "stream"), FAMILIES)
def test_junk_between_the_events_is_passed_over(kind, stream):
    junk = b'data: {"error"\n\ndata: "usage" message_stop response.completed\n\n: ping\n\n'
    scanner = fed(kind, junk, stream)
    assert (scanner.done, scanner.error) == (True, None)
