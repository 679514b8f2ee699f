"""API keys for inference (C25, C26, C27)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from fakes.cast import Cast
from rest_framework.test import APIClient

from control_plane.accounts.models import ApiKey, AuditRecord
from control_plane.accounts.selectors import keys_for_snapshot
from control_plane.revisions.selectors import revision_current
from shared.credentials import parse_key, same_hash
from shared.snapshot import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = "/api/account/keys"


def make(client: APIClient, **fields: object) -> Any:
    return client.post(KEYS, {"name": "laptop", **fields})


def revision() -> int:
    return revision_current()[1]


def test_c25_the_text_is_shown_once_and_never_again(as_operator: APIClient) -> None:
    """S14."""
    made = make(as_operator)
    assert made.status_code == 201
    text = made.data["key"]
    parsed = parse_key(text)
    assert parsed is not None
    assert made.data["id"] == parsed.id
    assert text.startswith(made.data["prefix"])
    read = as_operator.get(f"{KEYS}/{parsed.id}")
    assert set(made.data) - set(read.data) == {"key"}
    secret = text.split("_")[2]
    assert read.data["last4"] == secret[-4:]
    stored = ApiKey.objects.get()
    for said in (read.content, as_operator.get(KEYS).content, str(stored.__dict__).encode()):
        assert secret.encode() not in said
    for said in (read.content, made.content, as_operator.get(KEYS).content):
        assert stored.sha256.encode() not in said
    assert secret not in str(list(AuditRecord.objects.values()))


def test_the_snapshot_gets_what_proves_the_key(as_operator: APIClient) -> None:
    """S15."""
    soon = timezone.now() + timedelta(days=1)
    text = make(as_operator, expires_at=soon.isoformat(), allowed_models=["Qwen3:*"]).data["key"]
    (key,) = keys_for_snapshot()
    parsed = parse_key(text)
    assert parsed is not None
    assert same_hash(key.sha256, parsed.sha256)
    assert key.enabled
    assert key.expires_at == pytest.approx(soon.timestamp())
    assert key.allowed_models == ("registry.ollama.ai/library/qwen3:*",)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"allowed_models": ["a/b/c/d"]}, "allowed_models.0"),
        ({"allowed_models": ["(a+)+$"]}, "allowed_models"),
        ({"allowed_models": ["x" * 600]}, "allowed_models.0"),
        ({"allowed_models": ["*a" * 9]}, "allowed_models"),
        ({"allowed_models": "qwen3"}, "allowed_models"),
        ({"allowed_models": [f"m{i}" for i in range(201)]}, "allowed_models"),
        ({"allowed_models": [""]}, "allowed_models.0"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "manage"}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"max_active": 0}, "max_active"),
        ({"requests_per_minute": 0.5}, "requests_per_minute"),
        ({"requests_per_minute": 1_000_001}, "requests_per_minute"),
        ({"priority": 10}, "priority"),
        ({"priority": None}, "priority"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"id": "abcdefghijkl"}, "id"),
        ({"created_by": "alice"}, "created_by"),
        ({"name": ""}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
)
def test_c26_what_makes_no_key_is_refused(
    as_operator: APIClient, body: dict[str, object], field: str
) -> None:
    answer = make(as_operator, **body)
    assert answer.status_code == 400
    assert answer.data["code"] == "invalid"
    assert any(name.startswith(field.partition(".")[0]) for name in answer.data["errors"])
    assert not ApiKey.objects.exists()


def test_a_key_is_for_inference_unless_somebody_says_more(as_operator: APIClient) -> None:
    """S22."""
    key = make(as_operator).data
    assert key["scopes"] == ["inference"]
    assert keys_for_snapshot()[0].scopes == (Scope.INFERENCE,)
    one = f"{KEYS}/{key['id']}"
    assert as_operator.patch(one, {"scopes": ["manage", "inference"]}).data["scopes"] == [
        "inference",
        "manage",
    ]
    assert keys_for_snapshot()[0].scopes == (Scope.INFERENCE, Scope.MANAGE)
    before = revision()
    as_operator.patch(one, {"scopes": ["inference", "manage"]})
    assert revision() == before
    record = AuditRecord.objects.filter(action="key.update").get()
    assert (record.before["scopes"], record.after["scopes"]) == (
        ["inference"],
        ["inference", "manage"],
    )


def test_a_name_that_is_taken_is_409(as_operator: APIClient) -> None:
    make(as_operator)
    other = as_operator.post(KEYS, {"name": "desktop"}).data
    assert make(as_operator).data["code"] == "already_exists"
    assert as_operator.patch(f"{KEYS}/{other['id']}", {"name": "laptop"}).status_code == 409


def test_a_key_is_changed_disabled_and_renamed(as_operator: APIClient) -> None:
    key = make(as_operator, allowed_models=["llama3"]).data
    answer = as_operator.patch(
        f"{KEYS}/{key['id']}", {"enabled": False, "name": "old", "allowed_models": None}
    )
    assert answer.status_code == 200
    assert (answer.data["enabled"], answer.data["name"]) == (False, "old")
    assert answer.data["allowed_models"] is None
    assert answer.data["last4"] == key["last4"]


def test_an_expired_key_can_still_be_edited(as_operator: APIClient) -> None:
    key = make(as_operator).data
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert as_operator.patch(f"{KEYS}/{key['id']}", {"name": "gone"}).status_code == 200


def test_every_change_counts_a_revision_and_an_edit_of_nothing_does_not(
    as_operator: APIClient,
) -> None:
    def counted(work: Callable[[], Any]) -> int:
        before = revision()
        work()
        return revision() - before

    made: list[Any] = []
    assert counted(lambda: made.append(make(as_operator).data)) == 1
    one = f"{KEYS}/{made[0]['id']}"
    assert counted(lambda: as_operator.patch(one, {"enabled": False})) == 1
    assert counted(lambda: as_operator.patch(one, {"enabled": False})) == 0
    assert counted(lambda: as_operator.patch(one, {"expires_at": "2001-01-01T00:00:00Z"})) == 0
    assert counted(lambda: make(as_operator)) == 0  # the name is taken
    assert counted(lambda: as_operator.delete(one)) == 1


def test_c27_a_revoked_key_is_gone_and_that_is_audited(as_operator: APIClient) -> None:
    key = make(as_operator).data
    assert as_operator.delete(f"{KEYS}/{key['id']}").status_code == 204
    assert as_operator.get(f"{KEYS}/{key['id']}").status_code == 404
    assert as_operator.delete(f"{KEYS}/{key['id']}").status_code == 404
    assert keys_for_snapshot() == []
    records = AuditRecord.objects.filter(target=f"key:{key['id']}").order_by("id")
    assert [record.action for record in records] == ["key.create", "key.delete"]
    assert all(record.actor == "bob" for record in records)


def test_a_key_outlives_who_made_it(
    as_operator: APIClient, as_admin: APIClient, cast: Cast
) -> None:
    key = make(as_operator).data
    as_admin.delete(f"/api/account/users/{cast.bob.pk}")
    assert as_admin.get(f"{KEYS}/{key['id']}").data["created_by"] is None
    assert len(keys_for_snapshot()) == 1


def test_keys_are_listed_filtered_and_cut(as_viewer: APIClient, as_operator: APIClient) -> None:
    for name in ("a", "b", "c"):
        as_operator.post(KEYS, {"name": name, "enabled": name != "b"})
    page = as_viewer.get(f"{KEYS}?enabled=false&fields=name").data
    assert page == {"count": 1, "next": None, "previous": None, "results": [{"name": "b"}]}
    assert [key["name"] for key in as_viewer.get(f"{KEYS}?ordering=-name").data["results"]] == [
        "c",
        "b",
        "a",
    ]


def test_a_key_has_limits_where_somebody_sets_them(as_operator: APIClient) -> None:
    """S52: the data planes hold them."""
    key = make(as_operator).data
    assert (key["max_active"], key["requests_per_minute"], key["priority"]) == (None, None, 0)
    answer = as_operator.patch(
        f"{KEYS}/{key['id']}", {"max_active": 4, "requests_per_minute": 60, "priority": -1}
    )
    assert answer.status_code == 200, answer.data
    [told] = keys_for_snapshot()
    assert (told.max_active, told.requests_per_minute, told.priority) == (4, 60, -1)
    record = AuditRecord.objects.filter(action="key.update").get()
    assert (record.before["max_active"], record.after["max_active"]) == (None, 4)
