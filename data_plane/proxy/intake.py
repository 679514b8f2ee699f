"""From bytes on a connection to a request worth looking at: its target, its framing, its body.

The parser has refused most of what is wrong already; this refuses the rest: what the library lets
through although a stricter peer would read it differently.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPException
from aiohttp.web_protocol import RequestPayloadError

from data_plane.admission.gate import NoRoomError
from data_plane.protocol.outline import Outline, OutlineError, Outliner
from data_plane.protocol.routes import METHODS
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
    from collections.abc import Iterator

    from aiohttp.streams import StreamReader

    from data_plane.admission.gate import BodyClaim
    from data_plane.proxy.server import Call

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
    encoding = headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise RefusedRequestError(ErrorCode.UNSUPPORTED_CONTENT_ENCODING, closes=True)
    expectation = headers.get(hdrs.EXPECT)
    if expectation is not None and expectation.strip().lower() != "100-continue":
        raise RefusedRequestError(ErrorCode.EXPECTATION_FAILED, closes=True)


async def read_body(call: Call, limit: int, held: BodyClaim, *, expects: bool) -> bytes | Outline:
    """Read the body, within its limits of size, memory, disk and time.

    A large one is not held: its outline is given, and the claim closes the file that it lies in.
    """
    if call.content.is_eof() and not expects:
        return await _read_parts(call, limit, held)  # without a timer, since nothing is waited for
    declared = _declared(call)
    claim_room = claim if declared <= HELD_BODY_BYTES else _claim_spool
    claim_room(held, declared, limit)
    if expects and call.connection.transport is not None:
        call.connection.transport.write(_CONTINUE)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S + declared * BODY_DEADLINE_PER_BYTE_S):
            return await _read_parts(call, limit, held)
    except TimeoutError as error:
        raise RefusedRequestError(ErrorCode.REQUEST_TIMEOUT, closes=True) from error
    except (RequestPayloadError, HttpProcessingError, HTTPException) as error:
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, closes=True) from error


async def _read_parts(call: Call, limit: int, held: BodyClaim) -> bytes | Outline:
    parts: list[bytes] = []
    size = 0
    is_large = _declared(call) > HELD_BODY_BYTES
    content = call.content
    while not is_large and (chunk := await content.readany()):
        size += len(chunk)
        is_large = size > HELD_BODY_BYTES
        claim(held, min(size, HELD_BODY_BYTES), limit)
        parts.append(chunk)
    if is_large:
        return await _spool(call, parts, limit, held)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _spool(call: Call, parts: list[bytes], limit: int, held: BodyClaim) -> Outline:
    """Read on, from memory to disk."""
    outliner, size = Outliner(), 0
    with _spool_faults():
        store = StoredFile.nameless(held.spool_dir)
    held.moves_to(store)
    while chunk := parts.pop(0) if parts else await _some(call.content):
        size += len(chunk)
        _claim_spool(held, size, limit)
        with _spool_faults():
            outliner.feed(chunk)
            await store.append(chunk)
    with _spool_faults():
        return Outline(outliner.end(), store, size)


@contextmanager
def _spool_faults() -> Iterator[None]:
    try:
        yield
    except OutlineError as error:
        raise RefusedRequestError(error.code, closes=True) from error
    except OSError as error:
        raise RefusedRequestError(
            ErrorCode.OVERLOADED, _NO_ROOM, closes=True, detail=f"spool: {error.strerror}"
        ) from error


async def _some(content: StreamReader) -> bytes:
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
