"""Is the Celery worker still working? A worker can be alive and consume nothing any more (a fault
family of brokers that were restarted), and no exit code tells. What tells is the time of the last
finished health sweep.
"""

from __future__ import annotations

import time
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared import keys

CHECK_EVERY_S: Final = 5.0
TOLERATED_S: Final = 30.0
"""The schedule looks every 2 s whether nodes are due, and notes each look. Fifteen missed looks."""

_TIMEOUT_S: Final = 0.5


class SweepWatchdog:
    """Says when the worker ought to be restarted; then waits again."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._next_check_at = time.monotonic() + CHECK_EVERY_S
        self._alive_at = time.monotonic()
        self._seen: object = None

    def is_overdue(self, now: float) -> bool:
        """Whether no sweep finished for `TOLERATED_S` although Redis could be asked all along.

        Compares what Redis holds with what it held, not with the clock: a stepped clock proves
        nothing about a worker.
        """
        if now < self._next_check_at:
            return False
        self._next_check_at = now + CHECK_EVERY_S
        try:
            seen = self._redis.get(keys.SWEEP_FINISHED_AT)
        except redis.RedisError:
            self._alive_at = now
            return False
        if seen != self._seen:
            self._seen, self._alive_at = seen, now
        if now - self._alive_at < TOLERATED_S:
            return False
        self._alive_at = now
        return True
