"""Who tried what they may not is in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import status

from control_plane.accounts.models import User
from control_plane.accounts.services import audit_record
from control_plane.common import errors, exceptions

if TYPE_CHECKING:
    from django.http import HttpResponseBase


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponseBase | None:
    """DRF's hook: the error shape of `common`, and a record when it says 403."""
    response = exceptions.exception_handler(error, context)
    request = context.get("request")
    if (
        response is not None
        and response.status_code == status.HTTP_403_FORBIDDEN
        and request is not None
        and isinstance(request.user, User)
    ):
        try:
            audit_record(
                request.user, "access.denied", f"{request.method} {request.path}", request=request
            )
        except errors.DATABASE_ERRORS:
            return errors.database_unavailable()
    return response
