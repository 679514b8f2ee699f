"""Tells the others what this instance does, and hears what they do.

One record per instance, with a time to live: an instance that dies stops weighing on anybody. The
others' active counts make `least_active` count the whole fleet; the sweep's latencies join ours.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from redis.exceptions import RedisError

from data_plane.sync.subscriber import CALL_TIMEOUT_S
from shared import keys, reports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis.asyncio import Redis

    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics
    from shared.reports import Report

HEARTBEAT_S: Final = 5.0
"""A report is renewed this often when nothing changes; a third of its time to live."""

LATENCIES_INTERVAL_S: Final = 10.0
"""The sweep writes once a minute."""

MAX_OTHERS: Final = 256
"""Instances read at most; beyond that fleet-wide counting needs another design."""


class Ear(Protocol):
    """Who wants to know what the others said."""

    def others_reported(self, counts: Mapping[str, int]) -> None:
        """Active counts at other instances, by node."""

    def sweep_reported(self, latencies: Mapping[str, float], finished_at: float) -> None:
        """The health sweep's latencies by node, and when it last finished (unix seconds)."""


class Reporter:
    """Writes our record and reads the others'."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        redis: Redis,
        make_report: Callable[[], Report],
        ear: Ear,
        log: Log,
        metrics: Metrics,
        interval_s: float,
        mates: frozenset[str] = frozenset(),
    ) -> None:
        self._redis = redis
        self._mates = mates
        self._make_report = make_report
        self._ear = ear
        self._log = log
        self._metrics = metrics
        self._interval_s = interval_s
        self._last: Report | None = None
        self._written_at = 0.0
        self._latencies_read_at = 0.0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._round()
            except (RedisError, OSError) as error:
                self._metrics.redis_error("report")
                self._log.debug("report_failed", reason=repr(error))
            await asyncio.sleep(self._interval_s)

    async def _round(self) -> None:
        now = time.monotonic()
        report = self._make_report()
        if self._is_due(report, now):
            await self._write(report)
            self._last, self._written_at = report, now
        await self._read_others(report.instance)
        if now - self._latencies_read_at >= LATENCIES_INTERVAL_S or not self._latencies_read_at:
            await self._read_latencies()
            self._latencies_read_at = now

    def _is_due(self, report: Report, now: float) -> bool:
        if self._last is None or now - self._written_at >= HEARTBEAT_S:
            return True
        return report != msgspec.structs.replace(self._last, reported_at=report.reported_at)

    async def _write(self, report: Report) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(keys.report(report.instance), reports.encode(report), ex=keys.REPORT_TTL_S)
            pipe.zadd(keys.INSTANCES, {report.instance: report.reported_at})
            pipe.zremrangebyscore(
                keys.INSTANCES, "-inf", report.reported_at - keys.INSTANCE_FORGET_S
            )
            await pipe.execute()

    async def _read_others(self, own: str) -> None:
        names: list[Any] = await self._redis.zrange(keys.INSTANCES, 0, MAX_OTHERS, desc=True)
        # What the other workers of this host do stands in memory that we share with them.
        others = [name.decode() for name in names if name.decode() not in {own, *self._mates}]
        counts: dict[str, int] = {}
        if others:
            # Who is alive is told by the record's time to live, not by anybody's clock.
            found: list[Any] = await self._redis.mget([keys.report(name) for name in others])
            for data in found:
                report = reports.decode(data) if data is not None else None
                for node_id, node in (report.nodes if report else {}).items():
                    if node.active_count > 0:
                        counts[node_id] = counts.get(node_id, 0) + node.active_count
        self._ear.others_reported(counts)

    async def _read_latencies(self) -> None:
        found: dict[Any, Any] = await self._redis.hgetall(keys.LATENCIES)
        latencies = {}
        for node_id, text in found.items():
            try:
                latencies[node_id.decode()] = float(text)
            except ValueError:
                self._log.debug("latency_unreadable", node_id=node_id.decode(errors="replace"))
        finished = await self._redis.get(keys.SWEEP_FINISHED_AT)
        try:
            finished_at = float(finished or 0.0)
        except ValueError:
            finished_at = 0.0
        self._ear.sweep_reported(latencies, finished_at)

    async def withdraw(self) -> None:
        """Take our record away at a clean stop, so that our counts weigh on nobody."""
        report = self._make_report()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.delete(keys.report(report.instance))
                    pipe.zrem(keys.INSTANCES, report.instance)
                    await pipe.execute()
        except (RedisError, OSError) as error:
            self._log.debug("withdraw_failed", reason=repr(error))
