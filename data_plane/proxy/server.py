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

from data_plane.proxy.reply import Reply
from data_plane.settings import KEEPALIVE_TIMEOUT_S, LINGERING_S, MAX_HEADER_BYTES, MAX_HEADERS
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.streams import StreamReader

    from data_plane.proxy.caller import Caller
    from data_plane.proxy.reply import Answer

MIN_AIOHTTP: Final = (3, 14, 5)
"""3.14.3 closes an out-of-bounds read in the response parser, 3.14.4 connection re-use after a
cancelled request; 3.14.5 is what was tested."""


_UNPARSED: Final = ERROR._replace(version=HttpVersion11)
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


class Call:
    """One request of a client, as the parser read it."""

    __slots__ = (
        "closes",
        "connection",
        "content",
        "headers",
        "is_1_1",
        "method",
        "raw_headers",
        "target",
        "version",
    )

    def __init__(
        self, message: RawRequestMessage, content: StreamReader, connection: ClientConnection
    ) -> None:
        self.connection = connection
        self.content = content
        self.headers = message.headers
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.method = message.method
        self.target = message.path
        """As it came, nothing decoded."""

        self.version = message.version
        self.is_1_1 = message.version == HttpVersion11
        # Behind an upgrade the parser finds no request; behind chunks, a trailer of this request
        # among the headers of the next one, which may be another person's (a gateway in front).
        self.closes = bool(message.should_close or message.upgrade or message.chunked)
        """Whether the connection ends with the answer."""

    @property
    def client(self) -> str:
        """The client's address."""
        return self.connection.client


class ClientConnection(RequestHandler):
    """One client connection: aiohttp's parsing, time limits and pipelining, and our way to serve.

    `start` replaces aiohttp's. The handler runs in the connection's own task and writes its answer
    to the transport itself; a task, a writer and a response object per request are spared. What is
    used of aiohttp's inside is listed in tests/data_plane/proxy/test_server.py, which fails when an
    upgrade changes it.
    """

    __slots__ = ("_refuse", "_serve", "caller", "client", "reply")

    def __init__(self, server: Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._serve = server.serve
        self._refuse = server.refuse
        self.client = ""
        self.caller: Caller | None = None
        """What the headers of the last request said."""

        self.reply: Reply | None = None
        """The answer that is being written."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, when it stands."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else ""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called once, at its end, whoever ended it."""
        if self.reply is not None:
            self.reply.lost()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        if self.reply is not None:
            self.reply.paused()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self.reply is not None:
            self.reply.resumed()

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
            if self.transport is not None:
                self.transport.close()

    async def _serve_next(self) -> bool:
        """One request. Says whether another may follow."""
        if not self._messages and not await self._something_to_do():
            return False
        message, content = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        self._request_in_progress = True
        try:
            if isinstance(message, RawRequestMessage):
                call = Call(message, content, self)
                await self._serve(call)
            else:
                call = Call(_UNPARSED, content, self)
                status, code = _parser_fault(message.status, message.exc)
                await Reply(call).answer(self._refuse(call, status, code))
        finally:
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        if not content.is_eof() and not self._force_close:
            await self._drop_rest(content)
        # After a request to upgrade, the parser takes what follows for another protocol.
        return not (call.closes or self._close or self._upgraded or not content.is_eof())

    async def _something_to_do(self) -> bool:
        """Wait for a request; False when the connection is to end instead."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return False  # `close` cancels the wait, and not the task
        finally:
            self._waiter = None
        return bool(self._messages)

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

    def __init__(
        self,
        serve: Callable[[Call], Awaitable[None]],
        refuse: Callable[[Call, int, ErrorCode], Answer],
    ) -> None:
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
        self.serve = serve
        self.refuse = refuse
        """Makes the answer to a request that could not be parsed."""

    def __call__(self) -> RequestHandler:
        """Called for each new connection."""
        settings: dict[str, Any] = self._kwargs
        return ClientConnection(self, loop=self._loop, **settings)


async def _not_used(_request: web.BaseRequest) -> NoReturn:
    msg = "aiohttp's own way of serving is replaced"
    raise RuntimeError(msg)
