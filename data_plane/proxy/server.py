"""The HTTP server under the path: aiohttp's low-level one, with its habits corrected.

Whatever the parser refuses is answered in our own JSON and closes the connection; nothing names the
library; a client that leaves cancels its handler.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NoReturn

import aiohttp.http_parser
from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.web_protocol import RequestHandler

from data_plane.settings import KEEPALIVE_TIMEOUT_S, LINGERING_S, MAX_HEADER_BYTES, MAX_HEADERS
from shared.codes import ErrorCode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

MIN_AIOHTTP: Final = (3, 14, 5)
"""3.14.3 closes an out-of-bounds read in the response parser, 3.14.4 connection re-use after a
cancelled request; 3.14.5 is what was tested."""


def require_safe_aiohttp() -> None:
    """Stop the start when aiohttp is too old or would parse in Python: both let attacks in."""
    installed = tuple(int(part) for part in version("aiohttp").split(".")[:3] if part.isdigit())
    if installed < MIN_AIOHTTP:
        msg = f"aiohttp {'.'.join(map(str, MIN_AIOHTTP))} or newer is needed"
        raise RuntimeError(msg)
    if aiohttp.http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        msg = "aiohttp's C parser is needed; unset AIOHTTP_NO_EXTENSIONS or install a wheel"
        raise RuntimeError(msg)


class Request(web.BaseRequest):
    """A request whose answers do not say what they were made with."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        del response.headers[hdrs.SERVER]


class _Protocol(RequestHandler):
    """One client connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the parser's words echo the client's bytes
    ) -> web.StreamResponse:
        """Answer what the parser refused. The path itself never lets an error come here."""
        if request.writer.output_size > 0:
            _cut_off()
        server = self._manager
        if not isinstance(server, Server):
            _cut_off()
        answer_status, code = _parser_fault(status, exc)
        response = server.refuse(request, answer_status, code)
        response.force_close()
        return response


def _cut_off() -> NoReturn:
    msg = "an answer was begun on this connection, or it is gone"
    raise ConnectionError(msg)


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
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        refuse: Callable[[web.BaseRequest, int, ErrorCode], web.Response],
    ) -> None:
        super().__init__(
            handler,
            request_factory=self._request,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            lingering_time=LINGERING_S,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            access_log=None,
        )
        self.refuse = refuse
        """Makes the answer to a request that could not be parsed."""

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if message.path == "/" and message.method == "UNKNOWN":
            # The parser's stand-in for what it refused speaks HTTP/1.0; our answer does not.
            message = message._replace(version=HttpVersion11)
        return Request(message, payload, protocol, writer, task, self._loop)

    def __call__(self) -> RequestHandler:
        """Called for each new connection."""
        settings: dict[str, Any] = self._kwargs
        return _Protocol(self, loop=self._loop, **settings)
