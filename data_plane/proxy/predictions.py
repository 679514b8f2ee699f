"""A request that was chosen a node for by prediction, on its way: the policy hears how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_plane.routing.events import Finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.protocol.usage import Usage
    from data_plane.routing.events import Arrival, Choice
    from data_plane.routing.policy import Policy

_SILENT = Finished()


class Prediction:
    """One attempt. `dropped` is called when its lease ends, however that comes."""

    __slots__ = ("_is_over", "_now", "_policy", "_ticket")

    def __init__(
        self, policy: Policy, arrival: Arrival, node_id: str, now: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._now = now
        self._ticket = policy.sent(arrival, node_id, now())
        self._is_over = False

    def began(self) -> None:
        """The first byte of the answer is here."""
        self._policy.first_byte(self._ticket, self._now())

    def ended(self, usage: Usage | None) -> None:
        """The answer is whole."""
        if not self._is_over:
            self._is_over = True
            self._policy.finished(self._ticket, _finished(usage), self._now())

    def dropped(self) -> None:
        """The lease is over."""
        if not self._is_over:
            self._is_over = True
            self._policy.aborted(self._ticket, self._now())


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
