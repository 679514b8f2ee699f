"""Settings: good defaults, and a stop that names the variable."""

import os

import pytest

from data_plane import settings
from shared.environ import SettingError

NEEDED = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "AIVONX_SNAPSHOT_KEY": "a snapshot key of enough bytes",
}


def test_two_settings_are_enough() -> None:
    """S09."""
    loaded = settings.load(NEEDED)
    assert str(loaded.proxy_bind) == "127.0.0.1:11435"
    assert str(loaded.metrics_bind) == "127.0.0.1:9435"
    assert loaded.max_body_bytes == 100 * 1024 * 1024
    assert loaded.instance


@pytest.mark.parametrize(
    ("given", "workers"), [("", 1), ("4", 4), ("Auto", len(os.sched_getaffinity(0)))]
)
def test_workers_are_as_many_as_is_said_or_as_there_are_cores(given: str, workers: int) -> None:
    assert settings.load(NEEDED | {"AIVONX_WORKERS": given}).workers == workers


def test_secrets_are_not_shown() -> None:
    shown = repr(settings.load(NEEDED | {"AIVONX_NODE_TOKEN_KEYS": "token-key"}))
    assert "snapshot key" not in shown
    assert "redis://" not in shown
    assert "token-key" not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", ""),
        ("REDIS_URL", "http://127.0.0.1"),
        ("AIVONX_SNAPSHOT_KEY", "short"),
        ("AIVONX_PROXY_BIND", "11435"),
        ("AIVONX_NODE_FORBIDDEN_PORTS", "80,http"),
        ("AIVONX_NODE_ALLOWED_CIDRS", "10.0.0.0/99"),
        ("AIVONX_MAX_BODY_BYTES", "-1"),
        ("AIVONX_MAX_MEMORY_BYTES", "2"),
        ("AIVONX_MAX_MEMORY_BYTES", "2GB"),
        ("AIVONX_DRAIN_TIMEOUT_S", "soon"),
        ("AIVONX_LOG_FORMAT", "xml"),
        ("AIVONX_HOSTS", "http://proxy.lan"),
        ("AIVONX_HOSTS", "proxy.lan,proxy.lan:80"),
        ("AIVONX_REPORT_INTERVAL_S", "60"),
        ("AIVONX_WORKERS", "0"),
        ("AIVONX_WORKERS", "65"),
        ("AIVONX_WORKERS", "many"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        settings.load(NEEDED | {name: value})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"AIVONX_MAX_MEMORY_BYTES": "0"}, 0),
        ({"AIVONX_MAX_MEMORY_BYTES": "134217728"}, 134_217_728),
        ({"AIVONX_MAX_MEMORY_BYTES": "134217728", "AIVONX_WORKERS": "2"}, 134_217_728),
    ],
)
def test_memory_is_watched_as_the_operator_says(environ, expected) -> None:
    """F66."""
    assert settings.load(NEEDED | environ).max_memory_bytes == expected


def test_a_limit_of_memory_must_do_for_every_worker() -> None:
    """F66."""
    with pytest.raises(SettingError, match="at least 201326592"):
        settings.load(NEEDED | {"AIVONX_MAX_MEMORY_BYTES": "134217728", "AIVONX_WORKERS": "3"})
