from __future__ import annotations

import io
import json

import pytest
from rest_framework.exceptions import ParseError

from control_plane.common.errors import ApiError
from control_plane.common.parsers import StrictJsonParser


def parse(data: bytes) -> object:
    return StrictJsonParser().parse(io.BytesIO(data))


@pytest.mark.parametrize(
    "document",
    [{}, [], None, "text", {"a": [1, 2.5, True, None, "ü", "\U0001f600"]}, "\\ud800 in ASCII"],
)
def test_a_document_is_read(document):
    assert parse(json.dumps(document).encode()) == document
    assert parse(json.dumps(document, ensure_ascii=False).encode()) == document


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"{} {}", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1,"a":1}', b"NaN", b"-Infinity",
     b"1e999", b"[" * 200_000, b'"\\ud800"', b'{"\\udc00":0}', b'["\\ud800\\ud800"]'],
    ids=lambda data: data[:10].decode("latin-1") or "empty",
)  # fmt: skip
def test_what_is_no_document_is_refused(data):
    with pytest.raises(ParseError) as caught:
        parse(data)
    assert caught.value.get_codes() == "parse_error"


def test_a_body_that_is_too_large_is_not_read_to_its_end(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    stream = io.BytesIO(b'"' + b"a" * 100 + b'"')
    with pytest.raises(ApiError) as caught:
        StrictJsonParser().parse(stream)
    assert caught.value.status_code == 413
    assert stream.tell() == 11
