"""Gunicorn's threads, with its refusals in our own shape.

What is no HTTP never becomes a request of Django's, and gunicorn would answer it with a page that
repeats what was sent. Set by `worker_class` in deploy/local/gunicorn.conf.py.
"""

from __future__ import annotations

import json
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http import errors, wsgi
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from control_plane.common.requests import HEADER, request_id_enter

if TYPE_CHECKING:
    import socket

_Refusal = tuple[int, str, str]

_REFUSED: Final[tuple[tuple[type[Exception], _Refusal], ...]] = (
    (errors.LimitRequestLine, (414, "uri_too_long", "The address is too long.")),
    (errors.LimitRequestHeaders, (431, "headers_too_large", "The headers are too large.")),
    (
        errors.UnsupportedTransferCoding,
        (501, "unsupported_transfer_coding", "The only transfer coding understood is chunked."),
    ),
    (
        errors.ExpectationFailed,
        (417, "expectation_failed", "The only expectation understood is 100-continue."),
    ),
    (errors.ParseException, (400, "bad_request", "The request is not well-formed HTTP/1.1.")),
)
wsgi.SERVER = "aivonx"  # the Server header of every answer; the library's name helps attackers only

_FAULT: Final[_Refusal] = (500, "error", "Internal error; the log has it under its request id.")


class JsonThreadWorker(ThreadWorker):
    """Answers in JSON what cannot be parsed."""

    def handle_error(
        self,
        req: Any,  # noqa: ARG002 - gunicorn's signature
        client: socket.socket,
        addr: tuple[Any, ...] | None,
        exc: Exception,
    ) -> None:
        """Refuse and end the connection; called by gunicorn, which closes it."""
        request_id = request_id_enter(None)
        refusal = next((said for kind, said in _REFUSED if isinstance(exc, kind)), _FAULT)
        if refusal is _FAULT:
            self.log.error("Request %s failed", request_id, exc_info=exc)
        else:
            peer = (addr or ("",))[0]
            self.log.warning("Refused: not HTTP from %s: %s", peer, type(exc).__name__)
        with suppress(OSError):  # whoever sends this does not always wait for the answer
            write_nonblock(client, answer(*refusal, request_id))


def answer(status: int, code: str, detail: str, request_id: str) -> bytes:
    """The bytes of an answer that ends its connection."""
    shape = {"detail": detail, "code": code, "errors": {}, "request_id": request_id}
    body = json.dumps(shape).encode("ascii")
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{HEADER}: {request_id}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
