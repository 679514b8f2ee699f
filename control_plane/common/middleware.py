"""Request ids, and the error shape for what is raised outside of DRF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from control_plane.common.errors import DATABASE_ERRORS, database_unavailable
from control_plane.common.requests import HEADER, request_id_enter

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse, HttpResponseBase

    GetResponse = Callable[[HttpRequest], HttpResponse]

log = structlog.get_logger(__name__)


class RequestIdMiddleware:
    """Gives each request its id and echoes it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request under its id."""
        request_id = request_id_enter(request.headers.get(HEADER))
        response = self.get_response(request)
        response[HEADER] = request_id
        response.setdefault("Cache-Control", "no-store")
        return response


class JsonErrorMiddleware:
    """A database that is away is 503 wherever it is noticed."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request."""
        return self.get_response(request)

    def process_exception(
        self, _request: HttpRequest, error: Exception
    ) -> HttpResponseBase | None:
        """Django's hook for what a view raised."""
        if isinstance(error, DATABASE_ERRORS):
            log.warning("database_unavailable", error=type(error).__name__)
            return database_unavailable()
        return None
