"""A request that was chosen a node for by prediction, on its way: the policy hears how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data_plane.admission.shares import ANSWER_WEIGHT
from data_plane.routing.events import Finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.protocol.endings import Usage
    from data_plane.proxy.job import Job
    from data_plane.proxy.waiting import WaitingRoom
    from data_plane.routing.choose import Choice
    from data_plane.routing.events import Arrival
    from data_plane.routing.policy import Policy

_SILENT: Final = Finished()

_WAITED_LINES: Final = (
    b"X-Aivonx-Queue-Position: %d\r\nX-Aivonx-Queue-Estimate: %.3f\r\nX-Aivonx-Queue-Wait: %.3f\r\n"
)

WRITTEN_PER_S: Final = 40.0
"""Tokens of an answer that was broken off: nobody has counted them."""


class Prediction:
    """One attempt. `dropped` is called when its lease ends, however that comes."""

    __slots__ = (
        "_began_at",
        "_charged",
        "_is_over",
        "_now",
        "_policy",
        "_principal",
        "_room",
        "_ticket",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - what one attempt is heard of by
        self,
        policy: Policy,
        room: WaitingRoom,
        principal: str,
        arrival: Arrival,
        node_id: str,
        now: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._room = room
        self._principal = principal
        self._now = now
        self._ticket = policy.sent(arrival, node_id, now())
        self._charged = float(arrival.prompt_tokens)
        self._began_at: float | None = None
        self._is_over = False
        room.shares.charge(principal, self._charged)

    def began(self) -> None:
        """The first byte of the answer is here."""
        self._began_at = self._now()
        self._policy.first_byte(self._ticket, self._began_at)

    def ended(self, usage: Usage | None) -> None:
        """The answer is whole."""
        if self._is_over:
            return
        self._is_over = True
        self._policy.finished(self._ticket, _finished(usage), self._now())
        if usage is not None:
            read = (usage.prompt_tokens or self._charged) - (usage.cached_tokens or 0)
            written = ANSWER_WEIGHT * (usage.completion_tokens or 0)
            self._room.shares.charge(self._principal, read + written - self._charged)

    def dropped(self) -> None:
        """The lease is over: a slot may be free."""
        if not self._is_over:
            self._is_over = True
            self._policy.aborted(self._ticket, self._now())
            if self._began_at is None:
                self._room.shares.charge(self._principal, -self._charged)
            else:
                written = (self._now() - self._began_at) * WRITTEN_PER_S
                self._room.shares.charge(self._principal, ANSWER_WEIGHT * written)
        self._room.wake()


def told(job: Job, choice: Choice) -> bytes:
    """Header lines that say why the node was chosen, where that is wished, and what was waited."""
    lines = b""
    if job.view.config.explain:
        lines = b"X-Aivonx-Reason: %b\r\n" % explained(choice)
    if job.position is not None:
        lines += _WAITED_LINES % (job.position, job.estimate_s, job.record.waited_s)
    return lines


def _finished(usage: Usage | None) -> Finished:
    if usage is None:
        return _SILENT
    return Finished(
        load_s=usage.load_s,
        prompt_tokens=usage.prompt_tokens,
        prompt_s=usage.prompt_eval_s,
        cached_tokens=usage.cached_tokens,
        eval_tokens=usage.completion_tokens,
        eval_s=usage.eval_s,
        total_s=usage.total_s,
    )


def explained(choice: Choice) -> bytes:
    """The line that says why, as a header's value."""
    text = f"{choice.reason}; candidates={choice.candidates}"
    terms = choice.terms
    if terms is not None:
        text += (
            f"; ttft={terms.ttft_s:.3f} decode={terms.decode_s:.3f} others={terms.others_s:.3f}"
            f" eviction={terms.eviction_s:.3f} wait={terms.wait_s:.3f} load={terms.load_s:.3f}"
        )
    if choice.runner_up and choice.runner_up.isprintable():
        text += f"; second={choice.runner_up}"
    return text.encode()
