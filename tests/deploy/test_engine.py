"""The embedded Valkey."""

from pathlib import Path

import redis

from deploy.local import engine


def test_nothing_is_ever_evicted(tmp_path: Path) -> None:
    """S46: a task or a snapshot that does not fit is refused, not forgotten."""
    with engine.running(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert int(client.config_get("maxmemory")["maxmemory"]) > 0
