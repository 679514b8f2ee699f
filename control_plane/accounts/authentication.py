"""Signing in by bearer token."""

from __future__ import annotations

from rest_framework_simplejwt.authentication import JWTAuthentication


class TokenAuthentication(JWTAuthentication):
    """SimpleJWT's check of access tokens: the user is read again at each request, so that a
    disabled account or a changed password counts at once."""
