"""Access and refresh tokens: issued in pairs, each refresh token good for one use.

A token is alive while its user is active, has the password that it was issued under, and is still
of the token's generation. A refresh token that comes a second time means that two parties hold it,
and nobody can tell which one stole it: every token of that user dies.

Refresh tokens stand in the table of outstanding tokens by their id only. The text would let
whoever reads the database sign in.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from control_plane.accounts.errors import TokenRefusedError
from control_plane.accounts.models import User

GENERATION_CLAIM: Final = "generation"
KEPT_AFTER_EXPIRY: Final = timedelta(hours=1)
"""Longer than the leeway of the clock: a token that still verifies must find its row."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a sign-in or a refresh gives."""

    access: str
    refresh: str


class _Refresh(RefreshToken):
    """A refresh token whose blacklist is asked where its user's row is locked, and not before."""

    def check_blacklist(self) -> None:
        """Left to `pair_rotate` and `pair_revoke`."""


def pair_issue(user: User) -> Pair:
    """A new pair for a user who has proved who they are."""
    refresh = _Refresh()
    refresh[api_settings.USER_ID_CLAIM] = str(user.pk)
    refresh[api_settings.REVOKE_TOKEN_CLAIM] = get_md5_hash_password(user.password)
    refresh[GENERATION_CLAIM] = user.token_generation
    OutstandingToken.objects.create(
        user=user,
        jti=refresh[api_settings.JTI_CLAIM],
        token="",
        created_at=refresh.current_time,
        expires_at=datetime_from_epoch(refresh["exp"]),
    )
    return Pair(access=str(refresh.access_token), refresh=str(refresh))


def is_alive(token: Token, user: User) -> bool:
    """Whether a token whose signature and time are good may still be used."""
    return (
        user.is_active
        and token.get(GENERATION_CLAIM) == user.token_generation
        and token.get(api_settings.REVOKE_TOKEN_CLAIM) == get_md5_hash_password(user.password)
    )


def user_id_of(token: Token) -> uuid.UUID:
    """Whose token it says it is. Raises TokenRefusedError."""
    try:
        return uuid.UUID(token.get(api_settings.USER_ID_CLAIM))
    except (AttributeError, TypeError, ValueError) as error:
        raise TokenRefusedError from error


def pair_rotate(text: str) -> tuple[Pair, User]:
    """Take a refresh token for a new pair. Raises TokenRefusedError.

    Of any number of callers with the same token, one at most gets a pair.
    """
    refresh = _read(text)
    with transaction.atomic():
        user = _consume(refresh)
        if user is not None:
            return pair_issue(user), user
    raise TokenRefusedError


def pair_revoke(text: str) -> User:
    """Sign out: the refresh token is used up. Raises TokenRefusedError."""
    refresh = _read(text)
    with transaction.atomic():
        user = _consume(refresh)
    if user is None:
        raise TokenRefusedError
    return user


def tokens_kill(user_id: uuid.UUID) -> None:
    """Every token of a user dies now. Within the transaction of what makes it necessary."""
    User.objects.filter(pk=user_id).update(token_generation=F("token_generation") + 1)


def tokens_flush() -> int:
    """Forget refresh tokens that have expired. Returns how many."""
    too_old = timezone.now() - KEPT_AFTER_EXPIRY
    return OutstandingToken.objects.filter(expires_at__lt=too_old).delete()[0]


def _consume(refresh: _Refresh) -> User | None:
    """Mark the token as used. None: it may not be used (and when it was used before, what follows
    from that is written, so the caller must let the transaction commit).
    """
    # The lock on the user's row puts callers in line; the second one sees what the first wrote.
    user = User.objects.select_for_update().filter(pk=user_id_of(refresh)).first()
    if user is None or not is_alive(refresh, user):
        return None
    jti = refresh[api_settings.JTI_CLAIM]
    known = OutstandingToken.objects.filter(jti=jti, user=user).first()
    if known is None:
        return None
    if BlacklistedToken.objects.filter(token=known).exists():
        tokens_kill(user.pk)
        return None
    BlacklistedToken.objects.create(token=known)
    return user


def _read(text: str) -> _Refresh:
    try:
        return _Refresh(text)  # type: ignore[arg-type]  # it takes the text, its annotation errs
    except TokenError as error:
        raise TokenRefusedError from error
