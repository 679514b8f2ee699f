"""The answer on its way to the client: first byte, chunks, end, and every way it can break.

The commit point is the first byte sent. From there on nothing is tried again; an answer that cannot
be completed ends visibly: an error record in the caller's dialect, then the connection, without the
final chunk and without a terminal record. A clean end means a complete answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import msgspec
from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

from data_plane.protocol import dialects, headers
from data_plane.protocol.routes import Framing
from data_plane.protocol.scanners import scanner_for
from data_plane.protocol.usage import complete_json
from data_plane.proxy.answers import STATUSES, outcome_of
from data_plane.settings import HELD_ANSWER_BYTES
from data_plane.upstream.faults import Fault, NodeFailedError
from shared.codes import SENTENCES, ErrorCode, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.http_writer import StreamWriter

    from data_plane.protocol.ask import Ask
    from data_plane.protocol.lines import LineScanner
    from data_plane.protocol.usage import Usage
    from data_plane.telemetry.logs import Record
    from data_plane.upstream.forward import NodeAnswer
    from data_plane.upstream.lease import Lease
    from shared.snapshot import ProxyConfig

BREAK_FLUSH_S: Final = 1.0
"""For the last words of a broken answer to leave; then the connection is cut."""


class ClientStalledError(Exception):
    """The client left bytes unread for too long."""


BREAK_CODES: Final = {
    Fault.BROKEN: ErrorCode.UPSTREAM_TRUNCATED,
    Fault.BAD_FRAMING: ErrorCode.UPSTREAM_PROTOCOL_ERROR,
    Fault.NODE_DOWN: ErrorCode.UPSTREAM_STALLED,
    Fault.STALLED: ErrorCode.UPSTREAM_STALLED,
    Fault.SHUTDOWN: ErrorCode.PROXY_SHUTDOWN,
}
"""What a fault in the middle of an answer is called; any other is a truncation."""


class _Stream(web.StreamResponse):
    """A response whose head leaves together with its first bytes."""

    _send_headers_immediately = False


class Reply:
    """What goes to the client for one request."""

    __slots__ = ("_request", "_response", "_stall_s", "_writer", "bytes_out", "headers")

    def __init__(self, request: web.BaseRequest, headers: dict[str, str]) -> None:
        self.headers = headers
        """Ours, on every answer to this request."""

        self.bytes_out = 0
        self._request = request
        self._response: _Stream | None = None
        # The server makes no other; its interface just does not name `drain`.
        self._writer = cast("StreamWriter", request.writer)
        self._stall_s = 0.0

    @property
    def is_committed(self) -> bool:
        """Whether the client has been sent anything."""
        return self._response is not None

    @property
    def response(self) -> web.StreamResponse:
        """What the server wants to have back."""
        if self._response is None:
            msg = "nothing was answered"
            raise RuntimeError(msg)
        return self._response

    async def begin(
        self, status: int, pairs: headers.Pairs, *, stall_s: float, closes: bool
    ) -> None:
        """The commit point. The head leaves with the first chunk."""
        fields = CIMultiDict(pairs)
        fields.update(self.headers)
        response = _Stream(status=status, headers=fields)
        if "Content-Length" not in fields and self._request.version == HttpVersion11:
            response.enable_chunked_encoding()
        if closes:
            response.force_close()
        self._response = response
        self._stall_s = stall_s
        await response.prepare(self._request)

    async def send(self, chunk: bytes) -> None:
        """Pass one chunk on. Waits while the client does not read, up to the stall limit."""
        await self._writer.write(chunk, drain=False)
        self.bytes_out += len(chunk)
        if self._request.protocol.writing_paused:
            await self._drain()

    async def _drain(self) -> None:
        """Wait until the client has read; an error only if it reads nothing at all."""
        transport = self._request.transport
        while transport is not None:
            waiting = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._stall_s or None):
                    await self._writer.drain()
            except TimeoutError:
                if transport.get_write_buffer_size() >= waiting:
                    raise ClientStalledError from None
            else:
                return

    async def end(self) -> None:
        """A complete answer."""
        await self.response.write_eof()

    def break_off(self, last_words: bytes) -> None:
        """A visible break: the last words, then the connection without a clean end."""
        transport = self._request.transport
        if transport is None:
            return
        if last_words:
            is_chunked = self._response is not None and self._response.chunked
            transport.write(
                b"%x\r\n%b\r\n" % (len(last_words), last_words) if is_chunked else last_words
            )
        # Closing flushes what is written; nothing can be written after it, so no final chunk.
        transport.close()
        asyncio.get_running_loop().call_later(BREAK_FLUSH_S, transport.abort)

    def cut(self) -> None:
        """Drop the connection with everything unsent."""
        if self._request.transport is not None:
            self._request.transport.abort()


class Passage:
    """One node's answer through one reply."""

    __slots__ = ("_ask", "_config", "_lease", "_on_commit", "_record", "_reply", "_scanner")

    def __init__(  # noqa: PLR0913 - what the seven steps have gathered
        self,
        reply: Reply,
        *,
        record: Record,
        lease: Lease | None,
        ask: Ask,
        config: ProxyConfig,
        on_commit: Callable[[], None],
    ) -> None:
        self._reply = reply
        self._record = record
        self._lease = lease
        self._ask = ask
        self._config = config
        self._on_commit = on_commit
        self._scanner: LineScanner | None = None

    async def relay(self, answer: NodeAnswer, *, closes: bool) -> None:
        """Pass the answer on, to its end. Raises NodeFailedError when the node breaks it."""
        first = await answer.read()
        self._note_life()
        if answer.status == 200 and self._is_stream(answer):  # noqa: PLR2004 - HTTP
            if not first:
                raise NodeFailedError(Fault.BROKEN, "an empty stream")
            await self._relay_stream(answer, first, closes=closes)
        else:
            await self._relay_whole(answer, first, closes=closes)

    def _is_stream(self, answer: NodeAnswer) -> bool:
        framing = self._ask.route.framing
        if framing is Framing.NONE:
            return False
        kind = answer.headers.get("Content-Type", "")
        return kind.startswith(dialects.STREAM_TYPES[framing])

    def _note_life(self) -> None:
        lease = self._lease
        if lease is not None:
            lease.has_begun = True
            lease.last_byte_at = asyncio.get_running_loop().time()

    async def _relay_stream(self, answer: NodeAnswer, chunk: bytes, *, closes: bool) -> None:
        scanner = self._scanner = scanner_for(self._ask.route.framing)
        await self._commit(answer, None, is_stream=True, closes=closes)
        # Per chunk: one read, one scan, one write. Bound once, looked up never.
        clock, lease = asyncio.get_running_loop().time, self._lease
        feed, send, read = scanner.feed, self._reply.send, answer.read
        while chunk:
            if lease is not None:
                lease.last_byte_at = clock()
            feed(chunk)
            await send(chunk)
            chunk = await read()
        scanner.end()
        self._take_usage(scanner.usage)
        if scanner.error is not None:
            # The node said what went wrong, in its own record, and the client has it.
            self._record.outcome = Outcome.NODE_ERROR
            self._record.detail = scanner.error[:200]
        elif not scanner.done:
            # The framing may be fine; without its terminal record the answer is not complete.
            raise NodeFailedError(Fault.BROKEN, "the end is missing")
        else:
            self._record.outcome = Outcome.OK
        await self._reply.end()

    async def _relay_whole(self, answer: NodeAnswer, chunk: bytes, *, closes: bool) -> None:
        """An answer in one piece is held back until it is whole, so that it can be tried again."""
        parts, size = [], 0
        while chunk and size + len(chunk) <= HELD_ANSWER_BYTES:
            parts.append(chunk)
            size += len(chunk)
            chunk = await answer.read()
            self._note_life()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if chunk:
            await self._relay_large(answer, body, chunk, closes=closes)
            return
        self._judge_whole(answer, body)
        await self._commit(answer, size, is_stream=False, closes=closes)
        if body:
            await self._reply.send(body)
        await self._reply.end()

    async def _relay_large(
        self, answer: NodeAnswer, held: bytes, chunk: bytes, *, closes: bool
    ) -> None:
        declared = answer.headers.get("Content-Length", "")
        length = int(declared) if declared.isdigit() else None
        await self._commit(answer, length, is_stream=False, closes=closes)
        await self._reply.send(held)
        while chunk:
            await self._reply.send(chunk)
            chunk = await answer.read()
            self._note_life()
        self._record.outcome = Outcome.OK
        await self._reply.end()

    def _judge_whole(self, answer: NodeAnswer, body: bytes) -> None:
        if answer.status >= 400:  # noqa: PLR2004 - HTTP
            self._record.outcome = Outcome.NODE_ERROR
            return
        ending = complete_json(body)
        self._take_usage(ending.usage)
        if ending.error is not None:
            self._record.outcome = Outcome.NODE_ERROR
        elif ending.done or _is_json(body):
            self._record.outcome = Outcome.OK
        else:
            # Close-delimited and cut short: nothing but the JSON tells.
            raise NodeFailedError(Fault.BROKEN, "the answer is cut short")

    async def relay_kept(self, answer: NodeAnswer, body: bytes, *, closes: bool) -> None:
        """A node's error that was read before and is relayed after all."""
        self._record.outcome = Outcome.NODE_ERROR
        await self._commit(answer, len(body), is_stream=False, closes=closes)
        await self._reply.send(body)
        await self._reply.end()

    async def _commit(
        self, answer: NodeAnswer, length: int | None, *, is_stream: bool, closes: bool
    ) -> None:
        record = self._record
        record.status = answer.status
        record.is_stream = is_stream
        record.first_byte_at = asyncio.get_running_loop().time()
        waited_ms = (record.first_byte_at - record.started_at) * 1_000
        pairs = headers.from_node(
            answer.headers.items(), request_id=record.request_id, streaming=is_stream
        )
        pairs += [
            ("X-Aivonx-Node", record.node if record.node.isprintable() else record.node_id),
            ("X-Aivonx-Attempts", str(record.attempts)),
            ("Server-Timing", f"node;dur={waited_ms:.1f}"),
        ]
        if length is not None:
            pairs.append(("Content-Length", str(length)))
        self._on_commit()
        await self._reply.begin(
            answer.status, pairs, stall_s=self._config.client_stall_timeout_s, closes=closes
        )

    def _take_usage(self, usage: Usage | None) -> None:
        if usage is not None:
            self._record.prompt_tokens = usage.prompt_tokens
            self._record.answer_tokens = usage.completion_tokens

    def broke(self, error: NodeFailedError) -> None:
        """The node broke an answer that the client has the beginning of: end it visibly."""
        code = BREAK_CODES.get(error.fault, ErrorCode.UPSTREAM_TRUNCATED)
        record, scanner = self._record, self._scanner
        record.code, record.outcome, record.detail = code, outcome_of(code), str(error)
        words = b""
        if scanner is not None:
            self._take_usage(scanner.usage)
            words = scanner.separator + dialects.stream_error(
                self._ask.route.framing, STATUSES[code], code, SENTENCES[code], record.request_id
            )
        self._reply.break_off(words)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
