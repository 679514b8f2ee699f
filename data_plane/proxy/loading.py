"""Loading a model at the nodes that the query names, or at as many as it says.

Without a word about nodes a load is a request as any other: the strategy chooses one node. With it
each node is asked by a request of its own, with its lease, and the answer is one record for all.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from data_plane.proxy import targets
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.gathered import gather
from data_plane.proxy.orders import Told, said, verdict
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from data_plane.admission.gate import BodyClaim, Gate
    from data_plane.proxy.attempts import Attempts
    from data_plane.proxy.gathered import Gathered
    from data_plane.proxy.job import Job
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.pool_node import PoolNode


class Loading:
    """Serves asks of the form LOAD."""

    def __init__(self, attempts: Attempts, gate: Gate, circuits: Circuits) -> None:
        self._attempts = attempts
        self._gate = gate
        self._circuits = circuits

    async def load(self, job: Job) -> None:
        """Answer the request. Raises RefusedRequestError when that cannot be."""
        if job.wish is None:
            await self._attempts.serve(job)
            return
        pools, ask = job.view.pools, job.ask
        nodes = targets.to_load(job.wish, pools, ask.canonical, self._circuits.down)
        if not nodes:
            sentence = ask.route.unknown_model(ask.model)
            raise RefusedRequestError(ErrorCode.MODEL_NOT_FOUND, sentence)
        with ExitStack() as held:
            asked = [
                self._load_at(job, node, held.enter_context(self._gate.claim())) for node in nodes
            ]
            ends = await asyncio.gather(*asked)
            await _answer(job, [end[0] for end in ends], ends[0][1])

    async def _load_at(
        self, job: Job, node: PoolNode, claim: BodyClaim
    ) -> tuple[Told, Gathered | None]:
        one = job.part(job.ask, job.record.part())
        one.tried = set(job.view.pools.nodes) - {node.id}
        try:
            gathered = await gather(self._attempts, one, claim)
        except RefusedRequestError as error:
            return Told(node, error.status, error.message), None
        done = gathered.status == 200  # noqa: PLR2004 - HTTP
        words = "" if done else said(gathered.body, gathered.status)
        return Told(node, gathered.status, words), gathered


async def _answer(job: Job, told: list[Told], first: Gathered | None) -> None:
    record = job.record
    record.attempts = len(told)
    record.detail = ", ".join(each.node.name for each in told)[:500]
    status, words = verdict(told)
    if words or first is None:
        raise RefusedRequestError(ErrorCode.NODE_ERROR, words, status=status, detail=record.detail)
    record.status, record.bytes_out = status, len(first.body)
    job.reply.begin(
        status,
        first.lines,
        first.body,
        length=len(first.body),
        stall_s=job.view.config.client_stall_timeout_s,
        closes=job.closes,
    )
    await job.reply.drained()
