"""Which nodes fail with which model: a circuit per pair, beside the circuit per node.

A node may answer every probe and serve three models while a fourth fails there: its file is
damaged, its runner crashes, it does not fit. That says nothing of the node's other models, so it
opens the circuit of this pair only. Being busy (503) and being slow open nothing.

An open pair is avoided, not forbidden: when no other holder can be had, it is asked all the same,
so that the last holder of a model is never taken away by these eyes. Nothing can probe a model
without loading it, so a request is the probe: when the pause is over, one request is let through
(`tried`), and the next pause is twice as long. Any whole answer closes the circuit.

Times are of one monotonic clock, the dice give [0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data_plane.routing.circuit import JITTER, STEADY_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
"""Longer than a node's: each look costs a client an attempt."""

FAILURES_IN_A_ROW: Final = 3
"""One crash may be the request's own fault. Three without one whole answer between them are not."""

_NOBODY: Final[frozenset[str]] = frozenset()


@dataclass(slots=True)
class Pair:
    """What was seen of one model at one node."""

    failures: int = 0
    """In a row."""

    is_open: bool = False
    pause_s: float = FIRST_PAUSE_S
    due_at: float = 0.0
    changed_at: float = 0.0
    reason: str = ""


class ModelCircuits:
    """The eyes of one instance. Models are canonical names."""

    __slots__ = ("open", "pairs")

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str], Pair] = {}
        """What is remembered of (node, model); empty as long as nothing fails, so that an answer
        has nothing to mend."""

        self.open: dict[str, set[str]] = {}
        """Model -> nodes that fail with it; empty in a healthy cluster, and read at each choice."""

    def failed(  # noqa: PLR0913 - what happened, where, when and how sure
        self,
        node_id: str,
        model: str,
        now: float,
        dice: Callable[[], float],
        *,
        reason: str,
        is_certain: bool,
    ) -> bool:
        """The node failed with the model; True when this opened the circuit of the pair."""
        pair = self.pairs.setdefault((node_id, model), Pair())
        pair.failures += 1
        pair.reason = reason
        if pair.is_open or not (is_certain or pair.failures >= FAILURES_IN_A_ROW):
            return False  # requests that were under way may fail by the dozen: that is one event
        if now - pair.changed_at > STEADY_S:
            pair.pause_s = FIRST_PAUSE_S
        pair.is_open, pair.changed_at = True, now
        self.open.setdefault(model, set()).add(node_id)
        _rest(pair, now, dice)
        return True

    def answered(self, node_id: str, model: str, now: float) -> bool:
        """The node gave a whole answer of the model; True when this closed the circuit."""
        pair = self.pairs.get((node_id, model))
        if pair is None:
            return False
        pair.failures = 0
        if pair.is_open:
            pair.is_open, pair.changed_at = False, now
            self._close(node_id, model)
            return True
        if not pair.changed_at or now - pair.changed_at > STEADY_S:
            del self.pairs[node_id, model]
        return False

    def avoided(self, model: str, now: float) -> AbstractSet[str]:
        """Nodes that are not to be asked for the model now, if there is another."""
        failing = self.open.get(model)
        if failing is None:
            return _NOBODY
        return frozenset(node_id for node_id in failing if self.pairs[node_id, model].due_at > now)

    def tried(self, node_id: str, model: str, now: float, dice: Callable[[], float]) -> None:
        """A request goes to this node: if the pair is open, no other does within its next pause."""
        pair = self.pairs.get((node_id, model))
        if pair is not None and pair.is_open and pair.due_at <= now:
            _rest(pair, now, dice)

    def reasons(self) -> dict[tuple[str, str], str]:
        """Why, for each open pair of node and model."""
        return {key: pair.reason for key, pair in self.pairs.items() if pair.is_open}

    def forget(self, node_id: str) -> None:
        """The node was started anew, or what it holds has changed: what was seen counts no more."""
        for known_id, model in [key for key in self.pairs if key[0] == node_id]:
            del self.pairs[known_id, model]
            self._close(known_id, model)

    def keep(self, node_ids: AbstractSet[str], models: AbstractSet[str]) -> None:
        """Forget nodes and models that are no longer in the snapshot."""
        for node_id, model in list(self.pairs):
            if node_id not in node_ids or model not in models:
                del self.pairs[node_id, model]
                self._close(node_id, model)

    def _close(self, node_id: str, model: str) -> None:
        failing = self.open.get(model)
        if failing is not None:
            failing.discard(node_id)
            if not failing:
                del self.open[model]


def _rest(pair: Pair, now: float, dice: Callable[[], float]) -> None:
    pair.due_at = now + pair.pause_s * (1.0 - JITTER * dice())
    pair.pause_s = min(pair.pause_s * 2.0, MAX_PAUSE_S)
