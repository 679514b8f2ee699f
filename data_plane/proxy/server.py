"""The HTTP server under the path: aiohttp's low-level one, with its habits corrected.

Whatever the parser refuses is answered in our own JSON and closes the connection; nothing names the
library; a client that leaves cancels its handler.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NoReturn

import aiohttp.http_parser
from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import ERROR, RequestHandler, RequestPayloadError

from data_plane.proxy.call import HEAD_END, Call, known_head, length_of
from data_plane.proxy.reply import Reply
from data_plane.settings import KEEPALIVE_TIMEOUT_S, LINGERING_S, MAX_HEADER_BYTES, MAX_HEADERS
from data_plane.upstream.outbox import Outbox
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.streams import StreamReader

    from data_plane.proxy.call import KnownHead
    from data_plane.proxy.caller import Caller
    from data_plane.proxy.handler import Handler

MIN_AIOHTTP: Final = (3, 14, 5)
"""3.14.3 closes an out-of-bounds read in the response parser, 3.14.4 connection re-use after a
cancelled request; 3.14.5 is what was tested."""


_LOST: Final = -1

_UNPARSED: Final = ERROR._replace(version=HttpVersion11, raw_headers=())
"""The parser's stand-in for what it refused speaks HTTP/1.0; our answer does not."""


def require_safe_aiohttp() -> None:
    """Stop the start when aiohttp is too old or would parse in Python: both let attacks in."""
    installed = tuple(int(part) for part in version("aiohttp").split(".")[:3] if part.isdigit())
    if installed < MIN_AIOHTTP:
        msg = f"aiohttp {'.'.join(map(str, MIN_AIOHTTP))} or newer is needed"
        raise RuntimeError(msg)
    if aiohttp.http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        msg = "aiohttp's C parser is needed; unset AIOHTTP_NO_EXTENSIONS or install a wheel"
        raise RuntimeError(msg)


class ClientConnection(RequestHandler):
    """One client connection: aiohttp's parsing, time limits and pipelining, and our way to serve.

    `start` replaces aiohttp's. The handler runs in the connection's own task and writes its answer
    to the transport itself; a task, a writer and a response object per request are spared. What is
    used of aiohttp's inside is listed in tests/data_plane/proxy/test_server.py, which fails when an
    upgrade changes it.
    """

    __slots__ = (
        "_behind",
        "_known",
        "_owed",
        "_rest",
        "_served_now",
        "_service",
        "caller",
        "client",
        "is_write_paused",
        "now",
        "outbox",
        "reply",
    )

    def __init__(self, server: Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._service = server.service
        self.outbox = server.outbox
        self.client = ""
        self.caller: Caller | None = None
        """What the headers of the last request said."""

        self.reply: Reply | None = None
        """The answer that is being written."""

        self.is_write_paused = False
        """The client reads more slowly than we write. What aiohttp has for it is a property, and
        is asked for twice in each answer.
        """

        self.now: Callable[[], float] = self._loop.time
        """The loop's clock."""

        self._served_now: Call | None = None
        """The request that is served without the task, or was and waits for it."""

        self._rest: asyncio.Future[None] | None = None
        """What the task waits for meanwhile. Kept from aiohttp, which takes a connection whose
        task waits for one without work, and closes it."""

        self._behind = b""
        """What the client sent behind that request."""

        self._known: KnownHead | None = None
        self._owed = 0
        """Bytes that the message which is being parsed still lacks. 0: the next byte is the first
        of a head; negative: nobody knows."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, when it stands."""
        super().connection_made(transport)
        # The task waits from now on, although it runs for the first time one turn of the loop
        # later: the first request is mostly here by then.
        self._waiter = self._loop.create_future()
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._service.connected(self.client):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called once, at its end, whoever ended it."""
        self._service.disconnected()
        if self.reply is not None:
            self.reply.lost()
        call, self._served_now = self._served_now, None
        if call is not None:
            self._service.lost(call)
        super().connection_lost(exc)
        self._known = None  # which knows us

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self.is_write_paused = True
        if self.reply is not None:
            self.reply.paused()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self.is_write_paused = False
        if self.reply is not None:
            self.reply.resumed()

    # Without the task

    def data_received(self, data: bytes) -> None:
        """Serve a request that has come whole at once; all else goes its way through the task."""
        waiter = self._waiter
        if waiter is None or waiter.done() or self._messages or self._upgraded or self._close:
            if self._served_now is None and not self._behind:
                self._parse(data)
            else:
                self._behind += data
                if self.transport is not None:
                    self.transport.pause_reading()
            return
        known = self._known
        if known is not None and self._owed == 0:
            body = known.body_in(data)
            if body is not None:
                call = known.call
                call.begin_anew(body)
                self._serve_now(call)
                return
        was_between = self._owed == 0
        self._waiter = None  # the task sleeps on if it is not needed
        try:
            self._parse(data)
        finally:
            self._waiter = waiter
        parsed = self._whole_call()
        if parsed is not None:
            if was_between and self._owed == 0:
                self._known = known_head(parsed, data)
            self._serve_now(parsed)
        elif self._messages:
            waiter.set_result(None)

    def _parse(self, data: bytes) -> None:
        """Have aiohttp parse it, and keep count of where the next message begins.

        A message that ends within the data is parsed by itself: aiohttp forgets the sound requests
        before a malformed one that came with them.
        """
        if self._owed == 0 and data:
            self._owed = _whole_length(data)
        while 0 < self._owed < len(data) and not self._buffer_paused:
            whole, data = data[: self._owed], data[self._owed :]
            super().data_received(whole)
            self._owed = _whole_length(data)
        if self._owed > 0:
            self._owed = self._owed - len(data) if self._owed >= len(data) else _LOST
        super().data_received(data)

    def _whole_call(self) -> Call | None:
        """The one request that was parsed, if its body is there as well."""
        if len(self._messages) != 1 or self._upgraded:
            return None
        message, content = self._messages[0]
        if not isinstance(message, RawRequestMessage) or not content.is_eof():
            return None
        self._next_message()
        call = Call(message, content, self)
        call.body = content.read_nowait(-1)
        return call

    def _serve_now(self, call: Call) -> None:
        self._rest, self._waiter = self._waiter, None
        self._request_in_progress = True
        self._served_now = call
        self._service.begin(call)

    def served(self, call: Call) -> None:
        """A request that was served without the task has its answer."""
        self._served_now = None
        self._waiter, self._rest = self._rest, None
        self._is_free()
        if call.closes or self._close or self._force_close:
            self.close()
            return
        self._expect_next()
        if self._behind:
            self._take_behind()

    def hand_over(self, call: Call) -> None:
        """A request that was begun without the task goes on in it."""
        self._served_now = call
        waiter = self._waiter = self._rest
        self._rest = None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _take_behind(self) -> None:
        """Go on with what the client sent behind the request that has been served."""
        data, self._behind = self._behind, b""
        if self.transport is not None:
            self.transport.resume_reading()
        self.data_received(data)

    # By the task

    async def drained(self) -> None:
        """Until the client has read."""
        await self._drain_helper()

    async def start(self) -> None:
        """Serve requests until the connection ends."""
        try:
            with suppress(ConnectionError):  # the client is gone, and its record says so
                while not self._force_close and await self._serve_next():
                    self._expect_next()
        except asyncio.CancelledError:
            self.force_close()
            raise
        if not self._force_close:
            self._task_handler = None
            self.outbox.flush()
            if self.transport is not None:
                self.transport.close()

    async def _serve_next(self) -> bool:
        """One request. Says whether another may follow."""
        if not self._messages and not await self._something_to_do():
            return False
        self._waiter = (
            None  # it is done, and was never waited for, if this is the task's first turn
        )
        self._request_in_progress = True
        try:
            call, self._served_now = self._served_now, None
            if call is not None:
                await self._service.handle(call)
            else:
                call = await self._serve_message()
        finally:
            self._is_free()
        content = call.content
        if not content.is_eof() and not self._force_close:
            await self._drop_rest(content)
        if self._behind:
            self._take_behind()
        # After a request to upgrade, the parser takes what follows for another protocol.
        return not (call.closes or self._close or self._upgraded or not content.is_eof())

    async def _serve_message(self) -> Call:
        """The next request that was parsed."""
        message, content = self._next_message()
        if isinstance(message, RawRequestMessage):
            call = Call(message, content, self)
            await self._service.handle(call)
        else:
            call = Call(_UNPARSED, content, self)
            status, code = _parser_fault(message.status, message.exc)
            await Reply(call).answer(self._service.refuse_unparsed(call, status, code))
        return call

    def _next_message(self) -> tuple[Any, StreamReader]:
        message, content = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return message, content

    def _is_free(self) -> None:
        """No request is being served: whoever shuts the server down may go on."""
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)

    async def _something_to_do(self) -> bool:
        """Wait for a request; False when the connection is to end instead."""
        waiter = self._waiter or self._rest
        if waiter is None:
            waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return False  # `close` cancels the wait, and not the task
        finally:
            self._waiter = None
        return bool(self._messages) or self._served_now is not None

    def _expect_next(self) -> None:
        """The time that the client has for its next request begins."""
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )

    async def _drop_rest(self, content: StreamReader) -> None:
        """Read what is left of a refused body, so that the client sees our answer to it."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while not content.is_eof():
                    await content.readany()
        except (TimeoutError, RequestPayloadError, HttpProcessingError):
            return  # the connection ends


def _is_cancelled() -> bool:
    """Whether somebody cancels the task that asks, and not what it waits for.

    Its own function: a task in a variable of one that raises lives until the collector runs.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _whole_length(data: bytes) -> int:
    """How many bytes the message has that begins here; `_LOST` when that takes a parser to tell."""
    end = data.find(HEAD_END)
    if end < 0:
        return _LOST
    length = length_of(data[: end + len(HEAD_END)])
    return _LOST if length is None else end + len(HEAD_END) + length


def _parser_fault(status: int, exc: BaseException | None) -> tuple[int, ErrorCode]:
    match exc:
        case LineTooLong() if "b'/" in str(exc):
            return 414, ErrorCode.URI_TOO_LONG
        case LineTooLong():
            return 431, ErrorCode.HEADERS_TOO_LARGE
        case BadHttpMethod():
            return 400, ErrorCode.BAD_FRAMING
        case _ if "Too many headers" in str(exc):
            return 431, ErrorCode.HEADERS_TOO_LARGE
        case _ if status >= 500:  # noqa: PLR2004 - a server's fault
            return status, ErrorCode.INTERNAL_ERROR
    return 400, ErrorCode.BAD_FRAMING


class Server(web.Server):
    """Makes the protocol of each connection."""

    def __init__(self, service: Handler) -> None:
        super().__init__(
            _not_used,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            lingering_time=LINGERING_S,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            access_log=None,
        )
        self.service = service
        self.outbox = Outbox()

    def __call__(self) -> RequestHandler:
        """Called for each new connection."""
        settings: dict[str, Any] = self._kwargs
        return ClientConnection(self, loop=self._loop, **settings)


async def _not_used(_request: web.BaseRequest) -> NoReturn:
    msg = "aiohttp's own way of serving is replaced"
    raise RuntimeError(msg)
