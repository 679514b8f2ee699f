"""The head by which a request like the last one is known."""

import pytest
from aiohttp.http import HttpVersion11, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from data_plane.proxy.call import Call, KnownHead, known_head, length_of

HEAD = b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-Thing: b\r\n\r\n"


def known(head: bytes = HEAD) -> KnownHead:
    message = RawRequestMessage(
        "POST", "/api/chat", HttpVersion11, CIMultiDictProxy(CIMultiDict()), (), False, None, False,
        False, URL("/api/chat"),
    )  # fmt: skip
    call = Call(message, None, None)
    found = known_head(call, head + b"12345")
    assert found is not None
    assert found.call is call
    return found


@pytest.mark.parametrize("length", [0, 1, 9, 10, 4_321])
def test_the_same_head_with_another_length_is_known(length) -> None:
    body = b"x" * length
    data = HEAD.replace(b": 5\r", b": %d\r" % length) + body
    assert known().body_in(data) == body


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"1234",
        HEAD + b"123456",
        HEAD[:-1],
        b"",
        HEAD.replace(b"X-Thing: b", b"X-Thing: c") + b"12345",
        HEAD.replace(b"POST", b"PUT ") + b"12345",
        HEAD.replace(b"Content-Length", b"content-length") + b"12345",
        HEAD.replace(b": 5\r", b": +5\r") + b"12345",
        HEAD.replace(b": 5\r", b": \r") + b"12345",
        HEAD.replace(b": 5\r", b":5\r") + b"12345",
        HEAD.replace(b": 5\r", b": 5 \r") + b"12345",
        HEAD.replace(b": 5\r", b": 1_0\r") + b"0123456789",
        HEAD.replace(b": 5\r", b": 0x5\r") + b"12345",
        HEAD.replace(b": 5\r", b": %d\r" % 10**9) + b"12345",
        HEAD.replace(b": 5\r", "\uff15".encode().join([b": ", b"\r"])) + b"12345",
        HEAD.replace(b": 5\r\n", b": 5\r\nContent-Length: 5\r\n") + b"12345",
        HEAD.replace(b": 5\r\n", b": 5\n") + b"12345",
    ],
)
def test_anything_else_is_for_the_parser(data) -> None:
    assert known().body_in(data) is None


@given(at=st.integers(0, len(HEAD) - 1), byte=st.integers(0, 255))
def test_one_byte_that_differs_makes_it_unknown_unless_it_is_the_length(at, byte) -> None:
    changed = bytearray(HEAD)
    changed[at] = byte
    data = bytes(changed) + b"12345"
    is_same = bytes(changed) == HEAD
    assert (known().body_in(data) is not None) == is_same


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (HEAD, 5),
        (HEAD.replace(b"Content-Length", b"cOnTeNt-LeNgTh"), 5),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (HEAD.replace(b"Length: 5", b"Length: 5\r\nContent-Length: 5"), None),
        (HEAD.replace(b"X-Thing: b", b"Transfer-Encoding: chunked"), None),
        (HEAD.replace(b": 5", b": five"), None),
        (b"", None),
    ],
)
def test_what_takes_a_parser_to_tell_is_not_told(head, length) -> None:
    assert length_of(head) == length
