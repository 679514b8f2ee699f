"""The Redis client of the control plane: short time-outs, no retries.

redis-py's defaults wait up to a minute for a frozen server. Whoever asks here must have an answer
for "Redis is away"; nothing that an operator or a client waits for may hang on it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S: Final = 0.5


@lru_cache(maxsize=4)
def _client(url: str) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=15,
    )


def client() -> Redis:
    """The process's client. Raises redis.exceptions.RedisError within about a second."""
    return _client(settings.REDIS_URL)
