"""Tells the others what this instance does, and hears what they do.

One record per instance, with a time to live: an instance that dies stops weighing on anybody. The
others' active counts make `least_active` count the whole fleet; the sweep's latencies join ours.
Where a strategy predicts, a second record says what we have under way by node and model
(`shared.flights`), twice a second. Nothing of this waits in the way of a request: while Redis is
silent, what was heard is forgotten, and that is all.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec
from redis.exceptions import RedisError

from data_plane.sync.others import Others
from data_plane.sync.subscriber import CALL_TIMEOUT_S
from shared import keys, reports
from shared.flights import Flights, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis.asyncio import Redis

    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics
    from shared.reports import Report

RENEWED_S: Final = 1.0
"""What we write is renewed this often when nothing changes; a third of what others wait for it."""

FLIGHTS_INTERVAL_S: Final = 0.5
"""Of what is under way, where a strategy predicts; of reports no more often than settings say.
With half a second the mean TTFT is a quarter above that of exact counts, with two it is half."""

LATENCIES_INTERVAL_S: Final = 10.0
"""The sweep writes once a minute."""

ALMOST: Final = 0.9
"""Of an interval: a timer that rang a little early must not cost a whole round."""

MAX_OTHERS: Final = 256
"""Instances read at most; beyond that fleet-wide counting needs another design."""

Told = TypeVar("Told")


class Ear(Protocol):
    """Who wants to know what the others said."""

    def others_reported(self, counts: Mapping[str, int], flights: Mapping[str, Flights]) -> None:
        """Active counts at other instances, by node; and what they and our mates have under way."""

    def sweep_reported(self, latencies: Mapping[str, float], finished_at: float) -> None:
        """The health sweep's latencies by node, and when it last finished (unix seconds)."""


class Reporter:
    """Writes our record and reads the others'."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        redis: Redis,
        make_report: Callable[[], Report],
        make_flights: Callable[[], Flights | None],
        ear: Ear,
        log: Log,
        metrics: Metrics,
        interval_s: float,
        mates: frozenset[str] = frozenset(),
    ) -> None:
        self._redis = redis
        self._others = Others(mates)
        self._mates = mates
        self._make_report = make_report
        self._make_flights = make_flights
        self._ear = ear
        self._log = log
        self._metrics = metrics
        self._interval_s = interval_s
        self._renewed_s = max(interval_s, RENEWED_S)
        self._last: Report | None = None
        self._written_at = -inf
        self._life = secrets.token_hex(8)
        self._last_flights = Flights()
        self._flights_written_at = -inf
        self._turn = 0
        self._latencies_read_at = 0.0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            flights = self._make_flights()
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._round(flights)
            except (RedisError, OSError) as error:
                self._metrics.redis_error("report")
                self._log.debug("report_failed", reason=repr(error))
            self._others.forget_silent(time.monotonic())
            self._ear.others_reported(self._others.counts(), self._others.flights())
            told_s = self._interval_s if flights is None else FLIGHTS_INTERVAL_S
            await asyncio.sleep(min(self._interval_s, told_s))

    async def _round(self, flights: Flights | None) -> None:
        now = time.monotonic()
        report = msgspec.structs.replace(self._make_report(), renewed_s=self._renewed_s)
        if self._is_due(report, now):
            await self._write(report)
            self._last, self._written_at = report, now
        if flights is not None and self._others.are_there:
            await self._write_flights(report.instance, flights, now)
        await self._read_others(report.instance, with_flights=flights is not None)
        if now - self._latencies_read_at >= LATENCIES_INTERVAL_S or not self._latencies_read_at:
            await self._read_latencies()
            self._latencies_read_at = now

    def _is_due(self, report: Report, now: float) -> bool:
        age_s = now - self._written_at
        if self._last is None or age_s >= self._renewed_s:
            return True
        is_same = report == msgspec.structs.replace(self._last, reported_at=report.reported_at)
        return not is_same and age_s >= self._interval_s * ALMOST

    async def _write(self, report: Report) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(keys.report(report.instance), reports.encode(report), ex=keys.REPORT_TTL_S)
            pipe.zadd(keys.INSTANCES, {report.instance: report.reported_at})
            pipe.zremrangebyscore(
                keys.INSTANCES, "-inf", report.reported_at - keys.INSTANCE_FORGET_S
            )
            await pipe.execute()

    async def _write_flights(self, own: str, flights: Flights, now: float) -> None:
        if flights == self._last_flights and now - self._flights_written_at < RENEWED_S * ALMOST:
            return
        self._turn += 1
        told = msgspec.structs.replace(flights, life=self._life, turn=self._turn)
        await self._redis.set(keys.flights(own), encode(told), ex=keys.FLIGHTS_TTL_S)
        self._last_flights, self._flights_written_at = flights, now

    async def _read_others(self, own: str, *, with_flights: bool) -> None:
        listed: list[Any] = await self._redis.zrange(keys.INSTANCES, 0, MAX_OTHERS, desc=True)
        names = [name for each in listed if (name := each.decode()) != own]
        flights = {}
        if with_flights:
            flights = await self._read(names, keys.flights, decode)
        # What the other workers of this host do stands in memory that we share with them; and who
        # is alive is told by the record's time to live, not by anybody's clock.
        told = [name for name in names if name not in self._mates and name not in flights]
        heard = await self._read(told, keys.report, reports.decode)
        self._others.heard(heard, flights, time.monotonic())

    async def _read(
        self, names: list[str], key: Callable[[str], str], decode: Callable[[bytes], Told | None]
    ) -> dict[str, Told]:
        if not names:
            return {}
        found: list[Any] = await self._redis.mget([key(name) for name in names])
        records = [(name, decode(data)) for name, data in zip(names, found, strict=True) if data]
        return {name: record for name, record in records if record is not None}

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
                    pipe.delete(keys.report(report.instance), keys.flights(report.instance))
                    pipe.zrem(keys.INSTANCES, report.instance)
                    await pipe.execute()
        except (RedisError, OSError) as error:
            self._log.debug("withdraw_failed", reason=repr(error))
