"""`manage.py bootstrap`: the first operator."""

from __future__ import annotations

import io
import stat
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from control_plane.accounts.models import AuditRecord, User

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django.fixtures import SettingsWrapper


@pytest.fixture(autouse=True)
def _data_dir(db: None, tmp_path: Path, settings: SettingsWrapper) -> None:
    settings.DATA_DIR = tmp_path
    settings.ADMIN_PASSWORD = ""


def bootstrap() -> str:
    said = io.StringIO()
    call_command("bootstrap", stdout=said)
    return said.getvalue()


def test_a_password_is_generated_said_once_and_kept_for_us_alone(tmp_path: Path) -> None:
    """S19."""
    path = tmp_path / "initial_admin_password"
    line = bootstrap()
    password = path.read_text().strip()
    assert line == f"admin=created password_file={path} password={password}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    root = User.objects.get()
    assert (root.username, root.role) == ("root", "admin")
    assert root.check_password(password)
    assert bootstrap() == f"admin=exists password_file={path}\n"
    assert User.objects.count() == 1


def test_a_given_password_is_taken_and_neither_said_nor_kept(
    tmp_path: Path, settings: SettingsWrapper
) -> None:
    settings.ADMIN_PASSWORD = "chosen by the operator"
    assert bootstrap() == "admin=created password_file=-\n"
    assert list(tmp_path.iterdir()) == []
    assert User.objects.get().check_password("chosen by the operator")
    settings.ADMIN_PASSWORD = "another one later on"
    assert bootstrap() == "admin=exists password_file=-\n"
    assert User.objects.get().check_password("chosen by the operator")


def test_a_weak_given_password_is_refused_naming_the_variable(settings: SettingsWrapper) -> None:
    settings.ADMIN_PASSWORD = "admin"
    with pytest.raises(CommandError, match=r"AIVONX_ADMIN_PASSWORD: .*too short"):
        bootstrap()
    assert not User.objects.exists()


def test_root_does_not_come_back_once_there_are_others() -> None:
    User.objects.create_user("alice", "whatever it is")
    assert bootstrap() == "admin=exists password_file=-\n"
    assert not User.objects.filter(username="root").exists()


def test_it_is_in_the_audit_log() -> None:
    bootstrap()
    record = AuditRecord.objects.get()
    assert (record.actor, record.action, record.target) == ("bootstrap", "user.create", "user:root")
