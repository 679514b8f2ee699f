"""One table: why a request is not served -> status, headers, body in the caller's dialect."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from data_plane.protocol import dialects
from data_plane.proxy.reply import Answer
from shared.codes import SENTENCES, ErrorCode, Outcome

if TYPE_CHECKING:
    from data_plane.protocol.routes import Dialect

STATUSES: Final[dict[ErrorCode, int]] = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.INVALID_FORM: 400,
    ErrorCode.DUPLICATE_KEY: 400,
    ErrorCode.INVALID_MODEL: 400,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.MODEL_NOT_ALLOWED: 403,
    ErrorCode.REGISTRY_NOT_ALLOWED: 400,
    ErrorCode.ROUTE_NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.NOT_IMPLEMENTED: 501,
    ErrorCode.INVALID_NODES: 400,
    ErrorCode.INVALID_DIGEST: 400,
    ErrorCode.DIGEST_MISMATCH: 400,
    ErrorCode.BLOB_TOO_LARGE: 413,
    ErrorCode.BAD_FRAMING: 400,
    ErrorCode.UNSUPPORTED_TRANSFER_CODING: 501,
    ErrorCode.UNSUPPORTED_HTTP_VERSION: 505,
    ErrorCode.URI_TOO_LONG: 414,
    ErrorCode.HEADERS_TOO_LARGE: 431,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_CONTENT_ENCODING: 415,
    ErrorCode.BAD_CONTENT_ENCODING: 400,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.EXPECTATION_FAILED: 417,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.MISSING_API_KEY: 401,
    ErrorCode.INVALID_API_KEY: 401,
    ErrorCode.AMBIGUOUS_CREDENTIALS: 400,
    ErrorCode.CREDENTIAL_IN_URL: 400,
    ErrorCode.SCOPE_REQUIRED: 403,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.ORIGIN_NOT_ALLOWED: 403,
    ErrorCode.HOST_NOT_ALLOWED: 403,
    ErrorCode.NOT_READY: 503,
    ErrorCode.DRAINING: 503,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.NO_HEALTHY_NODE: 503,
    ErrorCode.UPSTREAM_UNREACHABLE: 502,
    ErrorCode.UPSTREAM_TIMEOUT: 504,
    ErrorCode.UPSTREAM_PROTOCOL_ERROR: 502,
    ErrorCode.UPSTREAM_TRUNCATED: 502,
    ErrorCode.UPSTREAM_STALLED: 504,
    ErrorCode.NODE_ERROR: 502,
    ErrorCode.ANSWER_GIVEN_UP: 502,
    ErrorCode.NODE_TOO_OLD: 404,
    ErrorCode.NODE_DENIED: 502,
    ErrorCode.PROXY_SHUTDOWN: 503,
    ErrorCode.INTERNAL_ERROR: 500,
}

_OUTCOMES: Final[dict[ErrorCode, Outcome]] = {
    ErrorCode.NOT_READY: Outcome.SHED,
    ErrorCode.DRAINING: Outcome.SHED,
    ErrorCode.OVERLOADED: Outcome.SHED,
    ErrorCode.NO_HEALTHY_NODE: Outcome.SHED,
    ErrorCode.UPSTREAM_UNREACHABLE: Outcome.NODE_ERROR,
    ErrorCode.UPSTREAM_TIMEOUT: Outcome.NODE_TIMEOUT,
    ErrorCode.UPSTREAM_PROTOCOL_ERROR: Outcome.NODE_ERROR,
    ErrorCode.UPSTREAM_TRUNCATED: Outcome.TRUNCATED,
    ErrorCode.UPSTREAM_STALLED: Outcome.NODE_TIMEOUT,
    ErrorCode.NODE_ERROR: Outcome.NODE_ERROR,
    ErrorCode.ANSWER_GIVEN_UP: Outcome.TRUNCATED,
    ErrorCode.NODE_TOO_OLD: Outcome.NODE_ERROR,
    ErrorCode.NODE_DENIED: Outcome.NODE_ERROR,
    ErrorCode.PROXY_SHUTDOWN: Outcome.DRAINED,
    ErrorCode.INTERNAL_ERROR: Outcome.REJECTED,
}
"""Every other code is a request that was refused: `rejected`."""

_TRY_AGAIN: Final = frozenset(
    {
        ErrorCode.NOT_READY,
        ErrorCode.DRAINING,
        ErrorCode.OVERLOADED,
        ErrorCode.NO_HEALTHY_NODE,
        ErrorCode.PROXY_SHUTDOWN,
    }
)
_IN_PLAIN_TEXT: Final = frozenset({ErrorCode.ROUTE_NOT_FOUND, ErrorCode.METHOD_NOT_ALLOWED})
"""As Ollama's router answers them."""

RETRY_AFTER_MAX_S: Final = 5
"""Retry-After is 1 to this, at random: who was refused together should not return together."""


class RefusedRequestError(Exception):
    """A request that is answered by us, with an error. Raised by meaning, worded in one place."""

    def __init__(  # noqa: PLR0913 - all but the code are exceptions to the table
        self,
        code: ErrorCode,
        message: str = "",
        *,
        status: int = 0,
        headers: dict[str, str] | None = None,
        closes: bool = False,
        detail: str = "",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.message = message or SENTENCES[code]
        self.status = status or STATUSES[code]
        self.headers = headers or {}
        self.closes = closes
        """Whether the connection ends with this answer: the rest of what is on it means nothing."""

        self.detail = detail
        """For the log."""


def outcome_of(code: ErrorCode) -> Outcome:
    """How a request ended that ended with this code."""
    return _OUTCOMES.get(code, Outcome.REJECTED)


def error_answer(error: RefusedRequestError, dialect: Dialect, request_id: str) -> Answer:
    """The answer to a refused request."""
    if error.code in _IN_PLAIN_TEXT:
        content_type, body = "text/plain", error.message.encode()
    else:
        content_type, body = dialects.error_body(
            dialect, error.status, error.code, error.message, request_id
        )
    headers = {"Content-Type": content_type, "X-Request-Id": request_id, **error.headers}
    if error.code in _TRY_AGAIN:
        wait_s = random.randint(1, RETRY_AFTER_MAX_S)  # noqa: S311 - spread, no secret
        headers.setdefault("Retry-After", str(wait_s))
    if error.status == 401:  # noqa: PLR2004 - HTTP
        headers["WWW-Authenticate"] = "Bearer"
    return Answer(error.status, headers, body, closes=error.closes)
