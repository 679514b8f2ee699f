"""Whatever a view raises, in the one shape of `errors`.

Apart from `errors`, because DRF's views load the authentication, which raises errors.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.renderers import JSONRenderer
from rest_framework.views import exception_handler as drf_exception_handler
from rest_framework.views import set_rollback

from control_plane.common.errors import DATABASE_ERRORS, ApiError, body, database_unavailable

if TYPE_CHECKING:
    from django.http import JsonResponse
    from rest_framework.request import Request
    from rest_framework.response import Response

log = structlog.get_logger(__name__)

MAX_FAULTS: Final = 20
MAX_FAULT_LENGTH: Final = 200
"""Of so many fields the faults are said, and of each fault so many characters: an answer must not
grow with whatever was sent."""

_NO_FIELD: Final = "non_field_errors"
_VAGUE: Final = frozenset({"", "error", "authentication_failed"})
_CODES: Final[dict[int, str]] = {
    status.HTTP_400_BAD_REQUEST: "invalid",
    status.HTTP_401_UNAUTHORIZED: "not_authenticated",
    status.HTTP_403_FORBIDDEN: "permission_denied",
    status.HTTP_404_NOT_FOUND: "not_found",
    status.HTTP_405_METHOD_NOT_ALLOWED: "method_not_allowed",
    status.HTTP_406_NOT_ACCEPTABLE: "not_acceptable",
    status.HTTP_409_CONFLICT: "conflict",
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    status.HTTP_429_TOO_MANY_REQUESTS: "throttled",
}

_SENTENCES: Final = {
    "not_authenticated": (
        "Sign in with POST /api/account/login, and send the access token that it gives as "
        "'Authorization: Bearer <token>'."
    ),
    "token_not_valid": (
        "This access token is expired (each lives five minutes), revoked or mistyped; get another "
        "one with POST /api/account/refresh or /api/account/login."
    ),
    "unsupported_media_type": "Send JSON, with the header Content-Type: application/json.",
}
"""By code, where the words of the libraries do not say what to do next."""


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | JsonResponse | None:
    """DRF's hook. None leaves the error to Django, which logs it and answers 500 in our shape."""
    if isinstance(error, DATABASE_ERRORS):
        log.warning("database_unavailable", error=type(error).__name__)
        set_rollback()
        return database_unavailable()
    if isinstance(error, RequestDataTooBig):
        error = ApiError(413, "payload_too_large", "The request body is too large.")
    elif isinstance(error, SuspiciousOperation):
        error = ApiError(400, "invalid", "The request is not acceptable.")
    elif isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    response = drf_exception_handler(error, context)
    if response is None or not isinstance(error, exceptions.APIException):
        return response
    _answer_in_json(context.get("request"))
    code = _code(error)
    detail, errors = _explain(error)
    if not isinstance(error, ApiError):
        detail = _SENTENCES.get(code, detail)
    response.data = body(detail, code, errors)
    for name, value in getattr(error, "headers", {}).items():
        response[name] = value
    return response


def _answer_in_json(request: Request | None) -> None:
    """Errors are JSON, also of views that answer in HTML or YAML (/swagger, /api/schema)."""
    if request is not None:
        request.accepted_renderer = JSONRenderer()
        request.accepted_media_type = JSONRenderer.media_type


def _code(error: exceptions.APIException) -> str:
    if isinstance(error, ApiError):
        return error.code
    if isinstance(error, exceptions.ValidationError):
        return "invalid"
    codes = error.get_codes()
    code = codes.get("code") if isinstance(codes, dict) else codes  # SimpleJWT gives a dict
    if isinstance(code, str) and code not in _VAGUE:
        return code
    return _CODES.get(error.status_code, "error")


def _explain(error: exceptions.APIException) -> tuple[str, dict[str, list[str]]]:
    """A sentence, and the faults by field."""
    if isinstance(error, ApiError):
        return str(error.detail), error.errors
    detail = error.detail
    if isinstance(error, exceptions.ValidationError):
        every = _by_field(detail if isinstance(detail, dict) else {_NO_FIELD: detail})
        faults = dict(islice(every.items(), MAX_FAULTS))
        named = ", ".join(name for name in faults if name != _NO_FIELD)
        sentence = f"Check the field(s): {named}." if named else _first(detail)
        return sentence, faults
    if isinstance(detail, dict):
        return str(detail.get("detail", _first(detail))), {}
    return _first(detail), {}


def _by_field(faults: Any, prefix: str = "") -> dict[str, list[str]]:
    """Nested faults under dotted names: {"tags": {2: [...]}} becomes {"tags.2": [...]}."""
    flat: dict[str, list[str]] = {}
    for name, fault in faults.items():
        dotted = f"{prefix}{name}"
        if isinstance(fault, dict):
            flat |= _by_field(fault, f"{dotted}.")
        elif isinstance(fault, list) and any(isinstance(part, (dict, list)) for part in fault):
            flat |= _by_field({i: part for i, part in enumerate(fault) if part}, f"{dotted}.")
        else:
            parts = fault if isinstance(fault, list) else [fault]
            flat[dotted] = [str(part)[:MAX_FAULT_LENGTH] for part in parts[:MAX_FAULTS]]
    return flat


def _first(detail: Any) -> str:
    """The first sentence in a nested detail."""
    while isinstance(detail, (dict, list)) and detail:
        detail = next(iter(detail.values())) if isinstance(detail, dict) else detail[0]
    return str(detail)[:MAX_FAULT_LENGTH]
