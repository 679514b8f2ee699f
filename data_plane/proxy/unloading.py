"""Letting go of a model, wherever it is loaded.

`ollama stop` means the model, not whichever copy of it the strategy happens to choose. Every holder
is asked, for what is loaded where may be news to us, and a node that has it not loaded says so at
once. What they answer is not the client's matter: one more is asked in the usual way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.proxy import targets
from data_plane.proxy.answers import RefusedRequestError
from data_plane.upstream.faults import NodeFailedError
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.job import Job
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.pool_node import PoolNode
    from data_plane.upstream.forward import Forwarder

UNLOAD_TIMEOUT_S: Final = 10.0
UNLOAD_ANSWER_BYTES: Final = 64 * 1024
MAX_AT_ONCE: Final = 64


class Unloading:
    """Asks every holder of a model to let go of it."""

    def __init__(self, forwarder: Forwarder, findings: Findings, circuits: Circuits) -> None:
        self._forwarder = forwarder
        self._findings = findings
        self._circuits = circuits

    async def unload(self, job: Job) -> None:
        """Let every holder, or those named, go of the model; the client's answer is still to come.

        Raises RefusedRequestError when none of the nodes named has the model.
        """
        entry = job.view.pools.models.get(job.ask.canonical)
        if entry is None:
            return
        having = (*entry.active, *entry.drifted)
        if job.wish is not None:
            named = targets.named(job.wish, job.view.pools)
            having = tuple(node for node in having if node in named)
            if not having:
                sentence = job.ask.route.unknown_model(job.ask.model)
                raise RefusedRequestError(ErrorCode.MODEL_NOT_FOUND, sentence)
            job.tried = set(job.view.pools.nodes) - {node.id for node in having}
        holders = [node for node in having if node.id not in self._circuits.down]
        # Where it is known to be loaded first: of many holders not all are asked at once.
        holders.sort(key=lambda node: not self._findings.has_loaded(node.id, job.ask.canonical))
        gate = asyncio.Semaphore(MAX_AT_ONCE)
        await asyncio.gather(*(self._unload_at(job, node, gate) for node in holders))

    async def _unload_at(self, job: Job, node: PoolNode, gate: asyncio.Semaphore) -> None:
        try:
            async with gate, asyncio.timeout(UNLOAD_TIMEOUT_S):
                answer = await self._forwarder.send(
                    node,
                    "POST",
                    job.ask.route.path,
                    job.fields,
                    job.ask.body,
                    connect_timeout_s=job.view.config.connect_timeout_s,
                )
                try:
                    await answer.read_all(UNLOAD_ANSWER_BYTES)
                finally:
                    answer.close()
        except (NodeFailedError, TimeoutError) as error:
            job.record.detail = f"{node.name}: {error}"
        self._findings.note_answered(node, job.ask.canonical, is_unload=True)
