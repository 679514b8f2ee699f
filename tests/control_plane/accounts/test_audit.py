"""The audit log: complete, readable, append-only (S40)."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from fakes.cast import Cast
from rest_framework.test import APIClient

from control_plane.accounts.models import AuditRecord
from control_plane.accounts.services import audit_record

AUDIT = "/api/audit"


@pytest.fixture
def records(db: None) -> None:
    audit_record("alice", "key.create", "key:1")
    audit_record("bob", "key.delete", "key:1")
    audit_record("bob", "node.create", "node:1")


def actions(client: APIClient, query: str) -> list[str]:
    answer = client.get(f"{AUDIT}?{query}")
    assert answer.status_code == 200, answer.data
    return [record["action"] for record in answer.data["results"]]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE accounts_auditrecord SET actor = 'x'", "DELETE FROM accounts_auditrecord"],
)
def test_s40_the_database_refuses_to_change_or_delete_records(
    records: None, statement: str
) -> None:
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert AuditRecord.objects.count() == 3


def test_s40_postgresql_refuses_to_truncate(records: None) -> None:
    """SQLite has no TRUNCATE; there the statement itself is an error."""
    with (
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("TRUNCATE accounts_auditrecord")
    assert AuditRecord.objects.count() == 3


def test_s40_a_record_cannot_be_saved_again(records: None) -> None:
    record = AuditRecord.objects.all()[0]
    with pytest.raises(DatabaseError), transaction.atomic():
        record.save()


def test_the_newest_stand_first(as_admin: APIClient, records: None) -> None:
    assert actions(as_admin, "") == ["node.create", "key.delete", "key.create"]


def test_records_are_filtered_ordered_and_cut(as_admin: APIClient, records: None) -> None:
    assert actions(as_admin, "actor=alice") == ["key.create"]
    assert actions(as_admin, "action=key") == ["key.delete", "key.create"]
    assert actions(as_admin, "action=key.delete") == ["key.delete"]
    assert actions(as_admin, "target=node:1") == ["node.create"]
    assert actions(as_admin, "ordering=id&limit=1&offset=1") == ["key.delete"]
    soon = quote((timezone.now() + timedelta(minutes=1)).isoformat())
    assert actions(as_admin, f"since={soon}") == []
    assert len(actions(as_admin, f"until={soon}")) == 3


@pytest.mark.parametrize(
    "query",
    [
        "password=x",
        "actor__id=1",
        "__class__=x",
        "ordering=password",
        "ordering=actor__password",
        "ordering=;drop",
        "since=yesterday",
        "actor=%00",
        "limit=-1",
        "offset=x",
        "fields=sha256",
    ],
)
def test_c18_c19_what_is_no_filter_is_refused(
    as_admin: APIClient, records: None, query: str
) -> None:
    answer = as_admin.get(f"{AUDIT}?{query}")
    assert (answer.status_code, answer.data["code"]) == (400, "invalid_filter")


def test_c19_an_enormous_page_is_capped(as_admin: APIClient, records: None) -> None:
    assert as_admin.get(f"{AUDIT}?limit=1000000000").status_code == 200
    assert actions(as_admin, "offset=1000000") == []


def test_denied_actions_are_recorded_with_who_and_where(as_viewer: APIClient, cast: Cast) -> None:
    answer = as_viewer.post(
        "/api/account/keys",
        {"name": "mine"},
        REMOTE_ADDR="10.4.4.4",
        headers={"X-Request-ID": "r-1"},
    )
    assert answer.status_code == 403
    record = AuditRecord.objects.get()
    assert (record.actor, record.actor_id) == ("charlie", cast.charlie.pk)
    assert (record.action, record.target) == ("access.denied", "POST /api/account/keys")
    assert (record.ip, record.request_id) == ("10.4.4.4", "r-1")


def test_who_is_not_signed_in_leaves_no_record(as_nobody: APIClient) -> None:
    assert as_nobody.get(AUDIT).status_code == 401
    assert not AuditRecord.objects.exists()


def test_secrets_are_masked_on_the_way_in(db: None) -> None:
    """S35."""
    audit_record("x", "y", after={"node_token": "abc", "name": "n", "password": ""})
    assert AuditRecord.objects.get().after == {"node_token": "***", "name": "n", "password": ""}


def test_a_long_target_is_cut(db: None) -> None:
    audit_record("x", "y", "t" * 500)
    assert len(AuditRecord.objects.get().target) == 128
