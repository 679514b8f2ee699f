"""What an answer of a node means: it is for the client, or why not, and what it says of the node.

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

A 500 that the other node does not give or that says that the model cannot be loaded, an error
within an answer and a broken one are held against this model at this node (`troubles`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.protocol.asks import Form
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.failures import DENIED_PAUSE_S, Failure
from data_plane.proxy.troubles import FAILS_ALONE, RUNNER_FAILS
from data_plane.upstream.faults import CONNECTING, Fault
from shared.codes import ErrorCode, Outcome
from shared.model_names import Source

if TYPE_CHECKING:
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.job import Job
    from data_plane.proxy.relay import Passage
    from data_plane.proxy.troubles import Troubles
    from data_plane.routing.pool_node import PoolNode
    from data_plane.upstream.answer import NodeAnswer
    from data_plane.upstream.watch import Watch

ERROR_BODY_BYTES: Final = 64 * 1024
"""Of a node's 500 that is kept while another node is tried."""


class Judgement:
    """Judges answers and faults, and tells what they say of the node. Made in the running loop."""

    def __init__(self, findings: Findings, watch: Watch, troubles: Troubles) -> None:
        self._findings = findings
        self._watch = watch
        self._troubles = troubles
        self._troubled = troubles.models.pairs
        self._now = asyncio.get_running_loop().time

    async def judge(  # noqa: PLR0911 - a table of statuses
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
                return await self._refusal(job, node, answer)
            case 429:
                self._findings.note_busy(node.id, now, answer.head.fields.get("retry-after", ""))
                return None
            case _ if status < 500 or job.kept is not None:  # noqa: PLR2004 - HTTP
                return None
        body = await answer.read_all(ERROR_BODY_BYTES)
        job.kept = (answer, body, node.id)
        self._troubles.note_500(node.id, job.ask.canonical, body)
        return Failure.ERROR_500

    async def _refusal(self, job: Job, node: PoolNode, answer: NodeAnswer) -> Failure | None:
        """Of a 401 or 403. Never the client's key is meant: a node does not see it."""
        is_json = answer.head.fields.get("content-type", "").startswith("application/json")
        if is_json and _is_of_cloud(job):
            job.kept = job.kept or (answer, await answer.read_all(ERROR_BODY_BYTES), node.id)
            return Failure.CLOUD_REFUSED
        if is_json and answer.status == 403:  # noqa: PLR2004 - HTTP
            return None
        self._findings.note_busy(node.id, self._now(), DENIED_PAUSE_S)
        job.record.detail = f"{node.name} answered {answer.status}"
        return Failure.DENIED

    def learn_answered(
        self, job: Job, node: PoolNode, answer: NodeAnswer, passage: Passage
    ) -> None:
        """What a whole answer says of the node."""
        if answer.status == 200:  # noqa: PLR2004 - HTTP
            if job.prediction is not None and job.record.outcome is Outcome.OK:
                job.prediction.ended(passage.usage)
            is_unload = job.ask.form is Form.UNLOAD
            self._findings.note_answered(node, job.ask.canonical, is_unload=is_unload)
            if self._troubled or job.record.outcome is Outcome.NODE_ERROR or job.kept is not None:
                self._learn_of_model(job, node)

    def _learn_of_model(self, job: Job, node: PoolNode) -> None:
        """What a whole answer says of the model, where something has failed."""
        model = job.ask.canonical
        if job.record.outcome is Outcome.NODE_ERROR:
            self._troubles.note(node.id, model, RUNNER_FAILS)
        else:
            self._troubles.note_answered(node.id, model)
        if job.kept is not None and Failure.ERROR_500 in job.failures:
            self._troubles.note(job.kept[2], model, FAILS_ALONE)

    def learn_fault(self, job: Job, node: PoolNode, fault: Fault) -> None:
        """What a failed attempt says about the node, and about the model there."""
        self._troubles.note_fault(node.id, job.ask.canonical, fault)
        if fault in CONNECTING:
            self._watch.connection_failed(node, fault)
        elif fault in {Fault.NO_ANSWER, Fault.BAD_HTTP, Fault.BROKEN, Fault.BAD_FRAMING}:
            self._watch.suspect(node.id)


def _is_of_router(answer: NodeAnswer) -> bool:
    """Whether a 404 is of the node's router, which knows no JSON, and so says nothing of models."""
    return answer.head.fields.get("content-type", "").startswith("text/plain")


def _is_of_cloud(job: Job) -> bool:
    """Whether the node would pass this on to where models of the cloud run."""
    entry = job.view.pools.models.get(job.ask.canonical)
    return job.ask.source is Source.CLOUD or (entry is not None and bool(entry.model.remote_host))


def is_usual(answer: NodeAnswer) -> bool:
    """Whether the node has done what it was asked for."""
    return 200 <= answer.status < 300 and not _is_encoded(answer)  # noqa: PLR2004 - HTTP


def _is_encoded(answer: NodeAnswer) -> bool:
    coding = answer.head.fields.get("content-encoding")
    return coding is not None and coding.strip().lower() not in {"", "identity"}
