"""Faults on demand, and the writer that carries them out on the raw connection.

A fault is put on a node for one path or all, one model or all, for the next `times` requests or
until it is cleared. `after` is how many chunks of the answer still arrive whole.
"""

import asyncio
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

LONG_LINE_BYTES: Final = 10_000_000


class FaultKind(StrEnum):
    """What goes wrong."""

    # Before the head.
    SILENCE = "silence"  # the request is read, nothing is ever answered
    DELAY = "delay"  # the head comes `seconds` later
    GARBAGE = "garbage"  # not an HTTP status line
    STATUS = "status"  # answer `status` with `text` in the dialect's shape
    RUNNER_DIED = "runner_died"  # 500
    BUSY = "busy"  # 503, the queue is full
    MISSING = "missing"  # 404, as if the model were not there
    REDIRECT = "redirect"  # 302 to `text`
    LOAD_FAILS = "load_fails"  # 500 out of memory
    # At the head, or after `after` chunks.
    RESET = "reset"  # RST
    CLOSE = "close"  # FIN
    STALL = "stall"  # open and silent; after=0 stalls behind the head
    BAD_CHUNK = "bad_chunk"  # a chunk size that is no number
    ERROR_RECORD = "error_record"  # what the node writes when its runner fails midway
    NO_DONE = "no_done"  # a clean end without the final record (the repeat guard)
    # The whole answer.
    CUT_SHORT = "cut_short"  # no Content-Length, no chunks, closed after `after` pieces
    GZIP = "gzip"  # compressed though nobody asked
    EXTRA_BYTES = "extra_bytes"  # more bytes after the declared end
    LONG_LINE = "long_line"  # one record of 10 MB


BEFORE_HEAD: Final = frozenset(
    {
        FaultKind.SILENCE,
        FaultKind.DELAY,
        FaultKind.GARBAGE,
        FaultKind.STATUS,
        FaultKind.RUNNER_DIED,
        FaultKind.BUSY,
        FaultKind.MISSING,
        FaultKind.REDIRECT,
        FaultKind.LOAD_FAILS,
    }
)
_MIDWAY: Final = frozenset(
    {
        FaultKind.RESET,
        FaultKind.CLOSE,
        FaultKind.STALL,
        FaultKind.BAD_CHUNK,
        FaultKind.ERROR_RECORD,
        FaultKind.NO_DONE,
        FaultKind.CUT_SHORT,
    }
)
_GO_BUFFER: Final = 2_048
_GIVEN_UP: Final = (
    (b'"done":true', b'"done":false'),
    (b'"finish_reason":"stop"', b'"finish_reason":null'),
    (b'"stop_reason":"end_turn"', b'"stop_reason":""'),
)
"""What a whole answer says when its generation ended without a last word, in each dialect."""


@dataclass(slots=True)
class Fault:
    """One fault; `hits` counts the requests that it struck."""

    kind: FaultKind
    path: str | None = None
    model: str | None = None
    times: int | None = None
    after: int | None = None
    seconds: float = 0.0
    status: int = 500
    text: str = "injected fault"
    hits: int = 0

    def strikes(self, path: str, model: Callable[[], str | None]) -> bool:
        """Whether this request is one that the fault is for."""
        spent = self.times is not None and self.hits >= self.times
        if spent or self.path not in {None, path}:
            return False
        return self.model is None or self.model == model()


class Faults:
    """The faults of one node."""

    def __init__(self) -> None:
        """None."""
        self._faults: list[Fault] = []
        self._cleared = asyncio.Event()

    def add(self, fault: Fault) -> Fault:
        """Put a fault on the node; the earliest that fits a request strikes it."""
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Take every fault away; stalled answers go on."""
        self._faults.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    def strike(self, path: str, model: Callable[[], str | None]) -> Fault | None:
        """The fault for this request, counted. The model is read only if a fault asks for it."""
        for fault in self._faults:
            if fault.strikes(path, model):
                fault.hits += 1
                return fault
        return None

    async def stall(self, fault: Fault) -> None:
        """Say nothing while this one is on the node, unless the connection is given up before."""
        if any(each is fault for each in self._faults):
            await self._cleared.wait()


class StreamEndError(Exception):
    """The answer ended here on purpose: nothing more may be written."""


def reset(request: web.Request) -> None:
    """Drop the connection with a RST."""
    if (transport := request.transport) is None:
        return
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Closing the asyncio transport waits for its buffer; aborting does not.
    transport.abort()


def close(request: web.Request) -> None:
    """Close the connection with a FIN."""
    if request.transport is not None:
        request.transport.close()


def raw_write(request: web.Request, data: bytes) -> None:
    """Bytes past aiohttp's framing."""
    if request.transport is not None:
        request.transport.write(data)


class Writer:
    """One answer, chunk by chunk, with at most one fault in it."""

    def __init__(self, request: web.Request, fault: Fault | None, faults: Faults) -> None:
        """`fault` is the one that struck this request, if any."""
        self._request = request
        self._fault = fault
        self._faults = faults
        self._after = (fault.after or 0) if fault else 0
        self._answer: web.StreamResponse | None = None
        self._framing: AbstractStreamWriter | None = None
        self._packer = zlib.compressobj(wbits=31) if self._has(FaultKind.GZIP) else None
        self._raw = False
        self.chunks = 0

    @property
    def begun(self) -> bool:
        """Whether the head is out, so that errors can only be records."""
        return self._answer is not None or self._raw

    async def start(self, content_type: str, length: int | None = None, status: int = 200) -> None:
        """Send the head; without a length the body is chunked."""
        if self._has(FaultKind.CUT_SHORT):
            self._raw = True
            head = f"HTTP/1.1 {status} OK\r\nContent-Type: {content_type}\r\n"
            raw_write(self._request, f"{head}Connection: close\r\n\r\n".encode())
            return
        answer = web.StreamResponse(status=status, headers={"Content-Type": content_type})
        if self._packer is not None:
            answer.headers["Content-Encoding"] = "gzip"
        if length is None or self._packer is not None:
            answer.enable_chunked_encoding()
        else:
            answer.content_length = length
        self._answer = answer
        self._framing = await answer.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """One chunk, unless the fault comes first."""
        await self._break_here()
        if self._has(FaultKind.LONG_LINE) and self.chunks == self._after:
            padding = b'{"padding":"' + b"x" * LONG_LINE_BYTES + b'",'
            data = data.replace(b"{", padding, 1)
        self.chunks += 1
        await self.write_past_fault(data)

    async def write_past_fault(self, data: bytes) -> None:
        """One chunk, whatever the fault; an answer to HEAD has a head only."""
        if self._request.method == "HEAD":
            return
        if self._raw:
            raw_write(self._request, data)
        elif self._answer is not None:
            if self._packer is not None:
                data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
            await self._answer.write(data)

    async def finish(self) -> web.StreamResponse:
        """The end of the body, unless the fault comes first."""
        await self._break_here()
        return await self.finish_past_fault()

    async def finish_past_fault(self) -> web.StreamResponse:
        """The clean end of the body."""
        if self._answer is None:
            close(self._request)
            raise StreamEndError
        await self._answer.write_eof(self._packer.flush() if self._packer else b"")
        if self._has(FaultKind.EXTRA_BYTES):
            raw_write(self._request, b"extra bytes that no head announced\r\n")
        return self._answer

    async def whole(self, data: bytes, content_type: str, status: int = 200) -> web.StreamResponse:
        """An answer that is not a stream: it breaks in the middle of its body."""
        if self._has(FaultKind.ERROR_RECORD) and self._fault:
            # Nothing is out yet, so the runner's failure still gets its status.
            raise MidwayError(self._fault.text)
        if self._has(FaultKind.NO_DONE):
            self._fault = None
            for finished, given_up in _GIVEN_UP:
                data = data.replace(finished, given_up)
        pieces = [data]
        if self._fault and self._fault.kind in _MIDWAY:
            self._after = 1
            pieces = [data[: len(data) // 2], data[len(data) // 2 :]]
        announced = len(data) + self._padding_bytes()
        # Go buffers 2 KiB before it decides: short bodies get a length, longer ones chunks.
        await self.start(content_type, announced if announced <= _GO_BUFFER else None, status)
        for piece in pieces:
            await self.write(piece)
        return await self.finish()

    def _padding_bytes(self) -> int:
        return LONG_LINE_BYTES if self._has(FaultKind.LONG_LINE) else 0

    def _has(self, kind: FaultKind) -> bool:
        return self._fault is not None and self._fault.kind is kind

    async def _break_here(self) -> None:
        fault = self._fault
        if fault is None or fault.kind not in _MIDWAY or self.chunks < self._after:
            return
        if self._framing is not None and self.chunks == 0:
            self._framing.send_headers()
        match fault.kind:
            case FaultKind.RESET:
                reset(self._request)
            case FaultKind.BAD_CHUNK:
                raw_write(self._request, b"zz\r\nnot a chunk\r\n")
                close(self._request)
            case FaultKind.STALL:
                await self._faults.stall(fault)
                self._fault = None
                return
            case FaultKind.ERROR_RECORD:
                raise MidwayError(fault.text)
            case FaultKind.NO_DONE:
                raise MidwayError(None)
            case _:
                close(self._request)
        raise StreamEndError


class MidwayError(Exception):
    """The runner failed after the first record; `text` None is the silent end."""

    def __init__(self, text: str | None) -> None:
        """Keep the text for the record."""
        super().__init__(text or "")
        self.text = text
