"""What nodes hold, asked at once after it was changed through us.

The next request is routed by it, although the control plane has not looked yet; that it should is
told to it through Redis, off the path, and if Redis is away the next sweep finds it out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from data_plane.sync.applied import LISTED_LEAST_S
from data_plane.sync.subscriber import CALL_TIMEOUT_S
from shared import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from data_plane.lifecycle import Lifecycle
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.shows import ShowCache
    from data_plane.routing.model_circuit import ModelCircuits
    from data_plane.routing.pool_node import PoolNode
    from data_plane.sync.applied import AppliedState
    from data_plane.telemetry.metrics import Metrics
    from data_plane.upstream.probe import Prober

MAX_AT_ONCE: Final = 16


class Relisting:
    """Asks nodes for their models, and has the snapshot in force know."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        prober: Prober,
        state: AppliedState,
        findings: Findings,
        redis: Redis,
        lifecycle: Lifecycle,
        metrics: Metrics,
        shows: ShowCache,
        models: ModelCircuits,
    ) -> None:
        self._prober = prober
        self._state = state
        self._findings = findings
        self._redis = redis
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._shows = shows
        self._models = models

    async def look_at(self, nodes: Sequence[PoolNode]) -> None:
        """Ask these nodes what they hold; who does not say is left as it was."""
        self._shows.clear()
        if nodes:
            await self._list(nodes)
            self._lifecycle.spawn("stale-inventory", self._tell([node.id for node in nodes]))
            self._lifecycle.spawn("look-again", self._look_again(nodes))

    async def _look_again(self, nodes: Sequence[PoolNode]) -> None:
        """Once more when snapshots count again: what came between may have gone unheard."""
        await asyncio.sleep(LISTED_LEAST_S)
        await self._list(nodes)

    async def _list(self, nodes: Sequence[PoolNode]) -> None:
        gate = asyncio.Semaphore(MAX_AT_ONCE)

        async def look(node: PoolNode) -> None:
            async with gate:
                listed = await self._prober.listed(node)
            if listed is not None:
                self._findings.relisted(node.id)
                self._models.forget(node.id)
                self._state.note_listed(node.id, listed)

        await asyncio.gather(*(look(node) for node in nodes))
        await self._state.relist()

    async def _tell(self, node_ids: list[str]) -> None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.sadd(keys.STALE_INVENTORY, *node_ids)
                    pipe.expire(keys.STALE_INVENTORY, keys.STALE_INVENTORY_TTL_S)
                    await pipe.execute()
        except (RedisError, OSError):
            self._metrics.redis_error("stale_inventory")
