"""One connection to a node: writes a request, reads the head and finds the end of the body.

When a body has ended the connection goes back to its pool at once, if nothing is wrong with it.
What comes of an exchange is its answer's (`answer`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from data_plane.protocol.bodies import ChunkedBody, SizedBody, body_of
from data_plane.protocol.heads import MAX_HEAD_BYTES, BadHeadError, NodeHead, parse_head
from data_plane.protocol.large import LargeBody
from data_plane.upstream.answer import NodeAnswer
from data_plane.upstream.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.protocol.bodies import Body
    from data_plane.upstream.answer import ChunkTaker
    from data_plane.upstream.lease import Lease
    from data_plane.upstream.outbox import Outbox

PIECE_BYTES: Final = 256 * 1024
"""Larger request bodies are written in pieces, so that one of them does not hold up the loop and an
early refusal by the node spares the rest."""

SEND_STALL_S: Final = 15.0
"""A node that takes nothing more of a request for this long is broken: servers read what they are
sent before they begin to think."""

MAX_INTERIM_HEADS: Final = 16
"""Of 1xx, before the answer itself. Real servers send one."""

_HEAD_END: Final = b"\r\n\r\n"


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
        "_taker",
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
        self._offered: ChunkTaker | None = None
        self._taker: ChunkTaker | None = None
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

    def offer_first(self, taker: ChunkTaker) -> None:
        """See `NodeAnswer.offer_first`."""
        if isinstance(self._body, ChunkedBody):
            self._offered = taker
            self._offer_again(self._body)

    def _offer_again(self, body: Body) -> None:
        offered = self._offered
        if offered is not None:
            self._taker = offered if body.is_aligned and offered.may_take() else None

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
        taker = self._taker
        if taker is not None and taker.take(data):
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
        self._answer = self._body = self._taker = self._offered = None
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
        self._answer = self._body = self._taker = self._offered = None
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
        self._answer = self._body = self._taker = self._offered = None
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, answer: NodeAnswer, fault: Fault, detail: str) -> None:
        self.abort()
        answer.fail(fault, detail)

    def _wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
