"""What goes to the client for one request, written straight to its connection.

The commit point is the first byte sent. A clean end means a complete answer: whatever cannot be
completed is cut off where everybody can see it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from data_plane.protocol.bodies import FINAL_CHUNK
from data_plane.protocol.heads import encode_fields, status_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.proxy.call import Call
    from data_plane.proxy.filler import Filler
    from data_plane.upstream.answer import NodeAnswer

BREAK_FLUSH_S: Final = 1.0
"""For the last words of a broken answer to leave; then the connection is cut."""

AT_ONCE_BYTES: Final = 32 * 1024
"""A larger answer is not kept in the outbox: whether the client keeps up is to be known at once,
and beside its copying a wake-up costs nothing."""

DEFAULT_STALL_S: Final = 60.0
"""For answers that are made without a snapshot to tell the limit."""


@dataclass(slots=True)
class Answer:
    """An answer in one piece, made here."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    closes: bool = False
    """Whether the connection ends with it."""


class Reply:
    """The answer to one call. Only `break_off` and `cut` may follow an answer that has begun."""

    __slots__ = (
        "_call",
        "_is_chunked",
        "_source",
        "_stall_s",
        "_stall_timer",
        "_transport",
        "_unsent",
        "bytes_out",
        "filler",
        "has_stalled",
        "headers",
        "is_committed",
        "is_held_open",
        "now",
    )

    def __init__(self, call: Call) -> None:
        self.headers: dict[str, str] = {}
        """Ours, on every answer to this request."""

        self.bytes_out = 0
        self.is_committed = False
        """Whether the client has been sent anything that means something."""

        self.is_held_open = False
        """The head of a stream is out already, see `Filler`: no other status can be said."""

        self.filler: Filler | None = None

        self.has_stalled = False
        """The client left bytes unread for too long, and was cut off."""

        self._call = call
        self.now = call.connection.now
        """The loop's clock."""

        self._is_chunked = False
        self._source: NodeAnswer | None = None
        self._stall_s = DEFAULT_STALL_S
        self._stall_timer: asyncio.TimerHandle | None = None
        self._transport = call.connection.transport
        self._unsent = 0

    # The answer

    async def answer(self, answer: Answer) -> None:
        """All of an answer of ours, until the client has read so much that another may follow."""
        self.answer_now(answer)
        await self.drained()

    def answer_now(self, answer: Answer) -> None:
        """All of an answer of ours."""
        lines = encode_fields([*{**self.headers, **answer.headers}.items()])
        has_body = answer.status != 204  # noqa: PLR2004 - HTTP
        head = self._head(
            answer.status, lines, len(answer.body) if has_body else None, closes=answer.closes
        )
        self.bytes_out = len(answer.body)
        self._write(head if self._call.method == "HEAD" else head + answer.body, is_all=True)

    def hold_open(self, lines: bytes) -> None:
        """Begin a stream before there is anything to say: nothing is committed by that."""
        if not self.is_held_open and self._transport is not None:
            self.begin(200, lines, b"", length=None, stall_s=self._stall_s, closes=False)
            self.is_held_open, self.is_committed = True, False

    def fill(self, content: bytes) -> None:
        """Bytes that mean nothing."""
        self.write(content, None)
        self.bytes_out -= len(content)

    def begin(  # noqa: PLR0913 - the parts of an answer
        self,
        status: int,
        lines: bytes,
        first: bytes,
        *,
        length: int | None,
        stall_s: float,
        closes: bool,
    ) -> None:
        """The commit point: the head and the first content. Without a length, `finish` follows."""
        self._stall_s = stall_s
        if self.is_held_open:
            self.is_committed = True
            self._call.closes = self._call.closes or closes
            self.write(first, None)
            return
        self._is_chunked = length is None and self._call.is_1_1
        if self.headers:
            lines += encode_fields([*self.headers.items()])
        if self._is_chunked:
            lines += b"Transfer-Encoding: chunked\r\n"
            data = b"%x\r\n%b\r\n" % (len(first), first) if first else b""
        else:
            data = first
            closes = closes or length is None
        self.bytes_out += len(first)
        head = self._head(status, lines, length, closes=closes)
        self._write(head + data, is_all=length is not None)

    def _head(self, status: int, lines: bytes, length: int | None, *, closes: bool) -> bytes:
        call = self._call
        call.closes = call.closes or closes
        parts = [status_line(status), lines]
        if length is not None:
            parts.append(b"Content-Length: %d\r\n" % length)
        if call.closes:
            parts.append(b"Connection: close\r\n")
        elif not call.is_1_1:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(_date_line())
        return b"".join(parts)

    def _write(self, data: bytes, *, is_all: bool) -> None:
        transport, connection = self._transport, self._call.connection
        if transport is None:
            raise ConnectionResetError("the client is gone")
        self.is_committed = True
        connection.reply = self
        if is_all and len(data) < AT_ONCE_BYTES:
            connection.outbox.write(transport, data)
        else:
            transport.write(data)

    def write(self, content: bytes, whole: bytes | None) -> None:
        """Pass content on; `whole` is the same as one chunk already."""
        self.bytes_out += len(content)
        transport = self._transport
        if transport is None or not content:
            return
        if self._is_chunked:
            content = whole or b"%x\r\n%b\r\n" % (len(content), content)
        transport.write(content)

    def chunk_writer(self) -> Callable[[bytes], None] | None:
        """What writes a whole chunk as it came; None when this client gets no chunks."""
        return self._transport.write if self._is_chunked and self._transport else None

    def finish(self) -> None:
        """A complete answer."""
        self._stop_filler()
        if self._is_chunked and self._transport is not None:
            self._transport.write(FINAL_CHUNK)

    @property
    def is_held_up(self) -> bool:
        """Whether the client has to read before more may be written."""
        return self._call.connection.is_write_paused

    async def drained(self) -> None:
        """Until the client has read enough for another answer to be begun."""
        if self.is_held_up:
            await self._call.connection.drained()

    def break_off(self, last_words: bytes) -> None:
        """A visible break: the last words, then the connection without a clean end."""
        self._stop_filler()
        transport = self._transport
        self._call.closes = True
        if transport is None:
            return
        if last_words:
            transport.write(
                b"%x\r\n%b\r\n" % (len(last_words), last_words) if self._is_chunked else last_words
            )
        # Closing flushes what is written; nothing can be written after it, so no final chunk.
        transport.close()
        asyncio.get_running_loop().call_later(BREAK_FLUSH_S, transport.abort)

    # Back-pressure

    def draws_from(self, source: NodeAnswer | None) -> None:
        """Hold this answer of a node back while the client does not read."""
        self._source = source
        if source is not None and self._call.connection.is_write_paused:
            source.pause()

    def paused(self) -> None:
        """The client reads more slowly than we write."""
        if self._source is not None:
            self._source.pause()
        self._watch_stall()

    def resumed(self) -> None:
        """The client has read."""
        self._stop_watching()
        if self._source is not None:
            self._source.resume()

    def _watch_stall(self) -> None:
        if self._transport is not None and self._stall_s:
            self._unsent = self._transport.get_write_buffer_size()
            self._stall_timer = asyncio.get_running_loop().call_later(
                self._stall_s, self._check_stall
            )

    def _check_stall(self) -> None:
        """The limit has passed: an error only if the client has read nothing at all."""
        self._stall_timer = None
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size() < self._unsent:
            self._watch_stall()
            return
        self.has_stalled = True
        transport.abort()  # which cancels the task that serves this call

    def _stop_watching(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _stop_filler(self) -> None:
        if self.filler is not None:
            self.filler.stop()

    def lost(self) -> None:
        """The client is gone: nothing may be written from now on, and its node is let go at once.

        The task that serves the call hears of it one turn of the loop later.
        """
        self._transport = None
        if self._source is not None:
            self._source.close()

    def end(self) -> None:
        """Nothing more will be written, whatever has happened."""
        if self.filler is not None:
            self.filler.stop()
        if self._stall_timer is not None:
            self._stop_watching()
        self._source = None
        self._call.connection.reply = None


_date: tuple[int, bytes] = (0, b"")


def _date_line() -> bytes:
    """The Date header, which ends our heads; made once a second."""
    global _date  # noqa: PLW0603 - a memory of one value
    now = int(time.time())
    if _date[0] != now:
        _date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n\r\n".encode("ascii"))
    return _date[1]
