"""One shape for every error: {"detail", "code", "errors", "request_id"}.

Raise `ApiError` where the meaning is known; `exceptions.exception_handler` turns it, and whatever
DRF, Django or a database raises, into that shape. `code` is stable, `detail` says what to do next,
`errors` names the fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import InterfaceError, OperationalError
from django.http import JsonResponse
from rest_framework import exceptions, status

from control_plane.common.requests import current_request_id

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE_ERRORS: Final = (OperationalError, InterfaceError)
DATABASE_RETRY_AFTER_S: Final = 2


class ApiError(exceptions.APIException):
    """An error with a meaning of ours."""

    def __init__(
        self,
        status_code: int,
        code: str,
        detail: str,
        errors: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status_code
        self.code = code
        self.errors = dict(errors or {})
        self.headers = dict(headers or {})


def body(detail: str, code: str, errors: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The shape."""
    return {
        "detail": detail,
        "code": code,
        "errors": dict(errors or {}),
        "request_id": current_request_id(),
    }


def plain_response(
    status_code: int, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    """The shape, outside of DRF."""
    return JsonResponse(body(detail, code), status=status_code, headers=dict(headers or {}))


def database_unavailable() -> JsonResponse:
    """What is said while the database cannot be asked."""
    return plain_response(
        status.HTTP_503_SERVICE_UNAVAILABLE,
        "database_unavailable",
        "The database cannot be reached. Inference goes on; try again in a few seconds.",
        {"Retry-After": str(DATABASE_RETRY_AFTER_S)},
    )
