"""The head of a node's answer: strict, and read alike by whoever reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.heads import BadHeadError, encode_fields, parse_head, status_line

OK = b"HTTP/1.1 200 OK\r\n"


def read(*lines: bytes, start: bytes = OK):
    return parse_head(start + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


def test_a_usual_head() -> None:
    head = read(b"Content-Type: application/x-ndjson", b"Transfer-Encoding: chunked", b"Date: now")
    assert (head.status, head.is_chunked, head.length, head.keeps_alive) == (200, True, None, True)
    assert head.fields["content-type"] == "application/x-ndjson"
    assert head.passed == b"Content-Type: application/x-ndjson\r\n"


@pytest.mark.parametrize(
    ("start", "lines", "keeps_alive"),
    [
        (OK, (b"Content-Length: 1",), True),
        (OK, (b"Content-Length: 1", b"Connection: Close"), False),
        (OK, (), False),
        (b"HTTP/1.0 200 OK\r\n", (b"Content-Length: 1",), False),
        (b"HTTP/1.0 200 OK\r\n", (b"Content-Length: 1", b"Connection: keep-alive"), True),
    ],
)
def test_a_connection_is_kept_when_the_end_can_be_told(start, lines, keeps_alive) -> None:
    assert read(*lines, start=start).keeps_alive is keeps_alive


@pytest.mark.parametrize(
    "head",
    [
        b"garbage\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n", b"HTTP/1.1 200 O\x00K\r\n\r\n", b"ICY 200 OK\r\n\r\n",
        OK + b"no colon\r\n\r\n", OK + b" folded: 1\r\n\r\n", OK + b"A: 1\r\n folded\r\n\r\n",
        OK + b"A : 1\r\n\r\n", OK + b": 1\r\n\r\n", OK + b"A: \x00\r\n\r\n",
        OK + b"A: 1\nB: 2\r\n\r\n",
        OK + b"A: 1\rB: 2\r\n\r\n", OK + b"A: " + b"x" * 9_000 + b"\r\n\r\n",
        OK + b"A: 1\r\n" * 200 + b"\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Content-Length: 1, 1\r\n\r\n", OK + b"Content-Length: +1\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n", OK + b"Content-Length: 0x1\r\n\r\n",
        OK + b"Content-Length: \xb2\r\n\r\n", OK + b"Content-Length: \r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)  # fmt: skip
def test_what_two_readers_could_read_differently_is_refused(head) -> None:
    """F17."""
    with pytest.raises(BadHeadError):
        parse_head(head)


def test_interim_heads_are_told_from_answers() -> None:
    """F22."""
    assert read(start=b"HTTP/1.1 100 Continue\r\n").is_interim
    assert read(start=b"HTTP/1.1 103 Early Hints\r\n").is_interim
    assert not read(start=b"HTTP/1.1 101 Switching Protocols\r\n").is_interim
    assert not read().is_interim


def test_a_head_is_written_as_it_is_read() -> None:
    assert status_line(200) == OK
    assert status_line(599) == b"HTTP/1.1 599 \r\n"
    assert encode_fields([("A", "1"), ("B", "2")]) == b"A: 1\r\nB: 2\r\n"


@given(st.binary(max_size=200))
def test_no_bytes_make_it_do_anything_but_read_or_refuse(data) -> None:
    try:
        head = parse_head(OK + data + b"\r\n\r\n")
    except BadHeadError:
        return
    assert b"\n" not in head.passed.replace(b"\r\n", b"")


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_no_field_of_a_node_breaks_out_of_its_line(pairs) -> None:
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in pairs)
    try:
        head = parse_head(OK + lines + b"\r\n")
    except BadHeadError:
        return
    for line in head.passed.split(b"\r\n")[:-1]:
        assert b": " in line
        assert b"\r" not in line
        assert b"\n" not in line
