"""Tokens: who may still use which (C01, C02, C05, C06)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from fakes.cast import PASSWORD, Cast
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from control_plane.accounts import tasks, tokens
from control_plane.accounts.models import FailedLogin, User

ME = "/api/account/me"
REFRESH = "/api/account/refresh"
LOGOUT = "/api/account/logout"
NEW_PASSWORD = "another long password"


def me(access: str) -> Any:
    return APIClient().get(ME, headers={"Authorization": f"Bearer {access}"})


def refresh(text: str) -> Any:
    return APIClient().post(REFRESH, {"refresh": text})


def forged(text: str, **claims: object) -> str:
    """The token with other claims, signed with our own key."""
    payload = jwt.decode(text, options={"verify_signature": False})
    return jwt.encode({**payload, **claims}, settings.SIMPLE_JWT["SIGNING_KEY"], "HS256")


def test_c01_without_a_token_401_not_authenticated(db: None) -> None:
    answer = APIClient().get(ME)
    assert (answer.status_code, answer.data["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("text", ["x", "a.b.c", "", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_c01_what_is_no_token_is_401(db: None, text: str) -> None:
    answer = APIClient().get(ME, headers={"Authorization": f"Bearer {text}"})
    assert answer.status_code == 401
    assert answer.data["code"] in {"token_not_valid", "not_authenticated"}


def test_c01_an_expired_token_is_401(cast: Cast) -> None:
    access = tokens.pair_issue(cast.bob).access
    past = int((timezone.now() - timedelta(minutes=1)).timestamp())
    assert me(access).status_code == 200
    answer = me(forged(access, exp=past))
    assert (answer.status_code, answer.data["code"]) == (401, "token_not_valid")


@pytest.mark.parametrize("claim", [{"iss": "somebody"}, {"aud": "somebody"}, {"user_id": "x"}])
def test_c01_a_token_for_something_else_is_401(cast: Cast, claim: dict[str, str]) -> None:
    assert me(forged(tokens.pair_issue(cast.bob).access, **claim)).status_code == 401


def test_c01_a_token_signed_by_nobody_is_401(cast: Cast) -> None:
    payload = jwt.decode(tokens.pair_issue(cast.bob).access, options={"verify_signature": False})
    assert me(jwt.encode(payload, "", "none")).status_code == 401
    assert me(jwt.encode(payload, settings.SECRET_KEY, "HS256")).status_code == 401


def test_c01_a_refresh_token_is_no_access_token_and_the_reverse(cast: Cast) -> None:
    pair = tokens.pair_issue(cast.bob)
    assert me(pair.refresh).data["code"] == "token_not_valid"
    assert refresh(pair.access).data["code"] == "token_not_valid"


def test_c02_a_disabled_users_tokens_are_dead_and_stay_dead(
    cast: Cast, as_admin: APIClient
) -> None:
    pair = tokens.pair_issue(cast.bob)
    as_admin.patch(f"/api/account/users/{cast.bob.pk}", {"is_active": False})
    assert me(pair.access).status_code == 401
    as_admin.patch(f"/api/account/users/{cast.bob.pk}", {"is_active": True})
    assert me(pair.access).status_code == 401
    assert refresh(pair.refresh).status_code == 401


def test_c02_tokens_are_dead_after_a_password_change(cast: Cast) -> None:
    pair = tokens.pair_issue(cast.bob)
    body = {"current_password": PASSWORD, "password": NEW_PASSWORD}
    answer = cast.client(cast.bob).patch(ME, body)
    assert answer.status_code == 200
    assert me(pair.access).status_code == 401
    assert refresh(pair.refresh).status_code == 401
    login = {"username": "bob", "password": NEW_PASSWORD}
    assert APIClient().post("/api/account/login", login).status_code == 200


def test_c02_a_deleted_users_tokens_are_dead(cast: Cast, as_admin: APIClient) -> None:
    pair = tokens.pair_issue(cast.bob)
    as_admin.delete(f"/api/account/users/{cast.bob.pk}")
    assert me(pair.access).status_code == 401
    assert refresh(pair.refresh).status_code == 401


def test_a_role_counts_at_once(cast: Cast, as_admin: APIClient) -> None:
    bob = cast.client(cast.bob)
    assert bob.post("/api/account/keys", {"name": "one"}).status_code == 201
    as_admin.patch(f"/api/account/users/{cast.bob.pk}", {"role": "viewer"})
    assert bob.post("/api/account/keys", {"name": "two"}).status_code == 403


def test_a_refresh_token_gives_a_new_pair_once(cast: Cast) -> None:
    pair = tokens.pair_issue(cast.bob)
    answer = refresh(pair.refresh)
    assert answer.status_code == 200
    assert answer.data["refresh"] != pair.refresh
    assert me(answer.data["access"]).status_code == 200
    assert refresh(answer.data["refresh"]).status_code == 200


def test_c05_a_refresh_token_used_twice_ends_every_session_of_the_user(cast: Cast) -> None:
    pair, elsewhere = (
        tokens.pair_issue(cast.bob),
        tokens.pair_issue(User.objects.get(pk=cast.bob.pk)),
    )
    successor = refresh(pair.refresh).data
    again = refresh(pair.refresh)
    assert (again.status_code, again.data["code"]) == (401, "token_not_valid")
    for other in (successor["refresh"], elsewhere.refresh):
        assert refresh(other).status_code == 401
    assert me(successor["access"]).status_code == 401
    assert cast.client(cast.alice).get(ME).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_c05_of_twenty_at_once_exactly_one_gets_a_pair(cast: Cast) -> None:
    pair = tokens.pair_issue(cast.bob)
    start = threading.Barrier(20)

    def use() -> int:
        try:
            start.wait(10)
            return int(refresh(pair.refresh).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        answers = sorted(future.result() for future in [pool.submit(use) for _ in range(20)])
    assert answers == [200] + [401] * 19


def test_c06_after_signing_out_the_refresh_token_is_dead(cast: Cast) -> None:
    """S37."""
    pair = tokens.pair_issue(cast.bob)
    assert APIClient().post(LOGOUT, {"refresh": pair.refresh}).status_code == 204
    assert refresh(pair.refresh).status_code == 401
    assert APIClient().post(LOGOUT, {"refresh": pair.refresh}).status_code == 401


def test_refresh_tokens_are_not_kept_as_text(cast: Cast) -> None:
    tokens.pair_issue(cast.bob)
    assert list(OutstandingToken.objects.values_list("token", flat=True)) == [""]


def test_the_flush_forgets_what_counts_no_more_and_nothing_else(cast: Cast) -> None:
    old, new = tokens.pair_issue(cast.bob), tokens.pair_issue(cast.bob)
    refresh(old.refresh)
    long_ago = timezone.now() - timedelta(days=2)
    first = OutstandingToken.objects.order_by("id").first()
    assert first is not None
    OutstandingToken.objects.filter(pk=first.pk).update(expires_at=long_ago)
    FailedLogin.objects.create(username="a", ip="1", failures=5, last_failed_at=long_ago)
    FailedLogin.objects.create(username="b", ip="1", failures=5, last_failed_at=timezone.now())
    tasks.flush_expired()
    assert OutstandingToken.objects.count() == 2
    assert not BlacklistedToken.objects.exists()
    assert FailedLogin.objects.get().username == "b"
    assert refresh(new.refresh).status_code == 200
    assert refresh(old.refresh).status_code == 401
