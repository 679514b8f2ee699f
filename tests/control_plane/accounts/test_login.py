"""Signing in, and the lock against guessing (C04, C22, C32)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from fakes.cast import PASSWORD, Cast
from fakes.hashers import CountingHasher
from rest_framework.test import APIClient

from control_plane.accounts import throttle
from control_plane.accounts.models import AuditRecord, FailedLogin, User

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

LOGIN = "/api/account/login"


def sign_in(name: str, password: str, ip: str = "10.1.1.1", **headers: str) -> Any:
    body = {"username": name, "password": password}
    return APIClient().post(LOGIN, body, REMOTE_ADDR=ip, headers=headers)


def lock(name: str, ip: str = "10.1.1.1") -> None:
    for _ in range(5):
        assert sign_in(name, "wrong", ip).status_code == 401


def test_the_right_password_gives_a_pair_and_the_user(cast: Cast) -> None:
    answer = sign_in("bob", PASSWORD)
    assert answer.status_code == 200
    assert set(answer.data) == {"access", "refresh", "user"}
    assert answer.data["user"]["role"] == "operator"
    assert answer["Cache-Control"] == "no-store"
    me = APIClient().get(
        "/api/account/me", headers={"Authorization": f"Bearer {answer.data['access']}"}
    )
    assert me.data["username"] == "bob"
    cast.bob.refresh_from_db()
    assert cast.bob.last_login is not None


@pytest.mark.parametrize(
    ("name", "secret"),
    [("account", "passwd"), ("username", "passwd"), ("account", "password")],
)
def test_the_replaced_systems_spelling_is_understood(cast: Cast, name: str, secret: str) -> None:
    assert APIClient().post(LOGIN, {name: "bob", secret: PASSWORD}).status_code == 200


def test_both_spellings_at_once_are_refused(cast: Cast) -> None:
    body = {"account": "bob", "username": "alice", "password": PASSWORD}
    answer = APIClient().post(LOGIN, body)
    assert answer.status_code == 400
    assert "account" in answer.data["errors"]


def test_an_old_token_in_the_header_does_not_keep_anybody_from_signing_in(cast: Cast) -> None:
    assert sign_in("bob", PASSWORD, Authorization="Bearer long-gone").status_code == 200


@pytest.mark.parametrize("name", ["bob", "nobody-of-that-name"])
def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(cast: Cast, name: str) -> None:
    answer = sign_in(name, "wrong")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert {**answer.data, "request_id": ""} == {
        "detail": "The user name or the password is wrong.",
        "code": "login_failed",
        "errors": {},
        "request_id": "",
    }


def test_a_disabled_user_gets_the_answer_of_a_wrong_password(cast: Cast) -> None:
    User.objects.filter(pk=cast.bob.pk).update(is_active=False)
    assert sign_in("bob", PASSWORD).data["code"] == "login_failed"


@pytest.mark.parametrize("name", ["bob", "nobody-of-that-name"])
def test_c04_five_failures_lock_the_pair_even_for_the_right_password(cast: Cast, name: str) -> None:
    lock(name)
    answer = sign_in(name, PASSWORD)
    assert answer.status_code == 429
    assert answer.data["code"] == "login_locked"
    assert 890 <= int(answer["Retry-After"]) <= 900


def test_c04_other_users_from_there_and_that_user_from_elsewhere_are_not_locked(cast: Cast) -> None:
    lock("bob")
    assert sign_in("alice", PASSWORD).status_code == 200
    assert sign_in("bob", PASSWORD, ip="10.1.1.2").status_code == 200


def test_c04_the_lock_ends_after_fifteen_minutes_and_counts_afresh(cast: Cast) -> None:
    lock("bob")
    FailedLogin.objects.update(last_failed_at=timezone.now() - timedelta(minutes=15))
    assert sign_in("bob", "wrong").status_code == 401
    assert FailedLogin.objects.get().failures == 1
    assert sign_in("bob", PASSWORD).status_code == 200
    assert not FailedLogin.objects.exists()


def test_c04_tries_during_the_lock_do_not_lengthen_it(cast: Cast) -> None:
    lock("bob")
    FailedLogin.objects.update(last_failed_at=timezone.now() - timedelta(minutes=10))
    assert int(sign_in("bob", "wrong")["Retry-After"]) <= 300
    assert int(sign_in("bob", "wrong")["Retry-After"]) <= 300


def test_c04_four_failures_and_a_success_begin_anew(cast: Cast) -> None:
    for _ in range(4):
        sign_in("bob", "wrong")
    assert sign_in("bob", PASSWORD).status_code == 200
    lock("bob")


@pytest.mark.parametrize("name", ["dora", "nobody-of-that-name"])
def test_c04_unknown_users_take_as_long_as_known_ones(
    db: None, settings: SettingsWrapper, name: str
) -> None:
    """By the number of hashings: a clock would measure the machine."""
    settings.PASSWORD_HASHERS = ["fakes.hashers.CountingHasher"]
    User.objects.create_user("dora", PASSWORD)
    before = CountingHasher.hashed
    assert sign_in(name, "wrong").status_code == 401
    assert CountingHasher.hashed - before == 1


def test_s19_passwords_are_hashed_with_argon2id(db: None, settings: SettingsWrapper) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    User.objects.create_user("dora", PASSWORD)
    assert User.objects.get(username="dora").password.startswith("argon2$argon2id$")
    assert sign_in("dora", PASSWORD).status_code == 200
    assert sign_in("dora", PASSWORD + "!").status_code == 401


def test_c22_a_spoofed_forwarding_header_does_not_escape_the_lock(cast: Cast) -> None:
    """S18."""
    lock("bob")
    spoofed = sign_in("bob", PASSWORD, **{"X-Forwarded-For": "192.0.2.7"})
    assert spoofed.status_code == 429


def test_c32_one_address_is_throttled_whatever_names_it_tries(cast: Cast) -> None:
    answers = [sign_in(f"user{i}", "wrong") for i in range(throttle.BURST + 1)]
    assert [answer.status_code for answer in answers] == [401] * throttle.BURST + [429]
    assert answers[-1].data["code"] == "throttled"
    assert int(answers[-1]["Retry-After"]) >= 1
    assert sign_in("bob", PASSWORD, ip="10.1.1.9").status_code == 200


def test_failed_sign_ins_are_audited_without_the_password(cast: Cast) -> None:
    sign_in("bob", "hunter2-typed-wrong", ip="10.9.9.9")
    record = AuditRecord.objects.get(action="account.login_failed")
    assert (record.actor, record.target, record.ip) == ("anonymous", "user:bob", "10.9.9.9")
    assert record.after == {"failures": 1, "locked": False}
    assert record.request_id
    assert "hunter2" not in str(record.__dict__)


def test_sign_ins_are_audited(cast: Cast) -> None:
    sign_in("bob", PASSWORD)
    assert AuditRecord.objects.get(action="account.login").actor == "bob"
