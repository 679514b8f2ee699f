"""How an error is said, in the shape each family of clients reads.

A native client reads `.error` as a string and ignores the rest. A stream that has begun cannot
change its status any more, so its error is one more record; a stream that got an error record has
no end record, and must not look finished.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from data_plane.protocol.routes import Dialect, Framing

JSON: Final = "application/json; charset=utf-8"

STREAM_TYPES: Final[dict[Framing, str]] = {
    Framing.NDJSON: "application/x-ndjson",
    Framing.SSE_OPENAI: "text/event-stream",
    Framing.SSE_RESPONSES: "text/event-stream",
    Framing.SSE_ANTHROPIC: "text/event-stream",
}

FILLERS: Final[dict[Framing, bytes]] = {
    Framing.NDJSON: b" ",
    Framing.SSE_OPENAI: b": wait\n\n",
    Framing.SSE_RESPONSES: b": wait\n\n",
    Framing.SSE_ANTHROPIC: b": wait\n\n",
}
"""What may stand before any record and mean nothing (reference 4.3)."""

_OPENAI_TYPES: Final = {400: "invalid_request_error", 404: "not_found_error"}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_OTHER_TYPE: Final = "api_error"

_encode: Final = msgspec.json.Encoder().encode


def error_body(
    dialect: Dialect, status: int, code: str, message: str, request_id: str
) -> tuple[str, bytes]:
    """Content type and body of an answer that is an error."""
    return JSON, _encode(_error(dialect, status, code, message, request_id))


def stream_error(framing: Framing, status: int, code: str, message: str, request_id: str) -> bytes:
    """The record that tells of an error within a stream; `status` is what it would have been."""
    match framing:
        case Framing.NDJSON:
            return _encode(_error(Dialect.NATIVE, status, code, message, request_id)) + b"\n"
        case Framing.SSE_OPENAI:
            return _event(_error(Dialect.OPENAI, status, code, message, request_id))
        case Framing.SSE_ANTHROPIC:
            error = _error(Dialect.ANTHROPIC, status, code, message, request_id)
            return b"event: error\n" + _event(error)
        case Framing.SSE_RESPONSES:
            return b"event: response.failed\n" + _event(_failed(code, message, request_id))
        case Framing.NONE:
            # Not a stream: nothing can be added to a body whose shape is one JSON value.
            return b""


def _error(
    dialect: Dialect, status: int, code: str, message: str, request_id: str
) -> dict[str, Any]:
    match dialect:
        case Dialect.NATIVE:
            return {"error": message, "code": code, "request_id": request_id}
        case Dialect.OPENAI:
            kind = _OPENAI_TYPES.get(status, _OTHER_TYPE)
            error = {"message": message, "type": kind, "param": None, "code": code}
            return {"error": error, "request_id": request_id}
        case Dialect.ANTHROPIC:
            kind = _ANTHROPIC_TYPES.get(status, _OTHER_TYPE)
            error = {"type": kind, "message": message}
            return {"type": "error", "error": error, "request_id": request_id}


def _failed(code: str, message: str, request_id: str) -> dict[str, Any]:
    """A response.failed event; clients take the place in the stream from the order of events.

    OpenAI's SDK hands such an event on like any other, and raises only for an `error` at the top.
    """
    response = {
        "id": f"resp_{request_id}",
        "object": "response",
        "status": "failed",
        "error": {"code": "server_error", "message": message},
        "output": [],
    }
    return {
        "type": "response.failed",
        "sequence_number": 0,
        "error": {"message": message, "type": _OTHER_TYPE, "param": None, "code": code},
        "response": response,
        "code": code,
        "request_id": request_id,
    }


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + _encode(data) + b"\n\n"
