"""One run at a time, across processes: a key in Redis with a time to live.

For work on the schedule that must not overlap itself. A run that is killed leaves nothing to clear
up: its key expires. A run that outlives its key notices at the next renewal that somebody else may
have begun, and `renew` says so; what two runs would then do twice must be harmless anyway.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from control_plane.common import redis
from shared import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

# Compare and act in one step: between a GET and a DEL the key may expire and be taken by another.
_RELEASE: Final = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end"
_RENEW: Final = (
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) end"
)


class Claim:
    """The right to run. Renew it between steps."""

    def __init__(self, key: str, token: str, ttl_s: float) -> None:
        self._key = key
        self._token = token
        self._ttl_ms = _milliseconds(ttl_s)

    def renew(self) -> bool:
        """Start the time to live again. False when the claim was lost meanwhile."""
        return bool(redis.client().eval(_RENEW, 1, self._key, self._token, self._ttl_ms))

    def release(self) -> None:
        """Let the next run in."""
        redis.client().eval(_RELEASE, 1, self._key, self._token)


@contextmanager
def run_claim(task: str, ttl_s: float) -> Iterator[Claim | None]:
    """Claim the task's run; None when another run has it. Raises RedisError without Redis."""
    key, token = keys.claim(task), secrets.token_hex(16)
    if not redis.client().set(key, token, nx=True, px=_milliseconds(ttl_s)):
        yield None
        return
    claim = Claim(key, token, ttl_s)
    try:
        yield claim
    finally:
        claim.release()


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000))
