"""`/api/status`: whether models of the cloud are switched off, on some node at least."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.protocol.dialects import JSON
from data_plane.proxy.reply import Answer
from shared.codes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from data_plane.proxy.call import Call
    from data_plane.routing.pool_node import PoolNode
    from data_plane.upstream.probe import Prober

SINCE: Final = (0, 17, 3)
"""The first release with this route."""

KEPT_S: Final = 30.0
MAX_AT_ONCE: Final = 16
ENABLED: Final = "none"
"""What a node says of where it was switched off, when it was not."""


class CloudStatus:
    """Asks the active nodes, and remembers for half a minute what they said."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._lock = asyncio.Lock()
        self._known = b""
        self._known_until = 0.0
        self._now = asyncio.get_running_loop().time

    async def serve(self, call: Call) -> None:
        """Answer the request. A node that does not answer has switched nothing off."""
        async with self._lock:  # who comes while nodes are asked waits for what they say
            if self._now() >= self._known_until:
                nodes = [node for node in call.view.pools.active if node.release >= SINCE]
                self._known = await self._ask(nodes)
                self._known_until = self._now() + KEPT_S
            body = self._known
        record = call.record
        record.status, record.outcome, record.bytes_out = 200, Outcome.OK, len(body)
        headers = {"Content-Type": JSON, "X-Request-Id": record.request_id}
        await call.reply.answer(Answer(200, headers, body))

    async def _ask(self, nodes: Iterable[PoolNode]) -> bytes:
        gate = asyncio.Semaphore(MAX_AT_ONCE)

        async def ask(node: PoolNode) -> str:
            async with gate:
                return await self._prober.cloud_switched_off_by(node)

        sources = set(await asyncio.gather(*(ask(node) for node in nodes))) - {"", ENABLED}
        said = "both" if len(sources) > 1 else next(iter(sources), ENABLED)
        return msgspec.json.encode({"cloud": {"disabled": bool(sources), "source": said}})
