"""One attempt: send a request to one node, read its answer. Every foreign error is mapped here."""

from __future__ import annotations

import asyncio
import errno
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from data_plane.protocol.large import LargeBody
from data_plane.upstream.connection import PIECE_BYTES, NodeConnection
from data_plane.upstream.dial import AddressRefusedError, Dialer, NameUnknownError
from data_plane.upstream.faults import Fault, NodeFailedError
from data_plane.upstream.outbox import Outbox
from data_plane.upstream.pool import Pool
from shared.addresses import InvalidAddressError, NodeAddress, normalise

if TYPE_CHECKING:
    from data_plane.routing.pool_node import PoolNode
    from data_plane.upstream.answer import NodeAnswer
    from data_plane.upstream.lease import Lease
    from shared.addresses import AddressPolicy


@dataclass(slots=True)
class _Target:
    """A node, prepared for sending: built once per address and token."""

    url: str
    sealed_token: str
    address: NodeAddress
    fixed: bytes
    """Header lines of every request: its Host, and its credential if it has one."""

    node: PoolNode | None = None
    """As the snapshot in force has it: looking at it once per snapshot is enough."""

    pool: Pool = field(default_factory=Pool)
    starts: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def start(self, method: str, path: str) -> bytes:
        """The request line and the fixed header lines."""
        found = self.starts.get((method, path))
        if found is None:
            line = f"{method} {self.address.prefix}{path} HTTP/1.1\r\n"
            found = self.starts[method, path] = line.encode("ascii") + self.fixed
        return found


class Forwarder:
    """Sends requests to nodes. Made inside the running loop."""

    def __init__(self, policy: AddressPolicy, token_keys: tuple[str, ...]) -> None:
        self._token_keys = token_keys
        self._targets: dict[str, _Target] = {}
        self._dialer = Dialer(policy)
        self._outbox = Outbox(is_flushed_by_owner=True)

    async def close(self) -> None:
        """Close every connection."""
        for target in self._targets.values():
            target.pool.abort_all()
        self._targets.clear()
        await asyncio.sleep(0)  # the transports tell their protocols in the next turn of the loop

    async def send(  # noqa: PLR0913 - the parts of a request
        self,
        node: PoolNode,
        method: str,
        path: str,
        fields: bytes,
        body: bytes | LargeBody | None,
        *,
        connect_timeout_s: float,
        stream_type: str | None = None,
        lease: Lease | None = None,
        sent: NodeAnswer | None = None,
    ) -> NodeAnswer:
        """Send and wait until the answer has begun. Raises NodeFailedError.

        `fields` are header lines, `stream_type` is the content type of the answer that is a stream,
        `sent` is what `send_on` gave if it sent this request already.

        A pooled connection may have been closed by the node just before we wrote to it. That says
        nothing about the node: the request goes out once more, on a new connection to the same one.
        """
        target = self._target(node)
        if isinstance(body, LargeBody) and len(body) <= PIECE_BYTES:
            body = await body.whole()
        head = _head(target, method, path, fields, None if body is None else len(body))
        body = body or b""
        connection = None if sent is not None else target.pool.take()
        answer = sent
        while True:
            if answer is None:
                if connection is None:
                    connection = await self._connect(target, connect_timeout_s)
                answer = connection.begin(head, body, stream_type, lease)
                answer.is_bodyless = method == "HEAD"
            try:
                if len(body) > PIECE_BYTES and connection is not None:
                    await connection.send_body(body)
                await answer.begun()
            except NodeFailedError as error:
                if error.fault is not Fault.NO_ANSWER or not answer.is_stale:
                    raise
            except BaseException:
                answer.close()  # whoever waited is gone: the node must not work on
                raise
            else:
                return answer
            answer = connection = None

    def standing(self, node: PoolNode) -> NodeConnection | None:
        """A connection that stands, if there is one. Whoever takes it sends on it, by `send_on`."""
        try:
            return self._target(node).pool.take()
        except NodeFailedError:
            return None  # `send` says so

    def send_on(  # noqa: PLR0913 - the parts of a request
        self,
        connection: NodeConnection,
        node: PoolNode,
        path: str,
        fields: bytes,
        body: bytes,
        *,
        stream_type: str | None,
        lease: Lease,
        is_one_of_many: bool,
    ) -> NodeAnswer:
        """POST what is not more than `PIECE_BYTES` on a connection that `standing` gave.

        One of many leaves with the next `flush`.
        """
        head = _head(self._target(node), "POST", path, fields, len(body))
        return connection.begin(head, body, stream_type, lease, is_one_of_many=is_one_of_many)

    def flush(self) -> None:
        """Send now what `send_on` wrote."""
        self._outbox.flush()

    async def _connect(self, target: _Target, timeout_s: float) -> NodeConnection:
        pool = target.pool
        try:
            connection = await self._dialer.connect(
                target.address, lambda: NodeConnection(pool.rests, self._outbox), timeout_s
            )
        except OSError as error:
            raise NodeFailedError(_connect_fault(error), _words_of(error)) from error
        pool.open.add(connection)
        return connection

    def _target(self, node: PoolNode) -> _Target:
        target = self._targets.get(node.id)
        if target is not None and target.node is node:
            return target
        if target is None or target.url != node.url or target.sealed_token != node.sealed_token:
            try:
                address = normalise(node.url)
            except InvalidAddressError as error:
                raise NodeFailedError(Fault.ADDRESS_NOT_ALLOWED, error.fault) from error
            fixed = f"Host: {address.authority}\r\n"
            if node.sealed_token:
                fixed += f"Authorization: Bearer {self._open(node)}\r\n"
            if target is not None:
                target.pool.close()
            target = _Target(node.url, node.sealed_token, address, fixed.encode("latin-1"))
            self._targets[node.id] = target
        target.node = node
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
        """Drop what was prepared for nodes that exist no more; answers under way go on."""
        for node_id in self._targets.keys() - known:
            self._targets.pop(node_id).pool.close()


def _head(target: _Target, method: str, path: str, fields: bytes, body_bytes: int | None) -> bytes:
    """The head of a request with a body of this size, or with none."""
    start = target.start(method, path)
    if body_bytes is None:
        return b"%b%b\r\n" % (start, fields)
    return b"%b%bContent-Length: %d\r\n\r\n" % (start, fields, body_bytes)


_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""Errors that say nothing of the node: it was not even asked."""


def _connect_fault(error: OSError) -> Fault:  # noqa: PLR0911 - a table in the order of its rows
    """What an error while connecting means. Order matters: subclasses come first."""
    if error.errno in _OURS:
        return Fault.NO_RESOURCES
    match error:
        case AddressRefusedError():
            return Fault.ADDRESS_NOT_ALLOWED
        case NameUnknownError():
            return Fault.DNS_FAILED
        case ssl.SSLError() | ConnectionResetError() | ConnectionAbortedError():
            return Fault.TLS_FAILED  # a plain connection that stands is not reset while connecting
        case ConnectionRefusedError():
            return Fault.REFUSED
        case TimeoutError():
            return Fault.CONNECT_TIMEOUT
    return Fault.UNREACHABLE


def _words_of(error: OSError) -> str:
    """What an operator needs to know of it: what is wrong with a certificate, for instance."""
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or "TLS"
    return type(error).__name__
