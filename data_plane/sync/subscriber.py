"""Follows the snapshot in Redis: at start, at every subscribe confirmation, at every hint, and
every so often, because a hint may be lost and nothing tells.

No request ever waits for anything here. Every call has a limit of a second and no retries of its
own: the client library's defaults would wait a minute for a frozen server.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared import keys, wire
from shared.wire import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.client import PubSub

    from data_plane.sync.applied import AppliedState
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics

CALL_TIMEOUT_S: Final = 1.0
HEADER_BYTES: Final = 1_024
"""Enough for the header line; the rest is read only when it is news."""

PING_INTERVAL_S: Final = 5.0
"""A subscription is silent by nature; a ping tells a quiet link from a dead one."""

RECONNECT_MIN_S: Final = 0.1
RECONNECT_MAX_S: Final = 1.0
"""So that we are back in step within two seconds of Redis' return."""

READ_AGAIN_S: Final = 0.5
"""After a read that failed: it may have been the one that a hint asked for."""

READ_GAP_S: Final = 0.1
"""Between two reads: a burst of a thousand hints costs ten."""

JITTER: Final = 0.2


def connect(url: str) -> Redis:
    """A client whose every call fails fast."""
    return Redis.from_url(
        url,
        socket_timeout=CALL_TIMEOUT_S,
        socket_connect_timeout=CALL_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        health_check_interval=0,
    )


class Subscriber:
    """Keeps `AppliedState` in step with Redis. `on_question` is told what is
    no hint, and says whether it was a question.
    """

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        redis: Redis,
        state: AppliedState,
        on_question: Callable[[bytes], bool],
        log: Log,
        metrics: Metrics,
        interval_s: float,
    ) -> None:
        self._redis = redis
        self._state = state
        self._on_question = on_question
        self._log = log
        self._metrics = metrics
        self._interval_s = interval_s
        self._wanted = asyncio.Event()
        self._is_up: bool | None = None

    async def read_once(self) -> bool:
        """Look at Redis now. Says whether it answered; what it said is `AppliedState`'s matter."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                head: Any = await self._redis.getrange(keys.SNAPSHOT, 0, HEADER_BYTES - 1)
            if not head:
                return True  # a missing key is not an empty state: keep what is in force
            if self._is_known(head):
                return True
            async with asyncio.timeout(CALL_TIMEOUT_S):
                sealed: Any = await self._redis.get(keys.SNAPSHOT)
        except (RedisError, OSError) as error:
            self._metrics.redis_error("read")
            self._log.debug("redis_read_failed", reason=repr(error))
            return False
        if sealed is not None:
            await self._state.offer(sealed, "redis")
        return True

    def _is_known(self, head: bytes) -> bool:
        try:
            return not self._state.is_news(wire.peek(head))
        except RefusedError:
            return False  # let the whole be refused, with its reason

    async def follow(self) -> None:
        """Read whenever there may be news, until cancelled."""
        has_answered = True
        while True:
            interval_s = self._interval_s if has_answered else min(self._interval_s, READ_AGAIN_S)
            try:
                async with asyncio.timeout(interval_s * _jitter()):
                    await self._wanted.wait()
            except TimeoutError:
                self._log.debug("snapshot_poll")
            self._wanted.clear()
            has_answered = await self.read_once()
            await asyncio.sleep(READ_GAP_S)

    async def listen(self) -> None:
        """Hear hints, until cancelled. Reconnects for ever."""
        pause_s = RECONNECT_MIN_S
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                if self._is_up:
                    pause_s = RECONNECT_MIN_S
                self._set_up(is_up=False, reason=repr(error))
            await asyncio.sleep(pause_s * _jitter())
            pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    async def _hear(self) -> None:
        pubsub: PubSub = self._redis.pubsub()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await pubsub.subscribe(keys.HINTS)
            is_pinged = False
            while True:
                message = await pubsub.get_message(
                    timeout=CALL_TIMEOUT_S if is_pinged else PING_INTERVAL_S
                )
                if message is None:
                    if is_pinged:
                        raise TimeoutError(keys.HINTS)
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        await pubsub.ping()
                    is_pinged = True
                    continue
                is_pinged = False
                self._heard(message)
        finally:
            # Closing may wait for a dead peer; the connection is dropped either way.
            await asyncio.wait_for(asyncio.shield(_close(pubsub)), CALL_TIMEOUT_S)

    def _heard(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "subscribe":
                # Also after a silent reconnect: whatever was said meanwhile is lost, so look.
                self._set_up(is_up=True, reason="")
                self._wanted.set()
            case "message":
                hint = wire.decode_hint(message["data"])
                if hint is None and self._on_question(message["data"]):
                    return
                if hint is None or self._state.is_news(hint):
                    self._wanted.set()

    def _set_up(self, *, is_up: bool, reason: str) -> None:
        self._metrics.redis_up.set(1 if is_up else 0)
        if not is_up:
            self._metrics.redis_error("subscribe")
        if self._is_up != is_up:
            self._is_up = is_up
            if is_up:
                self._log.info("redis_subscribed")
            else:
                self._log.warning("redis_lost", reason=reason)


def _jitter() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spread, no secret


async def _close(pubsub: PubSub) -> None:
    try:
        await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    except (RedisError, OSError):
        return
