"""The answer on its way to the client: first byte, chunks, end, and every way it can break.

The commit point is the first byte sent. From there on nothing is tried again; an answer that cannot
be completed ends visibly: an error record in the caller's dialect, then the connection, without the
final chunk and without a terminal record. A clean end means a complete answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.protocol import dialects
from data_plane.protocol.bodies import CRLF, MOST_OF_RECORDS, SIZE_LINES
from data_plane.protocol.scanners import scanner_for
from data_plane.protocol.usage import complete_json
from data_plane.proxy.answers import STATUSES, RefusedRequestError, outcome_of
from data_plane.settings import HELD_ANSWER_BYTES
from data_plane.upstream.answer import ChunkTaker
from data_plane.upstream.faults import Fault, NodeFailedError
from shared.codes import SENTENCES, ErrorCode, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from data_plane.protocol.asks import Ask
    from data_plane.protocol.endings import Usage
    from data_plane.protocol.lines import LineScanner
    from data_plane.proxy.filler import Filler
    from data_plane.proxy.reply import Reply
    from data_plane.telemetry.record import Record
    from data_plane.upstream.answer import NodeAnswer, Sink
    from shared.snapshot import ProxyConfig

BREAK_CODES: Final = {
    Fault.BROKEN: ErrorCode.UPSTREAM_TRUNCATED,
    Fault.BAD_FRAMING: ErrorCode.UPSTREAM_PROTOCOL_ERROR,
    Fault.NODE_DOWN: ErrorCode.UPSTREAM_STALLED,
    Fault.STALLED: ErrorCode.UPSTREAM_STALLED,
    Fault.SHUTDOWN: ErrorCode.PROXY_SHUTDOWN,
}
"""What a fault in the middle of an answer is called; any other is a truncation."""


_LINES: Final = (
    b"%bCache-Control: no-store\r\nX-Request-Id: %b\r\nX-Aivonx-Node: %b\r\n"
    b"X-Aivonx-Attempts: %d\r\nServer-Timing: node;dur=%.1f\r\n"
)
"""What a relayed answer says besides the node's own lines."""


class Passage:
    """One node's answer through one reply."""

    __slots__ = (
        *("_ask", "_config", "_on_commit", "_record", "_reply", "_scanner", "_told"),
        "usage",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - what an answer passes by, in one place
        self,
        reply: Reply,
        record: Record,
        ask: Ask,
        config: ProxyConfig,
        on_commit: Callable[[], None],
        told: bytes = b"",
    ) -> None:
        """`told` are further header lines for the client."""
        self._reply = reply
        self._record = record
        self._ask = ask
        self._config = config
        self._on_commit = on_commit
        self._told = told
        self._scanner: LineScanner | None = None
        self.usage: Usage | None = None
        """What the whole answer cost, as far as the node said."""

    def relay(self, answer: NodeAnswer, *, closes: bool) -> Awaitable[None]:
        """Pass the answer on, to its end. Raises NodeFailedError when the node breaks it."""
        if answer.is_stream:
            return self._relay_stream(answer, closes=closes)
        return self._relay_whole(answer, closes=closes)

    async def _relay_stream(self, answer: NodeAnswer, *, closes: bool) -> None:
        if not self._reply.is_committed:
            self.begin_stream(answer, closes=closes)
        await answer.ended()
        self.end_stream()
        await self._reply.drained()

    def begin_stream(self, answer: NodeAnswer, *, closes: bool) -> None:
        """The first record, and whatever follows from now on. Raises NodeFailedError."""
        scanner = self._scanner = scanner_for(self._ask.route.framing)
        first = answer.held()
        if not first:
            raise NodeFailedError(Fault.BROKEN, "an empty stream")
        self._commit(answer, first, None, is_stream=True, closes=closes)
        scanner.feed(first)
        self._reply.draws_from(answer)
        answer.drain_to(self._scanning(scanner))
        write = self._reply.chunk_writer()
        if write is not None:
            answer.offer_first(_Passing(scanner, self._reply, write))
        if answer.lease is not None:
            answer.lease.progress = lambda: self._reply.bytes_out

    def end_stream(self) -> None:
        """The node has said all. Raises NodeFailedError when that is not a whole answer."""
        scanner = self._scanner
        if scanner is None:
            raise NodeFailedError(Fault.BROKEN, "a stream that has not begun")
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
        self._reply.finish()

    def _scanning(self, scanner: LineScanner) -> Sink:
        """What happens to content, within the callback that reads it. It must not raise."""
        scan, reply = scanner.feed, self._reply
        write, write_chunk = reply.write, reply.chunk_writer()

        def take(content: bytes, whole: bytes | None) -> None:
            scan(content)
            if whole is None or write_chunk is None:
                write(content, None)
            else:
                reply.bytes_out += len(content)
                write_chunk(whole)

        return take

    async def _relay_whole(self, answer: NodeAnswer, *, closes: bool) -> None:
        """An answer in one piece is held back until it is whole, so that it can be tried again."""
        if self._reply.is_committed:
            await self._reply.drained()
            return
        while not answer.done:
            if answer.held_bytes > HELD_ANSWER_BYTES:
                await self._relay_large(answer, closes=closes)
                return
            await answer.more()
        self.pass_whole(answer, closes=closes)
        await self._reply.drained()

    def pass_whole(self, answer: NodeAnswer, *, closes: bool) -> None:
        """An answer that has arrived to its end. Raises NodeFailedError when it is cut short."""
        body = answer.held()
        self._judge_whole(answer, body)
        self._commit(answer, body, len(body), is_stream=False, closes=closes)
        if self._reply.is_held_open:
            self._reply.finish()

    async def _relay_large(self, answer: NodeAnswer, *, closes: bool) -> None:
        self._commit(answer, answer.held(), answer.head.length, is_stream=False, closes=closes)
        self._reply.draws_from(answer)
        answer.drain_to(self._reply.write)
        await answer.ended()
        self._record.outcome = Outcome.OK
        self._reply.finish()
        await self._reply.drained()

    def _judge_whole(self, answer: NodeAnswer, body: bytes) -> None:
        if answer.status >= 400:  # noqa: PLR2004 - HTTP
            self._record.outcome = Outcome.NODE_ERROR
            return
        ending = complete_json(body)
        self._take_usage(ending.usage)
        if ending.error is not None:
            self._record.outcome = Outcome.NODE_ERROR
        elif ending.is_given_up:
            raise NodeFailedError(Fault.GIVEN_UP, "the node gave the answer up")
        elif ending.done or _is_json(body) or _is_framed_text(answer):
            self._record.outcome = Outcome.OK
        else:
            # Close-delimited and cut short: nothing but the JSON tells.
            raise NodeFailedError(Fault.BROKEN, "the answer is cut short")

    async def relay_kept(self, answer: NodeAnswer, body: bytes, *, closes: bool) -> None:
        """A node's error that was read before and is relayed after all."""
        self._record.outcome = Outcome.NODE_ERROR
        self._commit(answer, body, len(body), is_stream=False, closes=closes)
        await self._reply.drained()

    def _commit(
        self,
        answer: NodeAnswer,
        first: bytes,
        length: int | None,
        *,
        is_stream: bool,
        closes: bool,
    ) -> None:
        record = self._record
        if self._reply.filler is not None:
            self._meet(self._reply.filler, answer, first, is_stream=is_stream)
        record.status = answer.status
        record.is_stream = is_stream
        record.first_byte_at = self._reply.now()
        waited_ms = (record.first_byte_at - record.started_at) * 1_000
        lines = _LINES % (
            answer.head.passed,
            record.request_id.encode("ascii"),
            (record.node if record.node.isprintable() else record.node_id).encode(),
            record.attempts,
            waited_ms,
        )
        if self._told:
            lines += self._told
        if is_stream:
            # Reverse proxies in front of us must not collect a stream before they pass it on.
            lines += b"X-Accel-Buffering: no\r\n"
        self._on_commit()
        self._reply.begin(
            answer.status,
            lines,
            first,
            length=length,
            stall_s=self._config.client_stall_timeout_s,
            closes=closes,
        )

    def _meet(self, filler: Filler, answer: NodeAnswer, first: bytes, *, is_stream: bool) -> None:
        """The answer has come, perhaps late: an error then has no status of its own any more."""
        if is_stream:
            filler.scanner = self._scanner
            return
        filler.stop()
        if self._reply.is_held_open and answer.status >= 400:  # noqa: PLR2004 - HTTP
            said = complete_json(first).error or ""
            raise RefusedRequestError(ErrorCode.NODE_ERROR, said, status=answer.status)

    def _take_usage(self, usage: Usage | None) -> None:
        if usage is not None:
            self.usage = usage
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


class _Passing(ChunkTaker):
    """Passes on a chunk that came as one, is a record, and is not the last.

    What the connection, `ChunkedBody.feed`, `LineScanner.feed` and the sink would do with it in
    five calls is done here in one, for it is done once per token. Neither the body nor the scanner
    changes by such a chunk, so they are not told of it.
    """

    __slots__ = ("_end", "_needles", "_reply", "_scanner", "_write")

    def __init__(self, scanner: LineScanner, reply: Reply, write: Callable[[bytes], None]) -> None:
        self._scanner = scanner
        self._reply = reply
        self._write = write
        self._needles = scanner.needles
        self._end = scanner.record_end + CRLF

    def may_take(self) -> bool:
        """Whether what comes next is the beginning of a record."""
        return self._scanner.is_between_records()

    def take(self, data: bytes) -> bool:
        """Pass it on if it is such a chunk."""
        length = len(data)
        if length >= MOST_OF_RECORDS:
            return False
        line = SIZE_LINES[length]
        if not data.startswith(line) or not data.endswith(self._end):
            return False
        for needle in self._needles:
            if data.find(needle) >= 0:  # see LineScanner: `in` costs twice as much
                return False
        self._reply.bytes_out += length - len(line) - len(CRLF)
        self._write(data)
        return True


def _is_framed_text(answer: NodeAnswer) -> bool:
    """Whether it is text (a transcription may be), whose end only its framing can tell."""
    head = answer.head
    is_text = head.fields.get("content-type", "").startswith("text/plain")
    return is_text and (head.is_chunked or head.length is not None)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
