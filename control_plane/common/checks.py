"""System checks with stable ids: mistakes that no test of a single view would find."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView


def api_views() -> list[tuple[str, type[APIView]]]:
    """Every API view with its route."""
    found: list[tuple[str, type[APIView]]] = []

    def walk(patterns: list[Any], prefix: str) -> None:
        for entry in patterns:
            if isinstance(entry, URLResolver):
                walk(entry.url_patterns, prefix + str(entry.pattern))
            elif isinstance(entry, URLPattern):
                view = getattr(entry.callback, "cls", None) or getattr(
                    entry.callback, "view_class", None
                )
                if isinstance(view, type) and issubclass(view, APIView):
                    found.append((prefix + str(entry.pattern), view))

    walk(get_resolver().url_patterns, "")
    return found


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
        if view.__module__.startswith("control_plane.") and not getattr(view, "required_roles", None)
    ]
