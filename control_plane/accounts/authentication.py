"""Signing in by bearer token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework_simplejwt.authentication import JWTAuthentication

from control_plane.accounts import tokens
from control_plane.accounts.errors import TokenRefusedError
from control_plane.accounts.models import User

if TYPE_CHECKING:
    from rest_framework_simplejwt.tokens import Token


class TokenAuthentication(JWTAuthentication):
    """SimpleJWT's check of access tokens: the user is read again at each request, so that a
    disabled account or a changed password counts at once.
    """

    def get_user(self, validated_token: Token) -> User:  # type: ignore[override]  # its type variable is bound to no class
        """The user whose token it is. Why a token is dead is nobody's business."""
        user = User.objects.filter(pk=tokens.user_id_of(validated_token)).first()
        if user is None or not tokens.is_alive(validated_token, user):
            raise TokenRefusedError
        return user
