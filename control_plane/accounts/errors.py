"""What may go wrong with accounts, each with its answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from datetime import timedelta

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="api"'}


class LoginFailedError(ApiError):
    """Name and password do not fit, or the account is disabled. Which one is not told."""

    def __init__(self) -> None:
        detail = "The user name or the password is wrong."
        super().__init__(401, "login_failed", detail, headers=CHALLENGE)


class TokenRefusedError(ApiError):
    """The token is expired, used, revoked or not one of ours. Which one is not told."""

    def __init__(self) -> None:
        detail = "This token is not valid (any more); sign in again."
        super().__init__(401, "token_not_valid", detail, headers=CHALLENGE)


class LockedError(ApiError):
    """Too many wrong passwords in a row."""

    def __init__(self, left: timedelta) -> None:
        seconds = max(1, math.ceil(left.total_seconds()))
        detail = (
            f"Too many wrong passwords. Try again in {math.ceil(seconds / 60)} minute(s), or ask "
            "an admin for a new password and sign in from elsewhere."
        )
        super().__init__(429, "login_locked", detail, headers={"Retry-After": str(seconds)})


class ThrottledError(ApiError):
    """Too many password checks."""

    def __init__(self, retry_after_s: float) -> None:
        seconds = max(1, math.ceil(retry_after_s))
        detail = f"Too many sign-in attempts; try again in {seconds} s."
        super().__init__(429, "throttled", detail, headers={"Retry-After": str(seconds)})


class LastAdminError(ApiError):
    """Without an active admin nobody could manage users any more."""

    def __init__(self) -> None:
        detail = "This is the last active admin; make another one first."
        super().__init__(409, "last_admin", detail)


class NameTakenError(ApiError):
    """There is one of that name."""

    def __init__(self, field: str) -> None:
        detail = "This name is taken; choose another."
        super().__init__(409, "already_exists", detail, {field: [detail]})


class WeakPasswordError(ApiError):
    """The validators refuse the password."""

    def __init__(self, field: str, faults: list[str]) -> None:
        super().__init__(400, "invalid", " ".join(faults), {field: faults})
