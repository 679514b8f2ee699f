"""System checks with stable ids: mistakes that lie between two settings, or between two files.

An error stops every management command, `migrate` at the start among them; a warning is shown.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 - Django's name
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView


def api_views() -> list[tuple[str, type[APIView]]]:
    """Every API view with its route."""
    return [
        (route, view)
        for route, entry in routes()
        if isinstance(view := view_class(entry), type) and issubclass(view, APIView)
    ]


def routes() -> list[tuple[str, URLPattern]]:
    """Every URL pattern with its whole route."""
    found: list[tuple[str, URLPattern]] = []

    def walk(patterns: list[Any], prefix: str) -> None:
        for entry in patterns:
            if isinstance(entry, URLResolver):
                walk(entry.url_patterns, prefix + str(entry.pattern))
            elif isinstance(entry, URLPattern):
                found.append((prefix + str(entry.pattern), entry))

    walk(get_resolver().url_patterns, "")
    return found


def view_class(entry: URLPattern) -> Any:
    """The class behind a pattern; None when a plain function is."""
    return getattr(entry.callback, "cls", None) or getattr(entry.callback, "view_class", None)


@register
def every_view_declares_its_roles(**_: Any) -> list[CheckMessage]:
    """aivonx.E001: a view without `required_roles` would deny everybody, which is a mistake."""
    return [
        Error(
            f"{view.__name__} at {route} does not declare required_roles.",
            hint="Name the least role for each method, or PUBLIC.",
            id="aivonx.E001",
        )
        for route, view in api_views()
        if view.__module__.startswith("control_plane.")
        and not getattr(view, "required_roles", None)
    ]


@register
def keys_differ(**_: Any) -> list[CheckMessage]:
    """aivonx.E002: whoever learns one key must not have learned another."""
    keys = {
        "AIVONX_SECRET_KEY": settings.SECRET_KEY,
        "AIVONX_JWT_KEY": settings.SIMPLE_JWT["SIGNING_KEY"],
        "AIVONX_SNAPSHOT_KEY": settings.SNAPSHOT_KEY.decode(),
    }
    if len(set(keys.values())) == len(keys):
        return []
    return [Error(f"{', '.join(keys)} must be different keys.", id="aivonx.E002")]


@register
def used_tokens_are_remembered(**_: Any) -> list[CheckMessage]:
    """aivonx.E004: without its app SimpleJWT rotates refresh tokens and forgets the used ones."""
    if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
        return []
    return [Error("The token_blacklist app is not installed.", id="aivonx.E004")]


@register
def debug_stays_at_home(**_: Any) -> list[CheckMessage]:
    """aivonx.E003: the pages of debug mode show settings and source to whoever asks."""
    if not settings.DEBUG or settings.CONTROL_BIND.is_loopback:
        return []
    return [
        Error(
            f"AIVONX_DEBUG is on while AIVONX_CONTROL_BIND is {settings.CONTROL_BIND}.",
            hint="Turn debug off, or bind to 127.0.0.1.",
            id="aivonx.E003",
        )
    ]


@register
def https_is_seen(**_: Any) -> list[CheckMessage]:
    """aivonx.W001: without a trusted proxy every request looks like plain HTTP, for ever."""
    if not settings.SECURE_SSL_REDIRECT or settings.TRUSTED_PROXIES:
        return []
    return [
        Warning(
            "AIVONX_HTTPS is on but AIVONX_TRUSTED_PROXIES is 0: every request is redirected.",
            hint="Set AIVONX_TRUSTED_PROXIES to the number of proxies in front, which end TLS.",
            id="aivonx.W001",
        )
    ]


@register
def outside_names_are_allowed(**_: Any) -> list[CheckMessage]:
    """aivonx.W002: a wildcard bind is reached by names that only the operator knows."""
    loopback = {"localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]"}  # noqa: S104 - a comparison
    if settings.CONTROL_BIND.is_loopback or not set(settings.ALLOWED_HOSTS) <= loopback:
        return []
    return [
        Warning(
            f"AIVONX_CONTROL_BIND is {settings.CONTROL_BIND}, but AIVONX_ALLOWED_HOSTS has no name "
            "by which others could ask.",
            hint="Add the host names and addresses under which this server is reached.",
            id="aivonx.W002",
        )
    ]
