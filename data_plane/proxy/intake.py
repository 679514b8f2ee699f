"""From bytes on a connection to a request worth looking at: its target, its framing, its body.

The parser has refused most of what is wrong already; this refuses the rest: what the library lets
through although a stricter peer would read it differently.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPException
from aiohttp.web_protocol import RequestPayloadError

from data_plane.admission.gate import NoRoomError
from data_plane.proxy.answers import RefusedRequestError
from data_plane.settings import BODY_DEADLINE_PER_BYTE_S, BODY_DEADLINE_S
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from data_plane.admission.gate import BodyClaim
    from data_plane.proxy.server import Call

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(/[^#]*|)", re.IGNORECASE)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def path(call: Call) -> str:
    """The path as it came, nothing decoded."""
    raw = call.target
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
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, status=505, closes=True)
    host = headers.get(hdrs.HOST)
    if host is not None and not _HOST.fullmatch(host):
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, closes=True)
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and (
        coding.strip().lower() != "chunked" or call.version == HttpVersion10
    ):
        is_known_form = coding.lower().endswith("chunked") and not coding.startswith(",")
        status = 501 if is_known_form and call.version == HttpVersion11 else 400
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, status=status, closes=True)
    encoding = headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise RefusedRequestError(ErrorCode.UNSUPPORTED_CONTENT_ENCODING, closes=True)
    expectation = headers.get(hdrs.EXPECT)
    if expectation is not None and expectation.strip().lower() != "100-continue":
        raise RefusedRequestError(ErrorCode.EXPECTATION_FAILED, closes=True)


def body_at_hand(call: Call, limit: int, claim: BodyClaim) -> bytes | None:
    """The body if it came with the head, as small ones do: no timer, no waiting."""
    content = call.content
    if not content.is_eof():
        return None
    body = content.read_nowait(-1)
    _claim(claim, len(body), limit)
    return body


async def read_body(call: Call, limit: int, claim: BodyClaim, *, expects: bool) -> bytes:
    """Read the body, within its limits of size, memory and time."""
    declared = _declared(call)
    _claim(claim, declared, limit)
    if expects and call.connection.transport is not None:
        call.connection.transport.write(_CONTINUE)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S + declared * BODY_DEADLINE_PER_BYTE_S):
            return await _read_parts(call, limit, claim)
    except TimeoutError as error:
        raise RefusedRequestError(ErrorCode.REQUEST_TIMEOUT, closes=True) from error
    except (RequestPayloadError, HttpProcessingError, HTTPException) as error:
        raise RefusedRequestError(ErrorCode.BAD_FRAMING, closes=True) from error


async def _read_parts(call: Call, limit: int, claim: BodyClaim) -> bytes:
    parts: list[bytes] = []
    size = 0
    content = call.content
    while chunk := await content.readany():
        size += len(chunk)
        _claim(claim, size, limit)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _claim(claim: BodyClaim, size: int, limit: int) -> None:
    if size > limit:
        raise RefusedRequestError(ErrorCode.PAYLOAD_TOO_LARGE, closes=True)
    try:
        claim.grow_to(size)
    except NoRoomError as error:
        raise RefusedRequestError(ErrorCode.OVERLOADED, closes=True) from error


def _declared(call: Call) -> int:
    length = call.headers.get(hdrs.CONTENT_LENGTH)
    return int(length) if length is not None else 0  # the parser has seen that it is a number
