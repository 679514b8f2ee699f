"""The seven steps of a request, in the order in which they happen.

1. accept: a record exists before anything can fail
2. parse: the head, then the body; what is asked, and of which model (`reception`, as is the next)
3. admit: who asks, and may they
4. choose, 5. forward: `attempts`
6. relay: `relay`
7. account: one access line, on every exit
"""

from __future__ import annotations

import asyncio
import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from data_plane.protocol.asks import DETOURS
from data_plane.protocol.dialects import stream_error
from data_plane.protocol.matching import dialect_of, redacted
from data_plane.protocol.routes import ASKS_NODES, Action, Dialect
from data_plane.proxy import intake
from data_plane.proxy.answers import RefusedRequestError, error_answer, outcome_of
from data_plane.proxy.job import Progress
from data_plane.proxy.reply import Answer, Reply
from data_plane.telemetry.record import Record
from shared.codes import SENTENCES, ErrorCode, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from data_plane.admission.gate import Gate
    from data_plane.lifecycle import Lifecycle
    from data_plane.protocol.outline import Outline
    from data_plane.proxy.attempts import Attempts
    from data_plane.proxy.call import Call
    from data_plane.proxy.cloud_status import CloudStatus
    from data_plane.proxy.detours import Detours
    from data_plane.proxy.management import Management
    from data_plane.proxy.reception import Reception
    from data_plane.proxy.recommendations import Recommendations
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics

MAX_LOGGED_PATH: Final = 200


class Handler:
    """Serves requests."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        reception: Reception,
        lifecycle: Lifecycle,
        gate: Gate,
        attempts: Attempts,
        detours: Detours,
        management: Management,
        cloud_status: CloudStatus,
        recommendations: Recommendations,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._reception = reception
        self._lifecycle = lifecycle
        self._gate = gate
        self._attempts = attempts
        self._detours = detours
        self._askers: Mapping[Action, CloudStatus | Recommendations | Management] = {
            Action.STATUS: cloud_status,
            Action.RECOMMENDATIONS: recommendations,
            Action.MANAGE: management,
        }
        self._log = log
        self._metrics = metrics
        # An id must be unique and need not be secret: one look at the dice for all of them.
        self._id_prefix = f"req_{os.urandom(8).hex()}"
        self._ids = itertools.count()
        self._call_soon = asyncio.get_running_loop().call_soon
        self._arrived: list[Call] = []
        """Requests that no task serves and nobody has looked at."""

    # What can be done without waiting is done in callbacks, the rest by the connection's task

    def begin(self, call: Call) -> None:
        """Serve a request that has come whole, in callbacks of the loop and of its node.

        All that have come in one turn of the loop are looked at when what came with them has been
        dealt with, so that chunks of other answers do not wait for them, and leave together. One
        alone leaves in the turn after that: chunks that have come meanwhile wait for half of it.

        What takes waiting, and whatever goes wrong, is handed to the task of the connection: there
        `handle` goes on where this has stopped.
        """
        if not self._arrived:
            self._call_soon(self._look_at_arrived)
        self._arrived.append(call)

    def _look_at_arrived(self) -> None:
        calls, self._arrived = self._arrived, []
        is_alone = len(calls) == 1
        for call in calls:
            if not call.is_lost:
                self._look_at(call, is_alone=is_alone)
        if not is_alone:
            self._attempts.flush()

    def _look_at(self, call: Call, *, is_alone: bool) -> None:
        try:
            if self._is_begun(call, is_alone=is_alone):
                return
        except Exception as error:  # noqa: BLE001 - `handle` tells them apart
            call.error = error
        call.connection.hand_over(call)

    def _send(self, call: Call) -> None:
        """The second half of a request that came alone."""
        if call.is_lost or call.job is None:
            return
        try:
            if self._attempts.begin(call.job, partial(self._go_on, call), is_alone=True):
                return
        except Exception as error:  # noqa: BLE001 - `handle` tells them apart
            call.error = error
        call.connection.hand_over(call)

    def _is_begun(self, call: Call, *, is_alone: bool) -> bool:
        self._accept(call)
        answer = self._reception.open(call)
        if answer is not None:
            call.reply.answer_now(answer)
            call.is_answered = True
            return not call.reply.is_held_up and self._is_done(call)
        if call.caller.coding is not None or call.route.action in ASKS_NODES:
            return False
        body = call.body or b""
        intake.claim(call.claim, len(body), self._reception.max_body_bytes)
        job = call.job = self._reception.job(call, body)
        if job.ask.form in DETOURS:
            return False
        if is_alone:
            self._call_soon(self._send, call)
            return True
        return self._attempts.begin(job, partial(self._go_on, call), is_alone=False)

    def _go_on(self, call: Call) -> None:
        """The node of a request that no task serves has something to say.

        What is left of a stream whose last record is on its way comes after the chunks of others
        that have come meanwhile: not in the next turn of the loop, which begins with what was put
        off, but in the one after it.
        """
        if call.reply.is_committed:
            self._call_soon(self._call_soon, self._advance, call)
        else:
            self._advance(call)

    def _advance(self, call: Call) -> None:
        if call.is_lost or call.job is None:
            return
        progress = Progress.NEEDS_TASK
        try:
            progress = self._attempts.go_on(call.job)
        except Exception as error:  # noqa: BLE001 - `handle` tells them apart
            call.error = error
        if progress is Progress.DONE:
            self._is_done(call)
        elif progress is Progress.NEEDS_TASK:
            call.connection.hand_over(call)

    def _is_done(self, call: Call) -> bool:
        self._end(call)
        call.connection.served(call)
        return True

    def lost(self, call: Call) -> None:
        """The client of a request that no task serves is gone."""
        call.is_lost = True
        if not call.is_accepted:
            self._accept(call)
        self._note_lost(call)
        self._end(call)

    async def handle(self, call: Call) -> None:
        """Serve one request, or go on with it, to its end and its record."""
        if not call.is_accepted:
            self._accept(call)
        record, reply = call.record, call.reply
        try:
            await self._serve(call)
        except RefusedRequestError as error:
            answer = self._refused(error, call, record)
            if reply.is_held_open:
                self._refuse_within(error, call)
            else:
                await reply.answer(answer)
        except (asyncio.CancelledError, ConnectionError):
            # The client is gone. The node was told by closing its connection on the way here.
            self._note_lost(call)
            raise
        except Exception as fault:  # noqa: BLE001 - the one place: whatever we forgot ends here
            self._log.error("request_failed", fault, request_id=record.request_id)
            if reply.is_committed or reply.is_held_open:
                record.outcome = Outcome.TRUNCATED
                reply.break_off(b"")
            else:
                refusal = RefusedRequestError(ErrorCode.INTERNAL_ERROR)
                await reply.answer(self._refused(refusal, call, record))
        finally:
            self._end(call)

    async def _serve(self, call: Call) -> None:
        if call.error is not None:
            raise call.error
        if call.is_answered:
            await call.reply.drained()
            return
        job = call.job
        if job is None:
            answer = self._reception.open(call)
            if answer is not None:
                await call.reply.answer(answer)
                return
            if call.route.action in ASKS_NODES:
                await self._askers[call.route.action].serve(call)
                return
            body: bytes | Outline | None = call.body
            if body is None or call.caller.coding is not None:
                body = await intake.read_body(
                    call, self._reception.max_body_bytes, call.claim, expects=call.caller.expects
                )
            job = call.job = self._reception.job(call, body)
        # 4., 5., 6. choose, forward, relay
        server = self._detours if job.ask.form in DETOURS else self._attempts
        await server.serve(job)

    # 1. accept
    def _accept(self, call: Call) -> None:
        call.is_accepted = True
        self._gate.in_flight += 1
        self._gate.requests_total += 1
        call.claim = self._gate.claim()
        connection = call.connection
        call.reply = Reply(call)
        call.record = Record(
            request_id=call.given_id or self._next_id(),
            client=connection.client,
            method=call.method,
            started_at=connection.now(),
        )

    def _next_id(self) -> str:
        return "%s%08x" % (self._id_prefix, next(self._ids))  # noqa: UP031 - mypyc's f-string is slow

    def _refused(self, error: RefusedRequestError, call: Call, record: Record) -> Answer:
        record.status, record.code, record.outcome = (
            error.status,
            error.code,
            outcome_of(error.code),
        )
        record.detail = error.detail or record.detail
        if record.attempts:
            error.headers["X-Aivonx-Attempts"] = str(record.attempts)
        error.closes = error.closes or self._lifecycle.is_draining
        dialect = Dialect(record.dialect) if record.dialect else dialect_of(call.target)
        answer = error_answer(error, dialect, record.request_id)
        record.bytes_out = len(answer.body)
        return answer

    def _refuse_within(self, error: RefusedRequestError, call: Call) -> None:
        """The same in a stream that was begun to fill the silence: its status is 200 for good."""
        words = stream_error(
            call.route.framing, error.status, error.code, error.message, call.record.request_id
        )
        call.record.status, call.record.bytes_out = 200, len(words)
        call.reply.break_off(words)

    def _note_lost(self, call: Call) -> None:
        is_stall = call.reply.has_stalled
        call.record.outcome = Outcome.CLIENT_STALLED if is_stall else Outcome.CLIENT_ABORT

    # 7. account. Never awaits: it also runs when the request is cancelled.
    def _end(self, call: Call) -> None:
        """Give back whatever the request still holds, and write its record."""
        record, reply = call.record, call.reply
        reply.end()
        if call.job is not None and call.job.flight is not None:
            self._attempts.abandon(call.job)
        call.claim.release()
        if call.place is not None:
            call.place.release()
        self._gate.in_flight -= 1
        record.bytes_out = record.bytes_out or reply.bytes_out
        if not record.route:
            record.path = redacted(call.target)[:MAX_LOGGED_PATH]
        now = call.connection.now()
        self._metrics.request(record, now)
        self._log.access(record, now)
        call.over()

    def connected(self, client: str) -> bool:
        """A client has connected; False when it is one too many, and to be closed."""
        if self._gate.connected():
            return True
        self._log.sampled("connection_refused", client=client)
        return False

    def disconnected(self) -> None:
        """A connection has ended."""
        self._gate.connections -= 1

    def refuse_unparsed(self, call: Call, status: int, code: ErrorCode) -> Answer:
        """The answer to what the parser refused. Its line is sampled: there may be floods of it."""
        request_id = self._next_id()
        self._metrics.bad_request(status)
        self._log.sampled(
            "bad_request",
            request_id=request_id,
            client=call.client,
            status=status,
            code=code,
            outcome=Outcome.REJECTED,
        )
        error = RefusedRequestError(code, SENTENCES[code], status=status, closes=True)
        return error_answer(error, Dialect.NATIVE, request_id)
