"""The audit log: complete, readable, append-only (S40)."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from fakes.cast import Cast
from rest_framework.test import APIClient

from control_plane.accounts import chain
from control_plane.accounts.chain import BrokenChainError
from control_plane.accounts.models import AuditHead, AuditRecord
from control_plane.accounts.services import audit_record

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

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


def tampered(statement: str, *values: object) -> None:
    """What somebody does who may drop triggers."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE accounts_auditrecord DISABLE TRIGGER USER")
            cursor.execute(statement, values)
            cursor.execute("ALTER TABLE accounts_auditrecord ENABLE TRIGGER USER")
            return
        for action in ("update", "delete"):
            cursor.execute(f"DROP TRIGGER accounts_auditrecord_no_{action}")
        cursor.execute(statement, values)


def test_s40_records_are_chained_and_the_chain_is_verified_by_a_command(records: None) -> None:
    audit_record("carol", "user.update", "user:x", {"a": 1.5}, {"b": [None, "é"], "a": {"z": 0}})
    said = StringIO()
    call_command("audit_verify", stdout=said)
    assert said.getvalue() == "records=4 chain=whole\n"
    links = set(AuditRecord.objects.values_list("link", flat=True))
    assert len(links) == 4
    assert "" not in links


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE accounts_auditrecord SET actor = 'eve' WHERE id = %s", "is not what was written"),
        ("DELETE FROM accounts_auditrecord WHERE id = %s", "is not what was written"),
        ("UPDATE accounts_auditrecord SET link = '' WHERE id = %s", "is not what was written"),
        ("DELETE FROM accounts_auditrecord WHERE id > %s", "is missing"),
        ("DELETE FROM accounts_auditrecord WHERE id > %s - 5", "is missing"),
    ],
)
def test_s40_what_was_tampered_with_is_named(records: None, statement: str, complaint: str) -> None:
    second = AuditRecord.objects.order_by("id")[1].pk
    tampered(statement, second)
    with pytest.raises(CommandError, match=complaint):
        call_command("audit_verify")


def test_s40_the_end_cannot_be_cut_off_by_setting_the_head_back(records: None) -> None:
    first = AuditRecord.objects.order_by("id")[0]
    tampered("DELETE FROM accounts_auditrecord WHERE id > %s", first.pk)
    AuditHead.objects.update(records=1, link=first.link)
    with pytest.raises(CommandError, match=f"after record {first.pk} is missing"):
        call_command("audit_verify")


def test_s40_links_cannot_be_made_without_the_key(records: None, settings: SettingsWrapper) -> None:
    settings.SECRET_KEY = "x" * 40
    record = AuditRecord.objects.order_by("id")[0]
    forged = chain.link_of("", record)
    assert forged != record.link
    with pytest.raises(CommandError, match="AIVONX_SECRET_KEY is another"):
        call_command("audit_verify")


def test_records_of_before_the_chain_stay_as_they_are(db: None) -> None:
    AuditRecord(actor="old", action="key.create").save()
    audit_record("new", "key.delete")
    assert chain.verify() == 1
    AuditRecord(actor="forged", action="key.create").save()
    with pytest.raises(BrokenChainError):
        chain.verify()
