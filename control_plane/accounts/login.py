"""Proving who one is by a password, and the lock against guessing.

Five wrong passwords for one name from one address lock that pair for 15 minutes, the right
password included; other names from there and that name from elsewhere are not touched. Names that
do not exist are counted, locked and hashed like those that do, so that the answers tell nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.utils import timezone

from control_plane.accounts import throttle
from control_plane.accounts.errors import LockedError, LoginFailedError
from control_plane.accounts.models import FailedLogin, User
from control_plane.accounts.services import audit_record
from control_plane.common.requests import client_ip

if TYPE_CHECKING:
    from rest_framework.request import Request

MAX_FAILURES: Final = 5
COOL_OFF: Final = timedelta(minutes=15)
NOBODY: Final = "anonymous"


def user_prove(username: str, password: str, request: Request) -> User:
    """The user who has this name and password. Raises LoginFailedError, LockedError or
    ThrottledError.
    """
    ip = client_ip(request._request)  # noqa: SLF001 - DRF's way to Django's request
    _refuse_locked(username, ip, timezone.now())
    with throttle.password_check(ip):
        # Again: those who waited here with us may have used up the tries meanwhile.
        _refuse_locked(username, ip, timezone.now())
        user = User.objects.filter(username=username).first()
        is_right = _password_fits(user, password)
    if user is None or not is_right or not user.is_active:
        _failure_record(username, ip, request)
        raise LoginFailedError
    _success_record(username, ip)
    return user


def failures_flush() -> int:
    """Forget failures that count no more. Returns how many."""
    too_old = timezone.now() - COOL_OFF
    return FailedLogin.objects.filter(last_failed_at__lt=too_old).delete()[0]


def _password_fits(user: User | None, password: str) -> bool:
    if user is None:
        User().set_password(password)  # takes as long as a check
        return False
    return user.check_password(password)


def _refuse_locked(username: str, ip: str, now: datetime) -> None:
    row = FailedLogin.objects.filter(username=username, ip=ip).first()
    _refuse_if(row, now)


def _refuse_if(row: FailedLogin | None, now: datetime) -> None:
    if row is not None and row.failures >= MAX_FAILURES:
        left = row.last_failed_at + COOL_OFF - now
        if left > timedelta():
            raise LockedError(left)


def _failure_record(username: str, ip: str, request: Request) -> None:
    now = timezone.now()
    with transaction.atomic():
        row, _ = FailedLogin.objects.select_for_update().get_or_create(
            username=username, ip=ip, defaults={"last_failed_at": now}
        )
        is_stale = row.last_failed_at + COOL_OFF <= now
        was_locked = row.failures >= MAX_FAILURES and not is_stale
        row.failures = 1 if is_stale else row.failures + 1
        if not was_locked:  # tries during the lock must not lengthen it
            row.last_failed_at = now
        row.save()
        audit_record(
            NOBODY,
            "account.login_failed",
            f"user:{username}",
            after={"failures": row.failures, "locked": row.failures >= MAX_FAILURES},
            request=request,
        )


def _success_record(username: str, ip: str) -> None:
    """Start counting afresh, unless others have locked the pair while we checked."""
    with transaction.atomic():
        rows = FailedLogin.objects.select_for_update().filter(username=username, ip=ip)
        row = rows.first()
        if row is not None:
            _refuse_if(row, timezone.now())
            row.delete()
