"""The score functions behind the strategies. The lowest score is chosen.

A score of None says that nothing is known of the node yet; `choose` gives such a node the same
chance as the best known one, so that it becomes known without being flooded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from shared.snapshot import Strategy

if TYPE_CHECKING:
    from data_plane.routing.pool_node import PoolNode

Score = Callable[["PoolNode", float, float | None], float | None]
"""Of a node with so many active requests and such a latency."""

SMOOTHING: Final = 0.3
"""Weight of the newest latency sample: after five samples an old value counts for a sixth."""


def least_active(node: PoolNode, active_count: float, _latency_s: float | None) -> float:
    """What it would carry with this request, by its weight: of two idle nodes the stronger."""
    return (active_count + 1.0) / node.weight


def lowest_latency(_node: PoolNode, _active_count: float, latency_s: float | None) -> float | None:
    """How long until its first byte, as the policy thinks."""
    return latency_s


SCORES: Final[dict[Strategy, Score]] = {
    Strategy.LEAST_ACTIVE: least_active,
    Strategy.LOWEST_LATENCY: lowest_latency,
    Strategy.PREDICTED: least_active,  # when nothing can be predicted
}


def smoothed(previous_s: float | None, sample_s: float) -> float:
    """The next value of a node's latency (EWMA)."""
    if previous_s is None:
        return sample_s
    return previous_s + SMOOTHING * (sample_s - previous_s)
