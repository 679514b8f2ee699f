"""What the supervisor understands of its settings, and the secrets it keeps."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.local.settings import Settings, make_data_dir, secrets_for_children
from shared.environ import SettingError


def test_two_settings_must_not_name_one_address() -> None:
    with pytest.raises(SettingError, match="AIVONX_METRICS_BIND: 127.0.0.1:8000 is what AIVONX_CO"):
        Settings.read({"AIVONX_METRICS_BIND": "127.0.0.1:8000"})


def test_a_port_must_be_named() -> None:
    with pytest.raises(SettingError, match="AIVONX_PROXY_BIND: must name a port"):
        Settings.read({"AIVONX_PROXY_BIND": "127.0.0.1:0"})


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({}, "localhost"),
        ({"AIVONX_ALLOWED_HOSTS": "proxy.example.com,localhost"}, "proxy.example.com"),
        ({"DJANGO_ALLOWED_HOSTS": ".example.com"}, "example.com"),
        ({"AIVONX_ALLOWED_HOSTS": "*"}, "localhost"),
    ],
)
def test_the_control_plane_is_asked_by_a_name_that_it_accepts(
    variables: dict[str, str], host: str
) -> None:
    assert Settings.read(variables).operator_host == host


def test_secrets_are_made_once_and_kept_privately(tmp_path: Path) -> None:
    """S57."""
    make_data_dir(tmp_path)
    made = secrets_for_children({}, tmp_path)
    assert secrets_for_children({}, tmp_path) == made
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()} == {
        0o600
    }


def test_a_secret_that_is_set_is_not_made(tmp_path: Path) -> None:
    make_data_dir(tmp_path)
    made = secrets_for_children({"DJANGO_SECRET_KEY": "given"}, tmp_path)
    assert "AIVONX_SECRET_KEY" not in made
    assert not (tmp_path / "secrets" / "aivonx_secret_key").exists()


def test_a_secret_cut_off_by_a_crash_is_made_again(tmp_path: Path) -> None:
    make_data_dir(tmp_path)
    (tmp_path / "secrets" / "aivonx_jwt_key").touch()
    assert len(secrets_for_children({}, tmp_path)["AIVONX_JWT_KEY"]) > 32
