"""The settings as a whole: with production's values, with a bad one, and what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection

ROOT = Path(__file__).parents[3]
PRODUCTION = {
    "AIVONX_HTTPS": "1",
    "AIVONX_TRUSTED_PROXIES": "1",
    "AIVONX_ALLOWED_HOSTS": "proxy.example",
    "AIVONX_CONTROL_BIND": "0.0.0.0:8000",
    "AIVONX_SECRET_KEY": "9fT2xQ7vLm4Zr8Kw1Yc6Bn3Hd5Js0Gp-Ea_Ui+Xo=Vt!Rk?Cy*Wq",
    "DATABASE_URL": "postgresql://u:p@db.example/d",
}


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "control_plane/manage.py", *arguments),
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_deployment_with_productions_settings_has_nothing_to_warn_of():
    """S30."""
    done = manage("check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert done.returncode == 0, done.stderr


def test_a_bad_value_stops_the_start_with_one_line():
    """S35."""
    done = manage("check", AIVONX_LOG_LEVEL="LOUD")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("aivonx: AIVONX_LOG_LEVEL: ")


def test_no_migration_is_missing(db):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)  # else it exits


def test_only_json_goes_out_and_permission_is_denied_by_default():
    """S32."""
    rest = settings.REST_FRAMEWORK
    assert rest["DEFAULT_RENDERER_CLASSES"] == ["rest_framework.renderers.JSONRenderer"]
    assert rest["DEFAULT_PERMISSION_CLASSES"] == ["control_plane.common.permissions.RolePermission"]


def test_tokens_are_short_lived_rotated_and_revocable():
    """S17."""
    jwt = settings.SIMPLE_JWT
    assert jwt["ACCESS_TOKEN_LIFETIME"].total_seconds() <= 300
    assert jwt["REFRESH_TOKEN_LIFETIME"].total_seconds() <= 86_400
    assert jwt["CHECK_REVOKE_TOKEN"]
    assert jwt["SIGNING_KEY"] != settings.SECRET_KEY


def test_the_database_is_set_up_as_named(db):
    """S41."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        else:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("15s",)
