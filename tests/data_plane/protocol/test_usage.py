"""Judging an answer that came in one piece."""

import json

import pytest

from data_plane.protocol.endings import Usage
from data_plane.protocol.usage import MAX_COMPLETE_BYTES, complete_json


def judged(document):
    return complete_json(json.dumps(document).encode())


def test_a_native_answer_tells_tokens_and_seconds():
    ending = judged({
        "model": "a", "done": True, "total_duration": 5_000_000_000, "load_duration": 1_000_000_000,
        "prompt_eval_count": 26, "prompt_eval_duration": 500_000_000, "eval_count": 298,
        "eval_duration": 3_500_000_000,
    })  # fmt: skip
    assert ending.done
    assert ending.usage == Usage(
        prompt_tokens=26,
        completion_tokens=298,
        total_s=5.0,
        load_s=1.0,
        prompt_eval_s=0.5,
        eval_s=3.5,
    )


def test_a_native_answer_that_was_given_up_is_not_whole():
    assert not judged({"model": "a", "response": "la la la", "done": False}).done


def test_an_embedding_has_no_done_and_is_whole():
    ending = judged({"embeddings": [[0.1]], "total_duration": 7, "prompt_eval_count": 3})
    assert ending.done
    assert ending.usage.prompt_tokens == 3


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        {"input_tokens": 3, "output_tokens": 4},
    ],
)
def test_the_compatible_families_tell_tokens(usage):
    ending = judged({"id": "x", "usage": usage})
    assert ending.done
    assert ending.usage == Usage(prompt_tokens=3, completion_tokens=4)


@pytest.mark.parametrize("error", ["text", {"message": "text", "type": "api_error"}])
def test_an_error_is_a_string_or_an_object(error):
    ending = judged({"error": error})
    assert (ending.done, ending.error) == (False, "text")


def test_an_error_of_another_shape_is_told_as_it_came():
    assert judged({"error": [1]}).error == "[1]"


def test_an_error_of_null_is_none():
    assert judged({"id": "x", "error": None}).done


@pytest.mark.parametrize("body", [b"", b'{"done":true', b"<html>", b'{"done":true}x'])
def test_what_is_no_json_is_not_whole(body):
    assert not complete_json(body).done


@pytest.mark.parametrize("body", [b"null", b"[1]", b'{"usage":"none"}', b'{"done":"yes"}'])
def test_sound_json_of_another_shape_is_whole(body):
    assert complete_json(body).done


def test_a_huge_answer_is_not_looked_into():
    assert complete_json(b"x" * (MAX_COMPLETE_BYTES + 1)).done


@pytest.mark.parametrize(
    ("body", "is_given_up"),
    [
        (b'{"response":"a","done":false}', True),
        (b'{"response":"a","done":true}', False),
        (b'{"done":false,"_debug_info":{"rendered_template":"p"}}', False),
        (b'{"choices":[{"message":{},"finish_reason":null}]}', True),
        (b'{"choices":[{"message":{},"finish_reason":""}]}', True),
        (b'{"choices":[{"message":{},"finish_reason":"tool_calls"}]}', False),
        (b'{"type":"message","content":[],"stop_reason":""}', True),
        (b'{"type":"message","content":[],"stop_reason":null}', True),
        (b'{"type":"message","content":[],"stop_reason":"end_turn"}', False),
        (b'{"done":false,"error":"x"}', False),
        (b'{"embeddings":[]}', False),
    ],
)
def test_an_answer_without_a_reason_to_end_was_given_up(body: bytes, is_given_up: bool) -> None:
    """Reference 4.2: the repeat guard ends a whole answer with status 200."""
    assert complete_json(body).is_given_up is is_given_up
