"""Which node next, while nothing has been sent: up to `max_attempts` nodes for one request.

After the commit point (`Reply.is_committed`) there is no next node. What a failure means:

    no connection          the node goes to standby, next node
    no or broken answer    the node is asked at once if it is there, next node
    503                    the node is passed over for a moment, next node
    500                    one other node; a second 500 is relayed: likely the request's own fault
    404                    the node has lost the model, next node
    404, text/plain        the node's router has spoken: too old for this route, next node
    401, 403               the node takes our credential for a wrong one: passed over for a moment,
                           next node. Of a model of the cloud it means that the node is not signed
                           in there, or may not: next node, relayed if no other does better
    200, given up          one other node; a second one that gives up is believed
    3xx, 101, compressed   502: the node does what we never asked for
    other statuses         the node's word to the client, relayed
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.protocol.ask import Form
from data_plane.protocol.dialects import STREAM_TYPES
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.arrivals import arrival_of
from data_plane.proxy.failures import (
    DENIED_PAUSE_S,
    FAILURES,
    LACKING,
    NODE_IS_GONE,
    Failure,
    final_error,
    not_found,
)
from data_plane.proxy.predictions import Prediction, explained
from data_plane.proxy.relay import Passage
from data_plane.routing.events import Arrival, Choice, Hold, NoNode, NoNodeKind
from data_plane.upstream.connection import PIECE_BYTES
from data_plane.upstream.faults import CONNECTING, Fault, NodeFailedError
from shared.codes import ErrorCode, Outcome
from shared.model_names import Source
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.admission.gate import Gate
    from data_plane.protocol.ask import Ask
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.reply import Reply
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.policy import Policy
    from data_plane.routing.pools import PoolNode
    from data_plane.sync.applied import Applied
    from data_plane.telemetry.logs import Record
    from data_plane.telemetry.metrics import Metrics
    from data_plane.upstream.answer import NodeAnswer
    from data_plane.upstream.forward import Forwarder
    from data_plane.upstream.lease import Lease, Leases
    from data_plane.upstream.watch import Watch

ERROR_BODY_BYTES: Final = 64 * 1024
"""Of a node's 500 that is kept while another node is tried."""


_NOBODY: Final[frozenset[str]] = frozenset()


class Job(msgspec.Struct, eq=False):
    """One request on its way through the attempts."""

    view: Applied
    ask: Ask
    fields: bytes
    """Header lines for the node."""

    record: Record
    reply: Reply
    closes: bool
    tried: set[str] = msgspec.field(default_factory=set)
    failures: set[Failure] = msgspec.field(default_factory=set)
    kept: tuple[NodeAnswer, bytes] | None = None
    """A 500 that is relayed if no other node does better."""

    is_retrying: bool = False
    flight: Flight | None = None
    """The first attempt, when it was begun without waiting."""

    arrival: Arrival | None = None
    """What the policy was asked for, where the strategy predicts."""

    prediction: Prediction | None = None


class Flight:
    """An attempt that no task waits for."""

    __slots__ = ("answer", "choice", "error", "lease", "passage")

    def __init__(self, choice: Choice, lease: Lease, answer: NodeAnswer, passage: Passage) -> None:
        self.choice = choice
        self.lease = lease
        self.answer = answer
        self.passage = passage
        self.error: NodeFailedError | None = None
        """How it failed, for the task that goes on."""


class Progress(Enum):
    """How far an attempt has come that no task waits for."""

    GOES_ON = auto()
    DONE = auto()
    """The client has its answer, and the node is free."""

    NEEDS_TASK = auto()
    """It takes waiting, or it failed: `serve` goes on from here."""


class Attempts:
    """Finds a node that answers, and relays its answer. Made inside the running loop."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        forwarder: Forwarder,
        leases: Leases,
        policy: Policy,
        circuits: Circuits,
        watch: Watch,
        findings: Findings,
        gate: Gate,
        metrics: Metrics,
    ) -> None:
        self._forwarder = forwarder
        self._leases = leases
        self._policy = policy
        self._rankings = policy.rankings
        self._circuits = circuits
        self._watch = watch
        self._findings = findings
        self._gate = gate
        self._metrics = metrics
        self._now = asyncio.get_running_loop().time
        self.verdicts_are_stale = True
        """Whether the health sweep has been silent for so long that its word may be ignored."""

    def begin(self, job: Job, on_news: Callable[[], None]) -> bool:
        """Make the first attempt on a connection that stands, without waiting for anything.

        False when that cannot be: nothing has been done then. True: `on_news` is called whenever
        `go_on` should be.
        """
        choice = self._choose(job)
        if isinstance(choice, NoNode):
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
        )
        job.flight = Flight(choice, lease, answer, self._note_attempt(job, choice, lease))
        if answer.has_failed:
            return False
        answer.on_news = on_news
        return True

    def go_on(self, job: Job) -> Progress:
        """The node of an attempt that `begin` made has something to say."""
        flight = job.flight
        if flight is None:
            return Progress.NEEDS_TASK
        try:
            progress = self._advance(job, flight)
        except NodeFailedError as error:
            flight.error = error
            progress = Progress.NEEDS_TASK
        if progress is Progress.NEEDS_TASK:
            flight.answer.on_news = None
        return progress

    def _advance(self, job: Job, flight: Flight) -> Progress:
        answer, passage, reply = flight.answer, flight.passage, job.reply
        if answer.has_failed:
            return Progress.NEEDS_TASK
        if not reply.is_committed:
            if not _is_usual(answer):
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
        self._learn_answered(job, flight.choice.node, answer, passage)
        flight.lease.release()
        job.flight = None
        self._metrics.attempt(flight.choice.node.name, "answered")
        return Progress.DONE

    @staticmethod
    def abandon(job: Job) -> None:
        """Let go of an attempt that nobody waits for any more, if there is one."""
        flight, job.flight = job.flight, None
        if flight is not None:
            flight.answer.close()
            flight.lease.release()

    def flush(self) -> None:
        """Send what `begin` wrote."""
        self._forwarder.flush()

    async def serve(self, job: Job) -> None:
        """Answer the request through some node. Raises RefusedRequestError when none can."""
        try:
            for _ in range(job.view.config.max_attempts):
                if job.flight is not None:
                    if await self._attempt(job, job.flight.choice, job.flight.lease):
                        return
                    continue
                if job.failures:
                    self._begin_retry(job)
                choice = self._choose(job)
                if isinstance(choice, NoNode):
                    await self._give_up(job, choice)
                    return
                # No await between choosing and taking: another request would choose the same node
                # on the same counts.
                lease = self._leases.take(choice.node.id, self._now())
                if await self._attempt(job, choice, lease):
                    return
            await self._give_up(job, None)
        finally:
            self._end_retry(job)

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

    def _choose(self, job: Job) -> Choice | NoNode:
        """The next node. First without those that are too old for what is asked; then with them."""
        pools, least = job.view.pools, job.ask.least
        if least > pools.oldest:
            choice = self._choose_beside(job, pools.older_than(least))
            if not isinstance(choice, NoNode):
                return choice
        elif not job.tried and not self._findings.speaks_against(job.ask.canonical):
            ranked = self._rankings.choose(
                pools, job.ask.canonical, self._leases.counts, self._circuits.down
            )
            if ranked is not None:
                return ranked
        return self._choose_beside(job, _NOBODY)

    def _choose_beside(self, job: Job, too_old: frozenset[str]) -> Choice | NoNode:
        """First without those that asked for a pause; then with them."""
        excluded = self._findings.without(job.ask.canonical) | job.tried | too_old
        busy = self._findings.busy(self._now())
        choice = self._choose_among(job, excluded | busy if busy else excluded)
        if isinstance(choice, NoNode) and busy:
            choice = self._choose_among(job, excluded)
        if isinstance(choice, NoNode) and choice.only_verdicts and self.verdicts_are_stale:
            choice = self._choose_among(job, excluded, panic=True)
        return choice

    def _choose_among(
        self, job: Job, excluded: frozenset[str], *, panic: bool = False
    ) -> Choice | NoNode:
        choice = self._policy.choose(
            self._arrival(job),
            self._now(),
            excluded=excluded,
            down=self._circuits.down,
            same_digest=job.ask.route.same_digest_only,
            panic=panic,
            pools=job.view.pools,
        )
        if isinstance(choice, Hold):
            raise TypeError("the policy holds what nothing was said to hold")
        return choice

    @staticmethod
    def _arrival(job: Job) -> Arrival:
        """What the policy is asked for; kept where it wants to hear how the request goes."""
        if job.arrival is not None:
            return job.arrival
        pools, ask = job.view.pools, job.ask
        strategy = pools.strategy_of(ask.canonical)
        if strategy is Strategy.LEAST_ACTIVE:
            return Arrival(canonical=ask.canonical)
        with_prompt = strategy is Strategy.PREDICTED
        job.arrival = arrival_of(ask, pools, job.record.key_id, with_prompt=with_prompt)
        return job.arrival

    async def _attempt(self, job: Job, choice: Choice, lease: Lease) -> bool:
        """One node. True when the client has its answer, False when another node may try."""
        node, record = choice.node, job.record
        flight, job.flight = job.flight, None
        passage = flight.passage if flight is not None else self._note_attempt(job, choice, lease)
        try:
            with lease:
                failure = await self._ask_node(job, node, passage, lease, flight)
        except NodeFailedError as error:
            self._metrics.attempt(node.name, error.fault)
            self._learn(node, error.fault)
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
            job.prediction = Prediction(self._policy, job.arrival, node.id, self._now)
            lease.on_release = job.prediction.dropped
        config = job.view.config
        return Passage(
            job.reply,
            record=record,
            ask=job.ask,
            config=config,
            on_commit=partial(self._committed, job),
            reason=explained(choice) if config.explain else b"",
        )

    def _committed(self, job: Job) -> None:
        self._end_retry(job)
        if job.prediction is not None:
            job.prediction.began()

    async def _ask_node(
        self, job: Job, node: PoolNode, passage: Passage, lease: Lease, flight: Flight | None
    ) -> Failure | None:
        if flight is not None and flight.error is not None:
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
            lease=lease,
            sent=flight.answer if flight is not None else None,
        )
        try:
            failure = None if _is_usual(answer) else await self._judge(job, node, answer)
            if failure is None:
                self._circuits.answered(node.id)
                await passage.relay(answer, closes=job.closes)
                self._learn_answered(job, node, answer, passage)
            return failure
        finally:
            # Read to its end, the connection is already back in the pool; else it is closed here,
            # which is how the node learns that nobody listens any more.
            answer.close()

    async def _judge(  # noqa: PLR0911 - a table of statuses
        self, job: Job, node: PoolNode, answer: NodeAnswer
    ) -> Failure | None:
        """Whether this answer is for the client; else why not."""
        now = self._now()
        status = answer.status
        if status < 400 or _is_encoded(answer):  # noqa: PLR2004 - HTTP
            detail = f"status {status}" if status >= 300 else "compressed"  # noqa: PLR2004 - HTTP
            raise RefusedRequestError(ErrorCode.UPSTREAM_PROTOCOL_ERROR, detail=detail)
        match status:
            case 503:
                self._findings.note_busy(node.id, now, answer.head.fields.get("retry-after", ""))
                return Failure.BUSY
            case 404 if _is_of_router(answer):
                return Failure.ROUTE_MISSING
            case 404 if job.ask.canonical not in job.view.pools.models:
                return None  # of a model in the cloud, that is not there
            case 404:
                self._findings.note_missing(node.id, job.ask.canonical)
                return Failure.MODEL_MISSING
            case 401 | 403:
                return await self._judge_refusal(job, node, answer)
            case 429:
                self._findings.note_busy(node.id, now, answer.head.fields.get("retry-after", ""))
                return None
            case _ if status < 500 or job.kept is not None:  # noqa: PLR2004 - HTTP
                return None
        job.kept = (answer, await answer.read_all(ERROR_BODY_BYTES))
        return Failure.ERROR_500

    async def _judge_refusal(self, job: Job, node: PoolNode, answer: NodeAnswer) -> Failure | None:
        """Of a 401 or 403. Never the client's key is meant: a node does not see it."""
        is_json = answer.head.fields.get("content-type", "").startswith("application/json")
        if is_json and _is_of_cloud(job):
            job.kept = job.kept or (answer, await answer.read_all(ERROR_BODY_BYTES))
            return Failure.CLOUD_REFUSED
        if is_json and answer.status == 403:  # noqa: PLR2004 - HTTP
            return None
        self._findings.note_busy(node.id, self._now(), DENIED_PAUSE_S)
        job.record.detail = f"{node.name} answered {answer.status}"
        return Failure.DENIED

    def _learn_answered(
        self, job: Job, node: PoolNode, answer: NodeAnswer, passage: Passage
    ) -> None:
        """What a whole answer says of the node."""
        if answer.status == 200:  # noqa: PLR2004 - HTTP
            if job.prediction is not None and job.record.outcome is Outcome.OK:
                job.prediction.ended(passage.usage)
            is_unload = job.ask.form is Form.UNLOAD
            self._findings.note_answered(node, job.ask.canonical, is_unload=is_unload)

    def _learn(self, node: PoolNode, fault: Fault) -> None:
        """What a failed attempt says about the node."""
        if fault in CONNECTING:
            self._watch.connection_failed(node, fault)
        elif fault in {Fault.NO_ANSWER, Fault.BAD_HTTP, Fault.BROKEN, Fault.BAD_FRAMING}:
            self._watch.suspect(node.id)

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
            answer, body = job.kept
            passage = Passage(
                job.reply,
                record=job.record,
                ask=job.ask,
                config=job.view.config,
                on_commit=partial(self._end_retry, job),
            )
            await passage.relay_kept(answer, body, closes=job.closes)
            return
        if choice is not None and choice.kind is NoNodeKind.UNKNOWN_MODEL:
            raise not_found(job.ask)
        raise self._final_error(job, is_exhausted=choice is not None)


def _is_of_router(answer: NodeAnswer) -> bool:
    """Whether a 404 is of the node's router, which knows no JSON, and so says nothing of models."""
    return answer.head.fields.get("content-type", "").startswith("text/plain")


def _is_of_cloud(job: Job) -> bool:
    """Whether the node would pass this on to where models of the cloud run."""
    entry = job.view.pools.models.get(job.ask.canonical)
    return job.ask.source is Source.CLOUD or (entry is not None and bool(entry.model.remote_host))


def _is_usual(answer: NodeAnswer) -> bool:
    """Whether the node has done what it was asked for."""
    return 200 <= answer.status < 300 and not _is_encoded(answer)  # noqa: PLR2004 - HTTP


def _is_encoded(answer: NodeAnswer) -> bool:
    coding = answer.head.fields.get("content-encoding")
    return coding is not None and coding.strip().lower() not in {"", "identity"}
