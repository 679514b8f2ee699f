"""Letting go of a model, wherever it is loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.upstream.faults import NodeFailedError

if TYPE_CHECKING:
    from data_plane.proxy.attempts import Job
    from data_plane.proxy.findings import Findings
    from data_plane.routing.pools import PoolNode
    from data_plane.upstream.forward import Forwarder

UNLOAD_TIMEOUT_S: Final = 10.0
UNLOAD_ANSWER_BYTES: Final = 64 * 1024
MAX_AT_ONCE: Final = 16


class Unloading:
    """Asks every node that has a model in memory to let go of it."""

    def __init__(self, forwarder: Forwarder, findings: Findings) -> None:
        self._forwarder = forwarder
        self._findings = findings

    async def unload(self, job: Job) -> None:
        """Let every node go of the model that has it loaded; the client's answer comes from one.

        `ollama stop` means the model, not whichever copy of it the strategy happens to choose. What
        a node answers here is not the client's matter: one more node is asked in the usual way.
        """
        canonical = job.ask.canonical
        entry = job.view.pools.models.get(canonical)
        if entry is None:
            return
        holders = [
            node
            for node in (*entry.active, *entry.drifted)
            if self._findings.has_loaded(node.id, canonical)
        ]
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
