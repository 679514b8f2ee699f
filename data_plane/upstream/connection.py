"""One connection to a node, and the answer that comes over it.

The connection reads the head, finds the end of the body, and hands content on as it arrives: to
whoever waits for it, or, once `relay` was called, straight from its callback to a sink, so that no
task wakes up for a chunk. When a body has ended the connection goes back to its pool at once, if
nothing is wrong with it. An answer outlives its connection: what was read stays readable.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from data_plane.protocol.bodies import ChunkedBody, SizedBody, body_of
from data_plane.protocol.heads import MAX_HEAD_BYTES, BadHeadError, NodeHead, parse_head
from data_plane.protocol.large import LargeBody
from data_plane.settings import HELD_ANSWER_BYTES, UPSTREAM_READ_BUFFER_BYTES
from data_plane.upstream.faults import Fault, NodeFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.protocol.bodies import Body
    from data_plane.upstream.lease import Lease
    from data_plane.upstream.outbox import Outbox

    Sink = Callable[[bytes, bytes | None], None]
    """Takes content, and the bytes as they came when those were exactly one chunk."""

PIECE_BYTES: Final = 256 * 1024
"""Larger request bodies are written in pieces, so that one of them does not hold up the loop and an
early refusal by the node spares the rest."""

SEND_STALL_S: Final = 15.0
"""A node that takes nothing more of a request for this long is broken: servers read what they are
sent before they begin to think."""

MAX_INTERIM_HEADS: Final = 16
"""Of 1xx, before the answer itself. Real servers send one."""

_HEAD_END: Final = b"\r\n\r\n"
_NO_HEAD: Final = NodeHead(0, {}, b"", None, is_chunked=False, keeps_alive=False)


class NodeAnswer:
    """One exchange: what was asked, and what has come back of the answer so far."""

    __slots__ = (
        "_connection",
        "_fault",
        "_parts",
        "_size",
        "_stream_type",
        "_waiter",
        "done",
        "head",
        "is_bodyless",
        "is_stale",
        "is_stream",
        "lease",
        "on_news",
        "sink",
        "status",
    )

    def __init__(
        self, connection: NodeConnection, stream_type: str | None, lease: Lease | None
    ) -> None:
        self.head = _NO_HEAD
        self.status = 0
        self.is_stream = False
        """Whether it succeeds and comes in the records that were asked for."""

        self.done = False
        """The body has arrived to its end."""

        self.is_bodyless = False
        """It answers HEAD: whatever its head says, nothing follows."""

        self.is_stale = False
        """It failed because the node had closed the connection, used before, by then: no fault."""

        self.lease = lease
        """Told of each sign of life."""

        self.sink: Sink | None = None
        """Where content goes; None: it is held here."""

        self.on_news: Callable[[], None] | None = None
        """Called, instead of waking whoever waits, when something can be said about the answer and
        at its end. It must not raise."""

        self._connection: NodeConnection | None = connection
        self._fault: NodeFailedError | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._stream_type = stream_type
        self._waiter: asyncio.Future[None] | None = None

    # For whoever asked

    @property
    def held_bytes(self) -> int:
        """How much has arrived and was not taken."""
        return self._size

    def held(self) -> bytes:
        """Take what has arrived."""
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        self.resume()
        return data

    async def more(self) -> None:
        """Until more has arrived, or the end. Raises NodeFailedError."""
        if self._fault is None and not self.done:
            await self._news()
        if self._fault is not None:
            raise self._fault

    async def read(self) -> bytes:
        """What has arrived since the last call; b"" at the end. Raises NodeFailedError."""
        while not self._parts and not self.done:
            await self.more()
        return self.held()

    async def read_all(self, limit: int) -> bytes:
        """The rest of the body, cut at `limit`."""
        parts, size = [], 0
        while size < limit and (chunk := await self.read()):
            parts.append(chunk)
            size += len(chunk)
        return b"".join(parts)[:limit]

    def drain_to(self, sink: Sink) -> None:
        """Give content to the sink from here on, what has arrived already first."""
        if self._parts:
            sink(self.held(), None)
        self.sink = sink

    def offer_first(self, take: Callable[[bytes], bool], may: Callable[[], bool]) -> None:
        """Have what arrives offered to `take` first: it says whether it has dealt with it.

        It has to leave alone what is not exactly one chunk, and is asked only between two chunks,
        as long as `may` is true, which is looked at whenever something went the other way.
        """
        if self._connection is not None:
            self._connection.offer_first(take, may)

    async def ended(self) -> None:
        """Until the end of the body. Raises NodeFailedError."""
        while not self.done:
            await self.more()

    def pause(self) -> None:
        """Read no more from the node until `resume`."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    @property
    def has_failed(self) -> bool:
        """Whether whoever waits for it will be told of a fault."""
        return self._fault is not None

    def let_go(self, fault: Fault) -> None:
        """End the exchange; whoever waits is told of this fault."""
        connection = self._connection
        if connection is not None:
            connection.abort()
            self.fail(fault, "")

    def close(self) -> None:
        """Give it up: a connection with an unread rest is closed, and so the node learns of it."""
        connection, self._connection, self.sink = self._connection, None, None
        self.on_news = None
        if connection is not None:
            connection.abort()

    def _news(self) -> asyncio.Future[None]:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        return waiter

    async def begun(self) -> None:
        """Until something can be said about the answer: see `_is_worth_waking`."""
        while self._fault is None and not self._is_worth_waking():
            await self._news()
        if self._fault is not None:
            raise self._fault  # also when content has come: nobody has been sent any of it

    def _is_worth_waking(self) -> bool:
        """A stream with its first record, a whole answer as a whole, any other with its head."""
        if self.done:
            return True
        if not self.status:
            return False
        if self.is_stream:
            return bool(self._parts)
        return not 200 <= self.status < 300 or self._size > HELD_ANSWER_BYTES  # noqa: PLR2004 - HTTP

    # For the connection

    def begins(self, head: NodeHead) -> None:
        """The head has arrived."""
        self.head = head
        status = self.status = head.status
        kind = self._stream_type
        if kind is not None and status == 200:  # noqa: PLR2004 - HTTP
            self.is_stream = head.fields.get("content-type", "").startswith(kind)

    def hold(self, content: bytes) -> bool:
        """More content has arrived. Says whether that is as much as may be held."""
        if content:
            self._parts.append(content)
            self._size += len(content)
            if self.lease is not None:
                self.lease.has_begun = True
        if (self.on_news or self._waiter) is not None and self._is_worth_waking():
            self.wake()
        return self._size > (UPSTREAM_READ_BUFFER_BYTES if self.is_stream else HELD_ANSWER_BYTES)

    def wake(self) -> None:
        """Whoever waits should look again."""
        if self.on_news is not None:
            self.on_news()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self) -> None:
        """The body has ended; the connection is no concern of this answer any more."""
        self.done = True
        self._connection = None
        self.wake()

    def fail(self, fault: Fault, detail: str) -> None:
        """Nothing further will come."""
        self._fault = NodeFailedError(fault, detail)
        self._connection = None
        self.wake()


class NodeConnection(asyncio.Protocol):
    """A connection to a node. It serves one exchange at a time."""

    __slots__ = (
        "_answer",
        "_body",
        "_buffer",
        "_drained",
        "_interim_heads",
        "_is_paused",
        "_is_sending",
        "_is_write_paused",
        "_offered",
        "_on_rest",
        "_outbox",
        "_take_whole",
        "_transport",
        "has_received",
        "idle_since",
        "is_used",
    )

    def __init__(self, on_rest: Callable[[NodeConnection, bool], None], outbox: Outbox) -> None:
        self.is_used = False
        """It has served an exchange before: the node may be about to close it."""

        self.has_received = False
        """The node has answered something in this exchange."""

        self.idle_since = 0.0
        self._on_rest = on_rest
        self._outbox = outbox
        self._transport: asyncio.Transport | None = None
        self._answer: NodeAnswer | None = None
        self._body: Body | None = None
        self._offered: tuple[Callable[[bytes], bool], Callable[[], bool]] | None = None
        self._take_whole: Callable[[bytes], bool] | None = None
        self._buffer = b""
        self._interim_heads = 0
        self._is_paused = False
        self._is_sending = False
        self._is_write_paused = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return self._transport is not None and not self._transport.is_closing()

    # Asking

    def begin(
        self,
        head: bytes,
        body: bytes | LargeBody,
        stream_type: str | None,
        lease: Lease | None,
        *,
        is_one_of_many: bool = False,
    ) -> NodeAnswer:
        """Write a request; of a large one only the head, then `send_body` follows.

        With `is_one_of_many` it leaves together with what else is written in this turn of the loop.
        """
        transport = self._transport
        answer = NodeAnswer(self, stream_type, lease)
        if transport is None or transport.is_closing():
            answer.is_stale = self.is_used
            answer.fail(Fault.NO_ANSWER, "the connection is closed")
            return answer
        self._answer = answer
        self._body = None
        self._interim_heads = 0
        self.has_received = False
        self._is_sending = len(body) > PIECE_BYTES
        if self._is_sending or isinstance(body, LargeBody):
            transport.write(head)
        elif is_one_of_many:
            self._outbox.write(transport, head + body)
        else:
            transport.write(head + body)
        return answer

    def offer_first(self, take: Callable[[bytes], bool], may: Callable[[], bool]) -> None:
        """See `NodeAnswer.offer_first`."""
        if isinstance(self._body, ChunkedBody):
            self._offered = (take, may)
            self._offer_again(self._body)

    def _offer_again(self, body: Body) -> None:
        if self._offered is not None:
            take, may = self._offered
            self._take_whole = take if body.is_aligned and may() else None

    async def send_body(self, body: bytes | LargeBody) -> None:
        """Write a large body in pieces, until the node answers, early or not.

        Raises OSError when a store has lost it.
        """
        if isinstance(body, LargeBody):
            for part in body.cut(PIECE_BYTES):
                if not await self._send_piece(await body.read(part)):
                    return
        else:
            view = memoryview(body)
            for start in range(0, len(body), PIECE_BYTES):
                if not await self._send_piece(view[start : start + PIECE_BYTES]):
                    return
        self._is_sending = False

    async def _send_piece(self, piece: bytes | memoryview) -> bool:
        """Write, and wait until there is room again. False when no more is to be sent."""
        transport = self._transport
        if transport is None or transport.is_closing() or self.has_received:
            return False
        transport.write(piece)
        if self._is_write_paused:
            self._drained = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(SEND_STALL_S):
                    await self._drained
            except TimeoutError:
                if self._answer is not None:
                    self._fail(self._answer, Fault.STALLED, "the node does not read the request")
            finally:
                self._drained = None
        return True

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, when it stands."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Per chunk: one read, one scan, one write."""
        take = self._take_whole
        if take is not None and take(data):
            return
        answer, body = self._answer, self._body
        if answer is None:
            self.abort()  # nothing was asked: whatever this is, the next answer must not begin so
            return
        if body is None:
            self._read_head(answer, data)
            return
        lease = answer.lease
        if lease is not None:
            lease.has_spoken = True
        content = body.feed(data)
        sink = answer.sink
        if sink is not None:
            sink(content, data if body.is_whole else None)
        elif answer.hold(content):
            self.pause()
        if body.done or body.error:
            self._body_ended(answer, body)
        else:
            self._offer_again(body)

    def _read_head(self, answer: NodeAnswer, data: bytes) -> None:
        if not self.has_received:
            self.has_received = True
            self._wake_writer()
        if self._buffer:
            data = self._buffer + data
        end = data.find(_HEAD_END) + len(_HEAD_END)
        if end < len(_HEAD_END):
            self._buffer = data
            if len(data) > MAX_HEAD_BYTES:
                self._fail(answer, Fault.BAD_HTTP, "a head without end")
            return
        self._buffer = b""
        try:
            head = parse_head(data[:end])
        except BadHeadError as error:
            self._fail(answer, Fault.BAD_HTTP, str(error))
            return
        rest = data[end:]
        if head.is_interim:
            self._interim_heads += 1
            if self._interim_heads > MAX_INTERIM_HEADS:
                self._fail(answer, Fault.BAD_HTTP, "nothing but interim answers")
            elif rest:
                self._read_head(answer, rest)
            return
        self._begin_body(answer, head, rest)

    def _begin_body(self, answer: NodeAnswer, head: NodeHead, rest: bytes) -> None:
        answer.begins(head)
        body = self._body = SizedBody(0) if answer.is_bodyless else body_of(head)
        if body.done:
            body.has_extra = bool(rest)
            self._body_ended(answer, body)
        elif rest:
            self.data_received(rest)
        else:
            answer.hold(b"")

    def _body_ended(self, answer: NodeAnswer, body: Body) -> None:
        if body.error:
            self._fail(answer, Fault.BAD_FRAMING, body.error)
            return
        self._answer = self._body = self._take_whole = self._offered = None
        self.resume()
        is_reusable = (
            answer.head.keeps_alive and not body.has_extra and not self._is_sending and self.is_open
        )
        if not is_reusable:
            self.abort()
        self.is_used = True
        self._on_rest(self, is_reusable)
        answer.finish()

    def eof_received(self) -> None:
        """The transport closes itself, and `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, at its end, whoever ended it."""
        self._transport = None
        self._on_rest(self, False)  # noqa: FBT003 - a callback's only argument
        self._wake_writer()
        answer, body = self._answer, self._body
        self._answer = self._body = self._take_whole = self._offered = None
        if answer is None:
            return
        if body is None:
            answer.is_stale = self.is_used and not self.has_received
            answer.fail(Fault.NO_ANSWER, "the connection was closed")
            return
        if exc is None:
            body.end()
        if body.done:
            answer.finish()
        else:
            answer.fail(Fault.BROKEN, body.error or "the connection broke")

    def pause_writing(self) -> None:
        """The node does not read as fast as we write."""
        self._is_write_paused = True

    def resume_writing(self) -> None:
        """It has read."""
        self._is_write_paused = False
        self._wake_writer()

    # What others may do with it

    def pause(self) -> None:
        """Read no more for now."""
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self) -> None:
        """Close it now; nothing that is unsent matters."""
        self._answer = self._body = self._take_whole = self._offered = None
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, answer: NodeAnswer, fault: Fault, detail: str) -> None:
        self.abort()
        answer.fail(fault, detail)

    def _wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
