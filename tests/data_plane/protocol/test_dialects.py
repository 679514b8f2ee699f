"""Errors in the shapes that clients read."""

import json

import pytest

from data_plane.protocol.dialects import STREAM_TYPES, error_body, stream_error
from data_plane.protocol.routes import Dialect, Framing


def body(dialect, status):
    content_type, data = error_body(dialect, status, "some_code", "some text", "req-1")
    assert content_type == "application/json; charset=utf-8"
    return json.loads(data)


def test_a_native_error_is_a_string_with_code_and_request_id_beside_it():
    assert body(Dialect.NATIVE, 404) == {
        "error": "some text",
        "code": "some_code",
        "request_id": "req-1",
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "not_found_error"),
        (401, "api_error"),
        (503, "api_error"),
    ],
)
def test_an_openai_error_has_the_type_of_its_status(status, kind):
    assert body(Dialect.OPENAI, status) == {
        "error": {"message": "some text", "type": kind, "param": None, "code": "some_code"},
        "request_id": "req-1",
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
        (529, "overloaded_error"),
        (500, "api_error"),
        (502, "api_error"),
    ],
)
def test_an_anthropic_error_has_the_type_of_its_status(status, kind):
    assert body(Dialect.ANTHROPIC, status) == {
        "type": "error",
        "error": {"type": kind, "message": "some text"},
        "request_id": "req-1",
    }


def record(framing):
    return stream_error(framing, 502, "upstream_truncated", "broke", "req-1")


def test_a_native_stream_ends_with_an_error_line_that_is_not_done():
    data = record(Framing.NDJSON)
    assert data.endswith(b"\n")
    assert json.loads(data) == {
        "error": "broke",
        "code": "upstream_truncated",
        "request_id": "req-1",
    }


def test_an_openai_stream_gets_a_data_event_and_no_done():
    data = record(Framing.SSE_OPENAI)
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    assert json.loads(data[6:])["error"]["code"] == "upstream_truncated"
    assert b"[DONE]" not in data


def test_an_anthropic_stream_gets_an_error_event():
    event, data = record(Framing.SSE_ANTHROPIC).split(b"\n", 1)
    assert event == b"event: error"
    assert json.loads(data[6:])["error"] == {"type": "api_error", "message": "broke"}


def test_a_responses_stream_gets_a_failed_response():
    event, data = record(Framing.SSE_RESPONSES).split(b"\n", 1)
    failed = json.loads(data[6:])
    assert event == b"event: response.failed"
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": "broke"}
    assert failed["code"] == "upstream_truncated"


def test_nothing_can_be_added_to_what_is_no_stream():
    assert record(Framing.NONE) == b""


def test_every_framing_that_streams_has_a_content_type():
    assert set(STREAM_TYPES) == set(Framing) - {Framing.NONE}


def test_a_line_break_in_a_text_does_not_break_the_record():
    data = stream_error(Framing.NDJSON, 502, "c", "two\nlines", "r")
    assert data.count(b"\n") == 1
