"""What the policy has learned, kept on disk over restarts, and in Redis beside the reports for who
starts with an empty disk. Losing it costs some slower choices.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from data_plane.sync.subscriber import CALL_TIMEOUT_S
from shared import keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from redis.asyncio import Redis

    from data_plane.routing.policy import Policy
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics

TICK_S: Final = 1.0
KEEP_EVERY: Final = 30
"""Ticks between two writes to the disk."""

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_LEFT_BYTES: Final = 4 * 1024 * 1024
"""In Redis, of each instance: some 10,000 pairs of a node and a model. More stays on the disk."""

MAX_ASKED: Final = 8
"""Instances whose numbers are looked for, those that reported last first."""


class Left:
    """What instances have left in Redis of what they have learned, by the name of each."""

    def __init__(self, redis: Redis, instance: str) -> None:
        self._redis = redis
        self._instance = instance

    async def leave(self, kept: bytes) -> None:
        """Write down what is known now. Raises RedisError and OSError."""
        if len(kept) > MAX_LEFT_BYTES:
            return
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await self._redis.set(keys.learned(self._instance), kept, ex=keys.LEARNED_TTL_S)

    async def found(self) -> AsyncIterator[bytes]:
        """Ours, then those of others: nodes are as fast for them. Raises as `leave` does."""
        async with asyncio.timeout(CALL_TIMEOUT_S):
            listed: list[Any] = await self._redis.zrange(
                keys.INSTANCES, 0, MAX_ASKED - 1, desc=True
            )
        others = [name for each in listed if (name := each.decode()) != self._instance]
        for name in (self._instance, *others):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                kept: Any = await self._redis.get(keys.learned(name))
            if kept and len(kept) <= MAX_LEFT_BYTES:
                yield kept


class Memory:
    """The policy's clock and its memory; one per process. Workers of one host share the file."""

    def __init__(
        self, policy: Policy, directory: Path, left: Left, log: Log, metrics: Metrics
    ) -> None:
        self._policy = policy
        self._path = directory / "learned.json"
        self._left = left
        self._log = log
        self._metrics = metrics
        self._listeners: list[Callable[[str, str], None]] = []

    def on_hang(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener(node_id, key)` when the load of a model hangs, once for each load."""
        self._listeners.append(listener)

    async def recall(self) -> None:
        """Take in what an earlier process has learned, else what another instance has."""
        try:
            kept = await asyncio.to_thread(self._read)
        except OSError as error:
            self._log.warning("learned_ignored", reason=str(error))
            kept = None
        if kept is not None and self._is_taken(kept):
            return
        try:
            async for other in self._left.found():
                if self._is_taken(other):
                    return
        except (RedisError, OSError) as error:
            self._metrics.redis_error("learned")
            self._log.debug("learned_not_found", reason=repr(error))

    def _is_taken(self, kept: bytes) -> bool:
        try:
            self._policy.remember(kept)
        except ValueError as error:
            self._log.warning("learned_ignored", reason=str(error))
            return False
        return True

    async def run(self, now: Callable[[], float]) -> None:
        """Until cancelled."""
        while True:
            for _ in range(KEEP_EVERY):
                await asyncio.sleep(TICK_S)
                self._tick(now())
            await self.keep()

    def _tick(self, now: float) -> None:
        for node_id, model in self._policy.tick(now):
            self._log.warning("load_hangs", node_id=node_id, model=model)
            for listener in self._listeners:
                listener(node_id, model)
        errors, self._policy.errors = self._policy.errors, []
        for error in errors:
            self._metrics.predicted(error)

    async def keep(self) -> None:
        """Write down what is known now."""
        kept = self._policy.learned()
        try:
            await asyncio.to_thread(self._write, kept)
        except OSError as error:
            self._log.warning("learned_not_written", reason=str(error))
        if not self._policy.has_learned:
            return
        try:
            await self._left.leave(kept)
        except (RedisError, OSError) as error:
            self._metrics.redis_error("learned")
            self._log.debug("learned_not_left", reason=repr(error))

    def _read(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_BYTES)
        except FileNotFoundError:
            return None

    def _write(self, kept: bytes) -> None:
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fresh.write_bytes(kept)
            fresh.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):  # it may not even be there
                fresh.unlink()
            raise
