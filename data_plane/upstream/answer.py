"""One exchange with a node: what was asked, and what has come back of the answer so far.

Content is handed on as it arrives: to whoever waits for it, or, once `drain_to` was called,
straight from the connection's callback to a sink, so that no task wakes up for a chunk. An answer
outlives its connection: what was read stays readable.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from data_plane.protocol.heads import NodeHead
from data_plane.settings import HELD_ANSWER_BYTES, UPSTREAM_READ_BUFFER_BYTES
from data_plane.upstream.faults import Fault, NodeFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.upstream.connection import NodeConnection
    from data_plane.upstream.lease import Lease

    Sink = Callable[[bytes, bytes | None], None]
    """Takes content, and the bytes as they came when those were exactly one chunk."""

_NO_HEAD: Final = NodeHead(0, {}, b"", None, is_chunked=False, keeps_alive=False)


class ChunkTaker(ABC):
    """Deals in one call with what is most usual: a chunk that came as one piece."""

    __slots__ = ()

    @abstractmethod
    def may_take(self) -> bool:
        """Whether the next chunk may be offered; asked between two, after one that went the long
        way.
        """

    @abstractmethod
    def take(self, data: bytes) -> bool:
        """Deal with it, and say so; what is not exactly one chunk has to be left alone."""


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
        self, connection: NodeConnection | None, stream_type: str | None, lease: Lease | None
    ) -> None:
        self.lease = lease
        """Told of each sign of life."""

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

        self.sink: Sink | None = None
        """Where content goes; None: it is held here."""

        self.on_news: Callable[[], None] | None = None
        """Called, instead of waking whoever waits, when something can be said about the answer and
        at its end. It must not raise."""

        self._connection = connection
        self._stream_type = stream_type
        self._fault: NodeFailedError | None = None
        self._parts: list[bytes] = []
        self._size = 0
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

    def offer_first(self, taker: ChunkTaker) -> None:
        """Have what arrives offered to `taker` first, whenever it may take."""
        if self._connection is not None:
            self._connection.offer_first(taker)

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
