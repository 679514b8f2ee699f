"""Working jobs off: all of them in one thread and one event loop, however many there are.

A worker has four threads. If each pull took one for the hour that it may last, four pulls would
stop health sweeps and publishing. So one run per process takes every job that is due, tells all
nodes at once, and goes on until none is left; a run that is woken meanwhile ends at once.

A turn of the run: look for jobs (database), let the nodes work for a second (event loop), write
down what happened (database). The two alternate in one thread, so nothing is shared between
threads, and while the database is slow the nodes' records wait in the sockets.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from django.conf import settings
from django.db import connections, transaction

from control_plane.common.errors import DATABASE_ERRORS
from control_plane.jobs import runs
from control_plane.jobs.models import OPEN, Job, JobPart, State
from control_plane.nodes.client import NodeClient, Observation
from control_plane.nodes.findings import findings_save
from control_plane.nodes.models import Node
from control_plane.nodes.orders import Fault, Kind, NodeOrders, Order, OrderError
from control_plane.nodes.pulling import Progress
from control_plane.nodes.selectors import target_of
from control_plane.proxy_config.selectors import proxy_config_current
from shared.model_names import canonical_name

if TYPE_CHECKING:
    import uuid

    from control_plane.nodes.client import Target

_log = structlog.get_logger(__name__)

TURN_S: Final = 1.0
"""Progress is written once in this time, for all jobs in one transaction. A node reports sixteen
times a second; SQLite has one writer, and nobody reads a bar more than once a second."""

GATHER_S: Final = 0.05
"""Parts that end together are written together."""

AT_ONCE: Final = 256
"""Nodes told at the same time by one worker, for all jobs; the others wait their turn."""

MAX_JOBS: Final = 50

_running: Final = threading.Lock()
_stopping: Final = threading.Event()


@dataclass(slots=True)
class _Work:
    """One part under way."""

    part: JobPart
    order: Order
    target: Target | None
    is_warmth: bool = False
    progress: Progress = field(default_factory=Progress)
    task: asyncio.Task[None] | None = None
    seen: Observation | None = None
    written: tuple[object, ...] = ()

    @property
    def mark(self) -> tuple[object, ...]:
        """Changes when there is something to write."""
        return (self.progress.step, self.progress.total_bytes, self.progress.completed_bytes)


def jobs_run() -> int | None:
    """Work off every job that is due. Returns how many were taken; None when this process is at it
    already, or is about to end.
    """
    if _stopping.is_set() or not _running.acquire(blocking=False):
        return None
    try:
        return Run(secrets.token_hex(8)).until_done()
    finally:
        _running.release()


def jobs_stop() -> None:
    """Let the run of this process give its jobs back and end within about a second."""
    _stopping.set()


class Run:
    """One run: the jobs that it has claimed, under its token."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._jobs: dict[uuid.UUID, Job] = {}
        self._works: dict[int, _Work] = {}
        self._taken = 0

    def until_done(self) -> int:
        """Take turns until nothing is left, or this worker is told to stop."""
        if not self._take_jobs():
            return 0
        with asyncio.Runner() as loop:
            crew = loop.run(_Crew.open())
            try:
                while self._jobs and not _stopping.is_set():
                    self._start(loop, crew)
                    loop.run(self._let_work())
                    self._write_through_outage()
                    self._take_jobs()
            finally:
                loop.run(self._abandon(list(self._works.values())))
                loop.run(crew.close())
                if self._jobs:
                    runs.jobs_release(self._token, list(self._jobs))
        return self._taken

    def _take_jobs(self) -> int:
        """Claim what is due, and make its parts ready to start."""
        room = MAX_JOBS - len(self._jobs)
        claimed = runs.jobs_claim(self._token, room) if room > 0 else []
        for job in claimed:
            _log.info("job_claimed", job=str(job.pk), kind=job.kind, lost=job.lost)
            self._jobs[job.pk] = job
            self._ready(job)
        self._taken += len(claimed)
        return len(claimed)

    def _ready(self, job: Job) -> None:
        parts = list(job.parts.filter(state=State.RUNNING.value))
        nodes = Node.objects.in_bulk([part.node_id for part in parts])
        order = Order(Kind(job.kind), job.model, job.destination, job.keep_alive)
        for part in parts:
            node = nodes.get(part.node_id)
            self._works[part.pk] = _Work(
                part, order, target_of(node) if node else None, job.is_warmth
            )

    def _start(self, loop: asyncio.Runner, crew: _Crew) -> None:
        for work in self._works.values():
            if work.task is None:
                work.task = loop.get_loop().create_task(crew.carry_out(work))

    async def _let_work(self) -> None:
        """Until a second has passed or a part has ended, and then a moment for those beside it."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        if not tasks:
            return
        done, _ = await asyncio.wait(tasks, timeout=TURN_S, return_when=asyncio.FIRST_COMPLETED)
        if done:
            await asyncio.sleep(GATHER_S)

    def _write_through_outage(self) -> None:
        """A database that is away for less than the lease costs nothing but the progress shown."""
        deadline = time.monotonic() + runs.LEASE.total_seconds()
        while True:
            try:
                cancelled = self._write()
            except DATABASE_ERRORS as error:
                if time.monotonic() > deadline or _stopping.is_set():
                    raise
                _log.warning("job_progress_not_written", error=type(error).__name__)
                connections.close_all()
                _stopping.wait(TURN_S)
            else:
                break
        self._cancel(cancelled)

    def _write(self) -> list[uuid.UUID]:
        """Write down what happened. Answers with the jobs that are to be cancelled."""
        ended = [work for work in self._works.values() if work.task and work.task.done()]
        _inventories_write(ended)
        with transaction.atomic():
            ours = runs.jobs_heartbeat(self._token, list(self._jobs))
            self._forget([job_id for job_id in self._jobs if job_id not in ours])
            self._write_parts()
            over = [job for job in self._jobs.values() if self._is_over(job)]
            over = [job for job in over if runs.job_finish(job, self._token)]
        for job in over:
            del self._jobs[job.pk]
        self._works = {pk: work for pk, work in self._works.items() if work.part.state in OPEN}
        return [job_id for job_id, is_cancelling in ours.items() if is_cancelling]

    def _write_parts(self) -> None:
        changed = []
        for work in self._works.values():
            if work.task and work.task.done():
                _judge(work)
            elif work.mark == work.written:
                continue
            runs.part_progress(work.part, work.progress)
            work.written = work.mark
            changed.append(work.part)
        runs.parts_write(changed)

    def _is_over(self, job: Job) -> bool:
        parts = (work.part for work in self._works.values() if work.part.job_id == job.pk)
        return all(part.state not in OPEN for part in parts)

    def _cancel(self, job_ids: list[uuid.UUID]) -> None:
        """Close the streams of these jobs; the next turn writes the ends down."""
        for work in self._works.values():
            if work.part.job_id in job_ids and work.task is not None:
                work.task.cancel()

    def _forget(self, job_ids: list[uuid.UUID]) -> None:
        """Jobs that another worker has taken: our lease was over. Their streams are closed."""
        for job_id in job_ids:
            _log.warning("job_claim_lost", job=str(job_id))
            del self._jobs[job_id]
        for pk, work in list(self._works.items()):
            if work.part.job_id in job_ids:
                if work.task is not None:
                    work.task.cancel()
                del self._works[pk]

    async def _abandon(self, works: list[_Work]) -> None:
        tasks = [work.task for work in works if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _inventories_write(ended: list[_Work]) -> None:
    """What the nodes hold now. Where we did not see it, or not yet (Ollama unloads after it has
    answered), the next tick of the model refresh looks.
    """
    findings = [work.seen for work in ended if work.seen is not None]
    if findings:
        findings_save(findings, proxy_config_current())
    unseen = [
        work.part.node_id for work in ended if work.seen is None or work.order.kind is Kind.UNLOAD
    ]
    if unseen:
        Node.objects.filter(pk__in=unseen).update(refresh_claimed_at=None)


def _judge(work: _Work) -> None:
    """Put the end of a part's task into the part."""
    task = work.task
    if task is None or task.cancelled():
        runs.part_end(work.part, State.CANCELLED)
        return
    error = task.exception()
    if error is None:
        runs.part_end(work.part, State.SUCCEEDED)
        return
    if not isinstance(error, OrderError):
        raise error
    _log.warning(
        "job_part_failed",
        job=str(work.part.job_id),
        node=work.part.node_name,
        code=error.code,
        said=error.said,
    )
    runs.part_end(work.part, State.FAILED, error.code)


class _Crew:
    """Whoever talks to the nodes: one session to tell them, one to look at what they hold after."""

    def __init__(self, orders: NodeOrders, client: NodeClient) -> None:
        self._orders = orders
        self._client = client
        self._places = asyncio.Semaphore(AT_ONCE)

    @classmethod
    async def open(cls) -> _Crew:
        """Within the loop of the run."""
        policy = settings.NODE_ADDRESS_POLICY
        orders = await NodeOrders(policy).__aenter__()
        client = await NodeClient(policy, health_path="/", timeout_s=0.0).__aenter__()
        return cls(orders, client)

    async def close(self) -> None:
        """Give the connections back."""
        await self._orders.__aexit__(None, None, None)
        await self._client.__aexit__(None, None, None)

    async def carry_out(self, work: _Work) -> None:
        """Tell the node, then look at once at what it holds now. Raises OrderError."""
        if work.target is None:
            raise OrderError(Fault.NODE_GONE)
        async with self._places:
            # What clients have loaded meanwhile stays as they want it: a load without their options
            # would have Ollama load it anew.
            if not (work.is_warmth and await self._is_in_memory(work.target, work.order)):
                await self._orders.carry_out(work.target, work.order, work.progress)
        work.seen = await self._client.inventory(work.target)

    async def _is_in_memory(self, target: Target, order: Order) -> bool:
        seen = await self._client.inventory(target)
        canonical = canonical_name(order.model)
        copies = {model.digest for model, _ in seen.available or () if model.canonical == canonical}
        return any(
            model.canonical == canonical or model.digest in copies for model in seen.loaded or ()
        )
