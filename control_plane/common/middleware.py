"""Request ids, one line in the log for each request, and the error shape outside of DRF."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from control_plane.common.errors import DATABASE_ERRORS, database_unavailable, plain_response
from control_plane.common.requests import HEADER, client_ip, request_id_enter

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse, HttpResponseBase

    GetResponse = Callable[[HttpRequest], HttpResponse]

log = structlog.get_logger(__name__)

QUIET: Final = ("/livez", "/readyz", "/healthz", "/api/health", "/static/")
"""Asked all day long by machines, or without interest: logged at level debug."""
MAX_PATH_LENGTH: Final = 256


class RequestIdMiddleware:
    """Gives each request its id and echoes it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request under its id."""
        begun_at = time.perf_counter()
        request_id = request_id_enter(request.headers.get(HEADER))
        response = self.get_response(request)
        response[HEADER] = request_id
        response.setdefault("Cache-Control", "no-store")
        tell = log.debug if request.path.startswith(QUIET) else log.info
        tell(
            "request",
            method=request.method,
            path=request.path[:MAX_PATH_LENGTH],  # without the query, which may hold anything
            status=response.status_code,
            ip=client_ip(request),
            duration_s=round(time.perf_counter() - begun_at, 4),
        )
        return response


class JsonErrorMiddleware:
    """A database that is away is 503 wherever it is noticed; a body of unknown length is 411."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request. WSGI knows a body by its length only: without one Django would take
        it for empty, and complain of missing fields.
        """
        if request.headers.get("Transfer-Encoding") and not request.headers.get("Content-Length"):
            return plain_response(411, "length_required", "Send the body with a Content-Length.")
        return self.get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Django's hook for what a view raised."""
        if isinstance(error, DATABASE_ERRORS):
            log.warning("database_unavailable", error=type(error).__name__)
            return database_unavailable()
        return None
