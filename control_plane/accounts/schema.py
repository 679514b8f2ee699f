"""Tells drf-spectacular how one signs in."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # theirs
    """The bearer token of /api/account/login."""

    target_class = "control_plane.accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 - theirs
        """As OpenAPI puts it."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
