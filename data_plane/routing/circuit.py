"""What this instance has seen of each node with its own eyes.

A state per node, moved by events only as the table says. A broken connection is certain and moves
a node to standby at once; failed probes may be chance and need `fall` in a row. A node in standby
is probed with growing pauses and is used again after `rise` good probes in a row. A node that
nothing was seen of is usable.

The verdicts of the health sweep are no part of this: they come with the snapshot (`pools`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0
"""A dead node costs two probes a minute, and is back at most half a minute after it returned."""

JITTER: Final = 0.2
"""Pauses are shortened by up to this much, or instances that saw a node die together would knock
together for ever."""

STEADY_S: Final = 60.0
"""A node that stayed usable for this long starts again with the first pause; one that flaps
within it keeps the pause it had reached."""


class State(Enum):
    """Of one node."""

    CLOSED = auto()
    """Usable."""

    OPEN = auto()
    """In standby; probed now and then."""

    HALF_OPEN = auto()
    """In standby; its last probes were good, but not enough of them."""


class Event(Enum):
    """What was seen. Counting happens before: `FALL` and `RISE` are "enough in a row"."""

    BROKEN = auto()
    PROBE_FAILED = auto()
    FALL = auto()
    PROBE_OK = auto()
    RISE = auto()


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.CLOSED, Event.BROKEN): State.OPEN,
    (State.CLOSED, Event.PROBE_FAILED): State.CLOSED,
    (State.CLOSED, Event.FALL): State.OPEN,
    (State.CLOSED, Event.PROBE_OK): State.CLOSED,
    (State.CLOSED, Event.RISE): State.CLOSED,
    (State.OPEN, Event.BROKEN): State.OPEN,
    (State.OPEN, Event.PROBE_FAILED): State.OPEN,
    (State.OPEN, Event.FALL): State.OPEN,
    (State.OPEN, Event.PROBE_OK): State.HALF_OPEN,
    (State.OPEN, Event.RISE): State.CLOSED,
    (State.HALF_OPEN, Event.BROKEN): State.OPEN,
    (State.HALF_OPEN, Event.PROBE_FAILED): State.OPEN,
    (State.HALF_OPEN, Event.FALL): State.OPEN,
    (State.HALF_OPEN, Event.PROBE_OK): State.HALF_OPEN,
    (State.HALF_OPEN, Event.RISE): State.CLOSED,
}


@dataclass(slots=True)
class _Circuit:
    state: State = State.CLOSED
    failures: int = 0
    """Probes failed in a row."""

    successes: int = 0
    """Probes good in a row, while in standby."""

    pause_s: float = FIRST_PAUSE_S
    """Until the next probe, before jitter."""

    due_at: float = 0.0
    changed_at: float = 0.0


class Circuits:
    """The eyes of one instance. Times are of one monotonic clock, the dice give [0, 1)."""

    __slots__ = ("_circuits", "down", "reasons")

    def __init__(self) -> None:
        self._circuits: dict[str, _Circuit] = {}
        self.down: set[str] = set()
        """Nodes in standby by these eyes; kept up to date, to be read by `choose`."""

        self.reasons: dict[str, str] = {}
        """Why, for each of them."""

    def connection_failed(
        self, node_id: str, now: float, dice: Callable[[], float], reason: str
    ) -> bool:
        """A connection could not be made or broke; True when this moved the node to standby."""
        return self._failed(node_id, Event.BROKEN, now, dice, reason)

    def probe_failed(
        self, node_id: str, now: float, dice: Callable[[], float], *, fall: int, reason: str
    ) -> bool:
        """A probe went wrong; True when this moved the node to standby."""
        failures = self._circuit(node_id).failures + 1
        event = Event.FALL if failures >= fall else Event.PROBE_FAILED
        return self._failed(node_id, event, now, dice, reason)

    def probe_succeeded(self, node_id: str, now: float, *, rise: int) -> bool:
        """A probe went well; True when this brought the node back."""
        circuit = self._circuits.get(node_id)
        if circuit is None:
            return False
        circuit.failures = 0
        if circuit.state is State.CLOSED:
            return False
        circuit.successes += 1
        event = Event.RISE if circuit.successes >= rise else Event.PROBE_OK
        circuit.state = TRANSITIONS[circuit.state, event]
        if circuit.state is State.CLOSED:
            circuit.changed_at = now
            self._forget_standby(node_id)
            return True
        circuit.due_at = now + FIRST_PAUSE_S  # it looks alive: be quick to be sure
        return False

    def answered(self, node_id: str) -> None:
        """It answered a request: failed probes before that were chance.

        An answer does not bring a node back: it may have begun before the node broke.
        """
        circuit = self._circuits.get(node_id)
        if circuit is not None and circuit.state is State.CLOSED:
            circuit.failures = 0

    def due(self, now: float) -> list[str]:
        """Nodes in standby whose pause is over: probe each and tell the result.

        A node stays due until its result is told; who probes knows what is under way.
        """
        return [node_id for node_id in self.down if self._circuits[node_id].due_at <= now]

    def next_due(self) -> float | None:
        """When the next probe is due; None while no node is in standby."""
        return min((self._circuits[node_id].due_at for node_id in self.down), default=None)

    def keep(self, node_ids: AbstractSet[str]) -> None:
        """Forget nodes that are no longer in the snapshot."""
        for node_id in [known for known in self._circuits if known not in node_ids]:
            del self._circuits[node_id]
            self._forget_standby(node_id)

    def _failed(
        self, node_id: str, event: Event, now: float, dice: Callable[[], float], reason: str
    ) -> bool:
        circuit = self._circuit(node_id)
        before, circuit.state = circuit.state, TRANSITIONS[circuit.state, event]
        circuit.failures += 1
        circuit.successes = 0
        if circuit.state is State.CLOSED:
            return False
        is_new = before is State.CLOSED
        if is_new:
            if now - circuit.changed_at > STEADY_S:
                circuit.pause_s = FIRST_PAUSE_S
            circuit.changed_at = now
            self.down.add(node_id)
        self.reasons[node_id] = reason
        # Requests that were under way may break by the dozen with their node: that is one event,
        # and must not stretch the pause.
        if is_new or event is not Event.BROKEN:
            circuit.due_at = now + circuit.pause_s * (1.0 - JITTER * dice())
            circuit.pause_s = min(circuit.pause_s * 2.0, MAX_PAUSE_S)
        return is_new

    def _circuit(self, node_id: str) -> _Circuit:
        return self._circuits.setdefault(node_id, _Circuit())

    def _forget_standby(self, node_id: str) -> None:
        self.down.discard(node_id)
        self.reasons.pop(node_id, None)
