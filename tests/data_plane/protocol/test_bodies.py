"""Where a body ends, however the network cuts it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.bodies import Body, ChunkedBody, OpenBody, SizedBody, body_of
from data_plane.protocol.heads import parse_head

RECORDS = [b'{"response":"a"}\n', b"x" * 300 + b"\n", b'{"done":true}\n']
CHUNKED = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in RECORDS) + b"0\r\n\r\n"


def fed(body: Body, *pieces: bytes) -> bytes:
    return b"".join(body.feed(piece) for piece in pieces)


@pytest.mark.parametrize(
    "wire",
    [
        CHUNKED,
        b"11;ext=1\r\n" + RECORDS[0] + b"\r\n000\r\n\r\n",
        b"A\r\n0123456789\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n",
    ],
)
def test_chunks_are_read_wherever_they_are_cut(wire) -> None:
    whole = ChunkedBody()
    content = whole.feed(wire)
    assert whole.done
    assert not whole.has_extra
    for cut in range(len(wire) + 1):
        body = ChunkedBody()
        assert fed(body, wire[:cut], wire[cut:]) == content
        assert body.done
    body = ChunkedBody()
    assert fed(body, *(wire[at : at + 1] for at in range(len(wire)))) == content
    assert body.done


def test_a_chunk_that_arrives_alone_may_be_passed_on_as_it_came() -> None:
    body = ChunkedBody()
    chunk = b"11\r\n" + RECORDS[0] + b"\r\n"
    assert body.feed(chunk) == RECORDS[0]
    assert body.is_whole
    body.feed(chunk[:5])
    assert not body.is_whole
    body.feed(chunk[5:])
    assert not body.is_whole, "its beginning went before"
    body.feed(chunk)
    assert body.is_whole
    body.feed(chunk + chunk)
    assert not body.is_whole
    body.feed(b"0\r\n\r\n")
    assert body.done
    assert not body.is_whole, "the end is ours to write"


@pytest.mark.parametrize(
    "size", [1, 9, 15, 16, 255, 256, 4_095, 4_096, 8_100, 8_191, 8_192, 70_000]
)
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_chunk_is_as_long_as_it_says(size: int, off: int) -> None:
    content = b"x" * size
    body = ChunkedBody()
    assert body.feed(b"%x\r\n%b\r\n" % (size, content)) == content
    assert body.feed(b"%x\r\n%b\r\n0\r\n\r\n" % (size, content)) == content
    assert (body.done, body.error) == (True, "")
    other = ChunkedBody()
    said = other.feed(b"%x\r\n%b\r\n" % (size + off, content))
    assert (said == content) == (off == 0 and not other.error)
    assert other.is_aligned == (off == 0)


def test_the_last_chunk_may_come_in_one_piece_with_the_end() -> None:
    body = ChunkedBody()
    assert body.feed(b"4\r\nabcd\r\n0\r\n\r\n") == b"abcd"
    assert body.done
    assert (body.error, body.has_extra, body.is_whole) == ("", False, False)


def test_what_only_looks_like_the_end_is_content() -> None:
    body = ChunkedBody()
    assert body.feed(b"9\r\nab\r\n0\r\n\r\n") == b"ab\r\n0\r\n\r\n"
    assert not body.done
    body = ChunkedBody()
    assert body.feed(b"4\r\nabcd\r\n0\r\n\r\nHTTP") == b"abcd"
    assert body.done
    assert body.has_extra


@pytest.mark.parametrize(
    "wire",
    [
        b"zz\r\n", b"-1\r\n", b"+1\r\na\r\n", b"0x1\r\na\r\n", b" 1\r\na\r\n", b"1 \r\na\r\n",
        b"1_0\r\n",
        b"\r\n", b"1\na\n", b"1\r\nab\r\n", b"1\r\na\n", b"1" * 300, b"1;" + b"x" * 300,
        b"1\x00\r\na",
        b"fffffffffffffffff\r\n", b"0\r\n" + b"T: " + b"x" * 9_000, b"0\r\nT: 1\n\r\n",
        b"0\r\n" + b"T: 1\r\n" * 2_000, b"1;a\rb\r\na\r\n",
    ],
)  # fmt: skip
def test_what_is_no_chunk_ends_it_wherever_it_is_cut(wire) -> None:
    body = ChunkedBody()
    body.feed(b"3\r\nabc\r\n")
    body.feed(wire)
    assert body.error
    assert not body.done
    bytewise = ChunkedBody()
    for at in range(len(wire)):
        bytewise.feed(wire[at : at + 1])
    assert bytewise.error


def test_content_before_a_bad_chunk_is_given_out() -> None:
    body = ChunkedBody()
    assert body.feed(b"3\r\nabc\r\nzz\r\n") == b"abc"
    assert body.error


def test_bytes_after_the_end_are_noticed_and_dropped() -> None:
    for body in (ChunkedBody(), SizedBody(62 - 58)):
        wire = b"4\r\nabcd\r\n0\r\n\r\n" if isinstance(body, ChunkedBody) else b"abcd"
        assert body.feed(wire + b"extra") == b"abcd"
        assert body.done
        assert body.has_extra


def test_only_an_open_body_ends_with_its_connection() -> None:
    for body in (ChunkedBody(), SizedBody(3)):
        body.feed(b"1\r\n")
        body.end()
        assert body.error or body.done
    short = SizedBody(3)
    short.feed(b"ab")
    short.end()
    assert short.error
    cut = ChunkedBody()
    cut.feed(b"3\r\nabc\r\n")
    cut.end()
    assert cut.error
    unbounded = OpenBody()
    assert unbounded.feed(b"abc") == b"abc"
    unbounded.end()
    assert unbounded.done


def test_the_head_tells_which() -> None:
    start = b"HTTP/1.1 200 OK\r\n"
    assert isinstance(body_of(parse_head(start + b"Content-Length: 3\r\n\r\n")), SizedBody)
    chunked = parse_head(start + b"Transfer-Encoding: chunked\r\n\r\n")
    assert isinstance(body_of(chunked), ChunkedBody)
    assert isinstance(body_of(parse_head(start + b"\r\n")), OpenBody)
    assert body_of(parse_head(b"HTTP/1.1 204 No Content\r\n\r\n")).done


chunks = st.lists(st.binary(min_size=1, max_size=9_000), max_size=8)
cuts = st.lists(st.integers(0, 80_000), max_size=12)


@given(chunks, cuts)
def test_no_cutting_changes_what_was_said(parts, places) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    ends = sorted({min(place, len(wire)) for place in places} | {0, len(wire)})
    body, content, passed = ChunkedBody(), b"", b""
    for start, end in itertools.pairwise(ends):
        piece = wire[start:end]
        said = body.feed(piece)
        content += said
        passed += piece if body.is_whole else (b"%x\r\n%b\r\n" % (len(said), said) if said else b"")
    assert content == b"".join(parts)
    assert body.done
    assert not body.error
    assert not body.has_extra
    reader = ChunkedBody()
    assert reader.feed(passed + b"0\r\n\r\n") == content, "what a client would read of it"


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_no_bytes_make_it_raise_or_go_on_after_an_error(pieces) -> None:
    body = ChunkedBody()
    for piece in pieces:
        content = body.feed(piece)
        assert len(content) <= len(piece)
        if body.error or body.done:
            break
