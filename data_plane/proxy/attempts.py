"""Which node next, while nothing has been sent: up to `max_attempts` nodes for one request.

After the commit point (`Reply.is_committed`) there is no next node. What a failure
means is said in `judgement`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from data_plane.protocol.dialects import STREAM_TYPES
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.failures import (
    FAILURES,
    LACKING,
    NODE_IS_GONE,
    Failure,
    final_error,
    not_found,
)
from data_plane.proxy.job import Flight, Job, Progress
from data_plane.proxy.judgement import is_usual
from data_plane.proxy.predictions import Prediction, told
from data_plane.proxy.relay import Passage
from data_plane.proxy.selection import may_wait
from data_plane.proxy.waiting import principal_of
from data_plane.routing.choose import Choice
from data_plane.routing.events import Hold, NoNode, NoNodeKind
from data_plane.upstream.connection import PIECE_BYTES
from data_plane.upstream.faults import Fault, NodeFailedError
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.admission.gate import Gate
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.judgement import Judgement
    from data_plane.proxy.selection import Selection
    from data_plane.proxy.waiting import WaitingRoom
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.policy import Policy
    from data_plane.routing.pool_node import PoolNode
    from data_plane.telemetry.metrics import Metrics
    from data_plane.upstream.answer import NodeAnswer
    from data_plane.upstream.forward import Forwarder
    from data_plane.upstream.lease import Lease, Leases


class Attempts:
    """Finds a node that answers, and relays its answer. Made inside the running loop."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        forwarder: Forwarder,
        leases: Leases,
        policy: Policy,
        circuits: Circuits,
        findings: Findings,
        selection: Selection,
        judgement: Judgement,
        room: WaitingRoom,
        gate: Gate,
        metrics: Metrics,
    ) -> None:
        self._forwarder = forwarder
        self._leases = leases
        self._policy = policy
        self._circuits = circuits
        self._findings = findings
        self._selection = selection
        self._judgement = judgement
        self._room = room
        self._gate = gate
        self._metrics = metrics
        self._now = asyncio.get_running_loop().time

    def begin(self, job: Job, on_news: Callable[[], None], *, is_alone: bool) -> bool:
        """Make the first attempt on a connection that stands, without waiting for anything. Unless
        it is alone it leaves with the next `flush`.

        False when that cannot be: nothing has been done then. True: `on_news` is called whenever
        `go_on` should be.
        """
        if self._room.is_waited_for(job) and may_wait(job):
            return False
        choice = self._selection.choose(job)
        if not isinstance(choice, Choice):
            return False
        node, ask = choice.node, job.ask
        body = ask.body
        if not isinstance(body, bytes) or len(body) > PIECE_BYTES:
            return False
        connection = self._forwarder.standing(node)
        if connection is None:
            return False
        lease = self._leases.take(node.id, self._now())
        answer = lease.answer = self._forwarder.send_on(
            connection,
            node,
            ask.route.path,
            job.fields,
            body,
            stream_type=STREAM_TYPES.get(ask.route.framing),
            lease=lease,
            is_one_of_many=not is_alone,
        )
        job.flight = Flight(choice, lease, answer, self._note_attempt(job, choice, lease))
        if answer.has_failed:
            return False
        answer.on_news = on_news
        return True

    def go_on(self, job: Job) -> Progress:
        """The node of an attempt that `begin` made has something to say."""
        flight = job.flight
        if flight is None or flight.answer is None:
            return Progress.NEEDS_TASK
        try:
            progress = self._advance(job, flight, flight.answer)
        except NodeFailedError as error:
            flight.error = error
            progress = Progress.NEEDS_TASK
        if progress is Progress.NEEDS_TASK:
            flight.answer.on_news = None
        return progress

    def _advance(self, job: Job, flight: Flight, answer: NodeAnswer) -> Progress:
        passage, reply = flight.passage, job.reply
        if answer.has_failed:
            return Progress.NEEDS_TASK
        if not reply.is_committed:
            if not is_usual(answer):
                return Progress.NEEDS_TASK
            self._circuits.answered(flight.choice.node.id)
            if answer.is_stream:
                passage.begin_stream(answer, closes=job.closes)
            elif answer.done:
                passage.pass_whole(answer, closes=job.closes)
            else:
                return Progress.NEEDS_TASK
        if reply.is_held_up:
            return Progress.NEEDS_TASK
        if not answer.done:
            return Progress.GOES_ON
        if answer.is_stream:
            passage.end_stream()
        self._judgement.learn_answered(job, flight.choice.node, answer, passage)
        flight.lease.release()
        job.flight = None
        self._metrics.attempt(flight.choice.node.name, "answered")
        return Progress.DONE

    @staticmethod
    def abandon(job: Job) -> None:
        """Let go of an attempt that nobody waits for any more, if there is one."""
        flight, job.flight = job.flight, None
        if flight is not None:
            if flight.answer is not None:
                flight.answer.close()
            flight.lease.release()

    def flush(self) -> None:
        """Send what `begin` wrote."""
        self._forwarder.flush()

    async def serve(self, job: Job) -> None:
        """Answer the request through some node. Raises RefusedRequestError when none can."""
        try:
            for _ in range(job.view.config.max_attempts):
                if job.flight is None:
                    if job.failures:
                        self._begin_retry(job)
                    choice = await self._claim_next(job)
                    if isinstance(choice, NoNode):
                        await self._give_up(job, choice)
                        return
                if await self._attempt(job):
                    return
            await self._give_up(job, None)
        finally:
            self.abandon(job)  # a node that was claimed in the moment in which the client left
            self._end_retry(job)

    async def _claim_next(self, job: Job) -> Choice | NoNode:
        """Choose and claim the next node; wait for one where that is better."""
        if self._room.is_waited_for(job) and may_wait(job):
            return await self._room.turn(job, self._claim)
        choice = self._selection.choose(job)
        if isinstance(choice, Hold):
            return await self._room.turn(job, self._claim)
        if isinstance(choice, Choice):
            self._claim(job, choice)
        return choice

    def _claim(self, job: Job, choice: Choice) -> None:
        # No await between choosing and taking: another request would choose the same node on the
        # same counts.
        lease = self._leases.take(choice.node.id, self._now())
        job.flight = Flight(choice, lease, None, self._note_attempt(job, choice, lease))

    def _begin_retry(self, job: Job) -> None:
        if job.is_retrying or job.failures <= NODE_IS_GONE:
            return
        if not self._gate.may_retry():
            self._metrics.retries_refused.inc()
            raise self._final_error(job, is_exhausted=False)
        job.is_retrying = True
        self._gate.retrying += 1

    def _end_retry(self, job: Job) -> None:
        if job.is_retrying:
            job.is_retrying = False
            self._gate.retrying -= 1

    async def _attempt(self, job: Job) -> bool:
        """One node. True when the client has its answer, False when another node may try."""
        flight, job.flight = job.flight, None
        if flight is None:
            raise RuntimeError("no node has been claimed")
        node, passage, record = flight.choice.node, flight.passage, job.record
        try:
            with flight.lease:
                failure = await self._ask_node(job, node, flight)
        except NodeFailedError as error:
            self._metrics.attempt(node.name, error.fault)
            self._judgement.learn_fault(job, node, error.fault)
            if job.reply.is_committed:
                passage.broke(error)
                return True
            if error.fault is Fault.SHUTDOWN:
                raise RefusedRequestError(ErrorCode.PROXY_SHUTDOWN, closes=True) from error
            if error.fault is Fault.NO_RESOURCES:
                raise RefusedRequestError(
                    ErrorCode.OVERLOADED, LACKING, detail=str(error)
                ) from error
            record.detail = str(error)
            failure = FAILURES.get(error.fault, Failure.NO_ANSWER)
        else:
            self._metrics.attempt(node.name, failure or "answered")
        if failure is None:
            return True
        is_again = failure is Failure.GIVEN_UP and failure in job.failures
        job.failures.add(failure)
        if is_again or not job.ask.route.replayable:
            raise self._final_error(job, is_exhausted=True)
        return False

    def _note_attempt(self, job: Job, choice: Choice, lease: Lease) -> Passage:
        """An attempt begins: what the record says of it, and the way of its answer."""
        node, record = choice.node, job.record
        job.tried.add(node.id)
        record.attempts += 1
        record.node, record.node_id, record.reason = node.name, node.id, choice.reason
        if job.arrival is not None:
            job.prediction = Prediction(
                self._policy, self._room, principal_of(record), job.arrival, node.id, self._now
            )
            lease.on_release = job.prediction.dropped
        config = job.view.config
        return Passage(
            job.reply,
            record,
            job.ask,
            config,
            partial(self._committed, job),
            told(job, choice) if config.explain or job.position is not None else b"",
        )

    def _committed(self, job: Job) -> None:
        self._end_retry(job)
        if job.prediction is not None:
            job.prediction.began()

    async def _ask_node(self, job: Job, node: PoolNode, flight: Flight) -> Failure | None:
        passage = flight.passage
        if flight.error is not None:
            if flight.answer is not None:
                flight.answer.close()
            raise flight.error
        answer = await self._forwarder.send(
            node,
            "POST",
            job.ask.route.path,
            job.fields,
            job.ask.body,
            connect_timeout_s=job.view.config.connect_timeout_s,
            stream_type=STREAM_TYPES.get(job.ask.route.framing),
            lease=flight.lease,
            sent=flight.answer,
        )
        try:
            failure = None if is_usual(answer) else await self._judgement.judge(job, node, answer)
            if failure is None:
                self._circuits.answered(node.id)
                await passage.relay(answer, closes=job.closes)
                self._judgement.learn_answered(job, node, answer, passage)
            return failure
        finally:
            # Read to its end, the connection is already back in the pool; else it is closed here,
            # which is how the node learns that nobody listens any more.
            answer.close()

    def _final_error(self, job: Job, *, is_exhausted: bool) -> RefusedRequestError:
        """The error after all attempts, or when there could be none."""
        if job.failures:
            return final_error(
                job.failures, job.ask, tried=len(job.tried), is_exhausted=is_exhausted
            )
        # Whoever has it is in standby, or was found to have lost it.
        if self._findings.without(job.ask.canonical) and not self._circuits.down:
            return not_found(job.ask)
        return RefusedRequestError(ErrorCode.NO_HEALTHY_NODE)

    async def _give_up(self, job: Job, choice: NoNode | None) -> None:
        """No node is left to try: relay the 500 that was kept, or say what is wrong."""
        if job.kept is not None:
            answer, body, _ = job.kept
            on_commit = partial(self._end_retry, job)
            passage = Passage(job.reply, job.record, job.ask, job.view.config, on_commit)
            await passage.relay_kept(answer, body, closes=job.closes)
            return
        if choice is not None and choice.kind is NoNodeKind.UNKNOWN_MODEL:
            raise not_found(job.ask)
        raise self._final_error(job, is_exhausted=choice is not None)
