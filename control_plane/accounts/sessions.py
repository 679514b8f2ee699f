"""Signing in, staying signed in, signing out, and changing one's own password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from control_plane.accounts import login, tokens
from control_plane.accounts.errors import LoginFailedError
from control_plane.accounts.services import audit_record, password_judge, user_password_set
from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from rest_framework.request import Request

    from control_plane.accounts.models import User


def session_open(username: str, password: str, request: Request) -> tuple[tokens.Pair, User]:
    """Sign in."""
    user = login.user_prove(username, password, request)
    with transaction.atomic():
        user.last_login = timezone.now()
        user.save(update_fields=["last_login"])
        audit_record(user, "account.login", f"user:{user.username}", request=request)
        return tokens.pair_issue(user), user


def session_close(refresh: str, request: Request) -> None:
    """Sign out: the refresh token is used up. The access token ends by itself within minutes."""
    user = tokens.pair_revoke(refresh)
    audit_record(user, "account.logout", f"user:{user.username}", request=request)


def password_change(user: User, current: str, new: str, request: Request) -> None:
    """Change one's own password; whoever guesses at the current one is locked as at sign-in."""
    password_judge(user, new)
    try:
        proved = login.user_prove(user.username, current, request)
    except LoginFailedError as error:
        fault = "This is not your current password."
        raise ApiError(400, "invalid", fault, {"current_password": [fault]}) from error
    user_password_set(proved, new, request)
