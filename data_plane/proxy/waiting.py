"""Requests that are held until a slot is free, so that their node is chosen with what is known
then, and in an order that is fair (`admission.queue`).

Nothing is sent to a node that has to queue it: a queue at a node is first come, first served,
cannot be left for another node, and does not know whose turn it is. Where slots are unknown nothing
is held.
"""

from __future__ import annotations

import asyncio
import random
from math import ceil
from typing import TYPE_CHECKING, Final

from data_plane.admission.queue import Queue, Waiting
from data_plane.proxy.answers import RefusedRequestError
from data_plane.routing.choose import Choice
from data_plane.routing.events import Hold, NoNode
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.admission.shares import Shares
    from data_plane.proxy.job import Job
    from data_plane.proxy.preloading import Preloading
    from data_plane.proxy.selection import Selection
    from data_plane.sync.applied import AppliedState
    from data_plane.telemetry.metrics import Metrics
    from data_plane.telemetry.record import Record

LOOKED_AT: Final = 24
"""The first of a lane, that are asked for whenever something has changed. Those behind them are no
better off, but for a cache that happens to hold their beginning."""

HELD_IN_A_ROW: Final = 8
"""After so many that have to go on waiting the rest of a lane is left alone."""

LOOK_EVERY_S: Final = 0.25
"""For what nobody tells us: slots that other workers have freed, nodes that are back."""

SHARE_OF_PLACES: Final = 0.5
"""Of all places, those that one principal may take."""

RETRY_MAX_S: Final = 60
_LONG: Final = (
    "every node that has this model is busy, and the wait would be longer than max_wait_s allows "
    "({predicted:.0f} s); try again later"
)
_TOO_MANY: Final = "too many requests wait for a node already; try again in a few seconds"
_WAITED: Final = (
    "every node that has this model was busy for {limit:.0f} s (max_wait_s); try again later"
)
_STOPPED: Final = (
    "the proxy is shutting down, and the request had not been sent to a node; try again"
)


def principal_of(record: Record) -> str:
    """Whose request it is; where nobody needs a key, whoever is at that address."""
    return record.key_id or record.client


class Held:
    """One request that waits."""

    __slots__ = ("job", "predicted_s", "send", "turn")

    def __init__(
        self,
        job: Job,
        send: Callable[[Job, Choice], None],
        turn: asyncio.Future[Choice | NoNode],
    ) -> None:
        self.job = job
        self.send = send
        """Claims a node for the job."""

        self.turn = turn
        """For the task that serves it."""

        self.predicted_s: float | None = None
        """Until its first token, when it was last asked for; None: it never was."""


def _wait_s(known: list[Held], count: int) -> float:
    """What the last of `count` waits, by the last of the first ones that were asked for."""
    return (known[-1].predicted_s or 0.0) * count / len(known)


class WaitingRoom:
    """Made inside the running loop."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        queue: Queue[Held],
        shares: Shares,
        state: AppliedState,
        selection: Selection,
        preloading: Preloading,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self.shares = shares
        self._state = state
        self._selection = selection
        self._preloading = preloading
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._next_s: dict[str, float] = {}
        """Of each lane: until the first of it has a slot, as was predicted last."""

        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def is_waited_for(self, job: Job) -> bool:
        """Whether others wait for the same model, whom this request must not overtake."""
        return self._queue.size > 0 and self._queue.is_waited_for(job.ask.canonical)

    async def turn(self, job: Job, send: Callable[[Job, Choice], None]) -> Choice | NoNode:
        """Wait for a node. By the time of the return `send` has claimed it for the job.

        Raises RefusedRequestError when there is no room, no hope, or no time left.
        """
        config, now = job.view.config, self._loop.time()
        held = Held(job, send, self._loop.create_future())
        waiting = Waiting(
            held,
            lane=job.ask.canonical,
            principal=principal_of(job.record),
            priority=job.priority,
            tokens=max(float(self._selection.arrival(job).prompt_tokens), 1.0),
            arrived_at=now,
        )
        self._admit(waiting, config.max_waiting)
        self._queue.join(waiting)
        try:
            position = self._queue.ahead_of(waiting, now)
            self._decide_in(waiting.lane)
            if held.turn.done():
                return held.turn.result()
            estimate_s = self._predicted_s(held, position)
            if estimate_s > config.max_wait_s:
                words, over_s = _LONG.format(predicted=estimate_s), estimate_s - config.max_wait_s
                raise self._refused("too_long", ErrorCode.OVERLOADED, words, over_s)
            job.position, job.estimate_s = position, estimate_s
            self._look_later()
            async with asyncio.timeout(config.max_wait_s):
                return await held.turn
        except TimeoutError:
            words = _WAITED.format(limit=config.max_wait_s)
            more_s = held.predicted_s or 0.0
            raise self._refused("timeout", ErrorCode.OVERLOADED, words, more_s) from None
        finally:
            self._queue.leave(waiting)
            if job.position is not None:
                self._note_wait(waiting)
                self._metrics.waited(job.record.waited_s)

    def _admit(self, waiting: Waiting[Held], places: int) -> None:
        if self._is_closed:
            raise self._refused("draining", ErrorCode.DRAINING, _STOPPED, 0.0)
        own = self._queue.of(waiting.principal)
        if self._queue.size >= places or own >= max(places * SHARE_OF_PLACES, 1.0):
            next_s = self._next_s.get(waiting.lane, 0.0)
            raise self._refused("full", ErrorCode.OVERLOADED, _TOO_MANY, next_s)

    def wake(self) -> None:
        """Something has changed: look at those who wait, once all that came with it is done."""
        if self._queue.size and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._decide)

    def close(self) -> None:
        """The drain is over: hand back whoever still waits."""
        self._is_closed = True
        for lane in self._queue.lanes:
            for waiting in self._queue.first(lane, self._queue.size, self._loop.time()):
                error = self._refused("draining", ErrorCode.DRAINING, _STOPPED, 0.0)
                self._end(waiting, error)

    def _decide(self) -> None:
        self._is_due = False
        for lane in self._queue.lanes:
            self._decide_in(lane)

    def _look_later(self) -> None:
        if self._timer is None and self._queue.size:
            self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._timer = None
        self._decide()
        self._look_later()
        for lane in self._queue.lanes:
            self._weigh_preload(lane)

    def _weigh_preload(self, lane: str) -> None:
        """Whether those that wait are worth a further copy of the model."""
        held, now = self._queue.count(lane), self._loop.time()
        asked = [each.item for each in self._queue.first(lane, LOOKED_AT, now)]
        known = [each for each in asked if each.predicted_s is not None]
        if known:
            self._preloading.weigh(known[-1].job, held, _wait_s(known, held), self.wake)

    def _decide_in(self, lane: str) -> None:
        ahead: dict[str, int] = {}
        held_in_a_row = 0
        for waiting in self._queue.first(lane, LOOKED_AT, self._loop.time()):
            held = waiting.item
            if held.turn.done():  # its client has left, and its task will say so
                continue
            try:
                choice = self._choose(held.job, ahead)
                if isinstance(choice, Hold):
                    held.predicted_s = choice.predicted_s
                    if not ahead:
                        self._next_s[lane] = choice.predicted_s
                    ahead[choice.node_id] = ahead.get(choice.node_id, 0) + 1
                    held_in_a_row += 1
                    if held_in_a_row == HELD_IN_A_ROW:
                        return
                    continue
                held_in_a_row = 0
                if isinstance(choice, Choice):
                    self._queue.served(waiting, self._loop.time())
                    self._note_wait(waiting)
                    held.send(held.job, choice)
            except Exception as error:  # noqa: BLE001 - it is raised in the task of the request
                self._end(waiting, error)
            else:
                self._end(waiting, choice)

    def _note_wait(self, waiting: Waiting[Held]) -> None:
        """Once: its answer says it, and its access line."""
        job = waiting.item.job
        if job.position is not None and not job.record.waited_s:
            job.record.waited_s = self._loop.time() - waiting.arrived_at

    def _choose(self, job: Job, ahead: dict[str, int]) -> Choice | Hold | NoNode:
        if self._state.current is not None:
            job.view = self._state.current  # nodes have come and gone since it arrived
        return self._selection.choose(job, ahead)

    def _end(self, waiting: Waiting[Held], result: Choice | NoNode | Exception) -> None:
        self._queue.leave(waiting)
        turn = waiting.item.turn
        if turn.done():
            return
        if isinstance(result, Exception):
            turn.set_exception(result)
        else:
            turn.set_result(result)

    def _predicted_s(self, held: Held, position: int) -> float:
        """Until its first token. Whoever is far behind goes by the last one that was asked for."""
        if held.predicted_s is not None:
            return held.predicted_s
        now = self._loop.time()
        first = self._queue.first(held.job.ask.canonical, LOOKED_AT, now)
        known = [each.item for each in first if each.item.predicted_s is not None]
        return _wait_s(known, position + 1) if known else 0.0

    def _refused(
        self, reason: str, code: ErrorCode, words: str, wait_s: float
    ) -> RefusedRequestError:
        self._metrics.queue_refused(reason)
        spread_s = max(wait_s, 1.0) * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
        after_s = min(ceil(spread_s), RETRY_MAX_S)
        return RefusedRequestError(code, words, headers={"Retry-After": str(after_s)})
