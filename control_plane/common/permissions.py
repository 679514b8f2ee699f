"""Who may do what: denied unless a view says otherwise.

A view declares `required_roles`, a mapping from HTTP method to the least role, or to `PUBLIC`. A
method that is not named is denied to everybody; a view without the mapping fails a system check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from rest_framework.permissions import BasePermission

from control_plane.common.roles import PUBLIC, Role

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView


class RolePermission(BasePermission):
    """The default of every view."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Compare the operator's role with what the view asks for this method."""
        required: dict[str, Role | None] = getattr(view, "required_roles", {})
        method = (request.method or "").upper()
        if method == "OPTIONS":
            return bool(request.user and request.user.is_authenticated)
        method = "GET" if method == "HEAD" else method
        if method not in required:
            # Left to DRF when the view has no such method (405), denied when it has.
            return not hasattr(view, method.lower())
        needed = required[method]
        return needed is PUBLIC or _has_role(request.user, needed)


def _has_role(user: Any, needed: Role) -> bool:
    return bool(user and user.is_authenticated) and Role(user.role).includes(needed)


class SchemaPermission(BasePermission):
    """The description of the API: open when AIVONX_PUBLIC_SCHEMA says so (the default on
    loopback), else for whoever is signed in.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - DRF's
        """Decide."""
        return bool(settings.PUBLIC_SCHEMA or (request.user and request.user.is_authenticated))
