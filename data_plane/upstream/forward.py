"""One attempt: send a request to one node, read its answer. Every foreign error is mapped here.

The session is told to leave things as they are: no total limit, no queue at 100 connections, no
cookies, no redirects, no decompression, no proxies from the environment.
"""

from __future__ import annotations

import io
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from aiohttp import ClientTimeout, hdrs
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from data_plane.settings import MAX_HEADER_BYTES, MAX_HEADERS, UPSTREAM_READ_BUFFER_BYTES
from data_plane.upstream.dial import AddressRefusedError, Resolver, socket_factory
from data_plane.upstream.faults import Fault, NodeFailedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from aiohttp.connector import Connection
    from multidict import CIMultiDictProxy

    from data_plane.routing.pools import PoolNode
    from shared.addresses import AddressPolicy

IDLE_CONNECTION_S: Final = 30.0
"""Ollama never closes idle connections itself; this is only so that we do not hoard them."""

LARGE_BODY_BYTES: Final = 256 * 1024
"""Larger bodies are written in pieces, so that one of them does not hold up the loop."""

DNS_CACHE_S: Final = 10
HEAD_END: Final = b"\r\n\r\n"


@dataclass(slots=True)
class _Sending:
    is_reused: bool = False


_sending: ContextVar[_Sending | None] = ContextVar("sending", default=None)


class _BadFramingError(aiohttp.ClientPayloadError):
    """The body is not framed as HTTP frames it."""


class _Protocol(ResponseHandler):
    """A connection to a node."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.is_used = False

    def data_received(self, data: bytes) -> None:
        # The parser throws away a head that came in one piece with bytes that it cannot read. Fed
        # by itself, the head is out before the body is looked at.
        payload = self._payload
        if payload is None or payload.is_eof():
            end = data.find(HEAD_END) + len(HEAD_END)
            if len(HEAD_END) <= end < len(data):
                super().data_received(data[:end])
                data = data[end:]
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        # When the parser meets a bad chunk, aiohttp (3.14.5) closes the connection and tells it to
        # whoever waits for a head, but not to whoever reads the body: that one would wait for ever.
        payload = self._payload
        super().set_exception(exc, *cause)
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(_BadFramingError(str(exc)))


class _Connector(aiohttp.TCPConnector):
    """Makes connections of our kind."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory = cast("partial[ResponseHandler]", partial(_Protocol, loop=self._loop))


class _Request(aiohttp.ClientRequest):
    """Notes whether it goes out on a connection that was used before."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        sending, protocol = _sending.get(), conn.protocol
        if sending is not None and isinstance(protocol, _Protocol):
            sending.is_reused, protocol.is_used = protocol.is_used, True
        return await super().send(conn)


class NodeAnswer:
    """The head of a node's answer, and its body to be read."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: CIMultiDictProxy[str] = response.headers

    async def read(self) -> bytes:
        """The next bytes as they arrive; b"" at the end. Raises NodeFailedError."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _body_error(error) from error

    async def read_all(self, limit: int) -> bytes:
        """The rest of the body, cut at `limit`."""
        parts, size = [], 0
        while size < limit and (chunk := await self.read()):
            parts.append(chunk)
            size += len(chunk)
        return b"".join(parts)[:limit]

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close it."""
        self._response.close()


@dataclass(slots=True)
class _Target:
    """A node, prepared for sending: built once per address and token."""

    address: str
    sealed_token: str
    authorization: str
    urls: dict[str, URL] = field(default_factory=dict)

    def url(self, path: str) -> URL:
        found = self.urls.get(path)
        if found is None:
            found = self.urls[path] = URL(self.address + path, encoded=True)
        return found


class Forwarder:
    """Sends requests to nodes. Made inside the running loop."""

    def __init__(self, policy: AddressPolicy, token_keys: tuple[str, ...]) -> None:
        self._token_keys = token_keys
        self._targets: dict[str, _Target] = {}
        self._resolver = Resolver()
        self._session = self._make_session(policy, is_pooled=True)
        self._fresh_session = self._make_session(policy, is_pooled=False)

    def _make_session(self, policy: AddressPolicy, *, is_pooled: bool) -> aiohttp.ClientSession:
        connector = _Connector(
            resolver=self._resolver,
            ttl_dns_cache=DNS_CACHE_S,
            limit=0,  # admission is our own; a hidden queue here would look like a slow node
            limit_per_host=0,
            force_close=not is_pooled,
            keepalive_timeout=IDLE_CONNECTION_S if is_pooled else None,
            socket_factory=socket_factory(policy),
        )
        return aiohttp.ClientSession(
            connector=connector,
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=UPSTREAM_READ_BUFFER_BYTES,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await self._fresh_session.close()

    async def send(  # noqa: PLR0913 - the parts of a request
        self,
        node: PoolNode,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | None,
        *,
        connect_timeout_s: float,
    ) -> NodeAnswer:
        """Send and wait for the head of the answer. Raises NodeFailedError.

        A pooled connection may have been closed by the node just before we wrote to it. That says
        nothing about the node: the request goes out once more, on a new connection to the same one.
        """
        target = self._target(node)
        sent_headers = CIMultiDict(headers)
        if target.authorization:
            sent_headers["Authorization"] = target.authorization
        sending = _Sending()
        token = _sending.set(sending)
        timeout = ClientTimeout(total=None, connect=connect_timeout_s)
        try:
            try:
                response = await self._session.request(
                    method,
                    target.url(path),
                    headers=sent_headers,
                    data=_payload(body),
                    timeout=timeout,
                    allow_redirects=False,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not sending.is_reused or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                response = await self._fresh_session.request(
                    method,
                    target.url(path),
                    headers=sent_headers,
                    data=_payload(body),
                    timeout=timeout,
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, OSError) as error:
            raise _head_error(error) from error
        finally:
            _sending.reset(token)
        return NodeAnswer(response)

    def _target(self, node: PoolNode) -> _Target:
        target = self._targets.get(node.id)
        if target is None or target.address != node.url or target.sealed_token != node.sealed_token:
            authorization = f"Bearer {self._open(node)}" if node.sealed_token else ""
            target = _Target(node.url, node.sealed_token, authorization)
            self._targets[node.id] = target
        return target

    def _open(self, node: PoolNode) -> str:
        # Imported only when some node has a token: it costs 10 MB and 50 ms.
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet

        try:
            fernet = MultiFernet([Fernet(key) for key in self._token_keys])
            return fernet.decrypt(node.sealed_token).decode()
        except (InvalidToken, ValueError) as error:
            detail = "no key in AIVONX_NODE_TOKEN_KEYS opens the node's token"
            raise NodeFailedError(Fault.BAD_TOKEN, detail) from error

    def forget(self, known: frozenset[str]) -> None:
        """Drop what was prepared for nodes that exist no more."""
        for node_id in self._targets.keys() - known:
            del self._targets[node_id]


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    if body is None or len(body) <= LARGE_BODY_BYTES:
        return body
    return io.BytesIO(body)


def _head_error(error: Exception) -> NodeFailedError:
    """What an error before the head of the answer means. Order matters: subclasses come first."""
    match error:
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, AddressRefusedError):
            fault = Fault.ADDRESS_NOT_ALLOWED
        case aiohttp.ClientConnectorDNSError():
            fault = Fault.DNS_FAILED
        case aiohttp.ClientSSLError():
            fault = Fault.TLS_FAILED
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            fault = Fault.REFUSED
        case aiohttp.ClientConnectorError():
            fault = Fault.UNREACHABLE
        case aiohttp.ServerTimeoutError() | TimeoutError():
            fault = Fault.CONNECT_TIMEOUT
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            fault = Fault.NO_ANSWER
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            fault = Fault.BAD_HTTP
        case _:
            fault = Fault.UNREACHABLE
    return NodeFailedError(fault, type(error).__name__)


def _body_error(error: Exception) -> NodeFailedError:
    """What an error within the body means: a broken connection, or bytes that are not HTTP."""
    fault = Fault.BAD_FRAMING if isinstance(error, _BadFramingError) else Fault.BROKEN
    return NodeFailedError(fault, type(error).__name__)
