"""From bytes on a connection to a request worth looking at: its target, its framing, its body.

The parser has refused most of what is wrong already; this refuses the rest: what the library lets
through although a stricter peer would read it differently.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPException
from aiohttp.web_protocol import RequestPayloadError

from data_plane.admission.gate import NoRoomError
from data_plane.protocol.codings import (
    ACCEPTED,
    BadCodingError,
    Coding,
    Opener,
    UnknownCodingError,
    coding_of,
)
from data_plane.protocol.matching import METHODS
from data_plane.protocol.outline import Outline, OutlineError, Outliner
from data_plane.proxy.answers import RefusedRequestError
from data_plane.settings import (
    BODY_DEADLINE_PER_BYTE_S,
    BODY_DEADLINE_S,
    HELD_BODY_BYTES,
    MAX_HEAD_BYTES,
)
from data_plane.upstream.stored import StoredFile
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from data_plane.admission.gate import BodyClaim
    from data_plane.proxy.call import Call

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(/[^#]*|)", re.IGNORECASE)
_NO_ROOM: Final = (
    "too many large requests are being received at this moment; try again in a few seconds"
)
_SPOOL_PIECE_BYTES: Final = 256 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def path(call: Call) -> str:
    """The path as it came, nothing decoded."""
    raw = call.target
    if call.method == hdrs.METH_CONNECT:
        raise RefusedRequestError(
            ErrorCode.METHOD_NOT_ALLOWED, headers={"Allow": METHODS}, closes=True
        )
    if raw.startswith("/"):
        if "?" not in raw and "#" not in raw:
            return raw
        return raw.partition("?")[0].partition("#")[0]
    match = _ABSOLUTE.fullmatch(raw)
    if match is None or match[1].lower() != call.headers.get(hdrs.HOST, "").lower():
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, closes=True)
    return match[2].partition("?")[0] or "/"


def check_framing(call: Call) -> None:
    """Refuse versions, codings and hosts that the parser let through."""
    headers = call.headers
    if call.version not in {HttpVersion10, HttpVersion11}:
        raise RefusedRequestError(ErrorCode.UNSUPPORTED_HTTP_VERSION, closes=True)
    if sum(len(name) + len(value) for name, value in call.raw_headers) > MAX_HEAD_BYTES:
        raise RefusedRequestError(ErrorCode.HEADERS_TOO_LARGE, closes=True)
    host = headers.get(hdrs.HOST)
    if host is not None and not _HOST.fullmatch(host):
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, closes=True)
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and (
        coding.strip().lower() != "chunked" or call.version == HttpVersion10
    ):
        is_known_form = coding.lower().endswith("chunked") and not coding.startswith(",")
        is_unsupported = is_known_form and call.version == HttpVersion11
        code = ErrorCode.UNSUPPORTED_TRANSFER_CODING if is_unsupported else ErrorCode.BAD_FRAMING
        raise RefusedRequestError(code, closes=True)
    expectation = headers.get(hdrs.EXPECT)
    if expectation is not None and expectation.strip().lower() != "100-continue":
        raise RefusedRequestError(ErrorCode.EXPECTATION_FAILED, closes=True)


def coding(call: Call) -> Coding | None:
    """How the body is compressed; raises RefusedRequestError for a way that is not opened here."""
    try:
        return coding_of(", ".join(call.headers.getall(hdrs.CONTENT_ENCODING, ())))
    except UnknownCodingError as error:
        raise RefusedRequestError(
            ErrorCode.UNSUPPORTED_CONTENT_ENCODING,
            headers={"Accept-Encoding": ACCEPTED},
            closes=True,
        ) from error


async def read_body(call: Call, limit: int, held: BodyClaim, *, expects: bool) -> bytes | Outline:
    """Read the body, within its limits of size, memory, disk and time.

    A large one is not held: its outline is given, and the claim closes the file that it lies in.
    """
    coded = call.caller.coding
    content = call.content if coded is None else _Opened(call, coded, limit)
    declared = _declared(call)
    # The outline of a large body is one of JSON; a form is held.
    held_bytes = limit if call.route.takes_form else HELD_BODY_BYTES
    if call.content.is_eof() and not expects:
        # Without a timer, since nothing is waited for.
        return await _read_parts(content, declared, limit, held, held_bytes)
    claim_room = claim if declared <= held_bytes else _claim_spool
    claim_room(held, declared, limit)
    if expects and call.connection.transport is not None:
        call.connection.transport.write(_CONTINUE)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S + declared * BODY_DEADLINE_PER_BYTE_S):
            return await _read_parts(content, declared, limit, held, held_bytes)
    except TimeoutError as late:
        raise RefusedRequestError(ErrorCode.REQUEST_TIMEOUT, closes=True) from late
    except (RequestPayloadError, HttpProcessingError, HTTPException) as error:
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, closes=True) from error


async def _read_parts(
    content: _Content, declared: int, limit: int, held: BodyClaim, held_bytes: int
) -> bytes | Outline:
    parts: list[bytes] = []
    size = 0
    is_large = declared > held_bytes
    while not is_large and (chunk := await content.readany()):
        size += len(chunk)
        if size > limit:
            raise RefusedRequestError(ErrorCode.PAYLOAD_TOO_LARGE, closes=True)
        is_large = size > held_bytes
        claim(held, min(size, held_bytes), limit)
        parts.append(chunk)
    if is_large:
        return await _spool(content, parts, limit, held)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _spool(content: _Content, parts: list[bytes], limit: int, held: BodyClaim) -> Outline:
    """Read on, from memory to disk."""
    outliner, size = Outliner(), 0
    with _spool_faults():
        store = StoredFile.nameless(held.spool_dir)
    held.moves_to(store)
    while chunk := parts.pop(0) if parts else await _some(content):
        size += len(chunk)
        _claim_spool(held, size, limit)
        with _spool_faults():
            outliner.feed(chunk)
            await store.append(chunk)
    with _spool_faults():
        return Outline(outliner.end(), store, size)


async def store_body(call: Call, held: BodyClaim, take: Callable[[bytes], None]) -> StoredFile:
    """Read a body of any kind to disk, `take` seeing every piece; the claim closes the file.

    It may be as large as there is room for, and take as long as it comes on.
    """
    _claim_blob(held, _declared(call))
    if call.caller.expects and call.connection.transport is not None and call.body is None:
        call.connection.transport.write(_CONTINUE)
    content: _Content = (
        _AtHand(call)
        if call.caller.coding is None
        else _Opened(call, call.caller.coding, held.spool_budget_bytes)
    )
    with _spool_faults():
        store = StoredFile.nameless(held.spool_dir)
    held.moves_to(store)
    try:
        while True:
            async with asyncio.timeout(BODY_DEADLINE_S):
                piece = await _some(content)
            if not piece:
                return store
            _claim_blob(held, store.size + len(piece))
            take(piece)
            with _spool_faults():
                await store.append(piece)
    except TimeoutError as late:
        raise RefusedRequestError(ErrorCode.REQUEST_TIMEOUT, closes=True) from late
    except (RequestPayloadError, HttpProcessingError, HTTPException) as error:
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, closes=True) from error


def _claim_blob(held: BodyClaim, size: int) -> None:
    if size > held.spool_budget_bytes:
        raise RefusedRequestError(ErrorCode.BLOB_TOO_LARGE, closes=True)
    _claim_spool(held, size, size)


class _AtHand:
    """A body of which the beginning, or all, was read with the head."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def readany(self) -> bytes:
        """The next piece; b"" at the end."""
        at_hand, self._call.body = self._call.body, None
        return at_hand or await self._call.content.readany()


@contextmanager
def _spool_faults() -> Iterator[None]:
    try:
        yield
    except OutlineError as error:
        raise RefusedRequestError(error.code, closes=True) from error
    except OSError as fault:
        raise RefusedRequestError(
            ErrorCode.OVERLOADED, _NO_ROOM, closes=True, detail=f"spool: {fault.strerror}"
        ) from fault


class _Content(Protocol):
    """Where a body comes from."""

    async def readany(self) -> bytes:
        """What comes next, b"" at the end."""


class _Opened:
    """A compressed body, opened on its way in: what it stands for counts against the limit."""

    def __init__(self, call: Call, coding: Coding, limit: int) -> None:
        self._call = call
        self._limit = limit
        self._opener = Opener(coding)
        self._packed_size = 0
        self._pieces: Iterator[bytes] = iter(())

    async def readany(self) -> bytes:
        """The next piece; the loop may turn before each."""
        await asyncio.sleep(0)
        try:
            while True:
                piece = next(self._pieces, b"")
                if piece:
                    return piece
                packed = await self._packed()
                if not packed:
                    self._opener.end()
                    return b""
                self._packed_size += len(packed)
                if self._packed_size > self._limit:
                    raise RefusedRequestError(ErrorCode.PAYLOAD_TOO_LARGE, closes=True)
                self._pieces = self._opener.feed(packed)
        except BadCodingError as error:
            raise RefusedRequestError(ErrorCode.BAD_CONTENT_ENCODING, closes=True) from error

    async def _packed(self) -> bytes:
        at_hand, self._call.body = self._call.body, None
        return at_hand or await self._call.content.readany()


async def _some(content: _Content) -> bytes:
    """What comes next, collected so that it is worth a write."""
    parts, size = [], 0
    while size < _SPOOL_PIECE_BYTES and (chunk := await content.readany()):
        parts.append(chunk)
        size += len(chunk)
    return b"".join(parts)


def _claim_spool(held: BodyClaim, size: int, limit: int) -> None:
    if size > limit:
        raise RefusedRequestError(ErrorCode.PAYLOAD_TOO_LARGE, closes=True)
    try:
        held.spool_to(size)
    except NoRoomError as error:
        raise RefusedRequestError(ErrorCode.OVERLOADED, _NO_ROOM, closes=True) from error


def claim(held: BodyClaim, size: int, limit: int) -> None:
    """Make room for a body of so many bytes. Raises RefusedRequestError when there is none."""
    if size > limit:
        raise RefusedRequestError(ErrorCode.PAYLOAD_TOO_LARGE, closes=True)
    try:
        held.grow_to(size)
    except NoRoomError as error:
        raise RefusedRequestError(ErrorCode.OVERLOADED, _NO_ROOM, closes=True) from error


def _declared(call: Call) -> int:
    length = call.headers.get(hdrs.CONTENT_LENGTH)
    return int(length) if length is not None else 0  # the parser has seen that it is a number
