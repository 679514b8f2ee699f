"""Many texts to embed, at several nodes at once.

Only nodes of one digest share the work: vectors of two versions do not compare. Each shard is a
request of its own, with its lease, and is tried again at another node; one that fails for good
fails the whole, with the words of its node.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from data_plane.protocol import shards as sharding
from data_plane.protocol.dialects import JSON
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.gathered import gather
from data_plane.proxy.reply import Answer
from shared.codes import ErrorCode, Outcome

if TYPE_CHECKING:
    from data_plane.admission.gate import BodyClaim, Gate
    from data_plane.protocol.shards import Shard
    from data_plane.proxy.attempts import Attempts
    from data_plane.proxy.gathered import Gathered
    from data_plane.proxy.job import Job
    from data_plane.routing.circuit import Circuits

REASON: Final = "sharded"
"""Why these nodes, in the record."""


class _ShardRefusedError(Exception):
    """A node's last word on a shard, which is its word on the whole."""

    def __init__(self, job: Job, gathered: Gathered) -> None:
        super().__init__(gathered.status)
        self.job = job
        self.gathered = gathered


class Shards:
    """Serves asks of the form BATCH."""

    def __init__(self, attempts: Attempts, gate: Gate, circuits: Circuits) -> None:
        self._attempts = attempts
        self._gate = gate
        self._circuits = circuits

    async def serve(self, job: Job) -> None:
        """Answer the request. Raises RefusedRequestError when that cannot be."""
        body = job.ask.body
        parts = sharding.split(body, self._count_nodes(job)) if isinstance(body, bytes) else []
        if not parts:
            await self._attempts.serve(job)
            return
        with ExitStack() as held:
            # Until the whole is sent: of the answers, everything is still there by then.
            claims = [held.enter_context(self._gate.claim()) for _ in parts]
            try:
                shards = await self._ask_all(job, parts, claims)
            except _ShardRefusedError as error:
                await self._relay_refusal(job, error)
            else:
                await self._answer(job, *sharding.joined(shards), len(parts))

    def _count_nodes(self, job: Job) -> int:
        """Holders of the version that is served, as far as they can be reached."""
        entry = job.view.pools.models.get(job.ask.canonical)
        if entry is None:
            return 0
        return sum(node.id not in self._circuits.down for node in entry.active)

    async def _ask_all(
        self, job: Job, parts: list[tuple[bytes, int]], claims: list[BodyClaim]
    ) -> list[Shard]:
        """The answers, in the order of the parts; the first failure ends the others."""
        jobs = [_shard_of(job, body) for body, _ in parts]
        name = f"shard:{job.record.request_id}"
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ask(each, count, claim), name=name)
                    for each, (_, count), claim in zip(jobs, parts, claims, strict=True)
                ]
        except ExceptionGroup as failures:
            # One is enough: the others are the same, or were let go because of it.
            raise failures.exceptions[0] from None
        finally:
            _account(job, jobs)
        return [task.result() for task in tasks]

    async def _ask(self, job: Job, count: int, claim: BodyClaim) -> Shard:
        gathered = await gather(self._attempts, job, claim)
        if gathered.status != 200:  # noqa: PLR2004 - HTTP
            raise _ShardRefusedError(job, gathered)
        try:
            return sharding.opened(job.ask.route.path, gathered.body, count)
        except sharding.BadShardError as error:
            raise RefusedRequestError(
                ErrorCode.UPSTREAM_PROTOCOL_ERROR, detail=f"{job.record.node}: {error}"
            ) from error

    @staticmethod
    async def _relay_refusal(job: Job, error: _ShardRefusedError) -> None:
        record, gathered = job.record, error.gathered
        record.status, record.outcome = gathered.status, Outcome.NODE_ERROR
        record.node, record.node_id = error.job.record.node, error.job.record.node_id
        body = gathered.body
        job.reply.begin(
            gathered.status,
            gathered.lines,
            body,
            length=len(body),
            stall_s=job.view.config.client_stall_timeout_s,
            closes=job.closes,
        )
        await job.reply.drained()

    @staticmethod
    async def _answer(job: Job, whole: bytes, tokens: int, count: int) -> None:
        record = job.record
        record.status, record.outcome, record.bytes_out = 200, Outcome.OK, len(whole)
        record.reason, record.prompt_tokens = REASON, tokens
        record.first_byte_at = job.reply.now()
        headers = {
            "Content-Type": JSON,
            "Cache-Control": "no-store",
            "X-Request-Id": record.request_id,
            "X-Aivonx-Shards": str(count),
            "X-Aivonx-Attempts": str(record.attempts),
        }
        await job.reply.answer(Answer(200, headers, whole, closes=job.closes))


def _shard_of(job: Job, body: bytes) -> Job:
    """A request like the one that came, for a part of its texts."""
    return job.part(job.ask.part(body), job.record.part())


def _account(job: Job, jobs: list[Job]) -> None:
    """What the record of the whole says of its shards."""
    job.record.attempts = sum(each.record.attempts for each in jobs)
    job.record.node = ",".join(dict.fromkeys(each.record.node for each in jobs if each.record.node))
    job.record.detail = next((each.record.detail for each in jobs if each.record.detail), "")
