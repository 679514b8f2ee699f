"""Whether a further copy of a model pays, by those that are held for the copies there are.

Of `held` requests the last is predicted to wait `wait_s`, so these copies serve held / wait_s a
second. A copy that is there after `load_s` is of use to those who would still wait then, and takes
its share of what is left of their wait, which is half of it in the mean. It pays when that is more
than the load and what others lose by it. So the queue has to be longer than what is served during
a load, and by more the longer the load takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.routing.events import Arrival
from data_plane.routing.lessons import SHORTEST_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.predict import Estimate

KEPT_S: Final = 300.0
"""What was used or loaded so recently does not make room: so two models that are both waited for
cannot drive each other out in turns. It is as long as Ollama itself keeps what nobody uses."""


class Preload(msgspec.Struct, frozen=True):
    """A load that is to be begun ahead of any request."""

    node: PoolNode
    arrival: Arrival
    """Stands for the load wherever a request is told of."""

    load_s: float
    """Until the model is there, as predicted."""

    saved_s: float
    """Of waiting, over all that are held, beyond what the load costs."""


def load_for(arrival: Arrival) -> Arrival:
    """A request for nothing but what this one needs in memory."""
    return Arrival(
        canonical=arrival.canonical,
        digest=arrival.digest,
        options_key=arrival.options_key,
        is_embedding=arrival.is_embedding,
        max_output=0,
        is_streamed=False,
    )


def saved_s(found: Estimate, held: int, wait_s: float) -> float:
    """What a copy at this node saves all that are held, less what it costs (s)."""
    over_s = wait_s - found.load_s
    if over_s <= 0.0 or not held:
        return 0.0
    here = found.rates.slots / max(found.slot_s, SHORTEST_S)
    share = here / (here + held / wait_s)
    waiting_then = held * over_s / wait_s
    return waiting_then * over_s / 2.0 * share - found.load_s - found.eviction_s - found.others_s


def most_saving(
    estimates: Iterable[Estimate], held: int, wait_s: float
) -> tuple[Estimate, float] | None:
    """The node at which a copy saves most, and how much; None when it pays nowhere."""
    found = [(saved_s(each, held, wait_s), each) for each in estimates]
    saved, estimate = max(found, key=lambda pair: pair[0], default=(0.0, None))
    return (estimate, saved) if estimate is not None and saved > 0.0 else None
