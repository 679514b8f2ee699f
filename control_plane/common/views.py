"""Index, health and the plain error pages (which are JSON too)."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_exempt
from redis.exceptions import RedisError

from control_plane.common import redis
from control_plane.common.errors import DATABASE_ERRORS, plain_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpResponseBase

    View = Callable[[HttpRequest], HttpResponseBase]

_SAFE: Final = ("GET", "HEAD")


def _read_only(view: View) -> View:
    """405 in our shape for whatever is not GET or HEAD."""

    @csrf_exempt  # nothing here writes, and its 403 would hide the 405
    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponseBase:
        if request.method in _SAFE:
            return view(request)
        return plain_response(
            405,
            "method_not_allowed",
            f'Method "{request.method}" not allowed.',
            {"Allow": ", ".join(_SAFE)},
        )

    return wrapped


@_read_only
def index(_request: HttpRequest) -> HttpResponseBase:
    """Lead a person with a browser to the description of the API."""
    return redirect("swagger")


@_read_only
def live(_request: HttpRequest) -> HttpResponse:
    """The process runs."""
    return JsonResponse({"status": "ok"})


@_read_only
def ready(_request: HttpRequest) -> HttpResponse:
    """Ready when the database answers. Without Redis we are degraded: changes are kept and
    published when it is back, so that is no reason to take the API away.
    """
    checks = {"database": _database_answers(), "redis": _redis_answers()}
    state = "ok" if all(checks.values()) else "degraded"
    if not checks["database"]:
        state = "unavailable"
    return JsonResponse(
        {"status": state, "checks": {name: "ok" if up else "down" for name, up in checks.items()}},
        status=200 if checks["database"] else 503,
    )


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DATABASE_ERRORS:
        return False
    return True


def _redis_answers() -> bool:
    try:
        return bool(redis.client().ping())
    except RedisError:
        return False


def bad_request(_request: HttpRequest, exception: Any) -> HttpResponse:  # noqa: ARG001 - Django's
    """What Django itself refuses, such as a Host that is not ours."""
    return plain_response(
        400,
        "invalid",
        "The request is not acceptable. If the Host header names this server, AIVONX_ALLOWED_HOSTS "
        "must name it too.",
    )


def forbidden(_request: HttpRequest, exception: Any = None, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """What Django itself forbids, such as a form without its CSRF token."""
    return plain_response(403, "permission_denied", "You may not do this.")


def not_found(_request: HttpRequest, exception: Any) -> HttpResponse:  # noqa: ARG001 - Django's
    """No such route."""
    return plain_response(
        404, "not_found", "There is nothing here. See /swagger for what there is."
    )


def server_error(_request: HttpRequest) -> HttpResponse:
    """A fault of ours. The log has it under the request id."""
    return plain_response(
        500, "internal_error", "Something went wrong here. Quote the request id to your operator."
    )
