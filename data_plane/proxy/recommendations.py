"""`/api/experimental/model-recommendations`: any node's word will do, for all ask one place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.protocol.dialects import JSON
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.reply import Answer
from shared.codes import ErrorCode, Outcome

if TYPE_CHECKING:
    from data_plane.proxy.call import Call
    from data_plane.routing.pool_node import PoolNode
    from data_plane.upstream.probe import Prober

SINCE: Final = (0, 23, 0)
"""The first release with this route."""

KEPT_S: Final = 600.0
MAX_ASKED: Final = 3
"""One after another, until one answers."""


class Recommendations:
    """Asks a node, and remembers for ten minutes what it said."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._lock = asyncio.Lock()
        self._known = b""
        self._known_until = 0.0
        self._now = asyncio.get_running_loop().time

    async def serve(self, call: Call) -> None:
        """Answer the request. Raises RefusedRequestError when no node can say."""
        async with self._lock:  # who comes while a node is asked waits for what it says
            if self._now() >= self._known_until:
                self._known = await self._ask(call.view.pools.active)
                self._known_until = self._now() + KEPT_S
            body = self._known
        record = call.record
        record.status, record.outcome, record.bytes_out = 200, Outcome.OK, len(body)
        headers = {"Content-Type": JSON, "X-Request-Id": record.request_id}
        await call.reply.answer(Answer(200, headers, body))

    async def _ask(self, active: tuple[PoolNode, ...]) -> bytes:
        able = [node for node in active if node.release >= SINCE]
        if active and not able:
            raise RefusedRequestError(ErrorCode.NODE_TOO_OLD)
        for node in able[:MAX_ASKED]:
            said = await self._prober.recommended_by(node)
            if said is not None:
                return said
        raise RefusedRequestError(ErrorCode.NO_HEALTHY_NODE)
