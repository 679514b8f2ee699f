"""Users, by an admin and by themselves (C17)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from fakes.cast import PASSWORD, Cast
from rest_framework.test import APIClient

from control_plane.accounts.models import AuditRecord, User

USERS = "/api/account/users"
ME = "/api/account/me"
GOOD = "a rather long password"


def test_an_admin_makes_users_and_the_password_is_never_shown(as_admin: APIClient) -> None:
    made = as_admin.post(USERS, {"username": "dora", "password": GOOD, "role": "operator"})
    assert made.status_code == 201
    assert set(made.data) == {"id", "username", "role", "is_active", "created_at", "last_login"}
    read = as_admin.get(f"{USERS}/{made.data['id']}")
    assert read.data == made.data
    login = {"username": "dora", "password": GOOD}
    assert APIClient().post("/api/account/login", login).status_code == 200


def test_without_a_role_one_may_only_look(as_admin: APIClient) -> None:
    assert as_admin.post(USERS, {"username": "dora", "password": GOOD}).data["role"] == "viewer"


def test_a_name_that_is_taken_is_409(as_admin: APIClient) -> None:
    answer = as_admin.post(USERS, {"username": "bob", "password": GOOD})
    assert (answer.status_code, answer.data["code"]) == (409, "already_exists")
    assert "username" in answer.data["errors"]


@pytest.mark.parametrize("password", ["tiny-pw", "password123", "1234567890123", "dora-dora-dora"])
def test_a_weak_password_is_refused(as_admin: APIClient, password: str) -> None:
    answer = as_admin.post(USERS, {"username": "dora-dora", "password": password})
    assert answer.status_code == 400
    assert answer.data["errors"]["password"]
    assert password not in str(answer.data)


@pytest.mark.parametrize(
    "extra",
    [
        {"is_superuser": True},
        {"id": "00000000-0000-0000-0000-000000000000"},
        {"token_generation": 7},
        {"is_staff": True},
        {"created_at": "2020-01-01T00:00:00Z"},
    ],
)
def test_c17_what_an_admin_may_not_set_is_refused(
    as_admin: APIClient, extra: dict[str, object]
) -> None:
    answer = as_admin.post(USERS, {"username": "dora", "password": GOOD, **extra})
    assert answer.status_code == 400
    assert set(answer.data["errors"]) == set(extra)
    assert not User.objects.filter(username="dora").exists()


def test_c17_a_role_that_does_not_exist_is_refused(as_admin: APIClient, cast: Cast) -> None:
    assert as_admin.patch(f"{USERS}/{cast.bob.pk}", {"role": "god"}).status_code == 400


def test_c17_nobody_raises_themselves(as_viewer: APIClient) -> None:
    assert as_viewer.patch(ME, {"role": "admin"}).status_code == 400


@pytest.mark.parametrize("change", [{"role": "operator"}, {"is_active": False}])
def test_the_last_active_admin_stays(
    as_admin: APIClient, cast: Cast, change: dict[str, object]
) -> None:
    User.objects.create_user("old", GOOD)
    User.objects.filter(username="old").update(role="admin", is_active=False)
    answer = as_admin.patch(f"{USERS}/{cast.alice.pk}", change)
    assert (answer.status_code, answer.data["code"]) == (409, "last_admin")
    assert as_admin.delete(f"{USERS}/{cast.alice.pk}").data["code"] == "last_admin"
    cast.alice.refresh_from_db()
    assert (cast.alice.role, cast.alice.is_active) == ("admin", True)


def test_an_admin_may_go_when_another_one_stays(as_admin: APIClient, cast: Cast) -> None:
    as_admin.patch(f"{USERS}/{cast.bob.pk}", {"role": "admin"})
    assert as_admin.delete(f"{USERS}/{cast.alice.pk}").status_code == 204
    assert not User.objects.filter(username="alice").exists()


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_demote_each_other_at_once_do_not_both_succeed(cast: Cast) -> None:
    User.objects.filter(pk=cast.bob.pk).update(role="admin")
    start = threading.Barrier(2)
    plan = [(cast.client(cast.alice), cast.bob), (cast.client(cast.bob), cast.alice)]

    def demote(client: APIClient, other: User) -> int:
        try:
            start.wait(10)
            return int(client.patch(f"{USERS}/{other.pk}", {"role": "viewer"}).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(f.result() for f in [pool.submit(demote, *one) for one in plan])
    assert User.objects.filter(role="admin").count() == 1
    assert answers[0] == 200
    assert answers[1] in {403, 409}


def test_an_admin_sets_a_new_password_and_the_user_is_signed_out(
    as_admin: APIClient, cast: Cast
) -> None:
    bob = cast.client(cast.bob)
    assert as_admin.patch(f"{USERS}/{cast.bob.pk}", {"password": GOOD}).status_code == 200
    assert bob.get(ME).status_code == 401
    assert (
        APIClient().post("/api/account/login", {"username": "bob", "password": GOOD}).status_code
        == 200
    )


def test_ones_own_password_needs_the_current_one(as_viewer: APIClient, cast: Cast) -> None:
    answer = as_viewer.patch(ME, {"current_password": "wrong", "password": GOOD})
    assert answer.status_code == 400
    assert list(answer.data["errors"]) == ["current_password"]
    cast.charlie.refresh_from_db()
    assert cast.charlie.check_password(PASSWORD)


def test_guessing_the_current_password_locks(as_viewer: APIClient) -> None:
    for _ in range(5):
        as_viewer.patch(ME, {"current_password": "wrong", "password": GOOD})
    answer = as_viewer.patch(ME, {"current_password": PASSWORD, "password": GOOD})
    assert (answer.status_code, answer.data["code"]) == (429, "login_locked")


def test_users_are_listed_filtered_searched_and_ordered(as_admin: APIClient) -> None:
    def names(query: str) -> list[str]:
        return [user["username"] for user in as_admin.get(f"{USERS}?{query}").data["results"]]

    assert names("") == ["alice", "bob", "charlie"]
    assert names("role=operator") == ["bob"]
    assert names("search=LI") == ["alice", "charlie"]
    assert names("ordering=-username&limit=1") == ["charlie"]
    assert as_admin.get(f"{USERS}?fields=username&limit=1").data["results"] == [
        {"username": "alice"}
    ]


def test_every_write_is_audited_and_passwords_are_masked(as_admin: APIClient, cast: Cast) -> None:
    made = as_admin.post(USERS, {"username": "dora", "password": GOOD}).data
    as_admin.patch(f"{USERS}/{made['id']}", {"role": "operator", "password": GOOD + "!"})
    as_admin.delete(f"{USERS}/{made['id']}")
    records = {record.action: record for record in AuditRecord.objects.filter(actor="alice")}
    assert set(records) == {"user.create", "user.update", "user.delete"}
    update = records["user.update"]
    assert update.before == {"username": "dora", "role": "viewer", "is_active": True}
    assert update.after == {
        "username": "dora",
        "role": "operator",
        "is_active": True,
        "password": "***",
    }
    assert all(record.target == "user:dora" for record in records.values())
    assert records["user.delete"].actor_id == cast.alice.pk
