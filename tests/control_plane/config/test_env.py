"""Settings: what is read, and the one line that says what is wrong."""

from __future__ import annotations

import pytest

from control_plane.config.env import Env, read_or_exit
from shared.environ import SettingError

WHOLE = {
    "AIVONX_SECRET_KEY": "s" * 32,
    "AIVONX_JWT_KEY": "j" * 32,
    "AIVONX_SNAPSHOT_KEY": "k" * 32,
    "AIVONX_NODE_TOKEN_KEYS": "dGhlLXRlc3RzLW9ubHkta2V5LW9mLTMyLWJ5dGVzISE=",
}


def read(**variables: str) -> Env:
    return Env.read(WHOLE | variables)


def test_little_needs_to_be_set():
    env = read(AIVONX_DATA_DIR="/data")
    assert env.database["NAME"] == "/data/control.sqlite3"
    assert set(env.allowed_hosts) == {"localhost", "127.0.0.1", "[::1]"}
    assert (env.debug, env.https, env.trusted_proxies) == (False, False, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AIVONX_SECRET_KEY", ""),
        ("AIVONX_SECRET_KEY", "too short"),
        ("AIVONX_JWT_KEY", ""),
        ("AIVONX_SNAPSHOT_KEY", "short"),
        ("AIVONX_NODE_TOKEN_KEYS", ""),
        ("AIVONX_NODE_TOKEN_KEYS", "no-fernet-key"),
        ("AIVONX_NODE_ALLOWED_CIDRS", "10.0.0.0/33"),
        ("AIVONX_NODE_FORBIDDEN_PORTS", "http"),
        ("AIVONX_CONTROL_BIND", "8000"),
        ("AIVONX_TRUSTED_PROXIES", "-1"),
        ("AIVONX_DEBUG", "perhaps"),
        ("AIVONX_HTTPS", "2"),
        ("AIVONX_LOG_FORMAT", "xml"),
        ("AIVONX_LOG_LEVEL", "LOUD"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://h:0/0"),
        ("REDIS_URL", "redis://h:port/0"),
        ("DATABASE_URL", "mysql://h/d"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "postgresql://h:99999/d"),
        ("DATABASE_URL", "postgresql://[::1/d"),
        ("DATABASE_URL", "postgresql://h"),
    ],
)
def test_a_wrong_value_names_its_variable(name, value):
    with pytest.raises(SettingError, match=f"^{name}: "):
        read(**{name: value})


def test_the_start_ends_with_one_line():
    with pytest.raises(SystemExit, match="^aivonx: AIVONX_LOG_LEVEL: must be one of [^\n]*$"):
        read_or_exit(WHOLE | {"AIVONX_LOG_LEVEL": "LOUD"})


def test_secrets_may_stand_in_files(tmp_path):
    path = tmp_path / "jwt"
    path.write_text("f" * 40 + "\n")
    variables = {name: value for name, value in WHOLE.items() if name != "AIVONX_JWT_KEY"}
    assert Env.read(variables | {"AIVONX_JWT_KEY_FILE": str(path)}).jwt_key == "f" * 40


@pytest.mark.parametrize(
    ("alias", "value", "attribute", "expected"),
    [
        ("DJANGO_DEBUG", "1", "debug", True),
        (
            "DJANGO_ALLOWED_HOSTS",
            "a.example,b.example",
            "allowed_hosts",
            ("a.example", "b.example"),
        ),
        ("DJANGO_CORS_ALLOWED_ORIGINS", "https://c", "cors_origins", ("https://c",)),
        ("DJANGO_CSRF_TRUSTED_ORIGINS", "https://d", "csrf_trusted_origins", ("https://d",)),
        ("ROOT_PASSWORD", "hunter2hunter2", "admin_password", "hunter2hunter2"),
    ],
)
def test_the_names_of_the_replaced_system_are_read(alias, value, attribute, expected):
    assert getattr(read(**{alias: value}), attribute) == expected


def test_the_bind_address_is_an_allowed_host():
    assert "192.168.1.9" in read(AIVONX_CONTROL_BIND="192.168.1.9:8000").allowed_hosts
    assert "[fd00::9]" in read(AIVONX_CONTROL_BIND="[fd00::9]:8000").allowed_hosts


def test_the_description_is_open_on_loopback_only_unless_told_otherwise():
    assert read().public_schema
    assert not read(AIVONX_CONTROL_BIND="0.0.0.0:8000").public_schema
    assert read(AIVONX_CONTROL_BIND="0.0.0.0:8000", AIVONX_PUBLIC_SCHEMA="1").public_schema


def test_sqlite_is_opened_as_several_processes_need_it():
    options = read(DATABASE_URL="sqlite:////data/x.sqlite3").database["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in options["init_command"]
    assert options["timeout"] >= 20


def test_postgresql_is_pooled_and_bounded():
    """S41."""
    database = read(DATABASE_URL="postgresql://u:p%40ss@h:5433/d?sslmode=require").database
    assert (database["HOST"], database["PORT"], database["PASSWORD"]) == ("h", 5433, "p@ss")
    assert database["OPTIONS"]["sslmode"] == "require"
    assert database["OPTIONS"]["pool"]["timeout"] <= 5
    assert "statement_timeout" in database["OPTIONS"]["options"]
    assert "lock_timeout" in database["OPTIONS"]["options"]


def test_postgresql_may_be_reached_by_a_local_socket():
    assert read(DATABASE_URL="postgresql:///d?host=/run/x").database["OPTIONS"]["host"] == "/run/x"
