"""A connection to a node, fed by hand: split at every byte, and broken everywhere."""

import asyncio
import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.large import LargeBody, Span
from data_plane.upstream import connection
from data_plane.upstream.answer import NodeAnswer
from data_plane.upstream.connection import NodeConnection
from data_plane.upstream.faults import Fault, NodeFailedError
from data_plane.upstream.outbox import Outbox

NDJSON = "application/x-ndjson"
RECORDS = (b'{"response":"a"}\n', b'{"response":"b"}\n', b'{"done":true}\n')
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = (
    HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in RECORDS)
    + b"0\r\n\r\n"
)
SIZED = HEAD + b"Content-Length: 48\r\n\r\n" + b"".join(RECORDS)
OPEN = HEAD + b"\r\n" + b"".join(RECORDS)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
assert len(b"".join(RECORDS)) == 48


class Transport(asyncio.Transport):
    """What is written to it, and whether it is read from."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_reading = True
        self.was_aborted = False

    def write(self, data: bytes) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.was_aborted

    def abort(self) -> None:
        self.was_aborted = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Wired:
    """A connection with one exchange begun, and what became of it."""

    def __init__(self, stream_type: str | None = NDJSON) -> None:
        self.rests: list[bool] = []
        self.transport = Transport()
        self.connection = NodeConnection(
            lambda _connection, good: self.rests.append(good), Outbox()
        )
        self.connection.connection_made(self.transport)
        self.answer: NodeAnswer = self.connection.begin(b"head", b"body", stream_type, None)

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.transport.was_aborted:  # as uvloop: nothing comes after an abort
                self.connection.data_received(piece)

    async def whole(self) -> bytes:
        async with asyncio.timeout(1.0):
            await self.answer.begun()
            return await self.answer.read_all(1_000_000)


@pytest.mark.parametrize("wire", [CHUNKED, SIZED, INTERIM + CHUNKED, INTERIM + INTERIM + SIZED])
async def test_an_answer_is_read_wherever_it_is_cut(wire) -> None:
    for cut in range(len(wire) + 1):
        wired = Wired()
        wired.feed(wire[:cut], wire[cut:])
        assert await wired.whole() == b"".join(RECORDS)
        assert wired.rests == [True], "the connection can be used again"
    wired = Wired()
    wired.feed(*(wire[at : at + 1] for at in range(len(wire))))
    assert await wired.whole() == b"".join(RECORDS)


async def test_an_answer_without_framing_ends_with_its_connection() -> None:
    wired = Wired()
    wired.feed(OPEN)
    wired.connection.connection_lost(None)
    assert await wired.whole() == b"".join(RECORDS)
    assert wired.rests == [False]


@pytest.mark.parametrize("wire", [CHUNKED, SIZED, OPEN])
@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_an_answer_that_breaks_off_is_never_whole(wire, error) -> None:
    """F19: at whichever byte. A close-delimited body alone cannot tell; the scanner does (F20)."""
    for cut in range(len(wire)):
        if wire is OPEN and error is None and cut >= OPEN.index(b"\r\n\r\n") + 4:
            continue
        wired = Wired()
        wired.feed(wire[:cut])
        wired.connection.connection_lost(error)
        with pytest.raises(NodeFailedError) as caught:
            await wired.whole()
        has_head = cut >= wire.index(b"\r\n\r\n") + 4
        assert caught.value.fault is (Fault.BROKEN if has_head else Fault.NO_ANSWER)


async def test_relayed_chunks_pass_as_they_came() -> None:
    wired = Wired()
    wired.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")
    await wired.answer.begun()
    seen: list[tuple[bytes, bytes | None]] = []
    wired.answer.drain_to(lambda *chunk: seen.append(chunk))
    relaying = asyncio.ensure_future(wired.answer.ended())
    await asyncio.sleep(0)
    wired.feed(b"1\r\nb\r\n", b"1\r", b"\nc\r\n", b"0\r\n\r\n")
    await relaying
    assert seen[:2] == [(b"a", None), (b"b", b"1\r\nb\r\n")]
    assert b"".join(content for content, _ in seen) == b"abc"
    assert all(whole is None for _, whole in seen[2:])


async def test_a_whole_answer_wakes_its_reader_once() -> None:
    wired = Wired(stream_type=None)
    waiting = asyncio.ensure_future(wired.answer.begun())
    wired.feed(*(SIZED[at : at + 1] for at in range(len(SIZED) - 1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    wired.feed(SIZED[-1:])
    await waiting
    assert wired.answer.done


async def test_what_nobody_takes_is_not_read_without_end() -> None:
    for kind, limit in ((NDJSON, 64 * 1024), (None, 1024 * 1024)):
        wired = Wired(stream_type=kind)
        wired.feed(HEAD + b"\r\n")
        size = 0
        while wired.transport.is_reading:
            wired.feed(b"x" * 10_000)
            size += 10_000
        assert limit < size <= limit + 10_000
        assert len(wired.answer.held()) == size
        assert wired.transport.is_reading


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        (b"garbage\r\n\r\n", Fault.BAD_HTTP),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, Fault.BAD_HTTP),
        (INTERIM * 20, Fault.BAD_HTTP),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Fault.BAD_HTTP),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", Fault.BAD_FRAMING),
    ],
)
async def test_bad_bytes_end_the_exchange_and_the_connection(wire, fault) -> None:
    wired = Wired()
    wired.feed(*(wire[at : at + 1_000] for at in range(0, len(wire), 1_000)))
    with pytest.raises(NodeFailedError) as caught:
        await wired.whole()
    assert caught.value.fault is fault
    assert wired.transport.was_aborted


@pytest.mark.parametrize("wire", [CHUNKED, SIZED])
async def test_more_than_was_announced_costs_the_connection_not_the_answer(wire) -> None:
    """F21."""
    wired = Wired()
    wired.feed(wire + b"extra")
    assert await wired.whole() == b"".join(RECORDS)
    assert wired.rests == [False]
    assert wired.transport.was_aborted


async def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    wired = Wired()
    wired.feed(SIZED)
    wired.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert wired.transport.was_aborted


async def test_whoever_gives_up_closes_the_connection() -> None:
    wired = Wired()
    wired.feed(HEAD + b"\r\nabc")
    wired.answer.close()
    assert wired.transport.was_aborted
    wired.answer.close()
    wired.connection.connection_lost(None)


async def test_giving_up_a_whole_answer_does_not_touch_who_uses_the_connection_next() -> None:
    wired = Wired()
    wired.feed(SIZED)
    following = wired.connection.begin(b"head", b"body", NDJSON, None)
    wired.answer.close()
    assert not wired.transport.was_aborted
    wired.feed(SIZED)
    assert following.done


async def test_a_large_body_is_written_as_the_node_reads_it() -> None:
    wired = Wired()
    wired.feed(SIZED)
    body = b"x" * 1_000_000
    answer = wired.connection.begin(b"head", body, NDJSON, None)
    await asyncio.sleep(0)  # what was written in this turn leaves at its end
    before = len(wired.transport.written)
    wired.connection.pause_writing()
    sending = asyncio.ensure_future(wired.connection.send_body(body))
    await asyncio.sleep(0)
    assert len(wired.transport.written) - before == 256 * 1024
    wired.connection.resume_writing()
    await sending
    assert len(wired.transport.written) - before == len(body)
    wired.feed(SIZED)
    assert answer.done
    assert wired.rests == [True, True]


async def test_a_node_that_refuses_a_large_body_early_is_heard() -> None:
    wired = Wired()
    wired.feed(SIZED)
    body = b"x" * 1_000_000
    answer = wired.connection.begin(b"head", body, NDJSON, None)
    wired.connection.pause_writing()
    sending = asyncio.ensure_future(wired.connection.send_body(body))
    await asyncio.sleep(0)
    wired.feed(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
    await sending
    await answer.begun()
    assert (answer.status, await answer.read_all(10)) == (413, b"no")
    assert wired.rests == [True, False], "the rest of the body was never sent"


class Memory:
    """A store."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, start: int, size: int) -> bytes:
        await asyncio.sleep(0)
        return self._data[start : start + size]


async def test_a_stored_body_is_sent_in_pieces_any_number_of_times() -> None:
    data = bytes(range(256)) * 4_000
    body = LargeBody(Memory(data), (b'{"a":', Span(1_000, 900_000), b"}"))
    for _ in range(2):
        wired = Wired()
        wired.feed(SIZED)
        before = len(wired.transport.written)
        wired.connection.begin(b"head", body, NDJSON, None)
        await wired.connection.send_body(body)
        wanted = b'head{"a":' + data[1_000:901_000] + b"}"
        assert wired.transport.written[before:] == wanted
        wired.feed(SIZED)
        assert wired.rests == [True, True]


@pytest.mark.interpreted
async def test_a_node_that_stops_reading_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(connection, "SEND_STALL_S", 0.05)
    wired = Wired()
    wired.feed(SIZED)
    body = b"x" * 1_000_000
    answer = wired.connection.begin(b"head", body, NDJSON, None)
    wired.connection.pause_writing()
    async with asyncio.timeout(5.0):
        await wired.connection.send_body(body)
    with pytest.raises(NodeFailedError) as caught:
        await answer.begun()
    assert caught.value.fault is Fault.STALLED
    assert wired.transport.was_aborted


@given(st.sampled_from([CHUNKED, SIZED, INTERIM + CHUNKED]), st.lists(st.integers(0, 300)))
def test_no_cutting_changes_an_answer(wire, places) -> None:
    ends = sorted({min(place, len(wire)) for place in places} | {0, len(wire)})

    async def run() -> None:
        wired = Wired()
        wired.feed(*(wire[a:b] for a, b in itertools.pairwise(ends)))
        assert await wired.whole() == b"".join(RECORDS)

    asyncio.run(run())


SIZES = st.sampled_from([b"%x", b"%X", b"0%x", b"000%x"])
EXTENSIONS = st.sampled_from([b"", b";a", b";a=1", b';q="z"'])
TRAILERS = st.sampled_from([b"", b"X: 1\r\n", b"A: b\r\nLong: " + b"y" * 200 + b"\r\n"])
HEADS = st.sampled_from([b"", INTERIM, INTERIM + INTERIM, b"HTTP/1.1 100 Continue\r\n\r\n"])


@st.composite
def framed(draw) -> tuple[bytes, bytes]:
    """The bytes of a chunked answer, in any spelling that HTTP allows, and its content."""
    parts = draw(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6))
    chunks = b"".join(
        draw(SIZES) % len(part) + draw(EXTENSIONS) + b"\r\n" + part + b"\r\n" for part in parts
    )
    coding = draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked "]))
    last = draw(st.sampled_from([b"0", b"000"])) + draw(EXTENSIONS) + b"\r\n"
    head = draw(HEADS) + HEAD + coding + b"\r\n\r\n"
    return head + chunks + last + draw(TRAILERS) + b"\r\n", b"".join(parts)


@given(framed(), st.lists(st.integers(0, 900), max_size=30), st.booleans())
def test_any_framing_relays_the_same_content(answer, places, is_read) -> None:
    """Whether somebody waits and reads, or content goes straight to a sink."""
    wire, content = answer
    ends = sorted({min(place, len(wire)) for place in places} | {0, len(wire)})
    pieces = [wire[a:b] for a, b in itertools.pairwise(ends)]

    async def run() -> None:
        wired = Wired()
        if is_read:
            wired.feed(*pieces)
            assert await wired.whole() == content
        else:
            seen: list[bytes] = []
            wired.answer.drain_to(lambda data, _whole: seen.append(data))
            wired.feed(*pieces)
            await wired.answer.ended()
            assert b"".join(seen) == content
        assert wired.rests == [True]

    asyncio.run(run())


@given(st.lists(st.binary(max_size=50) | st.sampled_from([HEAD, b"\r\n", b"0\r\n\r\n", SIZED])))
def test_no_bytes_make_a_connection_raise_or_take_itself_for_sound(pieces) -> None:
    async def run() -> None:
        wired = Wired()
        wired.feed(*pieces)
        assert wired.rests in ([], [True], [False], [True, False])
        if wired.rests == [True] and not wired.transport.was_aborted:
            assert wired.answer.done
        wired.connection.connection_lost(None)
        with contextlib.suppress(NodeFailedError):
            await wired.whole()

    asyncio.run(run())
