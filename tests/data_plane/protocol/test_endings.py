"""What JSON is read into: what it must not say, and what is none of our business."""

import msgspec
import pytest

from data_plane.protocol.endings import ErrorObject, Record, Whole


def test_a_record_that_says_nothing_is_empty() -> None:
    record = msgspec.json.decode(b'{"model":"m","message":{"content":"x"}}', type=Record)
    assert (record.done, record.total_duration, bytes(record.error)) == (None, None, b"")


def test_an_error_is_kept_as_it_came() -> None:
    assert bytes(msgspec.json.decode(b'{"error":{"a":[1]}}', type=Record).error) == b'{"a":[1]}'


def test_a_whole_answer_is_of_any_family() -> None:
    whole = msgspec.json.decode(
        b'{"usage":{"input_tokens":1},"type":"message","stop_reason":"end_turn",'
        b'"choices":[{"finish_reason":"stop"}],"_debug_info":{}}',
        type=Whole,
    )
    assert (whole.usage.input_tokens, whole.type, whole.stop_reason) == (1, "message", "end_turn")
    assert whole.choices[0].finish_reason == "stop"
    assert bytes(whole.debug_info) == b"{}"


@pytest.mark.parametrize("said", [b'{"done":"yes"}', b'{"eval_count":"many"}', b"[]"])
def test_what_means_something_else_is_refused(said: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(said, type=Record)


def test_an_error_object_has_its_text() -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b'{"code":1}', type=ErrorObject)
